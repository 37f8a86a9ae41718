"""Everything this library raises on purpose, as one family.

``except WorkflowError`` catches all of it. Facts travel as attributes as well as text. Where the behaviour we
follow fixes a message (https://developers.cloudflare.com/workflows/), the text is the same.

    WorkflowError
    ├─ InstanceError        InstanceNotFound · InstanceAlreadyExists · InstanceEnded · InvalidTransition · WaitOver
    │                       InstanceTerminated (InstanceCancelled)
    ├─ StepError            StepFailed · StepInterrupted · PoisonError · StalledError · StepLimitReached
    │                       NonRetryableError (NonRetryableDelayError · RollbackMissing · InvalidStepReadableStreamError
    │                       UnsupportedStreamChunkError · OversizedStreamChunkError · StreamOutputStorageLimitError)
    ├─ WorkflowTimeoutError StepTimeout · PollTimeout · EventTimeout · HeartbeatTimeout · ResultTimeout
    │                       InstanceTimeout
    ├─ EventError
    ├─ PayloadError         PayloadTooLarge · PayloadNotSerializable · CorruptPayload · StreamLost
    ├─ NonDeterminismError  ForbiddenInRun
    ├─ ConfigError          UnknownWorkflow · UnknownQueue · BadName · BadDuration · BadSchedule · BadStepConfig · BadParams
    │                       BadEvent
    └─ ServerError          ServerUnavailable · ServerUnsuitable

Not of it, because they are no failures: ``WorkflowCancelled`` (``DeadlineExceeded``), an ``asyncio.CancelledError``.
"""

from __future__ import annotations

from asyncio import CancelledError


class WorkflowError(Exception):
    """A workflow operation failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message if message is not None else (type(self).__doc__ or "").strip().splitlines()[0])


class InstanceError(WorkflowError):
    """An operation on one instance was refused."""


class InstanceNotFound(InstanceError):
    """(instance.not_found) Instance does not exist"""


class InstanceAlreadyExists(InstanceError):
    """(instance.already_exists) Instance already exists"""


class InstanceEnded(InstanceError):
    """(instance.in_finite_state) Instance reached a finite state, cannot send events to it"""


class InstanceTerminated(InstanceError):
    """The instance was terminated."""


class InstanceCancelled(InstanceTerminated):
    """The instance was cancelled, and has ended by that."""


class InvalidTransition(InstanceError):
    """The instance's status does not allow this."""


class WaitOver(InstanceError):
    """The wait that a token is for takes no answer any more: it has one, timed out or was given up."""


class StepError(WorkflowError):
    """A step could not be completed."""


class _Placed:
    """What an error says about where it comes from: in its text, and here.

    Attributes:
        workflow, instance_id: the instance.
        step: the step or wait as messages call it, ``'step "charge-1"'``; None for an error of ``run`` itself.
        attempts: how many attempts the step had, those that a crash ended included; None where there are none.
    """

    workflow: str | None = None
    instance_id: str | None = None
    step: str | None = None
    attempts: int | None = None


class StepFailed(_Placed, StepError):
    """A step failed with an error whose class is not loaded in this process.

    Attributes:
        remote_name: the class name of the original error.
        remote_traceback: its traceback, as text.
    """

    def __init__(self, message: str | None = None, *, remote_name: str = "Error", remote_traceback: str = "") -> None:
        super().__init__(message)
        self.remote_name = remote_name
        self.remote_traceback = remote_traceback


class PoisonError(_Placed, StepError):
    """The step was abandoned because every worker that ran it died."""


class StepInterrupted(_Placed, StepError):
    """An attempt of a step that runs at most once was cut off: what the step does may have happened, or part of it."""


class StalledError(StepError):
    """run() blocked its worker again and again: move the slow part into a step."""


class NonRetryableError(StepError):
    """Raise this inside a step to fail it at once, whatever its retry settings say.

    The optional second argument replaces the name shown for the error, which is the class's.
    """

    def __init__(self, message: str | None = None, name: str | None = None) -> None:
        super().__init__(message)
        self.name = type(self).__name__ if name is None else name


class NonRetryableDelayError(NonRetryableError):
    """The function that computes a step's retry delay failed."""


class RollbackMissing(NonRetryableError):
    """Rollback function not available in registry"""


class InvalidStepReadableStreamError(NonRetryableError):
    """The result of a step is a stream that has been read already."""


class UnsupportedStreamChunkError(NonRetryableError):
    """A stream has yielded something else than bytes."""


class OversizedStreamChunkError(NonRetryableError):
    """A stream has yielded more at once than it may."""


class StreamOutputStorageLimitError(NonRetryableError):
    """A stream is larger than it may be, or one more than its instance may have."""


class StepLimitReached(StepError):
    """The limit of steps per instance has been reached."""


class WorkflowTimeoutError(WorkflowError):
    """Execution timed out."""


class StepTimeout(_Placed, WorkflowTimeoutError):
    """An attempt of a step took longer than its timeout."""


class PollTimeout(_Placed, WorkflowTimeoutError):
    """What a poll looks for has not come about in time."""


class EventTimeout(_Placed, WorkflowTimeoutError):
    """No event of the awaited type came in time."""


class HeartbeatTimeout(_Placed, WorkflowTimeoutError):
    """Whoever had the token of a wait was silent for too long: neither an answer came nor a heartbeat."""


class EventError(_Placed, WorkflowError):
    """An event says that what was waited for has failed.

    Attributes:
        name: what the sender calls the error.
        message: what the sender says, without where it came in.
        payload: of the event.
        type: of the event.
    """

    def __init__(
        self, message: str | None = None, *, name: str = "EventError", payload: object = None, type: str = ""
    ) -> None:
        super().__init__(message)
        self.name = name
        self.message = str(self)
        self.payload = payload
        self.type = type


class ResultTimeout(WorkflowTimeoutError):
    """The instance did not end in the time given to result()."""


class InstanceTimeout(WorkflowTimeoutError):
    """The instance has not ended within its deadline."""


class WorkflowCancelled(CancelledError):
    """Raised in ``run``, at whatever it waits for, when its instance is asked to end.

    Like ``asyncio.CancelledError``, which it is, it is no ``Exception``: ``except Exception`` around a step does not
    take it for a failure of that step, and it passes through ``gather``, ``TaskGroup`` and the like.

    Attributes:
        reason: why, as whoever cancelled it says; '': they do not.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(*([reason] if reason else []))
        self.reason = reason


class DeadlineExceeded(WorkflowCancelled):
    """The same, when nobody has asked but its deadline is over."""


class PayloadError(WorkflowError):
    """A value cannot be stored."""


class PayloadTooLarge(PayloadError):
    """A value is larger than the limit once encoded."""


class PayloadNotSerializable(PayloadError):
    """A value has a type that cannot be stored."""


class CorruptPayload(PayloadError):
    """Stored bytes are not a value this version can read."""


class StreamLost(PayloadError):
    """Chunks of a stream are not there any more."""


class NonDeterminismError(WorkflowError):
    """This code and this instance's journal disagree."""


class ForbiddenInRun(NonDeterminismError):
    """run() did something outside a step that a replay could not repeat."""


class ConfigError(WorkflowError):
    """Something was set up wrongly."""


class UnknownWorkflow(ConfigError):
    """No such workflow."""


class UnknownQueue(ConfigError):
    """No such queue."""


class BadName(ConfigError):
    """A name breaks the rules for names."""


class BadDuration(ConfigError):
    """A duration could not be read."""


class BadSchedule(ConfigError):
    """A cron expression could not be read."""


class BadStepConfig(ConfigError):
    """A step's configuration could not be read."""


class BadParams(ConfigError):
    """The params do not fit the workflow's declared model, or lack the key that its limit is counted by."""


class BadEvent(ConfigError):
    """The payload of an event does not fit the model that the workflow declares for its type."""


class ServerError(WorkflowError):
    """Redis cannot be used."""


class ServerUnavailable(ServerError):
    """Redis does not answer, or does not do what is asked of it.

    Attributes:
        passing: whether it may be over in a moment; a wrong password is not, a server that is still starting is.
    """

    passing = False


class ServerUnsuitable(ServerError):
    """This Redis is set up in a way that would lose data."""


class Suspended(BaseException):
    """Private: nothing more to do now. Not an Exception, so ``except Exception`` in user code never swallows it."""

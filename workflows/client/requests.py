"""One description of each command: which script is called with what, and what its answer means.

What is asked of one instance is here; requests with a noun of their own are in ``creation.py``, ``reading.py`` and
``listing.py``. ``Client`` and ``AsyncClient`` are two thin ways of sending them. Everything that can be wrong with the
arguments of a command is found in them, before Redis is touched. Commands that must not happen twice carry an id, made
once per request, so that a request whose reply was lost can be sent again (M2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from workflows import limits
from workflows.errors import (
    ConfigError,
    CorruptPayload,
    InstanceEnded,
    InstanceError,
    InstanceNotFound,
    InstanceTerminated,
    InvalidTransition,
    WaitOver,
)
from workflows.storage import journal, nonces
from workflows.storage.intake import CreateItem, EventItem, event_call, heartbeat_call, new_event
from workflows.storage.keys import Instance, Keyspace
from workflows.storage.removal import delete_call, restart_call
from workflows.storage.status import FINAL, Status
from workflows.storage.store import Call, call_one, keyspace_call, keyspace_of, script
from workflows.values import codec, failure, names
from workflows.values.codec import InstanceRef
from workflows.values.durations import Duration, parse_ms
from workflows.values.failure import Failure, Place
from workflows.values.listening import AnswerToken, answered
from workflows.values.rejection import Rejection

if TYPE_CHECKING:
    from workflows.authoring.app import App


Answer = TypeVar("Answer")

_HERE = Path(__file__).parent
_PAUSE = script(_HERE / "pause.lua")
_RESUME = script(_HERE / "resume.lua")
_TERMINATE = script(_HERE / "terminate.lua")
_CANCEL = script(_HERE / "cancel.lua")
READ = script(_HERE / "read.lua")

_ENDS: Final = {status.encode(): status for status in FINAL}

# Pub/sub loses messages while it reconnects, so those who wait also look once in a while.
POLL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Request(Generic[Answer]):
    """One command, ready to be sent, and how to read its answer (which may mean an error)."""

    call: Call
    parse: Callable[[Any], Answer]

    def outcome(self, answer: Any) -> Answer | InstanceError:
        """What the answer means, where it stands among others: an error is handed over, not raised."""
        try:
            return self.parse(answer)
        except InstanceError as error:
            return error


def keyspace(namespace: str, shards: int | None = None) -> Request[Keyspace]:
    """The namespace's keys, with the number of shards it was created with; see ``store.keyspace_call``."""
    return Request(keyspace_call(namespace, shards), lambda answer: keyspace_of(namespace, shards, answer))


def send_event(
    keys: Keyspace,
    instance: Instance,
    type: str,
    payload: Any = None,
    *,
    id: str | None = None,
    error: Rejection | None = None,
    app: App | None = None,
    new: CreateItem | None = None,
) -> Request[str]:
    """Send an event. The answer is ``"delivered"`` (a wait has it), ``"buffered"`` (kept for a later wait) or
    ``"started"`` (the instance was created with it).

    Args:
        id: the same id is accepted once; give one to make a sender that repeats itself safe. None: a random one.
        error: a text, an exception, or a mapping with ``message`` and ``name``, as which the wait raises EventError.
        app: whose workflow knows what payloads fit; None: any.
        new: what the instance is created as if it is not there.

    Raises:
        BadName, BadEvent, PayloadError: nothing has been sent.
        InstanceNotFound, InstanceEnded, InstanceError: from the answer; the last when its mailbox is full.
    """
    known = None if app is None else app.definitions.get(instance.workflow)
    encode = None if known is None else known.encode_event
    item = new_event(type, payload, id=id, error=error, encode=encode, new=new)
    return _sent(keys, instance, item)


def answer(
    keys: Keyspace,
    token: str,
    payload: Any = None,
    *,
    id: str | None = None,
    error: Rejection | None = None,
    app: App | None = None,
) -> Request[str]:
    """Answer the wait that a token is of. The answer: ``"delivered"``, or ``"buffered"`` for a moment.

    Args: see ``send_event``.
    Raises:
        BadName, BadEvent, PayloadError: nothing has been sent.
        WaitOver, InstanceEnded, InstanceNotFound, InstanceError: from the answer.
    """
    wait = AnswerToken.parse(token)
    instance = keys.instance(wait.workflow, wait.id)
    known = None if app is None else app.definitions.get(wait.workflow)
    event = new_event(wait.type, payload, id=id, error=error, encode=None if known is None else known.encode_event)
    return _sent(keys, instance, replace(event, name=answered(wait.type, wait.seq), life=wait.life))


def heartbeat(keys: Keyspace, token: str) -> Request[None]:
    """Tell the wait that a token is of that its answer is being worked on.

    Raises:
        BadName: it is none.
        WaitOver, InstanceEnded, InstanceNotFound, InstanceError: from the answer.
    """
    wait = AnswerToken.parse(token)
    instance = keys.instance(wait.workflow, wait.id)

    def parse(answer: bytes) -> None:
        _accepted(instance, answer)

    return Request(heartbeat_call(keys, wait), parse)


def _sent(keys: Keyspace, instance: Instance, item: EventItem) -> Request[str]:
    return Request(event_call(keys, instance, item), lambda answers: _accepted(instance, answers[0]))


def _accepted(instance: Instance, word: bytes) -> str:
    answer = word.decode()
    match answer:
        case "unknown":
            raise not_found(instance)
        case "unreadable":
            raise unreadable(instance)
        case "over":
            raise WaitOver(
                f'The wait of instance "{instance.id}" of workflow "{instance.workflow}" that this token is for takes '
                "no answer any more: it has one, timed out or was given up, or the instance was restarted."
            )
        case "ended":
            raise InstanceEnded(
                "(instance.in_finite_state) Instance reached a finite state, cannot send events to it: "
                f'instance "{instance.id}" of workflow "{instance.workflow}"'
            )
        case "full":
            raise InstanceError(
                f'The mailbox of instance "{instance.id}" of workflow "{instance.workflow}" holds '
                f"{limits.MAILBOX_EVENTS:,} events that nothing waits for; it takes no more."
            )
    return answer


def check_token_alone(*others: object) -> None:
    """Raises ConfigError: a token says all of this by itself."""
    if any(other is not None for other in others):
        raise ConfigError("A token says which wait is answered and with what type: give no type, key or workflow.")


def checked_key(type: str | None, key: str | int | None) -> tuple[str, str | int]:
    """Raises ConfigError: one is missing."""
    if type is None or key is None:
        raise ConfigError(
            "Whom is the event for? client.send_event(type, payload, key=…) is for all who wait for a key, "
            "client.send_event(token=…) for one wait, client.workflow(name).get(id).send_event(type) for one instance."
        )
    return type, key


def pause(keys: Keyspace, instance: Instance) -> Request[None]:
    """Pause; attempts in flight may finish. Without effect when paused or ended already."""
    return Request(call_one(keys, _PAUSE, instance, {}), _expect_known(instance))


def resume(keys: Keyspace, instance: Instance) -> Request[None]:
    """Let a paused, pausing or parked instance go on. Without effect in any other status."""
    return Request(call_one(keys, _RESUME, instance, {}), _expect_known(instance))


def terminate(
    keys: Keyspace, instance: Instance, *, rollback: bool = False, command_id: str | None = None
) -> Request[None]:
    """End an instance now.

    Args:
        rollback: not before the handlers of its steps have undone what it did. Without, a rollback is cut short.
    Raises, from the answer:
        InvalidTransition: it has ended already.
        InstanceNotFound.
    """
    stopped = f'instance "{instance.id}" of workflow "{instance.workflow}" was terminated'
    cut = failure.make("InstanceTerminated", "Instance terminated during rollback")
    arguments: dict[str, Any] = {
        "cid": command_id or nonces.token(),
        "x": failure.make("InstanceTerminated", stopped),
        "cut": cut,
    }
    if rollback:
        arguments["rb"] = 1

    def parse(answer: bytes) -> None:
        _expect_known(instance)(answer)
        if answer == b"cannot":
            raise InvalidTransition(
                f'(instance.cannot_terminate) Cannot terminate instance "{instance.id}" of workflow '
                f'"{instance.workflow}": it has ended already'
            )

    return Request(call_one(keys, _TERMINATE, instance, arguments), parse)


def cancel(
    keys: Keyspace,
    instance: Instance,
    reason: str | None = None,
    grace: Duration | None = None,
    *,
    command_id: str | None = None,
) -> Request[bool]:
    """Ask an instance to end. The answer: whether it was not asked before, nor is rolled back.

    Args:
        grace: for how long ``run`` may go on; None: 10 minutes.
    Raises: ConfigError: that is no reason or no duration. From the answer:
        InvalidTransition: it has ended already.
        InstanceNotFound.
    """
    arguments = {"cid": command_id or nonces.token(), "why": checked_reason(reason), "ms": grace_ms(grace)}

    def parse(answer: bytes) -> bool:
        _expect_known(instance)(answer)
        if answer == b"cannot":
            raise InvalidTransition(
                f'Cannot cancel instance "{instance.id}" of workflow "{instance.workflow}": it has ended already'
            )
        return answer != b"already"

    return Request(call_one(keys, _CANCEL, instance, arguments), parse)


def checked_reason(reason: str | None) -> str:
    """Raises ConfigError: it is no text, or too long a one."""
    if reason is not None and not isinstance(reason, str):
        raise ConfigError(f"the reason of a cancellation is a text, not {reason!r:.100}")
    if reason is not None and len(reason) > limits.REASON_CHARACTERS:
        raise ConfigError(
            f"the reason of a cancellation has {len(reason)} characters, at most {limits.REASON_CHARACTERS}"
        )
    return reason or ""


def grace_ms(grace: Duration | None) -> int:
    """For how long ``run`` may go on that was asked to end. Raises BadDuration."""
    return limits.CANCEL_GRACE_MS if grace is None else parse_ms(grace, what="the grace of a cancellation")


def restart(keys: Keyspace, instance: Instance) -> Request[None]:
    """Start an instance over, in whatever status: same id, params and timestamp; journal and events are erased."""
    arguments = {"cid": nonces.token(), "gen": nonces.generation()}
    return Request(restart_call(keys, instance, arguments), _expect_known(instance))


def restart_from(keys: Keyspace, instance: Instance, seq: int, generation: str) -> Request[bool]:
    """Start an instance over from the step ``seq`` of the life ``generation``, in whatever status.

    The answer: False when that life is over; then nothing has been changed.
    """
    arguments = {"cid": nonces.token(), "gen": nonces.generation(), "seq": seq, "of": generation}

    def parse(answer: bytes) -> bool:
        _expect_known(instance)(answer)
        return answer != b"moved"

    return Request(restart_call(keys, instance, arguments), parse)


def delete(keys: Keyspace, instance: Instance) -> Request[list[tuple[str, str]]]:
    """Remove an instance, in whatever status. The answer: doorbells to take back, as (queue, intent nonce).

    That the instance exists is checked by a request before this one: an answer "unknown" may also be that of a request
    sent again after its reply was lost.
    """
    gone = f'instance "{instance.id}" of workflow "{instance.workflow}" was deleted'
    arguments = {"x": failure.make("InstanceNotFound", gone)}

    def parse(answer: list[Any]) -> list[tuple[str, str]]:
        return [(queue.decode(), nonce.decode()) for queue, nonce in answer[1:]]

    return Request(delete_call(keys, instance, arguments), parse)


def exists(keys: Keyspace, instance: Instance) -> Request[None]:
    """Raises InstanceNotFound, from the answer. One that cannot be read exists."""

    def parse(answer: Any) -> None:
        if answer is False:
            raise not_found(instance)

    return Request(call_one(keys, READ, instance, {"fields": ["st"]}), parse)


@dataclass(frozen=True, slots=True)
class Ended:
    """How an instance ended."""

    status: Status
    output: bytes | None
    error: bytes | None

    def unwrap(self, instance: Instance) -> Any:
        """The output.

        Raises:
            InstanceTerminated: it was terminated; InstanceCancelled: because it was cancelled.
            Exception: what ``run`` raised, of its own class where that class is loaded, else StepFailed.
        """
        if self.status is Status.TERMINATED and self.error is None:
            raise InstanceTerminated(f'Instance "{instance.id}" of workflow "{instance.workflow}" was terminated.')
        if self.error is not None:
            raise Failure.from_blob(self.error).to_exception(Place(instance.workflow, instance.id))
        return None if self.output is None else codec.decode(self.output)


def end(keys: Keyspace, instance: Instance) -> Request[Ended | Status]:
    """How the instance ended, or its status while it has not.

    Raises, from the answer:
        InstanceNotFound.
    """

    def parse(answer: Any) -> Ended | Status:
        check_known(instance, answer)
        status, output, error = answer[1]
        if status not in {state.encode() for state in Status}:
            raise unreadable(instance)
        now = Status(status.decode())
        return Ended(now, output or None, error or None) if now in FINAL else now

    return Request(call_one(keys, READ, instance, {"fields": ["st", "out", "err"]}), parse)


def announced(message: bytes | None) -> Ended | None:
    """How an instance ended, by what is published about it; None: that has to be read.

    Anything may be published by anybody, so what is none is only a hint to look (F30).
    """
    status, _, element = (message or b"").partition(b"|")
    if status not in _ENDS or not element:
        return None
    try:
        return Ended(_ENDS[status], *journal.outcome_of(element))
    except CorruptPayload:
        return None


def not_found(instance: Instance) -> InstanceNotFound:
    return InstanceNotFound(
        f'(instance.not_found) Instance does not exist: "{instance.id}" of workflow "{instance.workflow}"'
    )


def unreadable(instance: Instance) -> InstanceError:
    return InstanceError(
        f'What Redis holds of instance "{instance.id}" of workflow "{instance.workflow}" cannot be read, so nothing '
        "moves it. `workflows doctor` says what is wrong with it: mend that, or delete the instance."
    )


def reference(instance: Instance) -> InstanceRef:
    return InstanceRef(instance.workflow, instance.id)


def workflow_name(app: App | None, namespace: str, workflow: str | type) -> str:
    """The name of a workflow that is given by its name, its binding or its class. A name need not be known.

    Raises: see ``Client.workflow``.
    """
    if isinstance(workflow, str):
        if app is not None:
            workflow = app.workflow_bindings.get(workflow, workflow)
        return names.check_workflow_name(workflow)
    if app is None:
        raise ConfigError(
            f"A client made from the name {namespace!r} knows workflows by name only; make it from the app"
        )
    return app.workflow_name(workflow)


def check_known(instance: Instance, answer: Any) -> None:
    """Raises what an answer of ``read.lua`` without an instance means: InstanceNotFound, InstanceError."""
    if answer is False:
        raise not_found(instance)
    if answer == b"unreadable":
        raise unreadable(instance)


def _expect_known(instance: Instance) -> Callable[[bytes], None]:
    def parse(answer: bytes) -> None:
        if answer == b"unknown":
            raise not_found(instance)
        if answer == b"unreadable":
            raise unreadable(instance)

    return parse

"""What a step's callback learns about itself: ``ctx``."""

from __future__ import annotations

import copy
import hashlib
import itertools
import re
import threading
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from workflows.authoring.heartbeats import Heartbeats
from workflows.authoring.retries import StepConfig
from workflows.values import codec

_PLAIN_CHARACTERS: Final = 20
_NAME_CHARACTERS: Final = _PLAIN_CHARACTERS + 1 + 32
_PLAIN_NAME: Final = re.compile(rf"[A-Za-z0-9_.-]{{1,{_NAME_CHARACTERS}}}")
_NOT_PLAIN: Final = re.compile(r"[^A-Za-z0-9_.-]")


class StepName(NamedTuple):
    """Which step: its name as given, and its number among those of that name in this run, from 1."""

    name: str
    count: int  # type: ignore[assignment]  # a tuple's method of that name is of no use here

    def __getitem__(self, key: Any) -> Any:
        return getattr(self, key) if key in ("name", "count") else tuple.__getitem__(self, key)


def idempotency_key(workflow: str, instance: str, generation: str, step: StepName, kind: str = "do") -> str:
    """What tells one step occurrence from all others: ASCII, at most 255 characters, as payment providers want it.

    Made of what the step is and never of when it was asked for: when Redis comes back in an earlier state another
    branch of ``run`` may be faster, and two different steps are the third to be asked for.

    Args:
        kind: ``do`` for the step itself, ``rb`` for what undoes it.
    """
    name = step.name
    if _PLAIN_NAME.fullmatch(name) is None:
        # Free text, as long as it likes. The "~" keeps it apart from every plain name.
        digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:32]
        name = f"{_NOT_PLAIN.sub('-', name[:_PLAIN_CHARACTERS])}~{digest}"
    return f"{workflow}/{instance}/{generation}/{kind}/{name}/{step.count}"


class Cancelled:
    """Set when an attempt's result is not wanted any more; used like ``threading.Event``.

    Most attempts never wait for it, so the event with its locks is made only for those that do.
    """

    __slots__ = ("_event", "_set")

    def __init__(self) -> None:
        self._set = False
        self._event: threading.Event | None = None

    def is_set(self) -> bool:
        return self._set

    def __bool__(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        if self._event is not None:
            self._event.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Block a plain callback until it is cancelled, or for ``timeout`` seconds. Returns: whether it is."""
        if self._event is None:
            self._event = threading.Event()
        if self._set:
            self._event.set()
        return self._event.wait(timeout)


class StepContext:
    """Given to a callback that has a parameter named ``ctx``; attributes and keys are the same.

    Attributes:
        step: name and count.
        workflow_name, instance_id: whose step it is.
        attempt: 1 for the first try. A try that ended with its worker counts, though not against the retry limit. A
            function that computes a retry delay sees here how many tries have failed, from 1.
        idempotency_key: the same for every attempt of one step occurrence, and for no other, also where Redis has
            lost its last second: hand it to the payment provider, and a repeated attempt charges once.
        heartbeat_details: what an attempt before this one has said last with ``heartbeat``.
        cancelled: set when the result is not wanted any more (timeout, lost race, terminate); check it in long loops.
        forward: in a rollback handler, the context of the step that it undoes, whose ``step`` it shares: ``attempt`` is
            how often that step was tried, and its ``idempotency_key`` finds what it may have done. None in a step.
    Source: https://developers.cloudflare.com/workflows/build/step-context/
    """

    __slots__ = (
        "_commands",
        "_generation",
        "_key",
        "_kind",
        "_settings",
        "attempt",
        "beats",
        "cancelled",
        "forward",
        "instance_id",
        "step",
        "workflow_name",
    )

    def __init__(
        self,
        step: StepName,
        attempt: int,
        settings: StepConfig,
        idempotency_key: str | None = None,
        *,
        workflow_name: str = "",
        instance_id: str = "",
        generation: str = "",
        kind: str = "do",
        forward: StepContext | None = None,
        beats: Heartbeats | None = None,
    ) -> None:
        self.step = step
        self.attempt = attempt
        self._key = idempotency_key
        self._kind = kind
        self.workflow_name = workflow_name
        self.instance_id = instance_id
        self._generation = generation
        self.cancelled = Cancelled()
        self.forward = forward
        self.beats = beats
        self._settings = settings
        self._commands = itertools.count()

    @property
    def idempotency_key(self) -> str:
        """See above. Made when somebody asks for it, which most callbacks do not."""
        if self._key is None:
            self._key = idempotency_key(self.workflow_name, self.instance_id, self._generation, self.step, self._kind)
        return self._key

    @property
    def config(self) -> dict[str, Any]:
        """The resolved settings in Cloudflare's form; a copy, changing it changes nothing."""
        return self._settings.as_dict()

    @property
    def labels(self) -> dict[str, Any]:
        """What a log line says of it."""
        return {
            "workflow": self.workflow_name,
            "instance": self.instance_id,
            "generation": self._generation,
            "step": f"{'' if self.forward is None else 'rollback of '}{self.step.name}-{self.step.count}",
            "attempt": self.attempt,
        }

    def next_command_id(self) -> str:
        """An id for the next command this attempt gives to another instance: the same in every attempt."""
        return f"{self.idempotency_key}/{next(self._commands)}"

    def heartbeat(self, details: Any = None) -> bool:
        """Say how far it is. Returns: whether to go on, False once the attempt is cancelled.

        It does not wait for anything: a second later at most somebody else writes what was said last, and so does the
        end of the attempt. People see it at the step while that is open.

        Args:
            details: for the next attempt, which finds it in ``heartbeat_details``; at most 4 KiB. None: nothing new.
        Raises: PayloadTooLarge, PayloadNotSerializable.
        """
        if details is not None:
            if self.beats is None:
                self.beats = Heartbeats()
            self.beats.say(details, f'what step "{self.step.name}-{self.step.count}" says with its heartbeat')
        return not self.cancelled.is_set()

    @property
    def heartbeat_details(self) -> Any:
        """What an attempt before this one has said with its last heartbeat; None: nothing. New at each look."""
        before = None if self.beats is None else self.beats.before
        return None if before is None else codec.decode(before)

    def after(self, failed: int) -> StepContext:
        """The same for the function that computes a retry delay: ``attempt`` counts tries that have failed."""
        context = copy.copy(self)
        context.attempt = failed
        return context

    def __getitem__(self, key: str) -> Any:
        if key in _KEYS:
            return getattr(self, key)
        raise KeyError(key)


_KEYS = frozenset(
    {
        *("step", "attempt", "config", "idempotency_key", "cancelled", "workflow_name", "instance_id", "forward"),
        "heartbeat_details",
    }
)
running: ContextVar[StepContext | None] = ContextVar("running", default=None)

"""One round trip of the engine: items for a few scripts, in calls that speak for one shard each and are never large."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from worker.attempt import Attempt
from workflows import limits
from workflows.clock import monotonic
from workflows.errors import BadParams, CorruptPayload, NonDeterminismError, StalledError
from workflows.storage.batches import numbered, portions
from workflows.storage.keys import Held, Instance
from workflows.storage.records import Asked, Decision, GivenUp, Settlement
from workflows.storage.store import Store, call_on, packb, script
from workflows.values import failure

_HERE = Path(__file__).parent
# In the order in which they are sent: heartbeats before the attempt ends, and settles before a commit of the same
# instance, which so sees them.
_SCRIPTS = [script(_HERE / f"{name}.lua") for name in ("beat", "settle", "stage", "commit", "release")]
_BEAT, _SETTLE, _STAGE, _COMMIT, _RELEASE = range(len(_SCRIPTS))

STALLED = "run() blocked its worker: move the slow part into a step"

Item = dict[str, Any]
Answered = Callable[[Any], None]


class _Addressed(NamedTuple):
    instance: Instance
    item: Item
    answered: Answered
    elements: int = 1
    bytes: int = 0


_elements_of: Callable[[_Addressed], int] = attrgetter("elements")
_bytes_of: Callable[[_Addressed], int] = attrgetter("bytes")


def is_large(decision: Decision) -> bool:
    """Whether a decision is too large to be applied by one call."""
    return _elements(decision) > limits.SCRIPT_ELEMENTS or _values(decision) > limits.SCRIPT_BYTES


def _elements(decision: Decision) -> int:
    return len(decision.withdrawn) + len(decision.opened)


def _values(decision: Decision) -> int:
    """What the values weigh that can be sent in parts."""
    return sum([_weight(one) for one in decision.opened if one.message is not None])


def _bytes(decision: Decision) -> int:
    """The same with that of an end, which has one at most, and with what is published."""
    end, weight = decision.end, _values(decision)
    if decision.published:
        weight += sum([len(value.blob) for value in decision.published.values()])
    return weight + (len(end.value or b"") + len(end.error or b"") if end is not None else 0)


def _weight(one: Asked | GivenUp) -> int:
    message = one.message if isinstance(one, Asked) else None
    return len(message.get("p") or b"") if message else 0


def _parts(decision: Decision) -> Iterator[Decision]:
    """What is withdrawn first, each part small enough for one call."""
    changes: list[Asked | GivenUp] = [*decision.withdrawn, *decision.opened]
    for batch in portions(changes, lambda one: 1, _weight):
        yield Decision(
            [one for one in batch if isinstance(one, GivenUp)], [one for one in batch if isinstance(one, Asked)]
        )


def _no_answer(answer: Any) -> None:
    """For items whose answer changes nothing here."""


def _nobody(instance: Instance, generation: str, reason: str) -> None:
    """For rounds that park nothing."""


@dataclass(slots=True)
class Round:
    """What goes into the next round trip.

    Attributes:
        tokens: tokens of the tasks it was made from; not to be given back while it is under way.
        parked: called with each life that was parked, and the reason.
        in_redis: how long the round trip has taken, in seconds.
    """

    tokens: frozenset[str] = frozenset()
    parked: Callable[[Instance, str, str], None] = _nobody
    in_redis: float = 0.0
    # By script, shard and the identity the worker had when it claimed: a script call speaks for one of each.
    _items: dict[tuple[int, int, str], list[_Addressed]] = field(default_factory=dict)

    def beat(self, attempt: Attempt) -> None:
        """Write what an attempt has said with its last heartbeat, if it has said anything."""
        details = attempt.details
        if details is not None:
            item = {"g": attempt.generation, "s": attempt.seq, "t": attempt.token, "d": details}
            self._add(_BEAT, attempt.worker, _Addressed(attempt.instance, item, _no_answer, bytes=len(details)))

    def settle(self, worker: str, instance: Instance, settlement: Settlement, answered: Answered) -> None:
        """Add an outcome; answered with ``[code, now]``."""
        elements, weight, decision = 1, len(settlement.entry or b""), settlement.decision
        if decision is not None:
            elements += _elements(decision)
            weight += _bytes(decision)
        self._add(_SETTLE, worker, _Addressed(instance, settlement.wire(), answered, elements, weight))

    def commit(self, worker: str, instance: Instance, item: Item, answered: Answered, decision: Decision) -> None:
        """Add a turn's decision; answered with ``[code, now]``. A large one is sent in parts beforehand."""
        if is_large(decision):
            parts = list(_parts(decision))
            for n, part in enumerate(parts, 1):
                staged = {"g": item["g"], "t": item["t"], "n": n, "d": packb(part.wire())}
                self._add(_STAGE, worker, _Addressed(instance, staged, _no_answer, bytes=len(staged["d"])))
            decision = replace(decision, withdrawn=[], opened=[], parts=len(parts))
        item = {**item, "d": decision.wire()}
        # The last entry that it was decided over is compared, and so read once more.
        elements, weight = 1 + _elements(decision), _bytes(decision) + item["z"]
        self._add(_COMMIT, worker, _Addressed(instance, item, answered, elements, weight))

    def release(
        self,
        instance: Instance,
        held: Held,
        how: str = "back",
        reason: str = "",
        answered: Answered = _no_answer,
        *,
        fault: str = "",
    ) -> None:
        """Give an attempt or turn back: ``how`` is ``back``, ``drain``, ``park`` or ``strike``; answered with whether
        it was still held."""
        item = {
            "k": held.kind,
            "g": held.generation,
            "s": held.seq,
            "t": held.token,
            "how": how,
            "reason": reason[:4_000],
            "fault": fault,
        }
        self._add(_RELEASE, held.worker, _Addressed(instance, item, answered))

    def park(self, instance: Instance, held: Held, reason: str, fault: str) -> None:
        """Stop an instance that cannot be replayed here, and say why. Never failed: other code may replay it.

        Args:
            fault: what kind of reason it is, as ``insight.stopped.FAULTS`` has it.
        """

        def answered(parked: int) -> None:
            # Not where the task was void: a rewound Redis has other entries than were promised, and nothing is parked.
            if parked:
                self.parked(instance, held.generation, reason)

        self.release(instance, held, "park", reason, answered, fault=fault)

    def park_for(self, instance: Instance, held: Held, error: Exception) -> None:
        """The same because of an error that a replay has come to."""
        match error:
            case NonDeterminismError():
                self.park(instance, held, str(error), "mismatch")
            case CorruptPayload():
                self.park(instance, held, str(error), "corrupt")
            case _:
                fault = "params" if isinstance(error, BadParams) else "other"
                self.park(instance, held, f"{type(error).__name__}: {error}", fault)

    def strike(self, instance: Instance, held: Held) -> None:
        """Give back a turn whose ``run`` blocked: each time counts against the instance."""
        self.release(instance, held, "strike", STALLED)

    def _add(self, script_: int, worker: str, added: _Addressed) -> None:
        self._items.setdefault((script_, added.instance.shard, worker), []).append(added)

    def send(self, store: Store) -> None:
        """Make the calls, and tell each item its answer.

        Raises:
            redis.RedisError: any of it may or may not have happened.
        """
        calls, waiting = [], []
        for (script_, shard, worker), items in sorted(self._items.items()):
            for batch in portions(items, _elements_of, _bytes_of):
                instances, places = numbered([one.instance for one in batch])
                for place, one in zip(places, batch, strict=True):
                    one.item["i"] = place
                arguments: dict[str, Any] = {"w": worker, "items": [one.item for one in batch]}
                if script_ == _RELEASE:
                    arguments["x"] = failure.make("StalledError", StalledError.__doc__ or "")
                calls.append(call_on(store.keys, _SCRIPTS[script_], shard, instances, arguments))
                waiting.append(batch)
        began = monotonic()
        told = store.execute(calls)
        self.in_redis = monotonic() - began
        for answers, batch in zip(told, waiting, strict=True):
            if isinstance(answers, Exception):
                raise answers
            for answer, one in zip(answers, batch, strict=True):
                one.answered(answer)

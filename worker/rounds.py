"""One round trip of the engine: items for a few scripts, in calls that speak for one shard each and are never large."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workflows import limits
from workflows.errors import StalledError
from workflows.storage.batches import numbered, portions
from workflows.storage.keys import Held, Instance
from workflows.storage.store import Script, Store, call_on, packb, script
from workflows.values import failure

_HERE = Path(__file__).parent
SETTLE = script(_HERE / "settle.lua")
COMMIT = script(_HERE / "commit.lua")
RELEASE = script(_HERE / "release.lua")
_STAGE = script(_HERE / "stage.lua")

Item = dict[str, Any]
Answered = Callable[[Any], None]
# By shard and by the identity the worker had when it claimed: a script call speaks for one of each.
_Items = dict[tuple[int, str], list[tuple[Instance, Item, Answered]]]


def is_large(decision: dict[str, Any]) -> bool:
    """Whether a decision is too large to be applied by one call."""
    return _elements(decision) > limits.SCRIPT_ELEMENTS or _bytes(decision) > limits.SCRIPT_BYTES


def _elements(decision: dict[str, Any]) -> int:
    return len(decision["w"]) + len(decision["o"])


def _bytes(decision: dict[str, Any]) -> int:
    """What the values in it weigh; an end has one at most, which is never split."""
    return sum(len(spec["m"].get("p") or b"") for spec in decision["o"] if "m" in spec)


def _parts(decision: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What is withdrawn first, each part small enough for one call."""
    changes = [("w", item) for item in decision["w"]] + [("o", item) for item in decision["o"]]
    for batch in portions(changes, lambda one: 1, lambda one: _bytes({"o": [one[1]]}) if one[0] == "o" else 0):
        yield {kind: [item for its, item in batch if its == kind] for kind in ("w", "o")}


def _no_answer(answer: Any) -> None:
    """For items whose answer changes nothing here."""


@dataclass(slots=True)
class Round:
    """What goes into the next round trip.

    Attributes:
        tokens: tokens of the tasks it was made from; not to be given back while it is under way.
    """

    tokens: frozenset[str] = frozenset()
    _settles: _Items = field(default_factory=lambda: defaultdict(list))
    _stages: _Items = field(default_factory=lambda: defaultdict(list))
    _commits: _Items = field(default_factory=lambda: defaultdict(list))
    _releases: _Items = field(default_factory=lambda: defaultdict(list))

    def settle(self, worker: str, instance: Instance, item: Item, answered: Answered) -> None:
        """Add an outcome; answered with ``[code, now]``."""
        self._settles[instance.shard, worker].append((instance, item, answered))

    def commit(self, worker: str, instance: Instance, item: Item, answered: Answered) -> None:
        """Add a turn's decision; answered with ``[code, now]``. A large one is sent in parts beforehand."""
        decision = item["d"]
        if is_large(decision):
            parts = list(_parts(decision))
            for n, part in enumerate(parts, 1):
                staged = {"g": item["g"], "t": item["t"], "n": n, "d": packb(part)}
                self._stages[instance.shard, worker].append((instance, staged, _no_answer))
            item["d"] = {**decision, "w": [], "o": [], "n": len(parts)}
        self._commits[instance.shard, worker].append((instance, item, answered))

    def release(
        self, instance: Instance, held: Held, how: str = "back", reason: str = "", answered: Answered = _no_answer
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
        }
        self._releases[instance.shard, held.worker].append((instance, item, answered))

    def send(self, store: Store) -> None:
        """Settles first, so that a commit of the same instance sees them.

        Raises:
            redis.RedisError: any of it may or may not have happened.
        """
        calls, waiting = [], []
        for script_, shard, worker, items in self._calls():
            instances, places = numbered([instance for instance, _, _ in items])
            for place, (_, item, _) in zip(places, items, strict=True):
                item["i"] = place
            arguments: dict[str, Any] = {"w": worker, "items": [item for _, item, _ in items]}
            if script_ is RELEASE:
                arguments["x"] = failure.make("StalledError", StalledError.__doc__ or "")
            calls.append(call_on(store.keys, script_, shard, instances, arguments))
            waiting.append([answered for _, _, answered in items])
        for answers, handlers in zip(store.execute(calls), waiting, strict=True):
            if isinstance(answers, Exception):
                raise answers
            for answer, answered in zip(answers, handlers, strict=True):
                answered(answer)

    def _calls(self) -> Iterator[tuple[Script, int, str, list[tuple[Instance, Item, Answered]]]]:
        for script_, grouped in (
            (SETTLE, self._settles),
            (_STAGE, self._stages),
            (COMMIT, self._commits),
            (RELEASE, self._releases),
        ):
            for (shard, worker), items in grouped.items():
                for batch in portions(items, _items_elements, _items_bytes):
                    yield script_, shard, worker, batch


def _items_elements(one: tuple[Instance, Item, Answered]) -> int:
    decision = one[1].get("d")
    return 1 + _elements(decision) if isinstance(decision, dict) else 1


def _items_bytes(one: tuple[Instance, Item, Answered]) -> int:
    item = one[1]
    # The last entry that a commit was decided over is compared, and so read once more.
    weight: int = len(item.get("e") or b"") + item.get("z", 0)
    decision = item.get("d")
    if isinstance(decision, bytes):
        weight += len(decision)
    elif decision:
        end = decision.get("e") or {}
        weight += _bytes(decision) + len(end.get("v") or b"") + len(end.get("x") or b"")
    return weight

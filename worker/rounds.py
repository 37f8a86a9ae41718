"""One round trip of the engine: items for three scripts, grouped so that each call speaks for one shard."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workflows import failure
from workflows.batches import numbered
from workflows.errors import StalledError
from workflows.keys import Held, Instance
from workflows.store import Store, call_on, script

_HERE = Path(__file__).parent
SETTLE = script(_HERE / "settle.lua")
COMMIT = script(_HERE / "commit.lua")
RELEASE = script(_HERE / "release.lua")

Item = dict[str, Any]
Answered = Callable[[Any], None]
# By shard and by the identity the worker had when it claimed: a script call speaks for one of each.
_Items = dict[tuple[int, str], list[tuple[Instance, Item, Answered]]]


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
    _commits: _Items = field(default_factory=lambda: defaultdict(list))
    _releases: _Items = field(default_factory=lambda: defaultdict(list))

    def settle(self, worker: str, instance: Instance, item: Item, answered: Answered) -> None:
        """Add an outcome; answered with ``[code, now]``."""
        self._settles[instance.shard, worker].append((instance, item, answered))

    def commit(self, worker: str, instance: Instance, item: Item, answered: Answered) -> None:
        """Add a turn's decision; answered with ``[code, now]``."""
        self._commits[instance.shard, worker].append((instance, item, answered))

    def release(self, instance: Instance, held: Held, how: str = "back", reason: str = "") -> None:
        """Give an attempt or turn back: ``how`` is ``back``, ``drain``, ``park`` or ``strike``."""
        item = {
            "k": held.kind,
            "g": held.generation,
            "s": held.seq,
            "t": held.token,
            "how": how,
            "reason": reason[:4_000],
        }
        self._releases[instance.shard, held.worker].append((instance, item, _no_answer))

    def send(self, store: Store) -> None:
        """Settles first, so that a commit of the same instance sees them.

        Raises:
            redis.RedisError: any of it may or may not have happened.
        """
        calls, waiting = [], []
        for script_, grouped in ((SETTLE, self._settles), (COMMIT, self._commits), (RELEASE, self._releases)):
            for (shard, worker), items in grouped.items():
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

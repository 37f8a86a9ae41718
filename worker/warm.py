"""Suspended replays kept between turns, so that a step costs its own entry and not the whole journal.

A cache and nothing more: dropping any of it at any moment costs a replay from scratch. The suite also passes with
capacity 0.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from worker.claim import Known
from workflows.replay.replay import Replay
from workflows.storage.keys import Instance

# What replaying from the start may cost an instance in a ``RecheckedCache``, in entries taken in and commands asked
# for: about a tenth of a second at first, and then with every ninth part that it grows by.
RECHECK_COST: Final = 10_000
RECHECK_SHARE: Final = 8


@dataclass(slots=True)
class WarmReplay:
    """One suspended replay.

    Attributes:
        created_ms: when its instance was created.
        nonce: nonce of the last entry fed, which tells timelines apart (F42).
        weight: bytes of that entry.
        size: bytes of journal fed.
        resumed: whether it has been in a cache, so that ``run`` did not begin in the present turn.
        streak: steps in a row that did not pass through a queue, and when the streak began.
    """

    replay: Replay
    generation: str
    created_ms: int
    nonce: str = ""
    weight: int = 0
    size: int = 0
    resumed: bool = False
    streak: int = 0
    streak_since: float = 0.0


class WarmCache:
    """Least recently used first out, bounded by number and by bytes of journal.

    Read by fetchers from other threads (``known``), changed by the engine only.
    """

    def __init__(self, capacity: int, capacity_bytes: int) -> None:
        self.capacity = capacity
        self.capacity_bytes = capacity_bytes
        self._bytes = 0
        self._kept: OrderedDict[Instance, WarmReplay] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def known(self, instance: Instance) -> Known | None:
        """How far this worker has replayed an instance: a hint, checked again when the answer comes."""
        warm = self._kept.get(instance)
        return None if warm is None else Known(warm.generation, warm.replay.position, warm.nonce)

    def take(self, instance: Instance) -> WarmReplay | None:
        """Remove and return; the caller puts it back if it is still good."""
        warm = self._kept.pop(instance, None)
        if warm is not None:
            self._bytes -= warm.size
            warm.resumed = True
        return warm

    def put(self, instance: Instance, warm: WarmReplay) -> None:
        """Keep a replay; the least recently used ones give way."""
        other = self.take(instance)
        if other is not None and other is not warm:
            other.replay.close()
        self._kept[instance] = warm
        self._bytes += warm.size
        while self._kept and (len(self._kept) > self.capacity or self._bytes > self.capacity_bytes):
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= dropped.size
            dropped.replay.close()

    def drop(self, instance: Instance) -> None:
        warm = self.take(instance)
        if warm is not None:
            warm.replay.close()

    def clear(self) -> None:
        """After a reconnect no memory counts any more: Redis may have lost its last second (M8)."""
        for instance in list(self._kept):
            self.drop(instance)


class RecheckedCache(WarmCache):
    """Keeps a replay only where another one from the start would cost too much.

    So ``run`` begins again at every turn of a short instance, which finds code that does not do the same twice, and at
    a few turns of a long one, whose time stays in proportion to its length.
    """

    def __init__(self, capacity: int, capacity_bytes: int) -> None:
        super().__init__(capacity, capacity_bytes)
        self._spent: dict[tuple[Instance, str], int] = {}

    def put(self, instance: Instance, warm: WarmReplay) -> None:
        """Keep a replay, or drop it so that the next one begins at the start."""
        life, cost = (instance, warm.generation), warm.replay.cost
        spent = self._spent.get(life, 0) + cost
        if spent > RECHECK_COST + RECHECK_SHARE * cost:
            super().put(instance, warm)
            return
        self._spent[life] = spent
        self.drop(instance)
        warm.replay.close()

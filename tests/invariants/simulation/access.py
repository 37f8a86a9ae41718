"""Access to Redis, where faults enter, and the time that the run decides."""

from __future__ import annotations

import random
import weakref
from collections.abc import Sequence
from typing import Any, Protocol

import redis as redis_py

from tests.driving import HandClock
from workflows.storage.keys import Keyspace
from workflows.storage.store import BlockingMove, Call, Store

_loaded: weakref.WeakKeyDictionary[redis_py.Redis, set[str]] = weakref.WeakKeyDictionary()


class Fallible(Protocol):
    """In which calls may fail: the world."""

    rng: random.Random
    clock: HandClock

    def next_fault(self) -> str:
        """What becomes of the next call: ``unsent``, ``lost``, ``twice``, or nothing ('')."""

    def mutated(self, call: Call) -> Call:
        """The call as this run makes it."""

    def releases(self, items: list[dict[str, Any]]) -> None:
        """A worker gives these back."""


class SimStore(Store):
    """A store whose calls may fail: not sent, executed without a reply, executed in part, executed twice."""

    def __init__(self, world: Fallible, client: redis_py.Redis, keys: Keyspace, *, reliable: bool = False) -> None:
        self._world = world
        self._reliable = reliable
        self.broken = False
        super().__init__(client, keys, world.clock)

    @property
    def redis(self) -> redis_py.Redis:
        if self.broken:
            self.broken = False
            raise redis_py.ConnectionError("the connection is gone")
        return self._redis

    @redis.setter
    def redis(self, client: redis_py.Redis) -> None:
        self._redis = client

    def execute(self, calls: Sequence[Call], *, behind: BlockingMove | None = None) -> list[Any]:
        for call in calls:
            if call.script.name == "release":
                self._world.releases(call.arguments["items"])
        calls = [self._world.mutated(call) for call in calls]
        # Beforehand, so that faults do not depend on what an earlier run has loaded.
        loaded = _loaded.setdefault(self._redis, set())
        for call in calls:
            if call.script.sha not in loaded:
                self._redis.script_load(call.script.text)
                loaded.add(call.script.sha)
        return super().execute(calls, behind=behind)

    def execute_after_blocking_move(self, source: str, target: str, seconds: float, call: Call) -> Any:
        """Without the move: nothing waits in a simulation."""
        return self.call(call)

    def _send(self, commands: list[list[Any]]) -> list[Any]:
        fault = "" if self._reliable else self._world.next_fault()
        if fault == "unsent":
            raise redis_py.ConnectionError("not sent")
        answers = super()._send(commands) if fault != "lost" else []
        if fault == "twice":
            super()._send(commands)
        if fault == "lost":
            super()._send(commands[: self._world.rng.randint(1, len(commands))])
            raise redis_py.ConnectionError("the reply is lost")
        return answers

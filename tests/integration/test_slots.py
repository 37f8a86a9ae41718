"""How much a worker takes on: the engine without its threads, so that a test sees what lies between two round trips."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, closing
from typing import Any
from unittest import mock

import redis as redis_py

from tests.invariants.simulator import HandCallbacks
from worker import engine as engine_module
from worker.attempt import Outcome
from worker.engine import Engine, Settings
from workflows import App, Client, WorkflowEntrypoint
from workflows.storage.keys import Intent
from workflows.storage.store import Store, connection
from workflows.values import codec

app = App("slots")


@app.workflow
class ThreeAtOnce(WorkflowEntrypoint):
    async def run(self, event: Any, step: Any) -> Any:
        return await asyncio.gather(*[step.do(f"step {number}", lambda: 1) for number in range(3)])


def _never(reason: str) -> None:
    raise AssertionError(reason)


def test_a_slot_is_taken_until_the_outcome_is_settled(redis_url: str, redis: redis_py.Redis) -> None:
    """What has ended and is not settled yet runs again after a death, so it counts as in flight."""
    with (
        Client(app, redis_url) as client,
        ExitStack() as opened,
        mock.patch.object(engine_module, "Callbacks", HandCallbacks),
    ):
        keys = client.store.keys
        instance = client.workflow("three-at-once").create(id="i1")
        shard = keys.instance(instance.workflow, instance.id).shard

        def connect() -> Store:
            return opened.enter_context(closing(Store(connection(redis_url), keys, hot=True)))

        engine = Engine(app, connect, Settings(concurrency=2), on_hopeless=_never)
        hand: Any = engine.callbacks
        engine.lease._renew(engine.lease.worker, born=True)

        def claim(most: int) -> None:
            members = client.store.members(keys.shard_key(shard, "intents"), "")[:most]
            engine.fetchers[0]._claim(engine.store, [Intent.parse(member) for member in members])

        def work() -> None:
            engine._work(engine._next_batch())

        claim(1)
        work()  # the turn: three steps are open
        claim(2)
        work()
        assert (len(hand.running), len(engine._slots)) == (2, 2)
        hand.end(hand.running[0], Outcome(value=codec.encode(1, what="a result")))
        assert (len(hand.running), len(engine._slots)) == (1, 2), "ended, and not settled yet"
        work()
        assert len(engine._slots) == 1

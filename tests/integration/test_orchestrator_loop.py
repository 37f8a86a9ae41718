"""Does the loop do what wakes up and falls due at once, whatever else it has to do?"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import redis as redis_py

from orchestrator import dispatch, inbox, sweep, timers
from orchestrator.loop import SWEEP_BURST_SECONDS, SWEEP_SHARE, Orchestrator
from orchestrator.shards import LEASE_MS, RENEW_SECONDS
from tests.driving import HandClock, HandWorker, sleep, store_of
from workflows import App, Client, WorkflowEntrypoint, WorkflowEvent, WorkflowStep
from workflows.storage import processes
from workflows.storage.concurrency import Limits
from workflows.storage.connection import connection
from workflows.storage.keys import Instance, Keyspace, rq_queue
from workflows.storage.store import Call, Script, Store, open_keyspace

app = App("shop")


@app.workflow(name="order")
class Order(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None: ...


@pytest.fixture
def store(redis: redis_py.Redis) -> Iterator[Store]:
    """A namespace of one shard, by the real clock."""
    opened = store_of(redis, shards=1)
    yield opened
    opened.release()


@pytest.fixture
def client(store: Store) -> Client:
    return Client(app, connection=store.redis)


def _instances(client: Client, store: Store, count: int) -> list[Instance]:
    made = client.workflow("order").create_batch([{"id": f"order-{n}"} for n in range(count)])
    return [store.keys.instance("order", one.id) for one in made]


def _doorbells(store: Store) -> int:
    """How many doorbells hang in the queue of the workers."""
    found = store.redis.llen(rq_queue(store.keys.queue("default")))
    assert isinstance(found, int)
    return found


def test_what_wakes_up_is_done_before_everything_has_been_swept(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep of many instances takes seconds, for which timers and new instances cannot wait."""
    monkeypatch.setattr(sweep, "BATCH", 1)
    swept = []
    page = sweep.pages
    monkeypatch.setattr("orchestrator.sweep.pages", lambda *given: (swept.append(1) or found for found in page(*given)))
    _instances(client, store, 20)
    orchestrator = Orchestrator(store, bridge=False)
    orchestrator.look(wait=True)
    assert _doorbells(store) == 20

    client.workflow("order").create(id="urgent")
    orchestrator.look(wait=True)
    assert _doorbells(store) == 21
    assert len(swept) <= 2


def test_a_sweep_goes_on_until_everything_is_repaired(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "BATCH", 2)
    worker = HandWorker(store)
    for place in _instances(client, store, 5):
        worker.turn(place, opened=[sleep(1, "nap", 86_400_000)])
    timers = store.keys.shard_key(0, "timers")
    store.redis.delete(timers)

    orchestrator = Orchestrator(store, bridge=False)
    for _ in range(4):
        orchestrator.look()
    assert store.redis.zcard(timers) == 5


def test_a_lost_worker_is_logged_in_one_line_however_many_shards_it_served(
    redis: redis_py.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    store = store_of(redis, shards=4)
    worker = HandWorker(store, "w1")
    places = _instances(Client(app, connection=redis), store, 12)
    assert len({place.shard for place in places}) > 1
    for place in places:
        worker.claim(place)
    orchestrator = Orchestrator(store, bridge=False)
    orchestrator.look()
    assert not caplog.records

    processes.bury(store, ["w1"], "gone")
    for _ in range(store.keys.shards):  # each is woken by the bell of one shard
        orchestrator.look(wait=True)
    said = [vars(one) for one in caplog.records if one.getMessage() == "worker lost"]
    assert [(one["worker"], one["released"]) for one in said] == [("w1", 12)]


def test_a_published_event_reaches_one_environment_of_two_on_one_server(
    redis: redis_py.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Channels are shared by all databases; keys are not."""
    answered: list[tuple[Store, str]] = []
    bridge = inbox.bridge

    def noting(store: Store, token: str, data: bytes) -> str:
        answer = bridge(store, token, data)
        answered.append((store, answer))
        return answer

    monkeypatch.setattr(inbox, "bridge", noting)
    stores = [
        Store(connection(redis_url.replace("db=0", f"db={number}")), Keyspace("shop", 1), hot=True) for number in (0, 1)
    ]
    channels = [store.events_channel for store in stores]
    assert channels == ["workflows:shop:0:events", "workflows:shop:1:events"]
    orchestrators = [Orchestrator(store) for store in stores]
    threads = [threading.Thread(target=orchestrator.run) for orchestrator in orchestrators]
    for store, thread in zip(stores, threads, strict=True):
        open_keyspace(store.redis, "shop", 1)
        Client(app, connection=store.redis).workflow("order").create(id="a1")
        thread.start()
    deadline = time.monotonic() + 30
    try:
        while [heard for _, heard in redis.pubsub_numsub(*channels)] != [1, 1]:
            assert time.monotonic() < deadline
        message = json.dumps({"workflow": "order", "instance": "a1", "type": "packed"})
        while (stores[1], "buffered") not in answered:  # not in the first second of an owner
            assert redis.publish(channels[1], message) == 1
            time.sleep(0.05)
            assert time.monotonic() < deadline
        assert {id(store) for store, _ in answered} == {id(stores[1])}
    finally:
        for orchestrator in orchestrators:
            orchestrator.stop()
        for thread in threads:
            thread.join()
        for store in stores:
            store.close()


def test_a_wait_with_an_alarm_ends_in_time(store: Store) -> None:
    """Left alone, an idle Redis ends it at one of its ten looks a second: a sleep of 20 ms would take 100."""

    def waited(seconds: float) -> float:
        begin = time.monotonic()
        store.pop_first(["a", "b"], seconds, alarm="b")
        return time.monotonic() - begin

    found = [waited(0.02) for _ in range(10)]
    assert min(found) >= 0.02
    assert min(found) < 0.06


def test_a_wait_ends_with_the_first_element(store: Store) -> None:
    store.redis.rpush("b", "1")
    assert store.pop_first(["a", "b"], 5.0, alarm="a") == "b"
    assert store.pop_first(["a", "b"], 0.001) is None


def test_a_wait_ends_although_the_memory_is_full(store: Store) -> None:
    """The alarm cannot ring, and what needs no memory goes on (F45)."""
    store.redis.config_set("maxmemory", "1")
    try:
        assert store.pop_first(["a"], 0.02, alarm="a") is None
    finally:
        store.redis.config_set("maxmemory", "0")
    assert store.pop_first(["a"], 0.02, alarm="a") == "a"


class HandMonotonic:
    """The process's own clock, which goes on when something is done that takes time."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> HandMonotonic:
    clock = HandMonotonic()
    monkeypatch.setattr("orchestrator.loop.monotonic", clock)
    return clock


class EndlessBacklog:
    """Shards in which something new waits whenever something was handed out, which takes 0.6 s each time."""

    SECONDS = 0.6

    def __init__(self, redis: redis_py.Redis, clock: HandMonotonic, endless: set[int]) -> None:
        self.store = store_of(redis, shards=8)
        self.keys = self.store.keys
        self.clock = clock
        self.turns: list[int] = []
        self.unrenewed: list[float] = []
        self._renewed = clock.seconds
        self._endless = endless
        self._orders = Client(app, connection=redis).workflow("order")
        ids = [f"order-{n}" for n in range(2_000)]
        self._free = {shard: [id for id in ids if self._shard(id) == shard] for shard in range(8)}
        self._ring = dispatch.ring

    def _shard(self, id: str) -> int:
        return self.keys.instance("order", id).shard

    def create(self, shard: int) -> None:
        self._orders.create(id=self._free[shard].pop())

    def ring(self, store: Store, shard: int, members: list[bytes]) -> int:
        """As the real one does, with a look at the clock and at the leases."""
        pushed = self._ring(store, shard, members)
        if members:
            self.turns.append(shard)
            self.clock.seconds += self.SECONDS
            if shard in self._endless:
                self.create(shard)
        owner = self.keys.shard_key(7, "owner")
        if store.redis.hget(owner, "expiry") != b"1":
            self._renewed = self.clock.seconds
            store.redis.hset(owner, "expiry", "1")
        self.unrenewed.append(self.clock.seconds - self._renewed)
        return pushed


def test_every_shard_gets_its_turn_beside_one_with_an_endless_backlog(
    redis: redis_py.Redis, hand: HandMonotonic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.dispatch.BATCH", 1)
    backlog = EndlessBacklog(redis, hand, {0})
    monkeypatch.setattr(dispatch, "ring", backlog.ring)
    orchestrator = Orchestrator(backlog.store, bridge=False, permits=False)
    for shard in (0, 5, 5, 5, 5, 7, 7, 7, 7):
        backlog.create(shard)
    for _ in range(4):
        del backlog.turns[:]
        orchestrator.look(wait=True)
        assert {0, 5, 7} <= set(backlog.turns)
    backlog.store.release()


def test_leases_are_renewed_in_time_while_every_shard_has_an_endless_backlog(
    redis: redis_py.Redis, hand: HandMonotonic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else another orchestrator would take the shards, and both would tend them."""
    monkeypatch.setattr("orchestrator.dispatch.BATCH", 1)
    backlog = EndlessBacklog(redis, hand, set(range(8)))
    monkeypatch.setattr(dispatch, "ring", backlog.ring)
    orchestrator = Orchestrator(backlog.store, bridge=False, permits=False)
    for shard in range(8):
        backlog.create(shard)
    for _ in range(5):
        orchestrator.look(wait=True)
    assert len(backlog.turns) >= 40
    assert max(backlog.unrenewed) <= RENEW_SECONDS + 2 * backlog.SECONDS < LEASE_MS / 1_000
    backlog.store.release()


def test_a_sweep_keeps_to_its_share_of_the_time(
    client: Client, store: Store, hand: HandMonotonic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many instances there are; what it did not use before it may not make up for at length."""
    monkeypatch.setattr(sweep, "BATCH", 1)
    spent = [0.0]
    pages = sweep.pages

    def slowly(store: Store, shard: int, limits: Limits | None) -> Iterator[int]:
        for found in pages(store, shard, limits):
            spent[0] += 0.1
            hand.seconds += 0.1
            yield found

    monkeypatch.setattr(sweep, "pages", slowly)
    _instances(client, store, 100)
    orchestrator = Orchestrator(store, bridge=False)
    hand.seconds += 1_000
    orchestrator.connect()
    begin = hand.seconds
    while hand.seconds < begin + 100:
        orchestrator._sweep()
        hand.seconds += 0.01
    most = SWEEP_SHARE * 100 + SWEEP_BURST_SECONDS + 0.1
    assert most / 2 < spent[0] <= most


class Asleep:
    """One instance asleep in each shard, all of which are due."""

    def __init__(self, redis: redis_py.Redis) -> None:
        clock = HandClock()
        self.store = store_of(redis, shards=4, clock=clock)
        keys, client, worker = self.store.keys, Client(app, connection=redis), HandWorker(self.store)
        self.instances = {
            instance.shard: instance for instance in [keys.instance("order", f"o-{n}") for n in range(40)]
        }
        for instance in self.instances.values():
            client.workflow("order").create(id=instance.id)
            worker.turn(instance, opened=[sleep(1, "nap", 1)])
        clock.ms += 1

    def key(self, shard: int) -> str:
        return self.store.keys.shard_key(shard, "timers")

    def left(self) -> list[int]:
        return [shard for shard in self.instances if self.store.redis.zcard(self.key(shard))]


@pytest.fixture
def asleep(redis: redis_py.Redis) -> Iterator[Asleep]:
    made = Asleep(redis)
    yield made
    made.store.release()


def test_what_is_due_in_several_shards_is_fired_in_one_round_trip(
    asleep: Asleep, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[list[str]] = []
    execute = Store.execute

    def watched(store: Store, calls: Sequence[Call], **options: Any) -> list[Any]:
        sent.append([call.script.name for call in calls])
        return execute(store, calls, **options)

    monkeypatch.setattr(Store, "execute", watched)
    Orchestrator(asleep.store, bridge=False).look(wait=True)
    assert not asleep.left()
    assert [names for names in sent if "fire" in names] == [["fire"] * 4]
    assert ["dispatch"] * 4 in sent


def test_timers_that_cannot_be_fired_keep_no_other_shard_from_its_own(
    asleep: Asleep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails is found and set aside (I11)."""
    make = timers._call
    broken = "return redis.error_reply('WRONGTYPE broken')"
    failing = Script("fire", broken, hashlib.sha1(broken.encode()).hexdigest())

    def call(store: Store, shard: int, batch: Any) -> Call:
        made = make(store, shard, batch)
        return dataclasses.replace(made, script=failing) if shard == 2 else made

    monkeypatch.setattr(timers, "_call", call)
    Orchestrator(asleep.store, bridge=False).look(wait=True)
    assert not asleep.left()
    assert asleep.store.redis.zcard(asleep.store.keys.shard_key(2, "aside")) == 1
    intents = [asleep.store.redis.zcard(asleep.store.keys.shard_key(shard, "intents")) for shard in range(4)]
    assert intents == [1, 1, 0, 1]

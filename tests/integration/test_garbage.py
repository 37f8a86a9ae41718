"""One bad thing hurts one instance: real threads of an orchestrator and a worker, and what anybody may write (I11)."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator

import pytest
import redis as redis_py

from orchestrator.loop import Orchestrator
from tests.driving import store_of
from worker.engine import Engine, Settings
from workflows import App, Client, WorkflowEntrypoint, WorkflowEvent, WorkflowStep, doorbell, keys
from workflows.client import WorkflowHandle
from workflows.errors import InstanceAlreadyExists, InstanceError
from workflows.keys import Keyspace
from workflows.manifest import publish_manifest
from workflows.store import Store, connection

app = App("shop")


@app.workflow(name="order")
class Order(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> int:
        first = await step.do("one", lambda: 1)
        await step.sleep("nap", "1 second" if event.payload.get("naps") else 1)
        second: int = await step.do("two", lambda first: first + 1, first)
        return second


class Running:
    """An orchestrator and a worker on threads of their own, in a namespace of one shard."""

    def __init__(self, redis: redis_py.Redis, url: str) -> None:
        self.redis = redis
        self.keys = Keyspace("shop", 1)
        self._stores: list[Store] = []
        self._url = url
        self.gave_up: list[str] = []
        store = store_of(redis, shards=1)
        publish_manifest(store, app)
        self.engine = Engine(app, self._connect, Settings(grace_seconds=0.0), on_hopeless=self.gave_up.append)
        self.orchestrator = Orchestrator(self._connect())
        self.thread = threading.Thread(target=self.orchestrator.run, name="orchestrator", daemon=True)
        self.client = Client(app, connection=redis)
        self.orders: WorkflowHandle = self.client.workflow("order")

    def _connect(self) -> Store:
        store = Store(connection(self._url), self.keys, hot=True)
        self._stores.append(store)
        return store

    def __enter__(self) -> Running:
        self.engine.start()
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.stop()
        self.orchestrator.stop()
        self.thread.join(timeout=10)
        for store in self._stores:
            store.close()

    def check(self) -> None:
        """Everybody still serves: a new instance comes to its end."""
        order = self.orders.create(id=f"probe-{secrets.token_hex(4)}")
        assert order.result(timeout="20 seconds") == 2
        assert self.thread.is_alive()
        assert all(fetcher.is_alive() for fetcher in self.engine.fetchers)
        assert not self.gave_up


@pytest.fixture
def running(redis: redis_py.Redis, redis_url: str) -> Iterator[Running]:
    with Running(redis, redis_url) as made:
        yield made


@pytest.fixture
def orders(redis: redis_py.Redis) -> WorkflowHandle:
    """A namespace in which nobody is at work."""
    publish_manifest(store_of(redis, shards=1), app)
    return Client(app, connection=redis).workflow("order")


@pytest.mark.parametrize("spoilt", ["type", "status", "number", "journal"])
def test_what_cannot_be_read_says_so_and_can_be_deleted(
    redis: redis_py.Redis, orders: WorkflowHandle, spoilt: str
) -> None:
    order = orders.create(id="o-1")
    header, journal, *_ = Keyspace("shop", 1).of_instance(Keyspace("shop", 1).instance("order", "o-1"))
    match spoilt:
        case "type":
            redis.set(header, "garbage")
        case "status":
            redis.hset(header, "st", b"\xff")
        case "number":
            redis.hset(header, "created", "9" * 40)
        case "journal":
            redis.set(journal, "garbage")
    for verb in (order.status, order.pause, order.resume, order.terminate, order.restart):
        with pytest.raises(InstanceError, match=r"cannot be read.*delete the instance"):
            verb()
    with pytest.raises(InstanceAlreadyExists):
        orders.create(id="o-1")
    order.delete()
    orders.create(id="o-1")


def test_a_status_shows_what_can_be_read_of_it(redis: redis_py.Redis, orders: WorkflowHandle) -> None:
    order = orders.create(id="o-1")
    redis.hset(Keyspace("shop", 1).of_instance(Keyspace("shop", 1).instance("order", "o-1"))[2], "1", "garbage")
    assert (order.status().status, list(order.status().steps)) == ("queued", [])


def _ring(running: Running, id: str | bytes, data: str | bytes) -> None:
    name = running.keys.queue("default")
    job = keys.rq_job_prefix().encode() + (id if isinstance(id, bytes) else id.encode())
    running.redis.hset(job, "data", data)
    running.redis.rpush(keys.rq_queue(name), id)


@pytest.mark.parametrize(
    ("id", "data"),
    [
        ("j1", doorbell.data("shop", f"t|order|o-1|abc|{'9' * 30}|n|default")),
        ("j1", doorbell.data("shop", f"t|order|o-1|abc|{'9' * 5_000}|n|default")),
        ("j1", doorbell.data("shop", "t|order|o-1|abc|0|n|\N{SNOWMAN}")),
        (b"\xff\xfe", '["os.system", "true"]'),
        (b"\xff\xfe", doorbell.data("shop", "nothing")),
    ],
)
def test_a_bad_doorbell_is_dropped_and_the_queue_served_on(running: Running, id: str | bytes, data: str) -> None:
    _ring(running, id, data)
    running.check()

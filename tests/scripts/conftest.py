"""A clock by hand, a namespace of one shard, and a worker by hand in it."""

from __future__ import annotations

import pytest
import redis as redis_py

from tests.driving import HandClock, HandWorker, store_of
from workflows.storage.store import Store


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def store(redis: redis_py.Redis, clock: HandClock) -> Store:
    return store_of(redis, shards=1, clock=clock)


@pytest.fixture
def worker(store: Store) -> HandWorker:
    return HandWorker(store)

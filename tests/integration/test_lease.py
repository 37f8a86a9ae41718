"""The lease of a worker: renewed in time, whatever becomes of its connection."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing

import pytest
import redis as redis_py

from worker.lease import Lease
from workflows import App, Client
from workflows.storage.connection import connection
from workflows.storage.store import Store

LEASE_MS = 60_000
PATIENCE_SECONDS = 10.0
"""Well below the pause between two renewals of such a lease."""

app = App("lease")


def _nothing_lost(members: Iterable[str]) -> None:
    assert not list(members)


def _never(reason: str) -> None:
    raise AssertionError(reason)


@pytest.fixture
def lease(redis_url: str, redis: redis_py.Redis) -> Iterator[Lease]:
    with (
        Client(app, redis_url) as client,
        closing(Store(connection(redis_url), client.store.keys, hot=True)) as store,
    ):
        made = Lease(store, LEASE_MS, list, _nothing_lost, lambda: None, _never)
        made.start()
        yield made
        made.stop(PATIENCE_SECONDS)


def test_it_is_renewed_at_once_when_the_connection_is_back(lease: Lease, redis: redis_py.Redis) -> None:
    """Redis may be back in the state of a while ago, in which this lease is as good as over (I9)."""
    workers = next(iter(redis.scan_iter("*:workers")))

    def until() -> float:
        return redis.zscore(workers, lease.worker) or 0.0

    deadline = time.monotonic() + PATIENCE_SECONDS
    almost_over = until() - LEASE_MS / 2
    redis.zadd(workers, {lease.worker: almost_over})
    while until() <= almost_over:
        assert time.monotonic() < deadline, "not renewed although its connection was cut"
        redis.client_kill_filter(_type="normal", skipme=True)
        time.sleep(0.2)

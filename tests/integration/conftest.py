"""What holds for every module of tests here."""

from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import redis as redis_py

from tests.deployment import Deployment
from tests.driving import HandClock, PublishedApp
from workflows import App
from workflows.client import Client
from workflows.clock import monotonic
from workflows.storage.manifest import publish_manifest

PATIENCE_SECONDS = 10.0


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def client(redis: redis_py.Redis, redis_url: str) -> Iterator[Client]:
    """Of a namespace to which an app without code has been published."""
    with Client("shop", redis_url) as client:
        publish_manifest(client.store, PublishedApp())
        yield client


@pytest.fixture
def deploy(redis: redis_py.Redis, redis_url: str) -> Iterator[Callable[[App], Deployment]]:
    made: list[Deployment] = []

    def deployment(app: App) -> Deployment:
        made.append(Deployment(app, redis_url))
        return made[-1]

    yield deployment
    for one in made:
        one.close()


@pytest.fixture(scope="module", autouse=True)
def _closes_what_it_opens(request: pytest.FixtureRequest) -> Iterator[None]:
    """A connection left to the garbage collector fails another test or the end of the run, and only now and then."""
    before = _open_sockets()
    yield
    deadline = monotonic() + PATIENCE_SECONDS
    while left := [one for one in _open_sockets() if one not in before]:
        assert monotonic() < deadline, f"left open by {request.node.name}: {left}"
        threading.Event().wait(0.05)


def _open_sockets() -> list[socket.socket]:
    return [one for one in gc.get_objects() if isinstance(one, socket.socket) and one.fileno() != -1]

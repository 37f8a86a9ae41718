"""An app at work in this process: the threads of an orchestrator and of engines, on a real Redis."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import redis as redis_py

from orchestrator.loop import Orchestrator
from tests.driving import end_waits
from worker.engine import Engine
from worker.settings import Settings
from workflows import App
from workflows.client import Client
from workflows.storage.connection import connection
from workflows.storage.keys import Keyspace
from workflows.storage.store import BlockingMove, Call, Store, open_keyspace

PATIENCE_SECONDS = 10.0


class Gate:
    """Stops calls of one script on their way back, once."""

    def __init__(self) -> None:
        self.script = ""
        self.reached = threading.Event()
        self.open = threading.Event()

    def passes(self, calls: Sequence[Call]) -> None:
        if any(call.script.name == self.script for call in calls):
            self.script = ""
            self.reached.set()
            assert self.open.wait(PATIENCE_SECONDS)


class GatedStore(Store):
    def __init__(self, client: redis_py.Redis, keys: Keyspace, gate: Gate) -> None:
        super().__init__(client, keys)
        self._gate = gate

    def execute(self, calls: Sequence[Call], *, behind: BlockingMove | None = None) -> list[Any]:
        answers = super().execute(calls, behind=behind)
        self._gate.passes(calls)
        return answers


class Deployment:
    """An orchestrator and any number of engines for one app."""

    def __init__(self, app: App, url: str) -> None:
        self.app = app
        self.gate = Gate()
        self._url = url
        self._stores: list[Store] = []
        with connection(url) as first:
            self._keys = open_keyspace(first, app.name, 2)
        self._orchestrator = Orchestrator(self._connect(), bridge=False)
        self._loop = threading.Thread(target=self._orchestrator.run)
        self._loop.start()
        self.engines: list[Engine] = []
        self.client = Client(app, url)

    def _connect(self) -> Store:
        store = GatedStore(connection(self._url), self._keys, self.gate)
        self._stores.append(store)
        return store

    def engine(self, on_hopeless: Callable[[str], None] = pytest.fail, **settings: Any) -> Engine:
        settings = {"queues": self.app.queues, **settings}
        made = Engine(self.app, self._connect, Settings(**settings), on_hopeless=on_hopeless)
        made.start()
        self.engines.append(made)
        return made

    def stop_engines(self) -> None:
        for engine in self.engines:
            engine.draining.set()
        with connection(self._url) as asking:
            end_waits(asking)
        for engine in self.engines:
            engine.stop()
        self.engines.clear()

    def close(self) -> None:
        self.gate.open.set()
        self._orchestrator.stop()
        self.stop_engines()
        self._loop.join(PATIENCE_SECONDS)
        self.client.close()
        for store in self._stores:
            store.close()


@contextmanager
def warm_and_cold(app: App, url: str) -> Iterator[Deployment]:
    """On an empty Redis, an engine for queue ``warm`` that keeps its replays, and one for ``cold`` that replays every
    turn from the start and leaves all of its work to its own thread."""
    with redis_py.Redis.from_url(url) as first:
        first.flushall()
    made = Deployment(app, url)
    made.engine(queues=("warm",), warm=100)
    made.engine(queues=("cold",), warm=0, shared_lead=False, claims_at_once=False)
    yield made
    made.close()

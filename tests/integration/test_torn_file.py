"""Does a change that a crash has torn stay away, also at the second start of Redis, which Redis gets wrong? (F57)"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from orchestrator.loop import Orchestrator
from tests.torture.moves import append_only_file
from workflows import App, Client, WorkflowEntrypoint, WorkflowEvent, WorkflowStep
from workflows.clock import monotonic
from workflows.dev.embedded import EmbeddedRedis
from workflows.dev.servers import ServerProgram, find_servers
from workflows.storage.connection import connection
from workflows.storage.store import Store, open_keyspace

pytestmark = pytest.mark.outage

WAIT_SECONDS = 20.0
SERVERS = tuple(find_servers())

app = App("shop")


@app.workflow(name="order")
class Order(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None: ...


@pytest.fixture(params=SERVERS, ids=[".".join(map(str, one.version)) for one in SERVERS])
def server(request: pytest.FixtureRequest) -> Iterator[EmbeddedRedis]:
    program: ServerProgram = request.param
    # Else what was acknowledged may not be in the file yet when the server is killed.
    with EmbeddedRedis(server=program.path, config={"appendfsync": "always"}) as running:
        yield running


def _create(server: EmbeddedRedis, id: str) -> None:
    with connection(server.url) as redis, Client(app, connection=redis) as client:
        client.workflow("order").create(id)


def _crash_within_the_last_script(server: EmbeddedRedis) -> None:
    """Of what it wrote, the file holds the first command and a part of the second."""
    server.kill()
    file = append_only_file(server.directory)
    written = file.read_bytes()
    first = written.index(b"\r\n*", written.rindex(b"\r\nMULTI\r\n") + len(b"\r\nMULTI\r\n"))
    os.truncate(file, first + len(b"\r\n*3\r\n$5"))
    server.start()


def _orchestrate(server: EmbeddedRedis) -> None:
    """For as long as the file is being written anew, and no longer than that would take."""
    with connection(server.url) as redis:
        store = Store(redis, open_keyspace(redis, app.name))
        orchestrator = Orchestrator(store, bridge=False)
        orchestrator.connect()
        deadline = monotonic() + WAIT_SECONDS
        while redis.info("persistence")["aof_last_rewrite_time_sec"] < 0:
            assert monotonic() < deadline, "the file is not written anew"
            orchestrator.look()
            threading.Event().wait(0.02)
        store.release()


def test_a_change_that_a_crash_has_torn_does_not_come_back_by_half(server: EmbeddedRedis) -> None:
    _create(server, "whole")
    _create(server, "torn")
    _crash_within_the_last_script(server)
    _orchestrate(server)
    _create(server, "later")
    server.kill()
    server.start()
    with connection(server.url) as redis:
        ids = {key.split(b":")[3] for key in redis.scan_iter("*:i:order:*")}
    assert ids == {b"whole", b"later"}

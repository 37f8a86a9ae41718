"""Does a store give back what it takes from the connection pool, and give up what is of no use any more?"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
import redis as redis_py

from workflows.dev.embedded import EmbeddedRedis
from workflows.dev.servers import ServerProgram, find_servers
from workflows.errors import ConfigError
from workflows.storage.connection import connection
from workflows.storage.keys import FORMAT, Keyspace
from workflows.storage.store import Store, open_keyspace


def test_a_thread_that_has_ended_leaves_no_connection_behind(redis_url: str) -> None:
    answers: list[object] = []
    with closing(Store(connection(redis_url, max_connections=2), Keyspace("shop"), hot=True)) as store:
        for _ in range(10):
            thread = threading.Thread(target=lambda: answers.append(store.command("PING")))
            thread.start()
            thread.join()
    assert answers == [True] * 10


def test_threads_that_take_turns_share_one_connection(redis_url: str) -> None:
    answers: list[object] = []
    with closing(Store(connection(redis_url, max_connections=1), Keyspace("shop"), hot=True)) as store:
        store.take_turns()
        for _ in range(3):
            answers.append(store.command("PING"))
            thread = threading.Thread(target=lambda: answers.append(store.command("PING")))
            thread.start()
            thread.join()
    assert answers == [True] * 6


@pytest.mark.parametrize("server", list(find_servers()), ids=lambda server: ".".join(map(str, server.version)))
@pytest.mark.parametrize("seconds", [0.0, 0.0005, 0.001, 0.0015, 0.002])
def test_however_short_a_wait_is_it_ends(server: ServerProgram, seconds: float) -> None:
    """On the oldest server too: 6.2 takes a millisecond for no timeout at all."""
    with (
        EmbeddedRedis(server=server.path) as started,
        closing(Store(connection(started.url), Keyspace("shop"), hot=True)) as store,
    ):
        assert store.pop_first(["a", "b"], seconds) is None


class Road:
    """Carries bytes between a client and a server; blocked, the answers stay on it and no end is told."""

    def __init__(self, server: str) -> None:
        self.blocked = False
        self._server = server
        self._stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def _carry(self) -> None:
        with ExitStack() as opened, selectors.DefaultSelector() as looks:
            looks.register(opened.enter_context(self._listener), selectors.EVENT_READ, None)
            while not self._stopping.is_set():
                for key, _ in looks.select(0.05):
                    if key.data is None:
                        near = opened.enter_context(self._listener.accept()[0])
                        far = opened.enter_context(socket.socket(socket.AF_UNIX))
                        far.connect(self._server)
                        looks.register(near, selectors.EVENT_READ, (near, far, False))
                        looks.register(far, selectors.EVENT_READ, (far, near, True))
                        continue
                    source, target, is_answer = key.data
                    carried = source.recv(65_536)
                    if not carried:
                        looks.unregister(source)
                    elif not (is_answer and self.blocked):
                        target.sendall(carried)

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()


@pytest.fixture
def road(redis_server: EmbeddedRedis) -> Iterator[Road]:
    with closing(Road(redis_server.url.removeprefix("unix://").partition("?")[0])) as road:
        yield road


@pytest.mark.parametrize("hot", [False, True], ids=["pooled", "hot"])
def test_a_connection_that_falls_silent_is_given_up_and_the_next_call_makes_another(road: Road, hot: bool) -> None:
    """F48: nobody says that the other end is gone."""
    client = connection(f"redis://127.0.0.1:{road.port}", socket_timeout=0.3)
    with closing(Store(client, Keyspace("shop"), hot=hot)) as store:
        assert store.command("PING")
        road.blocked = True
        with pytest.raises(redis_py.TimeoutError):
            store.command("PING")
        road.blocked = False
        assert store.command("PING")


def test_a_namespace_in_the_format_of_another_version_is_refused(redis: redis_py.Redis) -> None:
    """Whoever guessed would park what there is, or write what those who made it cannot read."""
    keys = open_keyspace(redis, "shop", 4)
    redis.hset(keys.meta, "format", FORMAT + 1)
    with pytest.raises(ConfigError, match=f"stored in format {FORMAT + 1}, and this version reads format {FORMAT}"):
        open_keyspace(redis, "shop")
    redis.hdel(keys.meta, "format")
    assert open_keyspace(redis, "shop").shards == 4

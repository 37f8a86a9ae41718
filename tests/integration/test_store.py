"""Does a store give back what it takes from the connection pool?"""

from __future__ import annotations

import threading
from contextlib import closing

from workflows.storage.keys import Keyspace
from workflows.storage.store import Store, connection


def test_a_thread_that_has_ended_leaves_no_connection_behind(redis_url: str) -> None:
    answers: list[object] = []
    with closing(Store(connection(redis_url, max_connections=2), Keyspace("shop"), hot=True)) as store:
        for _ in range(10):
            thread = threading.Thread(target=lambda: answers.append(store.command("PING")))
            thread.start()
            thread.join()
    assert answers == [True] * 10

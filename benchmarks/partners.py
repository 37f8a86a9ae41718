"""The processes at the other end of the yardsticks: ``python -m benchmarks.partners ROLE REDIS_URL [NUMBER]``.

Each says ``ready`` on its standard output, waits for a line on its standard input, and begins; so that no measurement
contains the start of an interpreter.
"""

from __future__ import annotations

import socket
import sys
from typing import Any
from urllib.parse import unquote, urlsplit

import hiredis
import redis
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer

QUEUE = "yardstick"
THERE, BACK, JOURNAL = "ping:there", "ping:back", "ping:journal"


def nothing() -> None:
    """The job RQ is measured with."""


def queue(url: str) -> Queue:
    """RQ's queue, with the serializer our own jobs have; it is the faster one for such a job."""
    return Queue(QUEUE, connection=redis.Redis.from_url(url), serializer=JSONSerializer)


class Line:
    """A blocking socket with hiredis on it: the least that Python can do to talk to Redis."""

    def __init__(self, url: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(unquote(urlsplit(url).path))
        self._reader = hiredis.Reader()

    def __call__(self, *commands: tuple[str | int, ...]) -> Any:
        """Send commands in one write. Returns: the last answer."""
        # The stub takes tuples of one element only.
        packed = [hiredis.pack_command(command) for command in commands]  # type: ignore[arg-type]
        self._socket.sendall(b"".join(packed))
        answer: Any = None
        for _ in commands:
            # False is how the reader says that it needs more; no answer of these commands is a boolean.
            while (answer := self._reader.gets()) is False:
                self._reader.feed(self._socket.recv(65536))
            if isinstance(answer, Exception):
                raise answer
        return answer


def hop(line: Line, out: str, back: str) -> None:
    """Write one journal entry, pass the turn on and wait for it: one round trip."""
    line(("RPUSH", JOURNAL, "x" * 100), ("RPUSH", out, "1"), ("BLPOP", back, 30))


def _wait_for_start() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def work(url: str) -> None:
    """A stock SimpleWorker, until it is terminated."""
    jobs = queue(url)
    worker = SimpleWorker([jobs], connection=jobs.connection, serializer=JSONSerializer)
    _wait_for_start()
    # RQ writes three lines for each job otherwise.
    worker.work(logging_level="WARNING")


def pong(url: str, loops: int) -> None:
    """Answers every ping, so many times."""
    line = Line(url)
    _wait_for_start()
    line(("BLPOP", THERE, 30))
    for _ in range(loops - 1):
        hop(line, BACK, THERE)
    line(("RPUSH", JOURNAL, "x" * 100), ("RPUSH", BACK, "1"))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["work", url]:
            work(url)
        case ["pong", url, loops]:
            pong(url, int(loops))
        case other:
            sys.exit(f"no such role: {other}")

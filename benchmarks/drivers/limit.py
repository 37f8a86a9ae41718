"""The physical limit: what our journal takes, written with no engine. ``python -m benchmarks.drivers.limit``.

A step is one call of a script with one RPUSH of 100 bytes and one HSET, from one thread, with a bare socket and the
parser of hiredis: the least that Python can do to talk to Redis. What depends on the call before waits for its reply;
what does not goes out in one write. *Create → result* and *event → end* are two processes that wake each other.
No engine that journals in Redis from Python can be faster than the first, nor one with workers than the second.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import hiredis

from benchmarks.drivers.driver import URL, Answer, serve, started, timed

SCRIPT = "redis.call('RPUSH', KEYS[1], ARGV[1]) redis.call('HSET', KEYS[2], 'last', ARGV[2]) return 1"
ENTRY = "x" * 100
AT_ONCE = 100
THERE, BACK = "limit:there", "limit:back"

Command = Sequence[str | int]


class Line:
    """A blocking socket with hiredis on it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(unquote(urlsplit(URL).path))
        self._reader = hiredis.Reader()
        self._sha: str = self(("SCRIPT", "LOAD", SCRIPT)).decode()

    def __call__(self, *commands: Command) -> Any:
        """Send commands in one write. Returns: the last answer."""
        # The stub takes tuples of one element only.
        self._socket.sendall(b"".join([hiredis.pack_command(tuple(one)) for one in commands]))  # type: ignore[arg-type]
        answer: Any = None
        for _ in commands:
            # False is how the reader says that it needs more; no answer of these commands is a boolean.
            while (answer := self._reader.gets()) is False:
                self._reader.feed(self._socket.recv(65536))
            if isinstance(answer, Exception):
                raise answer
        return answer

    def step(self, instance: int | str, number: int) -> Command:
        """One step of an instance."""
        return ("EVALSHA", self._sha, 2, f"limit:journal:{instance}", f"limit:header:{instance}", ENTRY, number)


class Limit:
    """The cases."""

    def __init__(self) -> None:
        self._line = Line()

    def many(self, instances: int, steps: int) -> Answer:
        """Step by step, the same step of all instances in as few writes as there are hundreds."""

        def play() -> None:
            for at in range(0, instances, AT_ONCE):
                some = range(at, min(at + AT_ONCE, instances))
                for number in range(steps):
                    self._line(*[self._line.step(instance, number) for instance in some])

        return {"seconds": timed(play)}

    def fan_out(self, steps: int) -> Answer:
        """All of one instance, a hundred in a write."""

        def play() -> None:
            for at in range(0, steps, AT_ONCE):
                self._line(*[self._line.step("wide", number) for number in range(at, min(at + AT_ONCE, steps))])

        return {"seconds": timed(play)}

    def one_step(self, times: int) -> Answer:
        """There and back, with one step at the other end."""
        return {"samples": [timed(lambda: self._line(("RPUSH", THERE, 1), ("BLPOP", BACK, 30))) for _ in range(times)]}


def partner() -> None:
    """The other end."""
    line, number = Line(), 0
    line(("BLPOP", THERE, 0))
    while True:
        number += 1
        line(line.step("single", number), ("RPUSH", BACK, 1), ("BLPOP", THERE, 0))


def main() -> None:
    """Serve."""
    with started([sys.executable, "-P", "-m", "benchmarks.drivers.limit", "partner"]) as (other,):
        limit = Limit()
        limit.one_step(100)
        cases = {"many": limit.many, "fan_out": limit.fan_out, "one_step": limit.one_step, "event": limit.one_step}
        serve(cases, absent={"sleepers": "its limit is the clock"}, roles={"workers": [other]})


if __name__ == "__main__":
    partner() if sys.argv[1:] else main()

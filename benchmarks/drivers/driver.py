"""What the programs that drive a subject have in common, with the standard library alone.

A driver opens its subject, says on its standard output what it can play, and then plays what it is asked for, one line
of JSON each: ``{"case": "many", "instances": 200, "steps": 10}`` in, an ``Answer`` out. The cases are functions of
these arguments:

| case                        | what it does, with steps that do nothing                                              |
|-----------------------------|---------------------------------------------------------------------------------------|
| ``many(instances, steps)``  | that many instances at once, each with steps one after the other                      |
| ``one_step(times)``         | create one of one step, wait for its result, the next                                 |
| ``fan_out(steps)``          | one instance with that many steps at once                                             |
| ``event(times)``            | an instance waits for an event; send it, wait for the result, the next                |
| ``sleepers(count, seconds)``| that many instances which all sleep so long and then end                              |

Those in a row are ``many`` of one instance.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypedDict

URL = os.environ.get("BENCHMARK_REDIS_URL", "redis://")
"""The Redis of the subject, here and in what it starts."""
WORKERS = 2
POLL_SECONDS = 0.005
WAIT_SECONDS = 120.0


class Answer(TypedDict, total=False):
    """What came of a case.

    Attributes:
        seconds: from before the first was created until the last had ended.
        samples: seconds, one for each time or sleeper: how long it took, or how late it was.
        figures: whatever else is told of it.
    """

    seconds: float
    samples: list[float]
    figures: dict[str, float]


def serve(
    cases: Mapping[str, Callable[..., Answer]],
    *,
    absent: Mapping[str, str] | None = None,
    roles: Mapping[str, list[int]] | None = None,
) -> None:
    """Play what is asked for until nothing more is.

    Args:
        cases: what can be played.
        absent: why a case cannot be.
        roles: the processes that do the work, by role; what they have started counts with them. This process is the
            client unless it is named here.
    """
    given = dict(roles or {})
    if not any(os.getpid() in pids for pids in given.values()):
        given["client"] = [os.getpid()]
    _tell({"cases": list(cases), "absent": dict(absent or {}), "roles": given})
    for line in sys.stdin:
        asked = json.loads(line)
        _tell(cases[asked.pop("case")](**asked))


# What libraries print goes to the log; the harness reads the real standard output.
_out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def _tell(what: object) -> None:
    print(json.dumps(what), file=_out, flush=True)


_started: list[subprocess.Popen[bytes]] = []


@contextmanager
def started(*commands: list[str]) -> Iterator[list[int]]:
    """Programs that run meanwhile. Yields: their process ids, in that order."""
    # Raised as an exit, so that what has been started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        _started.extend(subprocess.Popen(one, stdin=subprocess.DEVNULL, stdout=2) for one in commands)
        yield [process.pid for process in _started]
    finally:
        for process in _started:
            process.terminate()
        for process in _started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def timed(play: Callable[[], object]) -> float:
    """Seconds it takes."""
    begun = time.perf_counter()
    play()
    return time.perf_counter() - begun


def until(holds: Callable[[], Any]) -> None:
    """Look every 5 ms.

    Raises:
        TimeoutError: not within two minutes, or a program that was started has ended.
    """
    end = time.monotonic() + WAIT_SECONDS
    while not holds():
        if time.monotonic() > end or any(process.poll() is not None for process in _started):
            raise TimeoutError(f"not done within {WAIT_SECONDS:.0f} s, or a program has ended")
        time.sleep(POLL_SECONDS)

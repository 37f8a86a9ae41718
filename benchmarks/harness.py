"""Rounds: every subject once in each, on fresh servers and processes, in an order that is drawn."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from benchmarks.machine import Meter
from benchmarks.subjects import Subject, environment
from benchmarks.workloads import WORKLOADS, Figures, figures, medians
from workflows.dev.embedded import EmbeddedRedis

REPEATS = 3
SHORT_SECONDS = 1.0
"""A case is played up to three times in a round, as long as it has taken less than this altogether."""
LONG_SECONDS = 12.0
"""One that takes longer is played in the first round alone."""
ANSWER_SECONDS = 180.0
STOP_SECONDS = 20.0

Say = Callable[[str], None]


class DriverBroken(Exception):
    """A driver ended before it had answered, or took three minutes; the message has the end of its log."""


class Driver:
    """A started driver.

    Attributes:
        cases: what it plays.
        absent: why it does not play others.
        url: of its Redis; empty: it has none.
    """

    def __init__(self, process: subprocess.Popen[str], log: Path, server: EmbeddedRedis | None) -> None:
        self._process = process
        self._log = log
        self.url = server.url if server else ""
        hello = self._read()
        self.cases: list[str] = hello["cases"]
        self.absent: dict[str, str] = hello["absent"]
        self._roles: dict[str, list[int]] = hello["roles"] | ({"Redis": [server.pid]} if server and server.pid else {})

    @classmethod
    @contextmanager
    def open(cls, subject: Subject, folder: Path) -> Iterator[Self]:
        """Start one, with a Redis of its own if it uses one, and stop both."""
        with ExitStack() as stack:
            server = None if subject.redis is None else stack.enter_context(EmbeddedRedis(config=subject.redis))
            log = folder / "log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [subject.python, "-P", "-m", f"benchmarks.drivers.{subject.driver}"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=output,
                    text=True,
                    cwd=folder,
                    env=environment(subject) | ({"BENCHMARK_REDIS_URL": server.url} if server else {}),
                    start_new_session=True,  # Ctrl-C reaches this process alone, which then stops them in order.
                )
            stack.callback(_stop, process)
            yield cls(process, log, server)

    def play(self, name: str, arguments: Mapping[str, Any]) -> Figures:
        """One case, once.

        Raises:
            DriverBroken.
        """
        meter = Meter(self._roles)
        asked = json.dumps({"case": WORKLOADS[name].case, **arguments})
        assert self._process.stdin is not None
        try:
            print(asked, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            pass  # There is no answer either, and the log says why.
        answer = self._read()
        return figures(name, arguments, answer, meter.read())

    def _read(self) -> Any:
        assert self._process.stdout is not None
        # A line is one answer, and is asked for before it is there: nothing is left in the buffer.
        ready, *_ = select.select([self._process.stdout], [], [], ANSWER_SECONDS)
        if ready and (line := self._process.stdout.readline()):
            return json.loads(line)
        tail = self._log.read_text(errors="replace").splitlines()[-20:]
        raise DriverBroken("\n".join(tail) or "it has said nothing")


def play_round(
    subjects: Mapping[str, Subject], names: Sequence[str], *, quick: bool, over: set[tuple[str, str]], say: Say
) -> dict[str, tuple[Figures, dict[str, str]]]:
    """Everybody once.

    Args:
        over: subject and workload of what is not played again; added to.
    Returns: for each subject its figures, and by workload why it has none of it.
    """
    found = {}
    for key in random.sample(list(subjects), len(subjects)):
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            mine = [name for name in names if (key, name) not in over]
            found[key] = _play(subjects[key], mine, Path(folder), quick, lambda what, key=key: say(f"{key}: {what}"))
        measured, _ = found[key]
        over |= {(key, name) for name in names if measured.get(f"{name}.seconds", 0) > LONG_SECONDS}
    return found


def _play(
    subject: Subject, names: Sequence[str], folder: Path, quick: bool, say: Say
) -> tuple[Figures, dict[str, str]]:
    measured: Figures = {}
    absent: dict[str, str] = {}
    say("starting")
    try:
        with Driver.open(subject, folder) as driver:
            for name in names:
                workload = WORKLOADS[name]
                if workload.our_own and not subject.own:
                    continue
                if workload.case not in driver.cases:
                    absent[name] = driver.absent.get(workload.case, "")
                    continue
                say(name)
                measured |= _repeated(driver, name, workload.sized(quick))
    except DriverBroken as error:
        if subject.own:
            raise
        say(f"failed:\n{error}")
        absent.update({name: "failed" for name in names if f"{name}.cores" not in measured and name not in absent})
    return measured, absent


def _repeated(driver: Driver, name: str, arguments: Mapping[str, Any]) -> Figures:
    end, found = time.monotonic() + SHORT_SECONDS, []
    while len(found) < REPEATS and (not found or time.monotonic() < end):
        found.append(driver.play(name, arguments))
    return medians(found)


def _stop(process: subprocess.Popen[str]) -> None:
    """The end of its input is the end of what it has to do."""
    assert process.stdin is not None and process.stdout is not None
    for ask in (process.stdin.close, process.terminate, process.kill):
        try:
            ask()
            process.wait(STOP_SECONDS)
            break
        except BrokenPipeError:
            pass  # It has ended already.
        except subprocess.TimeoutExpired:
            continue
    try:
        os.killpg(process.pid, signal.SIGKILL)  # Whatever it has left behind.
    except ProcessLookupError:
        pass  # Nothing.
    process.stdout.close()

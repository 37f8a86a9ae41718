"""What the steps of a storm really did, outside of Redis: a plain file, one appended line per happening."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.apps import FOLDER_VARIABLE
from workflows.authoring.context import StepContext

NAME = "steps"


@dataclass(frozen=True, slots=True)
class Line:
    """One happening.

    Attributes:
        what: ``start``, ``end``, or ``die`` where the callback is about to end its process.
        key: the attempt's idempotency key; ``work``: what ``run`` asked for, in its own words.
        step: workflow, instance, name and count of the step.
        at: seconds of this machine's clock.
    """

    what: str
    key: str
    work: str
    step: tuple[str, str, str, int]
    attempt: int
    pid: int
    at: float


def note(ctx: StepContext, work: str, what: str) -> None:
    """Append one line, for the attempt that is running."""
    step = [ctx.workflow_name, ctx.instance_id, ctx.step.name, ctx.step.count]
    line = json.dumps([what, ctx.idempotency_key, work, step, ctx.attempt, os.getpid(), time.time()])
    file = os.open(Path(os.environ[FOLDER_VARIABLE]) / NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


class Ledger:
    """Reads on from where it stopped."""

    def __init__(self, folder: Path) -> None:
        self.lines: list[Line] = []
        self._path = folder / NAME
        self._path.touch()
        self._at = 0

    def read(self) -> int:
        """Take in what is new. Returns: how many lines there are."""
        with self._path.open("rb") as file:
            file.seek(self._at)
            whole = file.read().rpartition(b"\n")[0]
        if whole:
            self._at += len(whole) + 1
            self.lines += _parsed(whole.splitlines())
        return len(self.lines)


def _parsed(lines: Iterable[bytes]) -> Iterator[Line]:
    for line in lines:
        what, key, work, step, attempt, pid, at = json.loads(line)
        yield Line(what, key, work, tuple(step), attempt, pid, at)

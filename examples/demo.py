"""All ten patterns on one machine: ``python -m examples.demo``.

Starts a private Redis, an orchestrator, two workers and a mail sink, creates the instances of every pattern, answers
when one of them waits for an answer, shows the steps as they happen, and compares each end with what its pattern
promised. Leaves nothing behind: no process, no file. ``python -m examples.approval`` plays one pattern in the same way.

Exit status: 0 when every instance ended as promised, 1 when one did not, 2 when a process could not be kept running.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any, TextIO

import redis as redis_py
import rq

from examples import environment
from examples.bindings import MailSink
from examples.scene import Place, Promise
from workflows import App, Client, InstanceStatus, StepStatus
from workflows.dev.embedded import EmbeddedRedis
from workflows.ui import EXTRA, missing_extra

WORKERS = 2
LOOK_EVERY_SECONDS = 0.1
GRACE_SECONDS = 10.0
COLUMNS = 80
MADE_UP_CHARACTERS = len(str(uuid.uuid4()))
ENDED = ("complete", "errored", "terminated")
# What a worker loads. It serves every pattern, also when the demo plays one.
WORKER_APP = "examples.app:app"

Demonstration = Callable[[Place], list[Promise]]


class NotRunning(Exception):
    """One of the demo's processes stopped although nobody asked it to, or did not come up in time."""


def orchestrator_command(url: str, namespace: str) -> list[str]:
    """The command line of an orchestrator."""
    return [sys.executable, "-P", "-m", "orchestrator", "--redis-url", url, "--namespace", namespace]


def worker_command(url: str) -> list[str]:
    """The command line of a worker."""
    return [sys.executable, "-P", "-m", "worker", WORKER_APP, "--redis-url", url]


def play(
    app: App,
    demonstrations: Sequence[Demonstration],
    *,
    limit_seconds: float = 60.0,
    then: Callable[[Client], object] | None = None,
) -> int:
    """Start everything, play the patterns, stop everything.

    Args:
        app: the app whose workflows are shown.
        demonstrations: the patterns' ``demonstrate`` functions.
        limit_seconds: how long all of them may take.
        then: what to do before everything is stopped.
    Returns: the exit status.
    """
    # Without this a polite request to stop would leave the processes behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="workflow-examples-")))
        mail = stack.enter_context(MailSink())
        stack.enter_context(_settings(EXAMPLES_HOME=str(home), EXAMPLES_BUCKET="", EXAMPLES_SMTP_PORT=str(mail.port)))
        redis = stack.enter_context(EmbeddedRedis())
        processes = stack.enter_context(_processes(redis.url, environment.app.name, home / "logs"))
        client = stack.enter_context(Client(app, redis.url))
        database = stack.enter_context(environment.open_database())
        place = Place(client, environment.open_bucket(), database, mail, stack)

        try:
            # Instances may be created before anybody is there to run them; waiting makes the timelines worth reading.
            _until_workers_are_up(redis.url, processes, limit_seconds)
            promises = [promise for demonstrate in demonstrations for promise in demonstrate(place)]
            watch = Watch([Scene(promise) for promise in promises], sys.stdout)
            watch.until_all_ended(processes, limit_seconds)
        except NotRunning as error:
            print(error, file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            return 130
        watch.print_timelines()
        status = watch.print_verdict()
        if then is not None:
            then(client)
        return status


def show(client: Client) -> None:
    """Show the dashboard until Ctrl-C."""
    # The extra `ui` may not be there.
    from workflows.ui.standalone import StandaloneSettings, serve

    serve(client, StandaloneSettings(), say=lambda at: print(f"Dashboard: {at} (Ctrl-C ends it)", flush=True))


@contextmanager
def _settings(**values: str) -> Iterator[None]:
    """Set environment variables for this process and those it starts, and put them back."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@dataclass(frozen=True)
class RunningProcess:
    """One process of the system and where its output goes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raises NotRunning, with the end of its output, when it is gone."""
        if (status := self.process.poll()) is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
            raise NotRunning(f"{self.name} ended with status {status}. The end of its output:\n{tail}")


@contextmanager
def _processes(url: str, namespace: str, logs: Path) -> Iterator[list[RunningProcess]]:
    """The orchestrator and the workers, stopped politely at the end."""
    logs.mkdir(parents=True)
    commands = {"orchestrator": orchestrator_command(url, namespace)}
    commands |= {f"worker {number}": worker_command(url) for number in range(1, WORKERS + 1)}
    # With -P the folder of the examples is not on the path by itself.
    root = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), root]))
    running: list[RunningProcess] = []
    try:
        for name, command in commands.items():
            log = logs / f"{name}.log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=os.environ | {"PYTHONPATH": path},
                    start_new_session=True,  # Ctrl-C reaches the demo alone, which then stops them in order.
                )
            running.append(RunningProcess(name, process, log))
        yield running
    finally:
        _stop(running)


def _until_workers_are_up(url: str, processes: Sequence[RunningProcess], limit_seconds: float) -> None:
    """Wait until RQ's own tools would show every worker.

    Raises:
        NotRunning: a process ended, or the time is over.
    """
    print(f"Starting Redis, an orchestrator and {WORKERS} workers", flush=True)
    until = time.monotonic() + limit_seconds
    with redis_py.Redis.from_url(url) as connection:
        while rq.Worker.count(connection) < WORKERS:
            for process in processes:
                process.check()
            if time.monotonic() > until:
                raise NotRunning(f"The workers did not come up within {limit_seconds:.0f} s")
            time.sleep(LOOK_EVERY_SECONDS)


def _stop(running: Iterable[RunningProcess]) -> None:
    """Ask every process to stop, then wait; one that does not within the grace is killed."""
    for one in running:
        one.process.terminate()
    until = time.monotonic() + GRACE_SECONDS
    for one in running:
        try:
            one.process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            one.process.kill()
            one.process.wait()


def _span(begin: datetime | None, end: datetime | None) -> str:
    return "" if begin is None or end is None else f"{(end - begin).total_seconds() * 1000:.0f} ms"


@dataclass
class Scene:
    """One instance on stage: what was promised, and what was seen last."""

    promise: Promise
    status: InstanceStatus[Any] | None = None
    shown: dict[int, str] = field(default_factory=dict)
    replied: set[str] = field(default_factory=set)

    @property
    def title(self) -> str:
        instance = self.promise.instance
        return f"{instance.workflow}/{instance.id}"

    @property
    def short_title(self) -> str:
        """The same where a line has to fit: of an id that was made up, the beginning."""
        workflow, _, id = self.title.partition("/")
        return f"{workflow}/{id[:8] if len(id) == MADE_UP_CHARACTERS else id}"

    @property
    def has_ended(self) -> bool:
        return self.status is not None and self.status.status in ENDED

    def look(self) -> list[str]:
        """Fetch the status, answer if an answer is due, and tell what changed since the last look."""
        self.status = self.promise.instance.status()
        changes = []
        for step in self.status.steps:
            if self.shown.get(step.seq) != step.status:
                self.shown[step.seq] = step.status
                undo = "undo " if step.kind == "rollback" else ""
                changes.append(f"{undo}{step.name}: {step.status}")
            self._reply_to(step)
        if self.has_ended:
            changes.append(f"=> {self.status.status}")
        return changes

    def _reply_to(self, step: StepStatus) -> None:
        reply = self.promise.replies.get(step.name)
        if reply is None or step.name in self.replied or step.status != "waiting":
            return
        self.promise.instance.send_event(reply.type, reply.payload)
        self.replied.add(step.name)

    def complaint(self) -> str | None:
        """What differs from the promise, or ``None``."""
        if self.status is None:
            return "was never seen"
        wanted = self.promise.error
        if wanted is not None:
            failed = self.status.error.message if self.status.error else "nothing"
            if not failed.startswith(wanted):
                return f"is {self.status.status} with {failed!r} instead of {wanted!r}"
        elif self.status.status != "complete":
            error = f": {self.status.error.name}: {self.status.error.message}" if self.status.error else ""
            return f"is {self.status.status}{error}"
        if self.status.output != self.promise.output:
            return f"returned {self.status.output!r} instead of {self.promise.output!r}"
        if not self.promise.holds():
            return "left the world outside in another state than promised"
        return None


class Watch:
    """Shows the scenes while they play: one changing line for each on a terminal, else a line for each change."""

    def __init__(self, scenes: list[Scene], output: TextIO | IO[str]) -> None:
        self._scenes = scenes
        self._output = output
        self._is_live = output.isatty()
        self._started = time.monotonic()
        self._latest = {scene.title: "created" for scene in scenes}
        self._lines_drawn = 0

    def until_all_ended(self, processes: Sequence[RunningProcess], limit_seconds: float) -> None:
        """Look again and again until every instance ended or the time is over.

        Raises:
            NotRunning: one of the processes is gone.
        """
        while not all(scene.has_ended for scene in self._scenes):
            for process in processes:
                process.check()
            for scene in self._scenes:
                if not scene.has_ended:
                    self._tell(scene, scene.look())
            self._draw()
            if time.monotonic() - self._started > limit_seconds:
                return
            time.sleep(LOOK_EVERY_SECONDS)

    def print_timelines(self) -> None:
        """Every instance's steps: when each began and ended, counted from the instance's creation, and its attempts."""
        for scene in self._scenes:
            status = scene.status
            if status is None:
                continue
            self._print(f"\n{scene.short_title}  {status.status}")
            shown = str(status.error).splitlines()[0] if status.error else repr(status.output)
            for line in textwrap.wrap(shown, COLUMNS - 4):
                self._print(f"    {line}")
            for step in status.steps:
                began = _span(status.created_at, step.started_at)
                ended = _span(status.created_at, step.ended_at)
                attempts = f", {step.attempts} attempts" if step.attempts > 1 else ""
                self._print(f"  {began:>8} -> {ended:>8}  {step.kind:5}  {step.name}: {step.status}{attempts}")

    def print_verdict(self) -> int:
        """Says which instances broke their promise; the exit status."""
        complaints = [(scene.title, complaint) for scene in self._scenes if (complaint := scene.complaint())]
        self._print("")
        for title, complaint in complaints:
            self._print(f"FAILED {title} {complaint}")
        kept = len(self._scenes) - len(complaints)
        self._print(f"{kept} of {len(self._scenes)} instances ended as promised, {self._elapsed():.1f} s")
        return 1 if complaints else 0

    def _tell(self, scene: Scene, changes: list[str]) -> None:
        if not changes:
            return
        self._latest[scene.title] = changes[-1]
        if not self._is_live:
            for change in changes:
                self._print(f"{self._elapsed():6.2f} s  {scene.short_title}  {change}")

    def _draw(self) -> None:
        if not self._is_live:
            return
        up = f"\x1b[{self._lines_drawn}A" if self._lines_drawn else ""
        width = max(len(scene.short_title) for scene in self._scenes)
        columns = shutil.get_terminal_size((COLUMNS, 24)).columns
        # A line that wraps would take two, and the next picture would not cover this one.
        lines = [f"{scene.short_title:{width}}  {self._latest[scene.title]}"[: columns - 1] for scene in self._scenes]
        self._output.write(up + "".join(f"\x1b[2K{line}\n" for line in lines))
        self._output.flush()
        self._lines_drawn = len(lines)

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _print(self, line: str) -> None:
        print(line, file=self._output, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; see this module's description."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description="Run all ten patterns.")
    parser.add_argument("--limit-seconds", type=float, default=60.0, help="give up after this long (default: 60)")
    parser.add_argument("--stay", action="store_true", help="show the dashboard at the end, until Ctrl-C")
    options = parser.parse_args(arguments)
    if options.stay and missing_extra():
        parser.error(EXTRA)
    # Imported here: a pattern that runs as the main program must not be loaded, and registered, a second time.
    from examples.app import PATTERNS, app

    demonstrations = [pattern.demonstrate for pattern in PATTERNS]
    return play(app, demonstrations, limit_seconds=options.limit_seconds, then=show if options.stay else None)


if __name__ == "__main__":
    raise SystemExit(main())

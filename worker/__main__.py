"""``python -m worker MODULE:APP``: a parent that keeps N worker processes alive.

There always is a parent: a process that had to give itself up is started again by it. SIGTERM drains all of them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import click
import redis

from workflows.address import URL_VARIABLES
from workflows.clock import monotonic
from workflows.doctor import boot_guard
from workflows.errors import ServerUnavailable, UnknownQueue, WorkflowError
from workflows.load import load_app
from workflows.logs import configure
from workflows.parent import end_with_parent, named, patiently
from workflows.store import connection, open_keyspace

# A process that dies sooner than this after its start is started again only after a pause, which doubles.
HEALTHY_SECONDS = 10.0
PAUSE_SECONDS = 0.2
PAUSE_SECONDS_MAX = 10.0
LOOK_SECONDS = 0.1
# A process that shows no sign of life for so many leases is killed: something holds the interpreter, so that it cannot
# even give itself up. Others have its work since the first of them.
SILENT_LEASES = 2


@click.command()
@click.argument("app")
@click.option("--redis-url", envvar=list(URL_VARIABLES), required=True, help="Where Redis is.")
@click.option("-q", "--queue", "queues", multiple=True, help="A queue to serve; repeatable. Default: all of the app's.")
@click.option("-c", "--concurrency", type=click.IntRange(1, 10_000), default=64, show_default=True)
@click.option("-p", "--processes", type=click.IntRange(1, 256), default=1, show_default=True)
@click.option("--grace", type=float, default=10.0, show_default=True, help="Seconds a drain waits for running steps.")
@click.option(
    "--lease",
    type=click.FloatRange(3, 3600),
    default=10.0,
    show_default=True,
    help="Seconds until a silent worker counts as dead.",
)
@click.option(
    "--warm",
    type=click.IntRange(0),
    default=10_000,
    show_default=True,
    envvar="WORKFLOWS_WARM",
    help="Suspended replays kept; 0 = every turn from scratch. Also WORKFLOWS_WARM.",
)
@click.option("--unsafe", is_flag=True, help="Start even if this Redis would lose data.")
@click.option("--log-level", default="INFO", show_default=True)
@click.option("--child", type=int, hidden=True, help="The parent's process id.")
@click.option("--pulse", type=int, hidden=True, help="Where the parent listens for signs of life.")
def main(
    app: str,
    redis_url: str,
    queues: tuple[str, ...],
    concurrency: int,
    processes: int,
    grace: float,
    lease: float,
    warm: int,
    unsafe: bool,
    log_level: str,
    child: int | None,
    pulse: int | None,
) -> None:
    """Run the steps and turns of APP (module:attribute)."""
    configure(log_level)
    if child is None:
        _check(app, redis_url, queues, unsafe)
        # To the children through the environment: it may hold a password, and everybody may read command lines.
        os.environ[URL_VARIABLES[0]] = redis_url
        command = [sys.executable, "-P", "-m", "worker", *_without_url(sys.argv[1:]), "--child", str(os.getpid())]
        raise SystemExit(Parent(command, processes, SILENT_LEASES * lease).run())
    from worker.engine import Settings
    from worker.worker import WorkflowWorker

    loaded = load_app(app)
    settings = Settings(
        queues=queues or tuple(loaded.queues),
        concurrency=concurrency,
        warm=warm,
        grace_seconds=grace,
        lease_ms=int(lease * 1000),
    )
    keys = patiently(lambda: open_keyspace(connection(redis_url), loaded.name), child, _say)
    WorkflowWorker(loaded, redis_url, keys, settings, parent=child, pulse=pulse).work()


def _check(app: str, redis_url: str, queues: tuple[str, ...], unsafe: bool) -> None:
    """Everything that would make each process fail, said once and in one line."""
    try:
        loaded = load_app(app)
        unknown = [queue for queue in queues if queue not in loaded.queues]
        if unknown:
            raise UnknownQueue(
                f"no queue {unknown[0]!r} in app {loaded.name!r}: it has {', '.join(loaded.queues)}. "
                f"Name it in App(queues=…)."
            )
        client = connection(redis_url)
        patiently(lambda: open_keyspace(client, loaded.name), named(), _say)
        boot_guard(client, unsafe=unsafe)
    except WorkflowError as error:
        raise click.ClickException(str(error)) from error
    except redis.RedisError as error:
        raise click.ClickException(str(ServerUnavailable(f"Redis refused: {error}"))) from error
    for finding in loaded.findings:
        click.echo(f"warning: {finding}", err=True)


def _without_url(arguments: list[str]) -> list[str]:
    kept: list[str] = []
    given = iter(arguments)
    for argument in given:
        if argument == "--redis-url":
            next(given, None)
        elif not argument.startswith("--redis-url="):
            kept.append(argument)
    return kept


def _say(text: str) -> None:
    click.echo(text, err=True)


class Parent:
    """Starts worker processes and starts them again when they die.

    Args:
        silence_seconds: how long a process may go without a sign of life before it is killed.
    """

    def __init__(self, command: list[str], processes: int, silence_seconds: float) -> None:
        self._command = command
        self._silence_seconds = silence_seconds
        self._pulses = [-1] * processes
        self._heard: list[float | None] = [None] * processes
        self._looked = monotonic()
        self._stop = threading.Event()
        # The order of a set of strings is visible in run(), and must be the same in every process that replays it.
        self._environment = {**os.environ, "PYTHONHASHSEED": "0"}
        self._children: list[subprocess.Popen[bytes] | None] = [None] * processes
        self._started = [0.0] * processes
        self._pauses = [0.0] * processes

    def run(self) -> int:
        """Until SIGTERM or SIGINT. Returns: 0, or 1 when a process had to be killed."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: self._stop.set())
        end_with_parent(self._stop.set)
        due = [0.0] * len(self._children)
        while not self._stop.is_set():
            now = monotonic()
            self._listen(now)
            for n, child in enumerate(self._children):
                if child is not None and child.poll() is not None:
                    healthy = now - self._started[n] > HEALTHY_SECONDS
                    self._pauses[n] = (
                        0.0 if healthy else min(PAUSE_SECONDS_MAX, max(PAUSE_SECONDS, 2 * self._pauses[n]))
                    )
                    click.echo(f"worker process {child.pid} ended with {child.returncode}, starting another", err=True)
                    self._children[n] = None
                    due[n] = now + self._pauses[n]
                if self._children[n] is None and now >= due[n]:
                    self._start(n)
                    self._started[n] = now
            self._stop.wait(LOOK_SECONDS)
        return self._drain()

    def _start(self, n: int) -> None:
        if self._pulses[n] >= 0:
            os.close(self._pulses[n])
        self._pulses[n], given = os.pipe()
        os.set_blocking(self._pulses[n], False)
        self._heard[n] = None
        # A session of its own: Ctrl-C reaches the parent, which drains the children.
        self._children[n] = subprocess.Popen(  # noqa: S603
            [*self._command, "--pulse", str(given)], start_new_session=True, env=self._environment, pass_fds=(given,)
        )
        os.close(given)

    def _listen(self, now: float) -> None:
        """Kill processes that have fallen silent; who has not said anything yet is still importing the app."""
        # After a pause of the whole machine nobody can have been heard.
        slept = now - self._looked > 10 * LOOK_SECONDS
        self._looked = now
        for n, child in enumerate(self._children):
            if child is None or child.poll() is not None:
                continue
            try:
                heard = bool(os.read(self._pulses[n], 4096))
            except BlockingIOError:
                heard = False
            last = self._heard[n]
            if heard or (slept and last is not None):
                self._heard[n] = now
            elif last is not None and now - last > self._silence_seconds:
                click.echo(f"worker process {child.pid} is silent since {now - last:.0f} s, killing it", err=True)
                child.kill()
                self._heard[n] = None

    def _drain(self) -> int:
        running = [child for child in self._children if child is not None]
        for child in running:
            child.terminate()
        killed = 0
        for child in running:
            try:
                child.wait(timeout=60)
            except subprocess.TimeoutExpired:
                child.kill()
                killed = 1
        return killed


if __name__ == "__main__":
    main(prog_name="worker")

"""``python -m worker MODULE:APP``: a parent that keeps N worker processes alive.

There always is a parent: a process that had to give itself up is started again by it. SIGTERM drains all of them.
"""

from __future__ import annotations

import os
import sys

# The order of a set of strings is visible in run(), and must be the same in every process that replays it. It is
# settled when an interpreter starts, and a parent has to have it too: some of its children are forks.
if __name__ == "__main__" and os.environ.get("PYTHONHASHSEED") != "0":
    os.environ["PYTHONHASHSEED"] = "0"
    os.execv(sys.executable, [sys.executable, "-P", "-m", "worker", *sys.argv[1:]])  # noqa: S606

from collections.abc import Collection

import click
import redis

from worker import alone as alone_process
from worker.launch import Launcher, is_forkable, open_files
from worker.parent import Parent
from worker.settings import Settings
from worker.worker import WorkflowWorker
from workflows import limits
from workflows.authoring.app import App
from workflows.authoring.logger import this_process
from workflows.errors import ServerUnavailable, UnknownQueue, WorkflowError
from workflows.health.server import boot_guard
from workflows.process import options
from workflows.process.load import load_app
from workflows.process.logs import Format, configure, configure_others, say
from workflows.process.parent import named, patiently
from workflows.storage import processes as registry
from workflows.storage.connection import URL_VARIABLES, connection
from workflows.storage.keys import Keyspace
from workflows.storage.manifest import Publication
from workflows.storage.outage import server_errors
from workflows.storage.store import Store, open_keyspace
from workflows.telemetry import metrics
from workflows.telemetry.endpoint import Endpoint
from workflows.telemetry.figures import figures
from workflows.telemetry.telling import Gathered
from workflows.telemetry.text import build_info, rendered

# A process that shows no sign of life for so many leases is killed: something holds the interpreter, so that it cannot
# even give itself up. Others have its work since the first of them.
SILENT_LEASES = 2
# A parent looks after its children, so it does not wait for Redis as long as they would. It has no threads, because it
# forks: nothing watches the Sentinels for it.
TELL_TIMEOUT_SECONDS = 2.0


@click.command()
@click.argument("app")
@click.option("--redis-url", envvar=list(URL_VARIABLES), required=True, help="Where Redis is.")
@click.option("-q", "--queue", "queues", multiple=True, help="A queue to serve; repeatable. Default: all of the app's.")
@click.option("-c", "--concurrency", type=options.CONCURRENCY, default=limits.CONCURRENCY, show_default=True)
@click.option("-p", "--processes", type=options.PROCESSES, default=1, show_default=True)
@click.option(
    "--grace",
    type=options.GRACE,
    default=10.0,
    show_default=True,
    help="Seconds a drain waits for running steps.",
)
@click.option(
    "--lease",
    type=options.LEASE,
    default=10.0,
    show_default=True,
    help="Seconds until a silent worker counts as dead.",
)
@click.option(
    "--warm",
    type=click.IntRange(0),
    default=limits.WARM,
    show_default=True,
    envvar="WORKFLOWS_WARM",
    help="Suspended replays kept; 0 = every turn from scratch. Also WORKFLOWS_WARM.",
)
@click.option("--unsafe", is_flag=True, help="Start even if this Redis would lose data.")
@click.option("--log-level", type=options.LOG_LEVEL, default="INFO", show_default=True)
@options.LOG_FORMAT
@options.METRICS_PORT
@options.METRICS_HOST
@click.option("--child", type=int, hidden=True, help="The parent's process id.")
@click.option("--pipe", type=int, hidden=True, help="The pipe to the parent.")
@click.option("--alone", help="The held member of a suspect to take over.", hidden=True)
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
    log_format: Format,
    metrics_port: int | None,
    metrics_host: str,
    child: int | None,
    pipe: int | None,
    alone: str | None,
) -> None:
    """Run the steps and turns of APP (module:attribute)."""
    configure(log_level, log_format)
    before = open_files()
    loaded = _loaded(app, queues)
    this_process(namespace=loaded.name)
    configure_others(log_level, log_format)
    is_fit_to_fork = is_forkable(before)
    settings = Settings(
        queues=queues or tuple(loaded.queues),
        concurrency=concurrency,
        warm=warm,
        grace_seconds=grace,
        lease_ms=int(lease * 1000),
    )
    keys = _keys(redis_url, loaded.name, named() if child is None else child, unsafe=unsafe or child is not None)

    def run_alone(member: str, parent: int, pipe: int) -> int:
        if endpoint is not None:
            endpoint.close()  # in a fork it would be the parent's
        return alone_process.run(
            loaded, redis_url, keys, settings, member, parent=parent, pipe=pipe, telling=metrics_port is not None
        )

    endpoint: Endpoint | None = None
    if child is None:
        _warn(loaded)
        try:
            _publish(redis_url, keys, loaded)
        except WorkflowError as error:
            raise click.ClickException(str(error)) from error
        # To the children through the environment: it may hold a password, and everybody may read command lines.
        os.environ[URL_VARIABLES[0]] = redis_url
        timeouts = {"socket_timeout": TELL_TIMEOUT_SECONDS, "socket_connect_timeout": TELL_TIMEOUT_SECONDS}
        tell_store = Store(connection(redis_url, watching=False, **timeouts), keys)

        def tell(pids: Collection[int]) -> None:
            registry.bury_gone(tell_store, pids)

        gathered = Gathered(figures)
        if metrics_port is not None:
            build = build_info(loaded.version)
            shown = metrics.of("worker")
            endpoint = Endpoint(metrics_host, metrics_port, lambda: rendered(shown, {**gathered.values(), **build}))
        parent = Parent(
            Launcher(_without_url(sys.argv[1:]), run_alone if is_fit_to_fork else None),
            processes,
            silence_seconds=SILENT_LEASES * lease,
            grace_seconds=grace,
            tell=tell,
            gathered=gathered,
            endpoint=endpoint,
        )
        raise SystemExit(parent.run())
    if alone is not None and pipe is not None:
        os._exit(run_alone(alone, child, pipe))
    telling = metrics_port is not None
    WorkflowWorker(loaded, redis_url, keys, settings, parent=child, pipe=pipe, telling=telling).work()


def _loaded(app: str, queues: tuple[str, ...]) -> App:
    """The app; what is wrong with it or its queues is said in one line."""
    try:
        loaded = load_app(app)
        unknown = [queue for queue in queues if queue not in loaded.queues]
        if unknown:
            raise UnknownQueue(
                f"no queue {unknown[0]!r} in app {loaded.name!r}: it has {', '.join(loaded.queues)}. "
                f"Name it in App(queues=…)."
            )
    except WorkflowError as error:
        raise click.ClickException(str(error)) from error
    return loaded


def _warn(loaded: App) -> None:
    for finding in loaded.findings:
        say(f"warning: {finding}")


def _keys(redis_url: str, namespace: str, parent: int | None, *, unsafe: bool) -> Keyspace:
    """The namespace's keys, on a Redis that is fit to keep them; what is wrong is said in one line."""
    try:
        with connection(redis_url, watching=False) as client:
            keys = patiently(lambda: open_keyspace(client, namespace), parent, say)
            boot_guard(client, unsafe=unsafe)
    except WorkflowError as error:
        raise click.ClickException(str(error)) from error
    except redis.RedisError as error:
        raise click.ClickException(str(ServerUnavailable(f"Redis refused: {error}"))) from error
    return keys


def _publish(redis_url: str, keys: Keyspace, loaded: App) -> None:
    """Here, and not in the processes: one that is started again may run code that is older than what is deployed."""
    with connection(redis_url, watching=False) as client, server_errors(client):
        said = Publication(loaded).publish(Store(client, keys), "start")
    if said is not None:
        say(said)


def _without_url(arguments: list[str]) -> list[str]:
    kept: list[str] = []
    given = iter(arguments)
    for argument in given:
        if argument == "--redis-url":
            next(given, None)
        elif not argument.startswith("--redis-url="):
            kept.append(argument)
    return kept


if __name__ == "__main__":
    main(prog_name="worker")

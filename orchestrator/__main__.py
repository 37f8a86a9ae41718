"""``python -m orchestrator``: one orchestrator process; start as many as you like."""

from __future__ import annotations

import signal
from collections.abc import Callable

import click
import redis

from orchestrator.loop import Orchestrator
from workflows.authoring.logger import this_process
from workflows.errors import ServerUnavailable, WorkflowError
from workflows.health.server import boot_guard
from workflows.process import options
from workflows.process.logs import Format, configure, say
from workflows.process.parent import end_with_parent, named, patiently
from workflows.storage.connection import URL_VARIABLES, connection
from workflows.storage.store import Store, open_keyspace
from workflows.telemetry import metrics
from workflows.telemetry.endpoint import Endpoint
from workflows.telemetry.figures import figures
from workflows.telemetry.state import state_values
from workflows.telemetry.text import build_info, rendered


@click.command()
@click.option("--redis-url", envvar=list(URL_VARIABLES), required=True, help="Where Redis is.")
@click.option("--namespace", envvar="WORKFLOWS_NAMESPACE", required=True, help="The app's name.")
@click.option("--shards", type=options.SHARDS, help="Number of shards; fixed at the first use of the namespace.")
@click.option("--unsafe", is_flag=True, help="Start even if this Redis would lose data.")
@click.option("--log-level", type=options.LOG_LEVEL, default="INFO", show_default=True)
@options.LOG_FORMAT
@options.METRICS_PORT
@options.METRICS_HOST
def main(
    redis_url: str,
    namespace: str,
    shards: int | None,
    unsafe: bool,
    log_level: str,
    log_format: Format,
    metrics_port: int | None,
    metrics_host: str,
) -> None:
    """Hand out steps and turns, fire timers, reap dead workers. Holds no user code."""
    configure(log_level, log_format)
    this_process(namespace=namespace)

    def begin() -> Store:
        client = connection(redis_url)
        keys = open_keyspace(client, namespace, shards)
        boot_guard(client, unsafe=unsafe)
        return Store(client, keys, hot=True)

    try:
        store = patiently(begin, named(), say)
    except WorkflowError as error:
        raise click.ClickException(str(error)) from error
    except redis.RedisError as error:
        raise click.ClickException(str(ServerUnavailable(f"Redis refused: {error}"))) from error
    orchestrator = Orchestrator(store)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: orchestrator.stop())
    end_with_parent(orchestrator.stop)
    if metrics_port is not None:
        _serve(store, metrics_host, metrics_port, orchestrator.is_stopped)
    say(f"orchestrator {orchestrator.name} for namespace {namespace}")
    orchestrator.run()


def _serve(store: Store, host: str, port: int, stop: Callable[[], bool]) -> None:
    reader = Store(store.redis, store.keys)  # connections of its own, from the same pool
    build, shown = build_info(""), [*metrics.of("orchestrator"), *metrics.of("state")]

    def text() -> str:
        return rendered(shown, {**figures.read(), **state_values(reader), **build})

    Endpoint(host, port, text).start(stop)


if __name__ == "__main__":
    main(prog_name="orchestrator")

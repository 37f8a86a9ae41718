"""Verbs that start processes, or say what a process would: ``dev``, ``orchestrator``, ``worker``, ``register``.

Orchestrators and workers are programs of their own (``python -m orchestrator``), which the command line becomes: the
library knows neither of them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import click
from click.core import ParameterSource

from workflows.authoring.app import App
from workflows.cli.frame import CommandSettings, Verb, json_option, pass_settings
from workflows.cli.showing import reply, shown
from workflows.client import Client
from workflows.process import options as option_types
from workflows.storage.connection import URL_VARIABLES
from workflows.storage.manifest import publish_manifest
from workflows.storage.outage import server_errors


@click.command(cls=Verb, short_help="Run everything for APP in this terminal.")
@click.argument("app", required=False)
@click.option(
    "-p",
    "--processes",
    type=option_types.PROCESSES,
    default=1,
    show_default=True,
    help="Worker processes.",
)
@click.option("-c", "--concurrency", type=option_types.CONCURRENCY, help="Steps at a time per worker process.")
@click.option("--no-ui", is_flag=True, help="Without the dashboard.")
@json_option
@pass_settings
def dev(
    settings: CommandSettings, app: str | None, processes: int, concurrency: int | None, no_ui: bool, as_json: bool
) -> None:
    """Run Redis, an orchestrator, workers and the dashboard for APP in this terminal."""
    # A composition root: importing the command line must not pull it in.
    from workflows.dev.run import run

    target = settings.target(app)
    loaded = settings.load(target)

    def say(line: str) -> None:
        click.echo(json.dumps({"line": line}) if as_json else shown(line))

    say(f"workflows of {loaded.name}: {', '.join(_names(loaded)) or 'none'}")
    raise click.exceptions.Exit(
        run(
            target,
            loaded,
            url=settings.redis_url,
            processes=processes,
            concurrency=concurrency,
            with_ui=not no_ui,
            say=say,
        )
    )


@click.command(cls=Verb)
@click.option("--shards", type=option_types.SHARDS, help="Number of shards; fixed at first use of the namespace.")
@click.option("--unsafe", is_flag=True, help="Start even if this Redis would lose data.")
@click.option("--log-level", type=option_types.LOG_LEVEL, help="How much is logged. Default: INFO.")
@option_types.LOG_FORMAT
@option_types.METRICS_PORT
@option_types.METRICS_HOST
@json_option
@pass_settings
def orchestrator(settings: CommandSettings, /, unsafe: bool, as_json: bool, **options: Any) -> None:
    """Run an orchestrator; start as many as you like."""
    del as_json  # Its log lines are events already.
    namespace = settings.namespace or settings.load().name
    arguments = ["--namespace", namespace]
    arguments += ["--unsafe"] if unsafe else []
    arguments += _given(options)
    _become(settings, "orchestrator", arguments)


@click.command(cls=Verb)
@click.argument("app", required=False)
@click.option("-q", "--queue", "queues", multiple=True, help="A queue to serve; repeatable. Default: all of the app's.")
@click.option("-c", "--concurrency", type=option_types.CONCURRENCY, help="Steps at a time per process.")
@click.option("-p", "--processes", type=option_types.PROCESSES, help="Processes.")
@click.option("--grace", type=option_types.GRACE, help="Seconds a drain waits for running steps.")
@click.option("--lease", type=option_types.LEASE, help="Seconds until a silent worker counts as dead.")
@click.option("--warm", type=click.IntRange(0), help="Suspended replays kept; 0 keeps none.")
@click.option("--unsafe", is_flag=True, help="Start even if this Redis would lose data.")
@click.option("--log-level", type=option_types.LOG_LEVEL, help="How much is logged. Default: INFO.")
@option_types.LOG_FORMAT
@option_types.METRICS_PORT
@option_types.METRICS_HOST
@json_option
@pass_settings
def worker(
    settings: CommandSettings, /, app: str | None, queues: tuple[str, ...], unsafe: bool, as_json: bool, **options: Any
) -> None:
    """Run workers for APP."""
    del as_json  # Its log lines are events already.
    arguments = [settings.target(app)]
    for queue in queues:
        arguments += ["-q", queue]
    arguments += ["--unsafe"] if unsafe else []
    arguments += _given(options)
    _become(settings, "worker", arguments)


def _given(options: Mapping[str, Any]) -> list[str]:
    """What stands on the command line: the program reads its own defaults and variables."""
    source = click.get_current_context().get_parameter_source
    given: list[str] = []
    for name, value in options.items():
        if source(name) is ParameterSource.COMMANDLINE:
            given += [f"--{name.replace('_', '-')}", str(value)]
    return given


def _become(settings: CommandSettings, module: str, arguments: Sequence[str]) -> None:
    # The URL may hold a password, and command lines are there for everybody to read.
    os.environ[URL_VARIABLES[0]] = settings.url()
    sys.stdout.flush()
    sys.stderr.flush()
    # -P: a file of the user's named like one of our packages must not shadow it.
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, *arguments])  # noqa: S606


@click.command(cls=Verb)
@click.argument("app", required=False)
@json_option
@pass_settings
def register(settings: CommandSettings, app: str | None, as_json: bool) -> None:
    """Publish what APP contains, without starting a worker."""
    loaded = settings.load(app)
    with closing(Client(loaded, settings.url())) as client:
        store = client.store
        with server_errors(store.redis):
            publish_manifest(store, loaded)
    names = _names(loaded)
    reply(
        as_json, {"app": loaded.name, "workflows": names}, f"registered {loaded.name}: {', '.join(names) or 'nothing'}"
    )


def _names(app: App) -> list[str]:
    return sorted(name for name, definition in app.definitions.items() if not definition.hidden)

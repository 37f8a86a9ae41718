"""``workflows``: the verbs of the client on a command line, and the processes.

Every error is one line on standard error and exit code 1, or 2 when the command itself was wrong; ``--debug`` shows the
traceback. Whatever comes out of Redis is shown with control characters escaped: a step's name or an error's text was
written by somebody else and must not move the reader's cursor.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NoReturn

import click
import redis

from workflows.authoring.app import App
from workflows.client import Client, LazySteps, WorkflowHandle, WorkflowInstance
from workflows.client.history import ErrorInfo, StepStatus, jsonable
from workflows.client.requests import LIST_LIMIT, InstanceStatus
from workflows.errors import ConfigError, InstanceNotFound, WorkflowError
from workflows.health import namespace, server
from workflows.process import options as option_types
from workflows.process.load import load_app
from workflows.storage import dev_state
from workflows.storage.connection import URL_VARIABLES
from workflows.storage.manifest import KnownWorkflow, Manifest, load_manifest, publish_manifest, read_manifest
from workflows.storage.outage import server_errors
from workflows.storage.status import FINAL, Status
from workflows.storage.store import connection
from workflows.values import names
from workflows.values.durations import format_ms, parse_ms
from workflows.values.failure import capture

LATEST: Final = "latest"
FOLLOW_SECONDS: Final = 0.3
TRUNCATE: Final = 5000
NO_APP: Final = "(in no registered app)"
_WAYS: Final = 'module:app as --app, or [tool.workflows] app = "module:app" in pyproject.toml,'


# Frame ---------------------------------------------------------------------------------------------------------------


@dataclass
class Settings:
    """The options in front of the command or behind its name."""

    redis_url: str | None
    namespace: str | None
    app: str | None
    debug: bool

    def url(self) -> str:
        found = self.redis_url or self._running("url")
        if found is None:
            raise ConfigError(
                f"no Redis URL: give --redis-url, set {' or '.join(URL_VARIABLES)}, or run `workflows dev`"
            )
        return found

    def load(self, argument: str | None = None) -> App:
        """The app's code."""
        target = self.target(argument)
        try:
            return load_app(target)
        except (WorkflowError, click.ClickException):
            raise
        except Exception as error:
            # The user's own module failed while it was imported.
            if self.debug:
                raise
            text = f"loading the app failed: {type(error).__name__}: {error} (--debug shows where)"
            raise click.ClickException(text) from error

    def client(self) -> Client:
        """A client with the app's code when it was named, else with the namespace."""
        url = self.url()
        if self.app is None and self.namespace is not None:
            return Client(self.namespace, url)
        if self.app is not None or _project_app() is not None:
            return Client(self.load(), url)
        running = self._running("namespace")
        if running is None:
            raise ConfigError(f"which app? Give {_WAYS} or --namespace NAME, or set WORKFLOWS_NAMESPACE")
        return Client(running, url)

    def target(self, argument: str | None) -> str:
        """The app as ``module:attribute``."""
        found = argument or self.app or _project_app()
        if found is None:
            raise ConfigError(f"which app? Give {_WAYS[:-1]}")
        return found

    @property
    def names_app(self) -> bool:
        """Whether ``client`` would find one."""
        return bool(self.namespace or self.app or _project_app() or self._running("namespace"))

    def _running(self, field: str) -> str | None:
        running = dev_state.find_running(Path())
        return None if running is None else str(getattr(running, field))


def _project_app() -> str | None:
    """What ``[tool.workflows] app`` of this folder's ``pyproject.toml`` says."""
    try:
        found = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]["workflows"]["app"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def _remember(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value and parameter.name is not None:
        setattr(ctx.find_object(Settings), parameter.name, value)


class Verb(click.Command):
    """A command that takes the options of the group behind its name as well."""

    def __init__(self, name: str | None, *, params: list[click.Parameter] | None = None, **extra: Any) -> None:
        common: list[click.Parameter] = [
            click.Option(["--redis-url"], expose_value=False, callback=_remember, help="Where Redis is."),
            click.Option(["--namespace"], expose_value=False, callback=_remember, help="The app's name."),
            click.Option(["--app"], expose_value=False, callback=_remember, help="The app, as module:attribute."),
            click.Option(["--debug"], is_flag=True, expose_value=False, callback=_remember, help="Show tracebacks."),
        ]
        own = params or []
        taken = {parameter.name for parameter in own}
        super().__init__(name, params=[*own, *(one for one in common if one.name not in taken)], **extra)


class Commands(click.Group):
    """A group whose errors are one line."""

    command_class = Verb
    group_class = type

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.exceptions.Abort:
            _fail("interrupted", 130)
        except click.UsageError as error:
            if error.ctx is not None and error.format_message() == error.ctx.get_help():
                # A group without a verb, which click answers with its help.
                click.echo(error.ctx.get_help(), err=True)
                sys.exit(2)
            hint = f" (try: {error.ctx.command_path} --help)" if error.ctx is not None else ""
            _fail(error.format_message() + hint, 2)
        except click.ClickException as error:
            _fail(error.format_message(), error.exit_code)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader has had enough; Python would complain once more at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(0) from None
        except (WorkflowError, redis.RedisError) as error:
            if isinstance(ctx.obj, Settings) and ctx.obj.debug:
                raise
            raise click.ClickException(str(error)) from error


def _fail(text: str, code: int) -> NoReturn:
    click.echo(f"workflows: {shown(text, lines=True)}", err=True)
    sys.exit(code)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--redis-url", envvar=list(URL_VARIABLES), help="Where Redis is. Default: WORKFLOWS_REDIS_URL, REDIS_URL."
)
@click.option("--namespace", envvar="WORKFLOWS_NAMESPACE", help="The app's name, to do without its code.")
@click.option("--app", help='The app, as module:attribute. Default: [tool.workflows] app = "…" of pyproject.toml.')
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(package_name="rq-workflows", message="%(version)s")
@click.pass_context
def cli(ctx: click.Context, redis_url: str | None, namespace: str | None, app: str | None, debug: bool) -> None:
    """Durable workflows on Redis and RQ."""
    ctx.obj = Settings(redis_url, namespace, app, debug)


def main() -> None:
    """Entry point of the ``workflows`` command."""
    cli(prog_name="workflows")


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
pass_settings = click.make_pass_decorator(Settings)


# Processes -----------------------------------------------------------------------------------------------------------


@cli.command("dev", short_help="Run everything for APP in this terminal.")
@click.argument("app", required=False)
@click.option("-p", "--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes.")
@click.option("-c", "--concurrency", type=click.IntRange(1, 10_000), help="Steps at a time per worker process.")
@json_option
@pass_settings
def dev_command(settings: Settings, app: str | None, processes: int, concurrency: int | None, as_json: bool) -> None:
    """Run Redis, an orchestrator and workers for APP in this terminal."""
    # A composition root: importing the command line must not pull it in.
    from workflows.dev.run import run

    target = settings.target(app)
    loaded = settings.load(target)

    def say(line: str) -> None:
        click.echo(json.dumps({"line": line}) if as_json else shown(line))

    say(f"workflows of {loaded.name}: {', '.join(_names(loaded)) or 'none'}")
    raise click.exceptions.Exit(
        run(target, loaded, url=settings.redis_url, processes=processes, concurrency=concurrency, say=say)
    )


@cli.command()
@click.option("--shards", type=option_types.SHARDS, help="Number of shards; fixed at first use of the namespace.")
@click.option("--unsafe", is_flag=True, help="Start even if this Redis would lose data.")
@click.option("--log-level", type=option_types.LOG_LEVEL, help="How much is logged. Default: INFO.")
@json_option
@pass_settings
def orchestrator(settings: Settings, shards: int | None, unsafe: bool, log_level: str | None, as_json: bool) -> None:
    """Run an orchestrator; start as many as you like."""
    del as_json  # Its log lines are events already.
    namespace = settings.namespace or settings.load().name
    arguments = ["--namespace", namespace]
    arguments += [] if shards is None else ["--shards", str(shards)]
    arguments += ["--unsafe"] if unsafe else []
    arguments += [] if log_level is None else ["--log-level", log_level]
    _become(settings, "orchestrator", arguments)


@cli.command()
@click.argument("app", required=False)
@click.option("-q", "--queue", "queues", multiple=True, help="A queue to serve; repeatable. Default: all of the app's.")
@click.option("-c", "--concurrency", type=click.IntRange(1, 10_000), help="Steps at a time per process.")
@click.option("-p", "--processes", type=click.IntRange(1, 256), help="Processes.")
@click.option("--grace", type=option_types.GRACE, help="Seconds a drain waits for running steps.")
@click.option("--lease", type=option_types.LEASE, help="Seconds until a silent worker counts as dead.")
@click.option("--warm", type=click.IntRange(0), help="Suspended replays kept; 0 keeps none.")
@click.option("--unsafe", is_flag=True, help="Start even if this Redis would lose data.")
@click.option("--log-level", type=option_types.LOG_LEVEL, help="How much is logged. Default: INFO.")
@json_option
@pass_settings
def worker(
    settings: Settings, /, app: str | None, queues: tuple[str, ...], unsafe: bool, as_json: bool, **options: Any
) -> None:
    """Run workers for APP."""
    del as_json  # Its log lines are events already.
    arguments = [settings.target(app)]
    for queue in queues:
        arguments += ["-q", queue]
    arguments += ["--unsafe"] if unsafe else []
    for name, value in options.items():
        arguments += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    _become(settings, "worker", arguments)


def _become(settings: Settings, module: str, arguments: Sequence[str]) -> None:
    # The URL may hold a password, and command lines are there for everybody to read.
    os.environ[URL_VARIABLES[0]] = settings.url()
    sys.stdout.flush()
    sys.stderr.flush()
    # -P: a file of the user's named like one of our packages must not shadow it.
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, *arguments])  # noqa: S606


@cli.command()
@click.argument("app", required=False)
@json_option
@pass_settings
def register(settings: Settings, app: str | None, as_json: bool) -> None:
    """Publish what APP contains, without starting a worker."""
    loaded = settings.load(app)
    with closing(Client(loaded, settings.url())) as client:
        store = client.store
        with server_errors(store.redis):
            publish_manifest(store, loaded)
    names = _names(loaded)
    _print(
        as_json, {"app": loaded.name, "workflows": names}, f"registered {loaded.name}: {', '.join(names) or 'nothing'}"
    )


# Workflows -----------------------------------------------------------------------------------------------------------


@cli.command()
@click.argument("name")
@click.argument("params", required=False)
@click.option("--id", help="Instance id. Default: a random one.")
@click.option("--retention", help='How long it stays readable after its end, such as "7 days".')
@click.option("--wait", is_flag=True, help="Wait for its end and print its output.")
@click.option("--timeout", help='Longest wait, such as "5 minutes".')
@json_option
@pass_settings
def trigger(
    settings: Settings,
    name: str,
    params: str | None,
    id: str | None,
    retention: str | None,
    wait: bool,
    timeout: str | None,
    as_json: bool,
) -> None:
    """Create an instance of NAME. PARAMS is JSON."""
    value = _json_argument(params, "PARAMS")
    if timeout is not None:
        if not wait:
            raise click.UsageError("--timeout says how long --wait waits: give both, or neither")
        parse_ms(timeout, what="--timeout")  # before anything is created
    with closing(settings.client()) as client:
        instance = client.workflow(name).create(id, value, retention)
        about = {"workflow": instance.workflow, "id": instance.id}
        if not wait:
            _print(as_json, {**about, "status": str(Status.QUEUED)}, instance.id)
            return
        click.echo(f"{instance.workflow}/{instance.id}", err=True)
        output = jsonable(_result(settings, instance, timeout))
        _print(as_json, {**about, "status": str(Status.COMPLETE), "output": output}, _pretty(output))


def _result(settings: Settings, instance: WorkflowInstance, timeout: str | None) -> Any:
    """Its output; whatever came instead names the instance, whose id may be a made-up one."""
    try:
        return instance.result(timeout)
    except Exception as error:
        if settings.debug:
            raise
        name = f"{instance.workflow}/{instance.id}"
        if hasattr(error, "remote_traceback"):  # run() raised it; anything of any class
            raised = ErrorInfo.from_blob(capture(error))
            raise click.ClickException(f"{name} errored: {raised}") from error
        if not isinstance(error, WorkflowError | redis.RedisError):
            raise
        raise click.ClickException(f"{name}: {error}") from error


@cli.command("list")
@json_option
@pass_settings
def list_workflows(settings: Settings, as_json: bool) -> None:
    """List the workflows."""
    with closing(settings.client()) as client:
        manifest = _manifest(client)
        known = [manifest.workflows[name] for name in manifest.names()]
        with server_errors(client.store.redis):
            registered = load_manifest(client.store)
            orphans = sorted({*namespace.orphans(client.store, registered)} - {*manifest.workflows})
    if as_json:
        described = [_described(one) for one in known] + [{"name": name, "app": None} for name in orphans]
        click.echo(json.dumps(described, indent=2))
        return
    rows = [(one.name, one.app, one.queue, ", ".join(one.schedules)) for one in known]
    rows += [(name, NO_APP, "", "") for name in orphans]
    _table(("WORKFLOW", "APP", "QUEUE", "SCHEDULES"), rows, empty="no workflows are registered")


@cli.command()
@click.argument("name")
@json_option
@pass_settings
def describe(settings: Settings, name: str, as_json: bool) -> None:
    """Describe a workflow and count its instances."""
    with closing(settings.client()) as client:
        manifest = _manifest(client)
        with server_errors(client.store.redis):
            counts = namespace.count_instances(client.store, names.check_workflow_name(name))
        # What no app has any more is described by what there is of it.
        known = manifest.workflows.get(name) if any(counts.values()) else manifest.workflow(name)
    if known is None:
        about = {"name": name, "app": None, "instances": counts}
        lines = [("Workflow", name), ("App", NO_APP), ("Instances", _counted(counts))]
        click.echo(json.dumps(about, indent=2)) if as_json else _fields(lines)
        return
    channel = client.store.events_channel
    about = {**_described(known), "instances": counts, "events_channel": channel}
    if as_json:
        click.echo(json.dumps(about, indent=2))
        return
    lines = [
        ("Workflow", known.name),
        ("App", known.app),
        ("Queue", known.queue),
        ("Schedules", ", ".join(known.schedules)),
        ("Retention", f"{format_ms(known.retention_success_ms)}, after errors {format_ms(known.retention_error_ms)}"),
        ("Instances", _counted(counts)),
        ("Channel", f"PUBLISH {channel}"),
    ]
    _fields(lines)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "none"


def _described(known: KnownWorkflow) -> dict[str, Any]:
    return {
        "name": known.name,
        "app": known.app,
        "queue": known.queue,
        "schedules": list(known.schedules),
        "retention": {"success_ms": known.retention_success_ms, "error_ms": known.retention_error_ms},
        "limits": known.description.get("limits"),
    }


def _manifest(client: Client) -> Manifest:
    store = client.store  # first: a list made without a server that does not answer would tell a lie
    if client.app is not None:
        return read_manifest({client.app.name.encode(): json.dumps(client.app.manifest()).encode()})
    with server_errors(store.redis):
        return load_manifest(store)


def _names(app: App) -> list[str]:
    return sorted(name for name, definition in app.definitions.items() if not definition.hidden)


# Instances -----------------------------------------------------------------------------------------------------------


@cli.group()
def instances() -> None:
    """Look at instances and steer them. An ID may be "latest": the newest one."""


@instances.command("list")
@click.argument("name")
@click.option("--status", "statuses", multiple=True, type=click.Choice([str(status) for status in Status]))
@click.option("--reverse", is_flag=True, help="Oldest first.")
@click.option("--limit", type=click.IntRange(1, 1000), default=LIST_LIMIT, show_default=True)
@click.option("--cursor", help="Go on after the page before; it named the cursor.")
@json_option
@pass_settings
def list_instances(
    settings: Settings,
    name: str,
    statuses: tuple[str, ...],
    reverse: bool,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """List the instances of NAME, newest first."""
    with closing(settings.client()) as client:
        page = client.workflow(name).list(statuses or None, limit, cursor, oldest_first=reverse)
        if not page and not statuses and cursor is None:
            _manifest(client).workflow(name)  # nothing at all: a slip of the pen, more often than not
    if as_json:
        found = [{"id": one.id, "status": str(one.status), "created_at": one.created_at.isoformat()} for one in page]
        click.echo(json.dumps({"instances": found, "cursor": page.cursor}, indent=2))
        return
    _table(("ID", "STATUS", "CREATED"), [(one.id, one.status, _moment(one.created_at)) for one in page], empty="none")
    if page.cursor is not None:
        click.echo(f"more: --cursor {page.cursor}")


@instances.command("describe")
@click.argument("name")
@click.argument("id", default=LATEST)
@click.option("--step-output/--no-step-output", default=True, show_default=True)
@click.option(
    "--truncate-output-limit", type=click.IntRange(0), default=TRUNCATE, show_default=True, help="Characters."
)
@click.option("--follow", is_flag=True, help="Show what happens until its end.")
@json_option
@pass_settings
def describe_instance(
    settings: Settings,
    name: str,
    id: str,
    step_output: bool,
    truncate_output_limit: int,
    follow: bool,
    as_json: bool,
) -> None:
    """Describe an instance with its steps."""
    with closing(settings.client()) as client:
        instance = _find(client, name, id)
        status = _followed(instance, as_json) if follow else instance.status()
        if as_json:
            click.echo(json.dumps(status.as_dict(outputs=step_output), indent=None if follow else 2))
        else:
            _show_status(status, step_output, truncate_output_limit)


@instances.command("send-event")
@click.argument("name")
@click.argument("id")
@click.option("--type", required=True, help="What the workflow waits for.")
@click.option("--payload", default="{}", show_default=True, help="JSON.")
@click.option("--event-id", help="The same event id is accepted once.")
@json_option
@pass_settings
def send_event(
    settings: Settings, name: str, id: str, type: str, payload: str, event_id: str | None, as_json: bool
) -> None:
    """Send an event to an instance."""
    value = _json_argument(payload, "--payload")
    with closing(settings.client()) as client:
        instance = _find(client, name, id)
        answer = instance.send_event(type, value, id=event_id)
    _print(as_json, {"workflow": name, "id": instance.id, "type": type, "answer": answer}, answer)


@cli.command()
@click.argument("name")
@click.argument("id")
@click.argument("type")
@click.argument("payload", required=False)
@click.option("--event-id", help="The same event id is accepted once.")
@json_option
@pass_settings
def publish(
    settings: Settings, name: str, id: str, type: str, payload: str | None, event_id: str | None, as_json: bool
) -> None:
    """Send an event durably. PAYLOAD is JSON. Says delivered, buffered or no such instance (exit code 1)."""
    value = _json_argument(payload, "PAYLOAD")
    names.check_event_type(type)
    with closing(settings.client()) as client:
        try:
            instance = _find(client, name, id)
            answer = instance.send_event(type, value, id=event_id)
            id = instance.id
        except InstanceNotFound:
            answer = "no such instance"
    _print(as_json, {"workflow": name, "id": id, "type": type, "answer": answer}, answer)
    if answer == "no such instance":
        raise click.exceptions.Exit(1)


def _steering(verb: str, help: str, act: Callable[[WorkflowInstance], None], idle: Mapping[Status, str]) -> None:
    """A verb that moves an instance; ``idle`` says in which statuses it changes nothing, and why."""

    @instances.command(verb, help=help)
    @click.argument("name")
    @click.argument("id")
    @json_option
    @pass_settings
    def command(settings: Settings, name: str, id: str, as_json: bool) -> None:
        with closing(settings.client()) as client:
            instance = _find(client, name, id)
            before = instance.status().status
            act(instance)
            status = instance.status().status
        about = {"workflow": name, "id": instance.id, "status": str(status)}
        nothing = f" ({idle[before]}, so nothing happened)" if before in idle and status is before else ""
        _print(as_json, about, f"{name}/{instance.id}: {status}{nothing}")


_ENDED: Final = dict.fromkeys(FINAL, "it has ended")
_PAUSED: Final = dict.fromkeys((Status.PAUSED, Status.WAITING_FOR_PAUSE), "it was paused already")
_GOING: Final = dict.fromkeys((Status.QUEUED, Status.RUNNING, Status.WAITING), "it was not paused")

_steering("pause", "Pause an instance; attempts in flight finish.", WorkflowInstance.pause, _ENDED | _PAUSED)
_steering("resume", "Let a paused instance go on.", WorkflowInstance.resume, _ENDED | _GOING)
_steering("terminate", "End an instance now.", WorkflowInstance.terminate, {})
_steering("restart", "Start an instance over.", WorkflowInstance.restart, {})


@instances.command("delete")
@click.argument("name")
@click.argument("ids", nargs=-1, required=True)
@json_option
@pass_settings
def delete(settings: Settings, name: str, ids: tuple[str, ...], as_json: bool) -> None:
    """Remove instances with everything they stored."""
    deleted, missing = [], []
    with closing(settings.client()) as client:
        for id in dict.fromkeys(ids):
            try:
                instance = _find(client, name, id)
                instance.delete()
                deleted.append(instance.id)
            except InstanceNotFound:
                missing.append(id)
    if as_json:
        click.echo(json.dumps({"deleted": deleted, "not_found": missing}))
    else:
        for id in deleted:
            click.echo(f"{name}/{id}: deleted")
    if missing:
        raise click.ClickException(f"no such instance: {', '.join(missing)}")


def _find(client: Client, name: str, id: str) -> WorkflowInstance:
    """An instance, of whatever workflow; where there is none, the workflow is looked for as well."""
    handle = client.workflow(name)
    try:
        return _found(handle, id)
    except InstanceNotFound:
        _manifest(client).workflow(handle.name)
        raise


def _found(handle: WorkflowHandle, id: str) -> WorkflowInstance:
    if id != LATEST:
        return handle.get(id)
    newest = handle.list(limit=1)
    if not newest:
        raise InstanceNotFound(f"workflow {handle.name} has no instances")
    return handle.get(newest[0].id)


# Doctor --------------------------------------------------------------------------------------------------------------


@cli.command("doctor", short_help="Say what is wrong, and what to do about it.")
@json_option
@pass_settings
def doctor_command(settings: Settings, as_json: bool) -> None:
    """Say whether Redis is fit, who is at work, and what stands in the way. Exit code 1 on errors."""
    url = settings.url()
    with closing(connection(url)) as client, server_errors(client):
        findings = server.check_server(client)
    about: dict[str, Any] = {}
    if settings.names_app:
        with closing(settings.client()) as workflows:
            store = workflows.store
            with server_errors(store.redis):
                report = namespace.report(store)
        findings += report.findings()
        about = dataclasses.asdict(report)
    if as_json:
        listed = [{"level": one.level, "message": one.message} for one in findings]
        click.echo(json.dumps({"findings": listed, "namespace": about or None}, indent=2))
    else:
        for one in findings:
            click.echo(f"{one.level:<8} {_line(one.message)}")
        if not settings.names_app:
            click.echo("(give --app or --namespace to look at its instances too)")
    if any(one.level == "error" for one in findings):
        raise click.exceptions.Exit(1)


# Showing -------------------------------------------------------------------------------------------------------------


def shown(text: str, *, lines: bool = False) -> str:
    """Text with everything escaped that is not plainly printable; ``lines`` leaves line breaks."""
    return "".join(
        one if one.isprintable() or (lines and one == "\n") else one.encode("unicode_escape").decode() for one in text
    )


def _line(text: str) -> str:
    """Text of one line or more as one."""
    return shown(re.sub(r"\s*\n\s*", " ", text.strip()))


def _block(text: str, indent: int) -> str:
    """The same as lines, the further ones set in, so that none of them can pass for one of ours."""
    return shown(text.strip(), lines=True).replace("\n", "\n" + " " * indent)


def _print(as_json: bool, value: Any, text: str) -> None:
    click.echo(json.dumps(value) if as_json else shown(text, lines=True))


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _json_argument(text: str | None, what: str) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"{what} is not JSON: {error}") from error


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    cells = [[shown(str(cell)) for cell in row] for row in rows]
    if not cells:
        click.echo(empty)
        return
    widths = [max(len(row[column]) for row in [list(head), *cells]) for column in range(len(head))]
    for row in [list(head), *cells]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _fields(lines: Iterable[tuple[str, str]]) -> None:
    for name, value in lines:
        if value:
            click.echo(f"{name:<12} {_block(value, 13)}")


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def _took(span: timedelta) -> str:
    ms = round(span / timedelta(milliseconds=1))
    if ms < 1000:
        return f"{ms}ms"
    return f"{ms / 1000:.1f}s" if ms < 60_000 else format_ms(ms // 1000 * 1000)


def _value(read: Callable[[], Any], limit: int) -> str:
    try:
        text = json.dumps(jsonable(read()), ensure_ascii=False)
    except WorkflowError as error:
        text = f"({error})"
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"


def _show_status(status: InstanceStatus[LazySteps], step_output: bool, limit: int) -> None:
    ended = status.ended_at
    schedule = status.schedule
    _fields(
        [
            ("Instance", f"{status.workflow}/{status.id}"),
            ("Status", status.status),
            ("Reason", status.reason or ""),
            ("Queue", status.queue),
            ("Schedule", f"{schedule[0]} of {_moment(schedule[1])}" if schedule else ""),
            ("Created", _moment(status.created_at)),
            ("Started", _moment(status.started_at)),
            ("Ended", f"{_moment(ended)}, {_took(ended - (status.started_at or status.created_at))}" if ended else ""),
            ("Paused", _moment(status.paused_at)),
            ("Params", _value(lambda: status.params, limit)),
            ("Output", _value(lambda: status.output, limit) if status.has_output else ""),
            ("Error", str(status.error) if status.error else ""),
            *(("Warning", warning) for warning in status.warnings),
        ]
    )
    steps = list(status.steps)
    if steps:
        click.echo()
        _timeline(steps, step_output, limit)
    if status.error and status.error.traceback:
        click.echo(f"\n  {_block(status.error.traceback.rstrip(), 2)}")


def _timeline(steps: Sequence[StepStatus], step_output: bool, limit: int) -> None:
    width = max(len(_step_name(step)) for step in steps)
    for step in steps:
        begun = step.started_at or step.ended_at
        line = [
            f"{begun:%H:%M:%S}" if begun else " " * 8,
            f"{step.kind:<5}",
            f"{_step_name(step):<{width}}",
            f"{step.status:<9}",
            _step_details(step),
        ]
        click.echo("  ".join(line).rstrip())
        for failure in step.failures:
            took = _took(failure.ended_at - failure.started_at)
            click.echo(f"{'':10}attempt {failure.attempt} failed after {took}: {_block(str(failure.error), 12)}")
        if step.error is not None and not (step.failures and step.failures[-1].error == step.error):
            click.echo(f"{'':10}{_block(str(step.error), 12)}")
        if step_output and step.has_output:
            click.echo(f"{'':10}-> {shown(_value(lambda step=step: step.output, limit))}")  # type: ignore[misc]


def _step_name(step: StepStatus) -> str:
    return shown(step.name if step.count == 1 else f"{step.name} ({step.count})")


def _step_details(step: StepStatus) -> str:
    parts = []
    if step.started_at and step.ended_at:
        parts.append(_took(step.ended_at - step.started_at))
    if step.attempts > 1:
        parts.append(f"{step.attempts} attempts")
    if step.event_type:
        parts.append(f"event {step.event_type}")
    if step.child:
        parts.append(f"instance {step.child.workflow}/{step.child.id}")
    if step.due_at:
        word = {"do": "next attempt", "sleep": "until", "wait": "at most until"}.get(step.kind, "due")
        parts.append(f"{word} {_moment(step.due_at)}")
    return ", ".join(parts)


def _followed(instance: WorkflowInstance, as_json: bool) -> InstanceStatus[LazySteps]:
    seen: dict[tuple[str, int], str] = {}
    last = ""
    while True:
        status = instance.status()
        if status.status != last:
            last = status.status
            _event(as_json, {"status": str(last), "reason": status.reason}, f"{last} {status.reason or ''}")
        for step in status.steps:
            key = (status.generation, step.seq)
            if seen.get(key) != step.status:
                seen[key] = step.status
                about = {"step": step.name, "count": step.count, "kind": step.kind, "status": step.status}
                _event(as_json, about, f"{step.kind} {_step_name(step)}: {step.status} {_step_details(step)}")
        if status.status in FINAL:
            if not as_json:
                click.echo()
            return status
        time.sleep(FOLLOW_SECONDS)


def _event(as_json: bool, value: dict[str, Any], text: str) -> None:
    now = datetime.now().astimezone().strftime("%H:%M:%S")
    click.echo(json.dumps(value) if as_json else f"{now}  {_line(text)}")

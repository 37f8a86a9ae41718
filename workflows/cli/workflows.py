"""Verbs on workflows: ``trigger`` creates an instance, ``list`` and ``describe`` say what apps have published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from typing import Any, BinaryIO, Final

import click
import redis

from workflows import limits
from workflows.cli.batch import trigger_batch
from workflows.cli.bulk import give_all
from workflows.cli.choosing import metadata
from workflows.cli.frame import CommandSettings, Verb, json_argument, json_option, pass_settings
from workflows.cli.showing import named_lines, pretty, reply, table
from workflows.client import WorkflowInstance, bulk
from workflows.client.history import ErrorInfo, jsonable
from workflows.errors import WorkflowError
from workflows.health import catalogue
from workflows.health.catalogue import manifest_of
from workflows.storage.schedules import lines_of
from workflows.storage.status import Status
from workflows.values.durations import format_ms, parse_ms
from workflows.values.failure import capture

NO_APP: Final = "(in no registered app)"


@click.command(cls=Verb)
@click.argument("name")
@click.argument("params", required=False)
@click.option("--id", help="Instance id. Default: a random one.")
@click.option("--retention", help='How long it stays readable after its end, such as "7 days".')
@click.option("--deadline", help='How long it may take until its end, such as "1 hour".')
@click.option("--metadata", callback=metadata, multiple=True, help="What to find it by, as key=value; may be repeated.")
@click.option("--wait", is_flag=True, help="Wait for its end and print its output.")
@click.option("--timeout", help='Longest wait, such as "5 minutes".')
@click.option(
    "--batch",
    type=click.File("rb"),
    help="A file with a JSON object a line: id, params, retention, metadata, deadline. -: stdin.",
)
@click.option("--strict", is_flag=True, help="With --batch: stop at a bad line.")
@json_option
@pass_settings
def trigger(
    settings: CommandSettings,
    name: str,
    params: str | None,
    id: str | None,
    retention: str | None,
    deadline: str | None,
    metadata: Mapping[str, str] | None,
    wait: bool,
    timeout: str | None,
    batch: BinaryIO | None,
    strict: bool,
    as_json: bool,
) -> None:
    """Create an instance of NAME, or one for each line of a file. PARAMS is JSON."""
    if batch is not None:
        if wait or any(one is not None for one in (params, id, retention, deadline, metadata, timeout)):
            raise click.UsageError(
                "with --batch, each line has its own id, params, retention and so on, and none is waited for"
            )
        with closing(settings.client()) as client:
            trigger_batch(client, name, batch, strict=strict, as_json=as_json)
        return
    if strict:
        raise click.UsageError("--strict belongs to --batch")
    value = json_argument(params, "PARAMS")
    if timeout is not None:
        if not wait:
            raise click.UsageError("--timeout says how long --wait waits: give both, or neither")
        parse_ms(timeout, what="--timeout")  # before anything is created
    with closing(settings.client()) as client:
        instance = client.workflow(name).create(id, value, retention, metadata=metadata, deadline=deadline)
        about = {"workflow": instance.workflow, "id": instance.id}
        if not wait:
            reply(as_json, {**about, "status": str(Status.QUEUED)}, instance.id)
            return
        click.echo(f"{instance.workflow}/{instance.id}", err=True)
        output = jsonable(_result(settings, instance, timeout))
        reply(as_json, {**about, "status": str(Status.COMPLETE), "output": output}, pretty(output))


def _result(settings: CommandSettings, instance: WorkflowInstance, timeout: str | None) -> Any:
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


@click.command("list", cls=Verb)
@click.option("--page", type=click.IntRange(1), help="Which one, by number.")
@click.option("--per-page", type=click.IntRange(1), help="Workflows on a page. Default: all, or 100 with --page.")
@json_option
@pass_settings
def list_workflows(settings: CommandSettings, page: int | None, per_page: int | None, as_json: bool) -> None:
    """List the workflows."""
    with closing(settings.client()) as client:
        found = catalogue.listed(client)[_part(page, per_page)]
    if as_json:
        described = [{"name": one, "app": None} if isinstance(one, str) else catalogue.described(one) for one in found]
        click.echo(json.dumps(described, indent=2))
        return
    rows = [
        (one, NO_APP, "", "") if isinstance(one, str) else (one.name, one.app, one.queue, ", ".join(lines_of(one)))
        for one in found
    ]
    head = ("WORKFLOW", "APP", "QUEUE", "SCHEDULES")
    table(head, rows, empty="no workflows are registered" if page in (None, 1) else "none")


def _part(page: int | None, per_page: int | None) -> slice:
    """What a page shows."""
    size = per_page or (limits.LIST_PAGE if page is not None else None)
    return slice(None) if size is None else slice(((page or 1) - 1) * size, (page or 1) * size)


@click.command(cls=Verb)
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_settings
def delete(settings: CommandSettings, name: str, yes: bool, as_json: bool) -> None:
    """Remove all instances of NAME."""
    with closing(settings.client()) as client:
        give_all(client, name, bulk.DELETE, (), {}, yes=yes, as_json=as_json)
        known = manifest_of(client).workflows.get(name)
    if known is not None:
        click.echo(f"{name} can still be triggered: app {known.app} is registered with it", err=True)


@click.command(cls=Verb)
@click.argument("name")
@json_option
@pass_settings
def describe(settings: CommandSettings, name: str, as_json: bool) -> None:
    """Describe a workflow and count its instances."""
    with closing(settings.client()) as client:
        about = catalogue.about(client, name)
    if as_json:
        click.echo(json.dumps(about.as_dict(), indent=2))
        return
    known = about.known
    if known is None:
        named_lines([("Workflow", name), ("App", NO_APP), ("Instances", _counted(about.instances))])
        return
    lines = [
        ("Workflow", known.name),
        ("App", known.app),
        ("Code", about.code),
        ("Queue", known.queue),
        ("Schedules", ", ".join(lines_of(known))),
        ("Retention", f"{format_ms(known.retention_success_ms)}, after errors {format_ms(known.retention_error_ms)}"),
        *([("Deadline", format_ms(known.deadline_ms))] if known.deadline_ms is not None else []),
        ("Found by", ", ".join(known.metadata_keys)),
        ("Limit", "" if about.limit is None else f"{about.limit}{', by limits set' * about.is_limit_set}"),
        ("Instances", _counted(about.instances)),
        ("Channel", f"PUBLISH {about.channel}"),
    ]
    named_lines(lines)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "none"

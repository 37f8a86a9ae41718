"""Verbs on schedules: look at them, pause them, fire them by hand, make up for what they have missed."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import datetime

import click

from workflows.cli.bulk import agreed
from workflows.cli.frame import CommandSettings, Family, json_option, pass_settings
from workflows.cli.showing import duration_text, reply, table
from workflows.client.schedules import ScheduleStatus

_MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"])


@click.group(cls=Family)
def schedules() -> None:
    """Look at schedules and steer them. LINE is needed where a workflow has several."""


@schedules.command("list")
@click.argument("workflow", required=False)
@json_option
@pass_settings
def list_schedules(settings: CommandSettings, workflow: str | None, as_json: bool) -> None:
    """List the schedules, of WORKFLOW or of all, with the moments for which they will fire next."""
    with closing(settings.client()) as client:
        found = [one for one in client.schedules.list() if workflow in (None, one.workflow)]
    if as_json:
        click.echo(json.dumps([one.as_dict() for one in found], indent=2))
        return
    rows = [(one.workflow, one.cron, one.timezone, _next(one), ", ".join(_policies(one))) for one in found]
    table(("WORKFLOW", "SCHEDULE", "ZONE", "NEXT", "SETTINGS"), rows, empty="no workflow has a schedule")


@schedules.command()
@click.argument("workflow")
@click.argument("line", required=False)
@json_option
@pass_settings
def pause(settings: CommandSettings, workflow: str, line: str | None, as_json: bool) -> None:
    """Let a schedule of WORKFLOW fire no more, until it is resumed. Instances go on."""
    with closing(settings.client()) as client:
        changed = client.schedules.pause(workflow, line)
    reply(as_json, {"workflow": workflow, "changed": changed}, "paused" if changed else "was paused already")


@schedules.command()
@click.argument("workflow")
@click.argument("line", required=False)
@json_option
@pass_settings
def resume(settings: CommandSettings, workflow: str, line: str | None, as_json: bool) -> None:
    """Let a schedule fire again, from now on; for what it has missed there is backfill."""
    with closing(settings.client()) as client:
        changed = client.schedules.resume(workflow, line)
    reply(as_json, {"workflow": workflow, "changed": changed}, "resumed" if changed else "was not paused")


@schedules.command()
@click.argument("workflow")
@click.argument("line", required=False)
@json_option
@pass_settings
def trigger(settings: CommandSettings, workflow: str, line: str | None, as_json: bool) -> None:
    """Create an instance as if the schedule had fired now, whatever still runs."""
    with closing(settings.client()) as client:
        id = client.schedules.trigger(workflow, line)
    reply(as_json, {"workflow": workflow, "id": id}, id)


@schedules.command()
@click.argument("workflow")
@click.argument("line", required=False)
@click.option("--from", "start", type=_MOMENT, required=True, help="ISO 8601; without a zone, on the schedule's clock.")
@click.option("--to", "end", type=_MOMENT, required=True, help="The same; it does not belong to the span.")
@click.option("--dry-run", is_flag=True, help="Say which instances that would be.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_settings
def backfill(
    settings: CommandSettings,
    workflow: str,
    line: str | None,
    start: datetime,
    end: datetime,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Create the instances of a span of the past, apart from those that are there. At once, whatever overlaps."""
    with closing(settings.client()) as client:
        ids = client.schedules.backfill(workflow, start, end, line, dry_run=True)
        if not dry_run and ids:
            if not yes and not agreed("create", f"up to {len(ids)} instances of {workflow}"):
                click.echo("nothing was done", err=True)
                raise click.exceptions.Exit(1)
            ids = client.schedules.backfill(workflow, start, end, line)
    reply(as_json, {"workflow": workflow, "ids": ids, "created": not dry_run}, "\n".join(ids) or "nothing to create")


def _next(status: ScheduleStatus) -> str:
    if status.paused_at is not None:
        return f"paused since {status.paused_at:%Y-%m-%d %H:%M:%S %Z}"
    return f"{status.next_at:%Y-%m-%d %H:%M:%S %Z}"


def _policies(status: ScheduleStatus) -> list[str]:
    found = [] if status.overlap == "allow" else [f"overlap {status.overlap}"]
    if status.catch_up is not None:
        found.append(f"catch up {duration_text(status.catch_up)}")
    if status.jitter:
        found.append(f"jitter {duration_text(status.jitter)}")
    if status.waiting_at is not None:
        found.append(f"{status.waiting_at:%H:%M:%S} waits")
    return found

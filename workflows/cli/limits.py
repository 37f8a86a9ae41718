"""Verbs on limits of running instances: which there are and how full they are, setting one, clearing it."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import click

from workflows.cli.frame import CommandSettings, Family, json_option, pass_settings
from workflows.cli.showing import reply, table
from workflows.client import Client
from workflows.storage import concurrency
from workflows.storage.concurrency import InForce
from workflows.storage.manifest import KnownWorkflow, load_manifest
from workflows.storage.outage import server_errors
from workflows.values.concurrency import Concurrency

KEYS_SHOWN = 100


@click.group(cls=Family)
def limits() -> None:
    """How many instances of a workflow run at a time."""


@limits.command("list")
@click.argument("name", required=False)
@json_option
@pass_settings
def list_limits(settings: CommandSettings, name: str | None, as_json: bool) -> None:
    """List the limits, with how many instances run and wait under each, up to a hundred keys of a workflow."""
    with closing(settings.client()) as client, server_errors(client.store.redis):
        found = concurrency.in_force(client.store)
        if name is not None:
            load_manifest(client.store).workflow(name)
        limited = {
            workflow: limit
            for workflow, limit in sorted(found.limits.items())
            if limit is not None and name in (None, workflow)
        }
        told = [_told(client, workflow, limit, found) for workflow, limit in limited.items()]
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    rows = []
    for one in told:
        for slots in one["slots"] or [{"key": None, "running": 0, "queued": 0}]:
            counted = (slots["key"] or "", str(slots["running"]), str(slots["queued"]))
            rows.append((one["workflow"], str(one["limit"]), one["key"] or "", *counted, one["from"]))
    table(("WORKFLOW", "LIMIT", "FOR EACH", "KEY", "RUNNING", "QUEUED", "FROM"), rows, empty="no workflow has a limit")


def _told(client: Client, workflow: str, limit: Concurrency, found: InForce) -> dict[str, Any]:
    slots = [
        {"key": one.key, "running": one.running, "queued": one.queued}
        for one in concurrency.taken(client.store, workflow, KEYS_SHOWN)
    ]
    return {
        "workflow": workflow,
        "limit": limit.limit,
        "key": limit.key,
        "from": "limits set" if workflow in found.set else "app",
        "slots": slots,
    }


@limits.command("set")
@click.argument("name")
@click.argument("limit", type=int)
@click.option("--key", help='Count for each value under this name in the params, such as "tenant" or "customer.id".')
@json_option
@pass_settings
def set_limit(settings: CommandSettings, name: str, limit: int, key: str | None, as_json: bool) -> None:
    """Let LIMIT instances of NAME run at a time, whatever its app declares. Those that run already go on."""
    wanted = Concurrency(limit, key)
    with closing(settings.client()) as client, server_errors(client.store.redis):
        known = load_manifest(client.store).workflow(name)
        if key is not None and known.schedules:
            raise click.UsageError(f"{name} has schedules, whose instances have no params to count by: leave --key out")
        concurrency.set_limit(client.store, known.name, wanted)
        now = concurrency.in_force(client.store).limits[known.name]
    _reply(as_json, known, now, "")


@limits.command("clear")
@click.argument("name")
@json_option
@pass_settings
def clear_limit(settings: CommandSettings, name: str, as_json: bool) -> None:
    """Let count again what the app of NAME declares: its limit, or none."""
    with closing(settings.client()) as client, server_errors(client.store.redis):
        known = load_manifest(client.store).workflow(name)
        was_set = concurrency.clear_limit(client.store, known.name)
    _reply(as_json, known, known.concurrency, "" if was_set else " (nothing had been set)")


def _reply(as_json: bool, known: KnownWorkflow, limit: Concurrency | None, remark: str) -> None:
    about = {"workflow": known.name, "concurrency": None if limit is None else limit.as_dict()}
    reply(as_json, about, f"{known.name}: {'no limit' if limit is None else limit}{remark}")

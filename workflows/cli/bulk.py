"""A verb for all instances that are meant: counted, asked about, and done with a bar that shows how far it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import click

from workflows.cli.choosing import described, where_options
from workflows.cli.showing import reply, shown
from workflows.client import Client, WorkflowHandle, bulk
from workflows.client.blocking import carry_out
from workflows.client.bulk import BulkResult, BulkVerb
from workflows.client.listing import count
from workflows.client.selection import Where, selection
from workflows.health.catalogue import manifest_of


def bulk_options(verb: BulkVerb) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--status``, what else says which are meant, and ``--yes``."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        command = click.option("--yes", is_flag=True, help="For many: do not ask.")(where_options(command))
        return click.option(
            "--status",
            "statuses",
            multiple=True,
            type=click.Choice([str(status) for status in verb.statuses]),
            help=f"{verb.name.capitalize()} all instances in this status; may be repeated.",
        )(command)

    return decorate


def meant_for_all(ids: object, statuses: tuple[str, ...], where: Where, yes: bool) -> bool:
    """Whether a verb goes to many instances. Raises click.UsageError: it is for neither one nor many, or for both."""
    many = bool(statuses or where)
    if ids and many:
        raise click.UsageError("give an ID, or --status and its like for all of which that holds, not both")
    if not ids and not many:
        raise click.UsageError("which instance? Give an ID, or --status for all in that status")
    if yes and not many:
        raise click.UsageError("--yes belongs to --status and its like")
    return many


def give_all(
    client: Client,
    name: str,
    verb: BulkVerb,
    statuses: tuple[str, ...],
    where: Where,
    *,
    yes: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Give the verb to all instances of a workflow that are meant, and say what became of them.

    Args:
        options: further arguments of the method for many, such as ``from_`` of ``WorkflowHandle.restart_all``.
    """
    handle = client.workflow(name)
    selected = selection(verb.chosen(statuses or None), where, handle._declared(where))
    number = carry_out(client.store, count(client.store.keys, handle.name, selected))
    if not number and not handle.list(limit=1):
        manifest_of(client).workflow(handle.name)  # nothing at all: a slip of the pen, more often than not
    if number and not yes:
        upto = "up to " if selected.needs_headers else ""
        what = f"{upto}{number} of {handle.name} ({', '.join(selected.statuses)}{described(where)})"
        if not agreed(verb.name, what):
            click.echo("nothing was done", err=True)
            raise click.exceptions.Exit(1)
    result = _walk(handle, verb, statuses, where, number, options)
    about = {"workflow": handle.name, **asdict(result)}
    passed = f"; {result.skipped} had gone or ended meanwhile" if result.skipped else ""
    reply(as_json, about, f"{handle.name}: {result.done} {_done(verb)}{passed}")
    if result.errors:
        for error in result.errors:
            click.echo(shown(f"{handle.name}/{error.id}: {error.message}"), err=True)
        raise click.ClickException(f"{len(result.errors)} could not be {_done(verb)}")


def agreed(verb: str, what: str) -> bool:
    """Whether whoever sits there wants that. Raises click.UsageError: nobody does."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"nobody can be asked here whether to {verb} {what}: add --yes")
    return click.confirm(f"{verb.capitalize()} {what}?", err=True)


def _walk(
    handle: WorkflowHandle,
    verb: BulkVerb,
    statuses: tuple[str, ...],
    where: Where,
    number: int,
    options: Mapping[str, Any],
) -> BulkResult:
    walks: dict[str, Callable[..., BulkResult]] = {
        "pause": handle.pause_all,
        "resume": handle.resume_all,
        "terminate": partial(handle.terminate_all, rollback=verb is bulk.ROLL_BACK),
        "cancel": partial(handle.cancel_all, **options),
        "restart": partial(handle.restart_all, **options),
        "delete": handle.delete_all,
    }
    if not sys.stderr.isatty():
        return walks[verb.name](statuses or None, **where)
    # Those that come into the status meanwhile make it longer; the bar stays full then.
    with click.progressbar(length=number, label=handle.name, file=sys.stderr) as bar:
        return walks[verb.name](statuses or None, progress=lambda so_far: bar.update(so_far.met - bar.pos), **where)


def _done(verb: BulkVerb) -> str:
    return {"cancel": "cancelled"}.get(verb.name, verb.name + ("d" if verb.name.endswith("e") else "ed"))

"""A verb for all instances in certain statuses: counted, asked about, and done with a bar that shows how far it is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

import click

from workflows.cli.frame import manifest_of
from workflows.cli.showing import reply, shown
from workflows.client import Client, WorkflowHandle
from workflows.client.bulk import BulkResult, BulkVerb
from workflows.health import namespace
from workflows.storage.outage import server_errors

Command = TypeVar("Command", bound=Callable[..., Any])


def bulk_options(verb: BulkVerb) -> Callable[[Command], Command]:
    """``--status`` and ``--yes``."""

    def decorate(command: Command) -> Command:
        command = click.option("--yes", is_flag=True, help="With --status: do not ask.")(command)
        return click.option(
            "--status",
            "statuses",
            multiple=True,
            type=click.Choice([str(status) for status in verb.statuses]),
            help=f"{verb.name.capitalize()} all instances in this status; may be repeated.",
        )(command)

    return decorate


def meant_for_all(ids: object, statuses: tuple[str, ...], yes: bool) -> bool:
    """Whether a verb goes to many instances. Raises click.UsageError: it is for neither one nor many, or for both."""
    if ids and statuses:
        raise click.UsageError("give an ID, or --status for all in that status, not both")
    if not ids and not statuses:
        raise click.UsageError("which instance? Give an ID, or --status for all in that status")
    if yes and not statuses:
        raise click.UsageError("--yes belongs to --status")
    return bool(statuses)


def give_all(client: Client, name: str, verb: BulkVerb, statuses: tuple[str, ...], *, yes: bool, as_json: bool) -> None:
    """Give the verb to all instances of a workflow in these statuses, and say what became of them."""
    handle = client.workflow(name)
    with server_errors(client.store.redis):
        counts = namespace.count_instances(client.store, handle.name)
    if not any(counts.values()):
        manifest_of(client).workflow(handle.name)  # nothing at all: a slip of the pen, more often than not
    number = sum(counts[status] for status in {*statuses})
    if number and not yes and not _agreed(verb, handle.name, number, statuses):
        click.echo("nothing was done", err=True)
        raise click.exceptions.Exit(1)
    result = _walk(handle, verb, statuses, number)
    about = {"workflow": handle.name, **asdict(result)}
    passed = f"; {result.skipped} had gone or ended meanwhile" if result.skipped else ""
    reply(as_json, about, f"{handle.name}: {result.done} {_done(verb)}{passed}")
    if result.errors:
        for error in result.errors:
            click.echo(shown(f"{handle.name}/{error.id}: {error.message}"), err=True)
        raise click.ClickException(f"{len(result.errors)} could not be {_done(verb)}")


def _agreed(verb: BulkVerb, name: str, number: int, statuses: tuple[str, ...]) -> bool:
    what = f"{number} of {name} ({', '.join(statuses)})"
    if not sys.stdin.isatty():
        raise click.UsageError(f"nobody can be asked here whether to {verb.name} {what}: add --yes")
    return click.confirm(f"{verb.name.capitalize()} {what}?", err=True)


def _walk(handle: WorkflowHandle, verb: BulkVerb, statuses: tuple[str, ...], number: int) -> BulkResult:
    walks: dict[str, Callable[..., BulkResult]] = {
        "pause": handle.pause_all,
        "resume": handle.resume_all,
        "terminate": handle.terminate_all,
        "restart": handle.restart_all,
        "delete": handle.delete_all,
    }
    if not sys.stderr.isatty():
        return walks[verb.name](statuses)
    # Those that come into the status meanwhile make it longer; the bar stays full then.
    with click.progressbar(length=number, label=handle.name, file=sys.stderr) as bar:
        return walks[verb.name](statuses, progress=lambda so_far: bar.update(so_far.met - bar.pos))


def _done(verb: BulkVerb) -> str:
    return verb.name + ("d" if verb.name.endswith("e") else "ed")

"""The verb ``why``: what ``workflows/insight`` says about an instance, or about all that have a problem."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

import click
import redis

from workflows.cli.frame import CommandSettings, Verb, json_option, pass_settings
from workflows.cli.instances import LATEST, find_instance
from workflows.cli.showing import shown
from workflows.client import Client
from workflows.client.explaining import explain, reasons
from workflows.errors import ConfigError, ServerError
from workflows.health import trouble
from workflows.health.trouble import Troubles
from workflows.insight.reason import Reason
from workflows.values import names

IDS_SHOWN: Final = 5


@click.command(cls=Verb, short_help="Say why an instance stands where it stands.")
@click.argument("name", required=False)
@click.argument("id", required=False)
@click.option("--all", "of_all", is_flag=True, help="All that have a problem, of those that have not ended.")
@click.option("--workflow", help="With --all: of this workflow only.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=trouble.LOOKED_AT,
    show_default=True,
    help="With --all: look at so many of each workflow, the newest.",
)
@json_option
@pass_settings
def why(
    settings: CommandSettings,
    name: str | None,
    id: str | None,
    of_all: bool,
    workflow: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Say why an instance stands where it stands, and what to do about it; ID may be "latest".

    Exit code 0: nothing has to be done; 1: something is wrong; 2: the command is; 3: Redis does not answer.
    """
    if of_all == bool(name) or (workflow and not of_all) or bool(name) != bool(id):
        raise click.UsageError("give NAME and ID, or --all")
    with _exit_codes(settings), closing(settings.client()) as client:
        if of_all:
            chosen = [workflow] if workflow else trouble.workflows_of(client)
            is_wrong = _show_all([trouble.troubles(client, one, limit) for one in chosen], as_json)
        else:
            assert name is not None and id is not None
            is_wrong = _show(client, name, id, as_json)
    if is_wrong:
        raise click.exceptions.Exit(1)


def _show(client: Client, name: str, id: str, as_json: bool) -> bool:
    workflow = client.workflow(name).name
    id = find_instance(client, name, LATEST).id if id == LATEST else names.check_instance_id(id)
    found = explain(client.store, reasons(client.store.keys, client.store.keys.instance(workflow, id)))
    if as_json:
        listed = [one.as_dict() for one in found]
        click.echo(json.dumps({"workflow": workflow, "id": id, "reasons": listed}, indent=2))
    else:
        for one in found:
            _echo(one)
    return any(one.is_problem for reason in found for one in (reason, *reason.hints))


def _echo(reason: Reason) -> None:
    for line in reason.lines():
        click.echo(shown(line))


def _show_all(found: list[Troubles], as_json: bool) -> bool:
    if as_json:
        click.echo(json.dumps([_listed(one) for one in found], indent=2))
    else:
        for one in found:
            _show_workflow(one)
    return any(one.found for one in found)


def _listed(one: Troubles) -> dict[str, Any]:
    return {
        "workflow": one.workflow,
        "looked_at": one.looked_at,
        "whole": one.is_whole,
        "by_code": one.by_code(),
        "instances": [
            {"id": troubled.id, "reasons": [reason.as_dict() for reason in troubled.reasons]} for troubled in one.found
        ],
    }


def _show_workflow(one: Troubles) -> None:
    of = f"{one.looked_at}" + ("" if one.is_whole else " looked at, and there are more")
    click.echo(f"{one.workflow}: {len(one.found)} with a problem, of {of}")
    for code, count in one.by_code().items():
        ids = [troubled.id for troubled in one.found if troubled.reasons[0].code == code]
        more = f", and {count - IDS_SHOWN} more" if count > IDS_SHOWN else ""
        click.echo(f"  {code:<20} {count:>6}  {', '.join(ids[:IDS_SHOWN])}{more}")


class _Failed(click.ClickException):
    def __init__(self, error: Exception, code: int) -> None:
        super().__init__(str(error))
        self.exit_code = code  # type: ignore[misc]


@contextmanager
def _exit_codes(settings: CommandSettings) -> Iterator[None]:
    try:
        yield
    except (ServerError, redis.RedisError, ConfigError) as error:
        if settings.debug:
            raise
        raise _Failed(error, 2 if isinstance(error, ConfigError) else 3) from error

"""Watching one instance: what happens to it, as lines."""

from __future__ import annotations

from contextlib import closing

import click

from workflows.cli.frame import CommandSettings, Verb, json_option, pass_settings
from workflows.cli.instances import LATEST, TRUNCATE, find_instance
from workflows.cli.timeline import show_event
from workflows.client.instance_event import TYPES


@click.command(cls=Verb)
@click.argument("name")
@click.argument("id", default=LATEST)
@click.option("--cursor", help="Go on behind the event with this eventId.")
@click.option(
    "--filter", "types", multiple=True, type=click.Choice(TYPES), metavar="TYPE", help="Only this type; repeatable."
)
@click.option(
    "--truncate-output-limit", type=click.IntRange(0), default=TRUNCATE, show_default=True, help="Characters."
)
@json_option
@pass_settings
def watch(
    settings: CommandSettings,
    name: str,
    id: str,
    cursor: str | None,
    types: tuple[str, ...],
    truncate_output_limit: int,
    as_json: bool,
) -> None:
    """Show what happens to one, a line each, to its end."""
    with closing(settings.client()) as client:
        for event in find_instance(client, name, id).subscribe(cursor, types or None):
            show_event(event, as_json, truncate_output_limit)

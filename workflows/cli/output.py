"""``workflows instances output``: what an instance returned, or a step of it; of a stream its bytes."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import click

from workflows.cli.frame import CommandSettings, json_option, pass_settings
from workflows.cli.instances import LATEST, find_instance
from workflows.cli.showing import pretty, reply
from workflows.client import Client, WorkflowInstance
from workflows.client.history import jsonable
from workflows.values.byte_stream import ByteStream


@click.command("output")
@click.argument("name")
@click.argument("id", default=LATEST)
@click.option("--step-name", help="What this step returned.")
@click.option("--step-count", type=click.IntRange(1), help="Which of the steps of that name; 1 is the first.")
@click.option("--to", metavar="FILE", type=click.Path(dir_okay=False, writable=True), help="Default: standard output.")
@json_option
@pass_settings
def output(
    settings: CommandSettings,
    name: str,
    id: str,
    step_name: str | None,
    step_count: int | None,
    to: str | None,
    as_json: bool,
) -> None:
    """Write what one returned: JSON, or the bytes of a stream."""
    if step_count is not None and step_name is None:
        raise click.UsageError("--step-count belongs to --step-name")
    with closing(settings.client()) as client:
        value = _value(find_instance(client, name, id), step_name, step_count or 1)
        if isinstance(value, ByteStream) and (to is not None or not as_json):
            _write(client, value, to)
            if to is not None:
                told = {"file": to, "bytes": value.size, "chunks": value.chunks}
                reply(as_json, told, f"{to}: {value}")
            return
    text = json.dumps(jsonable(value)) if as_json else pretty(jsonable(value))
    if to is None:
        click.echo(text)
    else:
        with click.open_file(to, "w", encoding="utf-8") as file:
            file.write(f"{text}\n")


def _value(instance: WorkflowInstance, step_name: str | None, step_count: int) -> Any:
    status = instance.status()
    if step_name is None:
        if not status.has_output:
            raise click.ClickException(f"{instance.id} has returned nothing: it is {status.shown_status}")
        return status.output
    for step in status.steps:
        if (step.kind, step.name, step.count) == ("do", step_name, step_count):
            if not step.has_output:
                raise click.ClickException(f'step "{step_name}-{step_count}" has no result: it is {step.status}')
            return step.output
    raise click.ClickException(f'{instance.id} has asked for no step "{step_name}-{step_count}"')


def _write(client: Client, stream: ByteStream, to: str | None) -> None:
    chunks = client.chunks(stream)
    # Before there is a file: of a stream that is gone none is to be made, or emptied.
    first = next(chunks, b"")
    with click.open_file("-" if to is None else to, "wb") as file:
        file.write(first)
        for chunk in chunks:
            file.write(chunk)

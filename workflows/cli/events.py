"""The verbs that send events."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import click

from workflows.cli.frame import CommandSettings, Verb, json_argument, json_option, pass_settings
from workflows.cli.instances import find_instance, instances
from workflows.cli.showing import reply
from workflows.client import Client
from workflows.errors import InstanceNotFound
from workflows.values import names
from workflows.values.rejection import Rejection


def event_options(command: Callable[..., None]) -> Callable[..., None]:
    """What both verbs that send an event know."""
    for option in (
        click.option("--create-with", metavar="PARAMS", help="JSON: create it with these if it is not there."),
        click.option("--error-name", help="What the error is called; default EventError."),
        click.option("--error", metavar="TEXT", help="The wait raises EventError with this text, and the payload."),
        click.option("--event-id", help="The same event id is accepted once."),
    ):
        command = option(command)
    return command


def rejection_of(error: str | None, name: str | None) -> Rejection | None:
    """Raises: click.UsageError."""
    if name is not None and error is None:
        raise click.UsageError("--error-name is the name of an --error, and there is none.")
    return None if error is None else {"message": error} | ({} if name is None else {"name": name})


@instances.command("send-event")
@click.argument("name")
@click.argument("id")
@click.option("--type", required=True, help="What the workflow waits for.")
@click.option("--payload", default="{}", show_default=True, help="JSON.")
@event_options
@json_option
@pass_settings
def send_event(
    settings: CommandSettings,
    name: str,
    id: str,
    type: str,
    payload: str,
    event_id: str | None,
    error: str | None,
    error_name: str | None,
    create_with: str | None,
    as_json: bool,
) -> None:
    """Send an event to an instance."""
    value = json_argument(payload, "--payload")
    rejection = rejection_of(error, error_name)
    params = json_argument(create_with, "--create-with")
    with closing(settings.client()) as client:
        id, answer = _sent(client, name, id, type, value, event_id=event_id, error=rejection, create_with=params)
    reply(as_json, {"workflow": name, "id": id, "type": type, "answer": answer}, answer)


def _sent(client: Client, name: str, id: str, *event: Any, create_with: Any, **options: Any) -> tuple[str, str]:
    """Send to an instance, which may be the latest unless it is to be created. Returns: its id, and the answer."""
    id = id if create_with is not None else find_instance(client, name, id).id
    return id, client.workflow(name).send_event(id, *event, create_with=create_with, **options)


@click.command(cls=Verb)
@click.argument("about", nargs=-1, metavar="NAME ID TYPE [PAYLOAD]")
@click.option("--token", help="Instead of NAME ID TYPE: the answer to the wait that this token is of.")
@click.option("--heartbeat", is_flag=True, help="With --token: no answer yet, but it is being worked on.")
@click.option("--key", help="Instead of NAME ID: to everybody who waits for TYPE with this key.")
@click.option("--workflow", help="With --key: to instances of this workflow alone.")
@event_options
@json_option
@pass_settings
def publish(
    settings: CommandSettings,
    about: tuple[str, ...],
    token: str | None,
    heartbeat: bool,
    key: str | None,
    workflow: str | None,
    event_id: str | None,
    error: str | None,
    error_name: str | None,
    create_with: str | None,
    as_json: bool,
) -> None:
    """Send an event durably. PAYLOAD is JSON. Says delivered, buffered, started or no such instance (exit code 1)."""
    if workflow is not None and key is None:
        raise click.UsageError("--workflow says whose instances are meant with --key, and there is none.")
    rejection = rejection_of(error, error_name)
    if heartbeat:
        if token is None or any((about, key, create_with, event_id, error, error_name)):
            raise click.UsageError("give --heartbeat with --token alone: it says nothing but that somebody is at work.")
        with closing(settings.client()) as client:
            client.heartbeat(token)
        reply(as_json, {"token": token, "answer": "heard"}, "heard")
        return
    if token is not None:
        if len(about) > 1 or key is not None or create_with is not None:
            raise click.UsageError("with --token give at most a PAYLOAD; the token says what else there is to say.")
        value = json_argument(about[0] if about else None, "PAYLOAD")
        with closing(settings.client()) as client:
            answer = client.send_event(token=token, payload=value, id=event_id, error=rejection)
        reply(as_json, {"token": token, "answer": answer}, answer)
        return
    place, rest = about[: 0 if key is not None else 2], about[0 if key is not None else 2 :]
    if len(rest) not in (1, 2) or (key is not None and create_with is not None):
        raise click.UsageError("give NAME ID TYPE [PAYLOAD], or --key KEY TYPE [PAYLOAD] without --create-with.")
    type, value = rest[0], json_argument(rest[1] if len(rest) == 2 else None, "PAYLOAD")
    if key is not None:
        with closing(settings.client()) as client:
            reached = client.send_event(type, value, key=key, workflow=workflow, id=event_id, error=rejection)
        found = [{"workflow": one.workflow, "id": one.id} for one in reached]
        reply(as_json, {"key": key, "type": type, "delivered": found}, f"delivered to {len(found)}")
        return
    name, id = place
    params = json_argument(create_with, "--create-with")
    names.check_event_type(type)
    with closing(settings.client()) as client:
        try:
            id, answer = _sent(client, name, id, type, value, event_id=event_id, error=rejection, create_with=params)
        except InstanceNotFound:
            answer = "no such instance"
    reply(as_json, {"workflow": name, "id": id, "type": type, "answer": answer}, answer)
    if answer == "no such instance":
        raise click.exceptions.Exit(1)

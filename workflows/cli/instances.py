"""Verbs on instances: look at them, steer them, remove them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any, BinaryIO, Final

import click

from workflows import limits
from workflows.cli.bulk import bulk_options, give_all, meant_for_all
from workflows.cli.choosing import where_options
from workflows.cli.frame import CommandSettings, Family, json_option, pass_settings
from workflows.cli.showing import moment_text, pairs_text, reply, table
from workflows.cli.timeline import followed, show_status
from workflows.client import Client, WorkflowHandle, WorkflowInstance, bulk, restarting
from workflows.client.bulk import BulkVerb
from workflows.client.history import jsonable
from workflows.client.listing import InstancePage, InstanceSummary
from workflows.client.restarting import FromStep
from workflows.client.selection import Where
from workflows.errors import InstanceNotFound
from workflows.health.catalogue import manifest_of
from workflows.storage.status import FINAL, Status
from workflows.values import names

LATEST: Final = "latest"
TRUNCATE: Final = 5000


@click.group(cls=Family)
def instances() -> None:
    """Look at instances and steer them. An ID may be "latest": the newest one."""


@instances.command("list")
@click.argument("name")
@click.option("--status", "statuses", multiple=True, type=click.Choice([str(status) for status in Status]))
@click.option("--reverse", is_flag=True, help="Oldest first.")
@where_options
@click.option(
    *("--limit", "--per-page", "limit"),
    type=click.IntRange(1, limits.LIST_PAGE_MAX),
    default=limits.LIST_PAGE,
    show_default=True,
)
@click.option("--page", type=click.IntRange(1), help="Which one, by number; it is counted to, so a cursor is faster.")
@click.option("--cursor", help="Go on after the page before; it named the cursor.")
@json_option
@pass_settings
def list_instances(
    settings: CommandSettings,
    name: str,
    statuses: tuple[str, ...],
    where: Where,
    reverse: bool,
    limit: int,
    page: int | None,
    cursor: str | None,
    as_json: bool,
) -> None:
    """List the instances of NAME, newest first."""
    if page is not None and cursor is not None:
        raise click.UsageError("give --page or --cursor, not both")
    with closing(settings.client()) as client:
        handle = client.workflow(name)

        def listed(most: int, after: str | None) -> InstancePage:
            return handle.list(statuses or None, most, after, oldest_first=reverse, **where)

        found = _paged(listed, limit, page or 1, cursor)
        if not found and page is None and cursor is None and not handle.list(limit=1):
            manifest_of(client).workflow(name)  # nothing at all: a slip of the pen, more often than not
    if as_json:
        shown = [_listed(one) for one in found]
        click.echo(json.dumps({"instances": shown, "cursor": found.cursor}, indent=2))
        return
    with_metadata = any(one.metadata for one in found)
    head = ("ID", "STATUS", "CREATED", *["METADATA"] * with_metadata)
    rows = [
        (one.id, one.status, moment_text(one.created_at), *[pairs_text(one.metadata)] * with_metadata) for one in found
    ]
    table(head, rows, empty="none")
    if found.cursor is not None:
        click.echo(f"more: --cursor {found.cursor}")


def _listed(one: InstanceSummary) -> dict[str, Any]:
    return {
        "id": one.id,
        "status": str(one.status),
        "created_at": one.created_at.isoformat(),
        "metadata": dict(one.metadata),
    }


def _paged(
    listed: Callable[[int, str | None], InstancePage], limit: int, number: int, cursor: str | None
) -> InstancePage:
    """The page of this number behind the cursor."""
    passed = (number - 1) * limit
    while passed > 0:
        page = listed(min(passed, limits.LIST_PAGE_MAX), cursor)
        passed -= len(page)
        cursor = page.cursor
        if cursor is None:
            return InstancePage(())
    return listed(limit, cursor)


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
    settings: CommandSettings,
    name: str,
    id: str,
    step_output: bool,
    truncate_output_limit: int,
    follow: bool,
    as_json: bool,
) -> None:
    """Describe an instance with its steps."""
    with closing(settings.client()) as client:
        instance = find_instance(client, name, id)
        status = followed(instance, as_json, truncate_output_limit) if follow else instance.status()
        if as_json:
            shape = status.as_dict(outputs=step_output) | {"status": status.shown_status}
            click.echo(json.dumps(shape, indent=None if follow else 2))
        else:
            show_status(status, step_output, truncate_output_limit)


@instances.command("value")
@click.argument("name")
@click.argument("id")
@click.argument("value")
@json_option
@pass_settings
def published_value(settings: CommandSettings, name: str, id: str, value: str, as_json: bool) -> None:
    """What run() has published last under the name VALUE."""
    with closing(settings.client()) as client:
        instance = find_instance(client, name, id)
        published = {one.name: one for one in instance.status().published}
    if names.check_value_name(value) not in published:
        there = f"; there are {', '.join(published)}" if published else ""
        raise click.ClickException(f"{name}/{instance.id} has published nothing as {value}{there}")
    one = published[value]
    found = jsonable(one.read())
    shape = {"name": one.name, "value": found, "at": one.at.isoformat()} if as_json else found
    click.echo(json.dumps(shape, ensure_ascii=as_json))


def _steering(verb: BulkVerb, help: str, act: Callable[..., bool | None], idle: Mapping[Status, str]) -> None:
    """A verb that moves one instance or many; ``idle`` says in which statuses it changes nothing, and why."""
    more: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda command: command  # noqa: E731
    if verb is bulk.TERMINATE:
        more = click.option("--rollback", is_flag=True, help="First let its steps' handlers undo what it did.")
    elif verb is bulk.CANCEL:

        def more(command: Callable[..., Any]) -> Callable[..., Any]:
            grace = click.option(
                "--grace", help='How long run may clean up, such as "30 seconds".  [default: 10 minutes]'
            )
            return click.option("--reason", help="Why; run is told, and who asks how it ended.")(grace(command))

    @instances.command(verb.name, help=help)
    @click.argument("name")
    @click.argument("id", required=False)
    @bulk_options(verb)
    @more
    @json_option
    @pass_settings
    def command(
        settings: CommandSettings,
        /,
        name: str,
        id: str | None,
        statuses: tuple[str, ...],
        where: Where,
        yes: bool,
        as_json: bool,
        **options: Any,
    ) -> None:
        many = meant_for_all(id, statuses, where, yes)
        with closing(settings.client()) as client:
            if many or id is None:
                every = bulk.ROLL_BACK if options.pop("rollback", False) else verb
                give_all(client, name, every, statuses, where, yes=yes, as_json=as_json, **options)
            else:
                _give_one(find_instance(client, name, id), partial(act, **options), idle, as_json=as_json)


def _give_one(
    instance: WorkflowInstance,
    act: Callable[[WorkflowInstance], bool | None],
    idle: Mapping[Status, str],
    *,
    as_json: bool,
) -> None:
    """``act`` returns False where it was asked for before."""
    before = instance.status().status
    is_repeated = act(instance) is False
    after = instance.status()
    status = after.shown_status
    about = {"workflow": instance.workflow, "id": instance.id, "status": status}
    nothing = f" ({idle[before]}, so nothing happened)" if before in idle and after.status is before else ""
    if is_repeated:
        nothing = " (it was asked to end before, so nothing happened)"
    reply(as_json, about, f"{instance.workflow}/{instance.id}: {status}{nothing}")


_ENDED: Final = dict.fromkeys(FINAL, "it has ended")
_PAUSED: Final = dict.fromkeys((Status.PAUSED, Status.WAITING_FOR_PAUSE), "it was paused already")
_GOING: Final = dict.fromkeys((Status.QUEUED, Status.RUNNING, Status.WAITING), "it was not paused")

_steering(
    bulk.PAUSE,
    "Pause one, or all in a status; attempts in flight finish.",
    WorkflowInstance.pause,
    _ENDED | _PAUSED,
)
_steering(bulk.RESUME, "Let one that is paused go on, or all in a status.", WorkflowInstance.resume, _ENDED | _GOING)
_steering(bulk.CANCEL, "Ask one to end, or all in a status; run may clean up first.", WorkflowInstance.cancel, {})
_steering(bulk.TERMINATE, "End one now, or all in a status.", WorkflowInstance.terminate, {})


@instances.command("restart")
@click.argument("name")
@click.argument("id", required=False)
@click.option("--from-step-name", help="Keep what was asked for before this step; run it and the others again.")
@click.option("--from-step-count", type=click.IntRange(1), help="Which of the steps of that name; 1 is the first.")
@click.option("--from-step-type", type=click.Choice([*restarting.TYPES]), help="What it is; do is a step.")
@bulk_options(bulk.RESTART)
@json_option
@pass_settings
def restart(
    settings: CommandSettings,
    name: str,
    id: str | None,
    from_step_name: str | None,
    from_step_count: int | None,
    from_step_type: str | None,
    statuses: tuple[str, ...],
    where: Where,
    yes: bool,
    as_json: bool,
) -> None:
    """Start one over, or all in a status; from a step if you name one."""
    many = meant_for_all(id, statuses, where, yes)
    from_: FromStep | None = None
    if from_step_name is not None:
        from_ = {"name": from_step_name, "count": from_step_count or 1, "type": from_step_type or "do"}
    elif from_step_count is not None or from_step_type is not None:
        raise click.UsageError("--from-step-count and --from-step-type belong to --from-step-name")
    with closing(settings.client()) as client:
        if many or id is None:
            give_all(client, name, bulk.RESTART, statuses, where, yes=yes, as_json=as_json, from_=from_)
        else:
            _give_one(find_instance(client, name, id), lambda one: one.restart(from_), {}, as_json=as_json)


@instances.command("terminate-all", hidden=True)
@click.argument("name")
@bulk_options(bulk.TERMINATE)
@json_option
@pass_settings
def terminate_all(
    settings: CommandSettings, name: str, statuses: tuple[str, ...], where: Where, yes: bool, as_json: bool
) -> None:
    """End all that have not ended: ``terminate`` with every ``--status`` there is, under the name it has elsewhere."""
    with closing(settings.client()) as client:
        give_all(client, name, bulk.TERMINATE, statuses, where, yes=yes, as_json=as_json)


@instances.command("delete")
@click.argument("name")
@click.argument("ids", nargs=-1)
@click.option("--filename", type=click.File("rb"), help="A JSON list of further ids. -: stdin.")
@bulk_options(bulk.DELETE)
@json_option
@pass_settings
def delete(
    settings: CommandSettings,
    name: str,
    ids: tuple[str, ...],
    filename: BinaryIO | None,
    statuses: tuple[str, ...],
    where: Where,
    yes: bool,
    as_json: bool,
) -> None:
    """Remove some, or all in a status, with all they stored."""
    given = [*ids, *(_ids_in(filename) if filename is not None else ())]
    if filename is not None and not given:
        raise click.UsageError("there is no id in that file")
    many = meant_for_all(given, statuses, where, yes)
    with closing(settings.client()) as client:
        if many:
            give_all(client, name, bulk.DELETE, statuses, where, yes=yes, as_json=as_json)
            return
        deleted, missing = _delete_each(client, name, given)
    if as_json:
        click.echo(json.dumps({"deleted": deleted, "not_found": missing}))
    else:
        for id in deleted:
            click.echo(f"{name}/{id}: deleted")
    if missing:
        raise click.ClickException(f"no such instance: {', '.join(missing)}")


def _ids_in(file: BinaryIO) -> list[str]:
    try:
        found = json.load(file)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"--filename is not JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(id, str) for id in found):
        raise click.BadParameter("--filename: it must be a JSON list of ids")
    return found


def _delete_each(client: Client, name: str, given: Sequence[str]) -> tuple[list[str], list[str]]:
    """Remove instances, a hundred at a time. Returns: the ids of those that were there, and of the others."""
    handle = client.workflow(name)
    deleted, missing = [], []
    ids = []
    for id in dict.fromkeys(given):
        try:
            ids.append(_found(handle, id).id if id == LATEST else names.check_instance_id(id))
        except InstanceNotFound:
            missing.append(id)
    for at in range(0, len(ids), limits.BATCH):
        batch = handle.delete_batch(ids[at : at + limits.BATCH])
        deleted += batch.deleted
        missing += [str(error.id) for error in batch.errors]
    if not deleted:
        manifest_of(client).workflow(handle.name)  # a slip of the pen?
    return list(dict.fromkeys(deleted)), missing


def find_instance(client: Client, name: str, id: str) -> WorkflowInstance:
    """An instance, of whatever workflow; where there is none, the workflow is looked for as well."""
    handle = client.workflow(name)
    try:
        return _found(handle, id)
    except InstanceNotFound:
        manifest_of(client).workflow(handle.name)
        raise


def _found(handle: WorkflowHandle, id: str) -> WorkflowInstance:
    if id != LATEST:
        return handle.get(id)
    newest = handle.list(limit=1)
    if not newest:
        raise InstanceNotFound(f"workflow {handle.name} has no instances")
    return handle.get(newest[0].id)

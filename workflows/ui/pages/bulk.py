"""What failed, in groups, and one action for many instances: asked about, begun, looked at, stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from starlette.responses import Response

from workflows.health.error_groups import ErrorGroup, error_groups
from workflows.storage.status import Status
from workflows.ui.bulk_orders import ACTIONS, Filter, Order, how_many
from workflows.ui.context import Context
from workflows.ui.forms import read_json
from workflows.ui.refusals import RequestRefused
from workflows.values import names

LABELS: Final[Mapping[str, str]] = {
    "restart_failed_step": "Retry the failed step",
    "resume": "Resume",
    "pause": "Pause",
    "restart": "Restart from the beginning",
    "cancel": "Cancel",
    "terminate": "Terminate",
    "roll_back": "Roll back",
    "delete": "Delete",
}
EFFECTS: Final[Mapping[str, str]] = {
    "restart_failed_step": "Each starts over from the step that it failed with, and keeps what it had done before. "
    "The effects of that step and of what follows happen again.",
    "resume": "Each goes on where it stands, with the code that runs now.",
    "pause": "Attempts that run may finish; nothing else begins.",
    "restart": "Each starts over with the same id and params; what it has done is forgotten, and its steps run again.",
    "cancel": "Each is asked to end, and may clean up first.",
    "terminate": "Each ends now, and its running attempts are given up.",
    "roll_back": "The handlers of its steps undo what each has done; then it ends.",
    "delete": "Each is removed with everything it stored, whatever it is doing. There is no way back.",
}
_FOR_FAILED: Final = ("restart_failed_step", "restart", "delete")
_FOR_PARKED: Final = ("resume", "restart", "cancel", "terminate", "delete")


def possible(context: Context, *actions: str) -> list[tuple[str, str]]:
    """What its sender may do to many, and how that is called; of all actions, or of these."""
    return [
        (action, label)
        for action, label in LABELS.items()
        if context.access.allows(ACTIONS[action].permission) and (not actions or action in actions)
    ]


def failed(context: Context) -> Response:
    """Everything that failed or is parked, and what is being done about it."""
    workflow = context.query.get("workflow") or None
    if workflow is not None:
        names.check_workflow_name(workflow)
    found = error_groups(context.store, workflow=workflow)
    shelf = [(group, _filter(group), _actions(context, group)) for group in found.groups]
    return context.render(
        "failed.html", found=found, shelf=shelf, workflow=workflow, jobs=context.jobs.all(), labels=LABELS
    )


def _filter(group: ErrorGroup) -> str:
    status = Status.PAUSED if group.is_parked else Status.ERRORED
    filter = Filter(group.workflow, (str(status),), error=group.error, step=group.step)
    return json.dumps(filter.as_dict())


def _actions(context: Context, group: ErrorGroup) -> list[tuple[str, str]]:
    if group.is_parked:
        return possible(context, *_FOR_PARKED)
    return possible(context, *(one for one in _FOR_FAILED if group.step is not None or one != "restart_failed_step"))


def order(context: Context) -> Response:
    """Say how many are meant; once that is confirmed, begin."""
    wanted = _order(context.form, context.form.getlist("id"))
    kind = wanted.kind
    context.require(kind.permission)
    given = context.form.get("count", "")
    agreed = int(given) if given.isascii() and given.isdigit() and len(given) < 16 else 0
    if not agreed:
        return _question(context, wanted)
    if kind.destroys and context.form.get("number", "").strip().replace(",", "") != given:
        return _question(context, wanted, problem="That is not their number. Nothing has been done.")
    # No more than somebody has agreed to, however many there are by now.
    wanted = replace(wanted, limit=agreed)
    with context.acting(kind.permission, wanted.filter.workflow, bulk=wanted.action):
        job = context.jobs.start(wanted, context.user)
    return context.redirect("job", job=job.id)


def _order(form: Mapping[str, str], ids: list[str]) -> Order:
    try:
        filter = read_json(form.get("filter", ""))
    except ValueError as error:
        raise RequestRefused(422, "BadFilter", f"The filter is {error}.") from None
    if form.get("scope") == "selected":
        if not ids:
            raise RequestRefused(422, "NothingSelected", "Nothing is selected: mark the rows that are meant.")
        filter = {"workflow": filter.get("workflow") if isinstance(filter, Mapping) else None, "ids": ids}
    return Order.of({"action": form.get("action"), "filter": filter})


def _question(context: Context, wanted: Order, problem: str | None = None) -> Response:
    filter = wanted.filter
    return context.render(
        "bulk.html",
        status=200 if problem is None else 422,
        order=wanted,
        count=how_many(context.client, wanted),
        filter=json.dumps(filter.as_dict()),
        back=_back(context, wanted),
        label=LABELS[wanted.action],
        effect=EFFECTS[wanted.action],
        problem=problem,
    )


def _back(context: Context, wanted: Order) -> str:
    if wanted.filter.error is not None:
        return context.url("failed")
    return context.url("instances", name=wanted.filter.workflow, status=list(wanted.filter.status or ()))


def job(context: Context) -> Response:
    """How far a job is. Raises: RequestRefused: this process knows of none with this id."""
    found = context.jobs.get(context.path["job"])
    about: dict[str, Any] = found.as_dict()
    return context.render(
        "job.html",
        job=found,
        about=about,
        label=LABELS[found.order.action],
        back=_back(context, found.order),
        may_stop=about["ended_at"] is None and context.access.allows(found.order.kind.permission),
    )


def act(context: Context) -> Response:
    """Let a job go on with nothing more. Raises: RequestRefused: it is not known."""
    found = context.jobs.get(context.path["job"])
    with context.acting(found.order.kind.permission, found.order.filter.workflow, bulk="stop"):
        found.stop()
    return context.redirect("job", job=found.id)

"""Instances: listed, created, looked at, removed."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any, Final

from workflows.client.history import iso
from workflows.client.listing import InstanceSummary
from workflows.errors import ConfigError
from workflows.health.sub_status import sub_statuses
from workflows.ui import actions
from workflows.ui.answers import JsonAnswer
from workflows.ui.api import parameters, values
from workflows.ui.context import Context

_ENTRY: Final = ("instance_id", "params", "instance_retention", "metadata", "deadline")
STEPS: Final = 200
_NAMESPACE: Final = uuid.UUID("6d6f1a0e-6a4c-4d39-9f0c-1f1f5c6f7a55")


def summary(one: InstanceSummary) -> dict[str, Any]:
    """A line of a listing."""
    return {
        "id": one.id,
        "workflow": one.workflow,
        "status": str(one.status),
        "created_at": iso(one.created_at),
        "metadata": dict(one.metadata),
    }


def list_instances(context: Context) -> JsonAnswer:
    """Instances of a workflow, newest first, page by page.

    Query: ``status`` (repeatable), ``date_start``, ``date_end``, ``ended_start``, ``ended_end``, ``metadata``
    (``key=value``, repeatable), ``direction`` (``asc``, ``desc``), ``per_page`` (1 to 100), ``cursor``, ``doing``
    (``true``: of each what it is doing, until when, and its error). Pages have no numbers.
    """
    parameters.refuse_page(context)
    most = parameters.per_page(context)
    page = context.workflow.list(
        parameters.statuses(context),
        most,
        context.query.get("cursor"),
        oldest_first=parameters.oldest_first(context),
        **parameters.where(context),
    )
    shown = [summary(one) for one in page]
    if parameters.flag(context, "doing"):
        for shape, sub in zip(shown, sub_statuses(context.store, page), strict=True):
            shape["doing"] = sub.as_dict()
    return JsonAnswer(shown, {"count": len(page), "per_page": most, "cursor": page.cursor})


def create_instance(context: Context) -> JsonAnswer:
    """Create an instance.

    Body: ``instance_id``, ``params``, ``instance_retention``, ``metadata``, ``deadline``, all of which may be left
    out. A request that is sent again with the same ``Idempotency-Key`` gives the same instance.
    """
    given = parameters.body(context, _ENTRY)
    name, key = context.workflow.name, context.request.headers.get("idempotency-key")
    id, command = given.get("instance_id"), None
    if key is not None:
        command = hashlib.sha256(key.encode()).hexdigest()[:32]
        id = str(uuid.uuid5(_NAMESPACE, f"{context.namespace}/{name}/{key}")) if id is None else id
    made = actions.create(
        context,
        name,
        parameters.params_of(given.get("params")),
        id=id,
        retention=given.get("instance_retention"),
        metadata=given.get("metadata"),
        deadline=given.get("deadline"),
        command_id=command,
    )
    return JsonAnswer({"id": made.id, "workflow": made.workflow, "status": "queued"}, status=201)


def create_batch(context: Context) -> JsonAnswer:
    """Create 1 to 100 instances, each for itself.

    Body: a list of what ``create`` takes, or ``{"instances": [...]}``. The answer tells of each what became of it.
    """
    found = context.json
    if isinstance(found, dict):
        found = parameters.fields(found, ("instances",), "the body").get("instances")
    if not isinstance(found, list):
        raise ConfigError("the body must be a list of instances to create")
    entries = [_entry(one) for one in found]
    name = context.workflow.name
    with context.acting("create", name, count=len(entries)):
        made = context.workflow.create_batch({"instances": entries})
    errors = [{"index": one.index, "id": one.id, "code": one.code, "message": one.message} for one in made.errors]
    created = [{"id": one.id, "workflow": name, "status": "queued"} for one in made.created]
    return JsonAnswer({"created": created, "errors": errors}, status=201 if created else 200)


def _entry(given: Any) -> Any:
    """What the client takes; what is no entry stays what it is, for the client to say so."""
    if not isinstance(given, dict) or given.keys() - {*_ENTRY}:
        return given
    named = {"instance_id": "id", "instance_retention": "retention"}
    entry = {named.get(key, key): one for key, one in given.items()}
    return entry | ({"params": parameters.params_of(entry["params"])} if "params" in entry else {})


def get_instance(context: Context) -> JsonAnswer:
    """An instance, with its steps, 200 at a time.

    Query: ``simple`` (``true``: without steps), ``step_cursor`` (``result_info.step_cursor`` of the page before).
    """
    after = parameters.number(context, "step_cursor", 0, least=0)
    status = context.instance.status()
    shape = status.as_dict(steps=False)
    for name in ("params", "output"):
        shape[name] = values.value(shape[name], context.hide_values)
    shape["values"] = {name: values.value(one, context.hide_values) for name, one in shape["values"].items()}
    if parameters.flag(context, "simple"):
        return JsonAnswer(shape)
    left = [step for step in status.steps if step.seq > after]
    shown, is_last = left[:STEPS], len(left) <= STEPS
    shape["steps"] = values.steps(shown, context.hide_values)
    shape["steps_complete"] = is_last
    return JsonAnswer(shape, {"count": len(shown), "step_cursor": None if is_last else str(shown[-1].seq)})


def delete_instance(context: Context) -> dict[str, Any]:
    """Remove an instance with everything it stored, in whatever status. Its id is free again."""
    instance = context.instance
    actions.delete(context, instance)
    return {"id": instance.id, "timestamp": context.now.isoformat()}


def change_status(context: Context) -> dict[str, Any]:
    """Steer an instance.

    Body: ``status`` or ``action`` (``pause``, ``resume``, ``restart``, ``cancel``, ``terminate``); ``from`` of a
    restart: a step's name, or ``{"name": …, "count": …, "type": …}``; ``reason`` and ``grace`` of a cancel, which
    is a duration; ``rollback`` of a terminate.
    """
    given = parameters.body(context, ("status", "action", "from", "rollback", "reason", "grace"))
    action = given.get("action", given.get("status"))
    if action not in ("pause", "resume", "restart", "cancel", "terminate"):
        raise ConfigError(f"the action is {action!r:.100}; there are: pause, resume, restart, cancel, terminate")
    if given.keys() & {"reason", "grace"} and action != "cancel":
        raise ConfigError("reason and grace belong to cancel")
    if "from" in given and action != "restart":
        raise ConfigError("from belongs to restart")
    if "rollback" in given and (action != "terminate" or not isinstance(given["rollback"], bool)):
        raise ConfigError("rollback belongs to terminate, and is true or false")
    origin = given.get("from")
    if origin is not None and not isinstance(origin, str | dict):
        raise ConfigError("from is the name of a step, or an object with name, count and type")
    instance = context.instance
    match action:
        case "restart":
            actions.restart(context, instance, origin)
        case "terminate":
            actions.terminate(context, instance, rollback=given.get("rollback", False))
        case "cancel":
            actions.cancel(context, instance, given.get("reason"), grace=given.get("grace"))
        case "pause":
            actions.pause(context, instance)
        case _:
            actions.resume(context, instance)
    status = instance.status()
    return {"status": status.shown_status, "timestamp": context.now.isoformat()}


def send_event(context: Context) -> JsonAnswer:
    """Send an event, whose payload is the body.

    Query: ``event_id``: the same one is accepted once. The answer says whether a wait has it (``delivered``) or it is
    kept for a later one (``buffered``).
    """
    instance = context.instance
    type, id = context.path["type"], context.query.get("event_id")
    delivery = actions.send_event(context, instance, type, context.json, id=id)
    return JsonAnswer({"delivery": delivery}, status=202)

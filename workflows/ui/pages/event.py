"""Sending an event whose payload has been declared, by filling in a form."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from workflows.errors import InstanceEnded, InstanceNotFound, ServerError, WorkflowError
from workflows.health.catalogue import manifest_of
from workflows.ui import actions
from workflows.ui.context import Context
from workflows.ui.filling import Filled, empty, filled
from workflows.ui.forms import Form
from workflows.ui.showing import json_text
from workflows.values import names


def schemas(context: Context, workflow: str) -> dict[str, Any]:
    """What payloads have to be, as JSON schema by type of event, as far as that was declared."""
    known = manifest_of(context.client).workflows.get(workflow)
    found = None if known is None else known.description.get("event_schemas")
    return dict(found) if isinstance(found, dict) else {}


def event(context: Context) -> Response:
    """The form, empty."""
    form = _form(context)
    context.instance  # noqa: B018  # it must be there
    return _shown(context, form, empty(form))


def send(context: Context) -> Response:
    """Send what the form says; shown again with what is wrong with it."""
    form, one = _form(context), context.instance
    given = filled(form, context.form)
    if not given.is_sent:
        return _shown(context, form, given)
    problem = None
    if not given.errors:
        try:
            type, id = context.path["type"], context.form.get("event_id", "").strip() or None
            said = actions.send_event(context, one, type, given.value, id=id)
            return context.redirect("instance", name=one.workflow, id=one.id, said=said)
        except (ServerError, InstanceNotFound, InstanceEnded):
            raise
        except WorkflowError as error:
            problem = str(error)
    return _shown(context, form, given, problem, status=422)


def _form(context: Context) -> Form:
    return Form.of(schemas(context, context.path["name"]).get(names.check_event_type(context.path["type"])))


def _shown(context: Context, form: Form, given: Filled, problem: str | None = None, *, status: int = 200) -> Response:
    schema = schemas(context, context.path["name"]).get(context.path["type"])
    return context.render(
        "event.html",
        status=status,
        name=context.path["name"],
        id=context.path["id"],
        type=context.path["type"],
        event_id=context.form.get("event_id", "") if context.request.method == "POST" else "",
        form=form,
        given=given,
        problem=problem,
        schema=None if schema is None else json_text(schema),
    )

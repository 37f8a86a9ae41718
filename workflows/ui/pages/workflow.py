"""One workflow, and making an instance of it."""

from __future__ import annotations

from dataclasses import replace

from starlette.responses import Response

from workflows.client.blocking import carry_out
from workflows.client.schedules import schedules
from workflows.errors import InstanceAlreadyExists, ServerError, WorkflowError
from workflows.health.catalogue import AboutWorkflow, about
from workflows.ui import actions
from workflows.ui.context import Context
from workflows.ui.filling import Filled, empty, filled
from workflows.ui.forms import Form
from workflows.ui.showing import json_text


def workflow(context: Context) -> Response:
    """What there is to say about it."""
    found = about(context.client, context.path["name"])
    lines = carry_out(context.store, schedules(context.store.keys))
    return context.render(
        "workflow.html",
        name=found.name,
        about=found,
        schedules=[one for one in lines if one.workflow == found.name],
        schema=None if found.params_schema is None else json_text(found.params_schema),
    )


def new(context: Context) -> Response:
    """The form that creates an instance, empty."""
    found = about(context.client, context.path["name"])
    form = Form.of(found.params_schema)
    return _shown(context, found, form, empty(form))


def create(context: Context) -> Response:
    """Create what the form says; shown again with what is wrong with it."""
    found, posted = about(context.client, context.path["name"]), context.form
    form = Form.of(found.params_schema)
    given = filled(form, posted, {})
    if not given.is_sent:
        return _shown(context, found, form, given)
    problem = None
    if not given.errors:
        try:
            one = actions.create(context, found.name, given.value, id=posted.get("id", "").strip() or None)
            return context.redirect("instance", name=found.name, id=one.id, said="created")
        except InstanceAlreadyExists as error:
            given = replace(given, errors={"id": str(error)})
        except ServerError:
            raise
        except WorkflowError as error:
            problem = str(error)
    return _shown(context, found, form, given, problem, status=422)


def _shown(
    context: Context, found: AboutWorkflow, form: Form, given: Filled, problem: str | None = None, *, status: int = 200
) -> Response:
    return context.render(
        "new.html",
        status=status,
        name=found.name,
        id=context.form.get("id", "") if context.request.method == "POST" else "",
        form=form,
        given=given,
        problem=problem,
        schema=None if found.params_schema is None else json_text(found.params_schema),
    )

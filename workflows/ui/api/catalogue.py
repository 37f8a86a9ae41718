"""Workflows."""

from __future__ import annotations

from typing import Any

from workflows.health import catalogue
from workflows.health.counts import count_by_workflow
from workflows.storage.outage import server_errors
from workflows.ui.answers import JsonAnswer
from workflows.ui.api import parameters
from workflows.ui.context import Context


def list_workflows(context: Context) -> JsonAnswer:
    """The workflows, by name, each with how many instances are in each status.

    Query: ``per_page`` (1 to 100), ``cursor`` (the name that the page before ended with).
    """
    parameters.refuse_page(context)
    most, after = parameters.per_page(context), context.query.get("cursor") or ""
    found = sorted(((one if isinstance(one, str) else one.name), one) for one in catalogue.listed(context.client))
    left = [(name, one) for name, one in found if name > after]
    with server_errors(context.store.redis):
        counts = count_by_workflow(context.store, [name for name, _ in left[:most]])
    shown = [
        ({"name": name, "app": None} if isinstance(one, str) else catalogue.described(one))
        | {"instances": counts[name]}
        for name, one in left[:most]
    ]
    cursor = left[most - 1][0] if len(left) > most else None
    return JsonAnswer(shown, {"count": len(shown), "per_page": most, "cursor": cursor})


def describe_workflow(context: Context) -> dict[str, Any]:
    """One workflow: app, version of the code, queue, schedules, retention, limits, schema of its params, counts."""
    return catalogue.about(context.client, context.path["name"]).as_dict()

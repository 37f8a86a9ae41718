"""What has gone wrong."""

from __future__ import annotations

from typing import Any

from workflows.client.selection import read_moment
from workflows.health.error_groups import error_groups
from workflows.ui.context import Context
from workflows.values import names


def list_error_groups(context: Context) -> dict[str, Any]:
    """What failed or is parked, by workflow, step and name of the error: of the newest thousand of each.

    Query: ``workflow``; ``since``, a moment. Raises: BadName, ConfigError: one of them is none.
    """
    workflow, since = context.query.get("workflow"), context.query.get("since")
    if workflow is not None:
        names.check_workflow_name(workflow)
    found = error_groups(context.store, workflow=workflow, since=None if since is None else read_moment(since))
    return found.as_dict()

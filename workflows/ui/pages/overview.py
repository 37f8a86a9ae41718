"""What there is, and what needs attention."""

from __future__ import annotations

from starlette.responses import Response

from workflows.health.counts import count_by_workflow
from workflows.ui.context import Context


def overview(context: Context) -> Response:
    """The first page."""
    counts = count_by_workflow(context.store, context.client.workflows())
    return context.render("overview.html", counts=counts)

"""What there is, and what needs attention."""

from __future__ import annotations

from starlette.responses import Response

from workflows.health.namespace import count_instances
from workflows.ui.context import Context


def overview(context: Context) -> Response:
    """The first page."""
    counts = {name: count_instances(context.store, name) for name in context.client.workflows()}
    return context.render("overview.html", counts=counts)

"""What there is, and what needs attention."""

from __future__ import annotations

from datetime import timedelta

from starlette.responses import Response

from workflows.health import overview as health
from workflows.health.error_groups import error_groups
from workflows.storage.manifest import load_manifest
from workflows.storage.outage import server_errors
from workflows.storage.status import Status
from workflows.ui.context import Context


def overview(context: Context) -> Response:
    """The first page."""
    store = context.store
    with server_errors(store.redis):
        seen = health.overview(store)
        known = load_manifest(store).workflows
    return context.render(
        "overview.html",
        seen=seen,
        orphans={name for name in seen.instances if name not in known},
        statuses=[str(status) for status in Status],
        groups=error_groups(store, since=seen.at - timedelta(days=1)),
    )

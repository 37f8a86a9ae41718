"""What ``workflows doctor`` says."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from workflows.health import namespace, server
from workflows.storage.outage import server_errors
from workflows.ui.context import Context

_ORDER: Final = ("error", "warning", "ok")


def doctor(context: Context) -> Response:
    """Is Redis fit, who is at work, and what stands in the way."""
    store = context.store
    with server_errors(store.redis):
        of_server = server.check_server(store.redis)
        of_namespace = namespace.report(store).findings()
    parts = [
        (title, sorted(found, key=lambda one: _ORDER.index(one.level)))
        for title, found in (("Redis", of_server), (context.namespace, of_namespace))
    ]
    return context.render("doctor.html", parts=parts)

"""Every address of the dashboard and of the JSON interface: one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from workflows.ui import pages
from workflows.ui.api import bulk, catalogue, instances, looking, processes
from workflows.ui.api.streams import stream

Face = Literal["page", "json", "stream", "file"]


@dataclass(frozen=True, slots=True)
class Route:
    """One address.

    Attributes:
        method: of HTTP.
        path: seen from where the dashboard is mounted; ``{name}`` is a part of it.
        name: what links call it by; several methods of one path share it.
        handler: a plain function from a ``Context`` to an answer, called in a thread; of a ``stream`` a coroutine
            function, called in the event loop. A ``page`` answers with a response, ``json`` also with a value.
        needs: ``read``; or ``open``: everybody may, whoever it is. Writing is checked where it happens, by
            ``Context.acting``.
        face: how errors look.
    """

    method: str
    path: str
    name: str
    handler: Callable[..., Any]
    needs: Literal["open", "read"] = "read"
    face: Face = "page"


PAGES: Final = (
    Route("GET", "/", "overview", pages.overview.overview),
    Route("GET", "/find", "find", pages.find),
    Route("POST", "/theme", "theme", pages.theme, needs="open"),
    Route("GET", "/workflows/{name}", "workflow", pages.workflow.workflow),
    Route("GET", "/workflows/{name}/new", "new", pages.workflow.new),
    Route("POST", "/workflows/{name}/new", "new", pages.workflow.create),
    Route("GET", "/workflows/{name}/instances", "instances", pages.instances.instances),
    Route("GET", "/workflows/{name}/instances/{id}", "instance", pages.instance.instance),
    Route("POST", "/workflows/{name}/instances/{id}", "instance", pages.instance.act),
    Route("GET", "/workflows/{name}/instances/{id}/events/{type}", "event", pages.event.event),
    Route("POST", "/workflows/{name}/instances/{id}/events/{type}", "event", pages.event.send),
    Route("GET", "/schedules", "schedules", pages.schedules.schedules),
    Route("POST", "/schedules", "schedules", pages.schedules.act),
    Route("GET", "/workers", "workers", pages.workers),
    Route("GET", "/doctor", "doctor", pages.doctor),
)
"""What people see."""

_WORKFLOW: Final = "/api/workflows/{name}"
_INSTANCE: Final = f"{_WORKFLOW}/instances/{{id}}"


def _api(method: str, path: str, name: str, handler: Callable[..., Any], *, is_open: bool = False) -> Route:
    return Route(method, path, f"api_{name}", handler, "open" if is_open else "read", "json")


API: Final = (
    _api("GET", "/api/workflows", "workflows", catalogue.list_workflows),
    _api("GET", _WORKFLOW, "workflow", catalogue.describe_workflow),
    _api("GET", f"{_WORKFLOW}/instances", "instances", instances.list_instances),
    _api("POST", f"{_WORKFLOW}/instances", "instances", instances.create_instance),
    _api("POST", f"{_WORKFLOW}/instances/batch", "batch", instances.create_batch),
    _api("GET", _INSTANCE, "instance", instances.get_instance),
    _api("DELETE", _INSTANCE, "instance", instances.delete_instance),
    _api("PATCH", f"{_INSTANCE}/status", "status", instances.change_status),
    _api("POST", f"{_INSTANCE}/events/{{type}}", "event", instances.send_event),
    _api("GET", f"{_INSTANCE}/step", "step", looking.get_step),
    _api("GET", f"{_INSTANCE}/timeline", "timeline", looking.get_timeline),
    _api("GET", f"{_INSTANCE}/journal", "journal", looking.get_journal),
    _api("GET", "/api/queues", "queues", processes.list_queues),
    _api("GET", "/api/workers", "workers", processes.list_workers),
    _api("GET", "/api/schedules", "schedules", processes.list_schedules),
    _api("GET", "/api/doctor", "doctor", processes.examine),
    _api("GET", "/api/health", "health", processes.health, is_open=True),
    Route("POST", "/api/bulk", "bulk", bulk.start, face="json"),
    Route("GET", "/api/bulk", "bulk", bulk.jobs, face="json"),
    Route("GET", "/api/bulk/{job}", "job", bulk.job, face="json"),
    Route("DELETE", "/api/bulk/{job}", "job", bulk.stop, face="json"),
)
"""What programs see."""

LIVE: Final = (Route("GET", "/api/stream", "stream", stream, face="stream"),)
"""What tells browsers that something has changed."""

ROUTES: Final = (*PAGES, *API, *LIVE)

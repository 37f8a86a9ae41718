"""Every address of the dashboard and of the JSON interface: one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from workflows.ui import pages
from workflows.ui.api import bulk, catalogue, failed, instances, looking, processes
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
        query, body: for programs, what it reads of its query, and the fields of a body; ``object``: any value.
    """

    method: str
    path: str
    name: str
    handler: Callable[..., Any]
    needs: Literal["open", "read"] = "read"
    face: Face = "page"
    query: tuple[str, ...] = ()
    body: type | tuple[str, ...] | None = None


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
    Route("GET", "/failed", "failed", pages.bulk.failed),
    Route("POST", "/bulk", "bulk", pages.bulk.order),
    Route("GET", "/bulk/{job}", "job", pages.bulk.job),
    Route("POST", "/bulk/{job}", "job", pages.bulk.act),
    Route("GET", "/schedules", "schedules", pages.schedules.schedules),
    Route("POST", "/schedules", "schedules", pages.schedules.act),
    Route("GET", "/workers", "workers", pages.workers),
    Route("GET", "/doctor", "doctor", pages.doctor),
)
"""What people see."""

_WORKFLOW: Final = "/api/workflows/{name}"
_INSTANCE: Final = f"{_WORKFLOW}/instances/{{id}}"
_WHERE: Final = ("date_start", "date_end", "ended_start", "ended_end", "metadata")
_ENTRY: Final = ("instance_id", "params", "instance_retention", "metadata", "deadline")
_STEER: Final = ("status", "action", "from", "rollback", "reason", "grace")
_ORDER: Final = ("action", "filter", "dry_run", "limit")


def _api(
    method: str,
    path: str,
    name: str,
    handler: Callable[..., Any],
    query: tuple[str, ...] = (),
    *,
    body: type | tuple[str, ...] | None = None,
    is_open: bool = False,
) -> Route:
    return Route(method, path, f"api_{name}", handler, "open" if is_open else "read", "json", query, body)


API: Final = (
    _api("GET", "/api/workflows", "workflows", catalogue.list_workflows, ("per_page", "cursor")),
    _api("GET", _WORKFLOW, "workflow", catalogue.describe_workflow),
    _api(
        "GET",
        f"{_WORKFLOW}/instances",
        "instances",
        instances.list_instances,
        ("status", *_WHERE, "direction", "per_page", "cursor", "doing"),
    ),
    _api("POST", f"{_WORKFLOW}/instances", "instances", instances.create_instance, body=_ENTRY),
    _api("POST", f"{_WORKFLOW}/instances/batch", "batch", instances.create_batch, body=object),
    _api("GET", _INSTANCE, "instance", instances.get_instance, ("simple", "step_cursor")),
    _api("DELETE", _INSTANCE, "instance", instances.delete_instance),
    _api("PATCH", f"{_INSTANCE}/status", "status", instances.change_status, body=_STEER),
    _api("POST", f"{_INSTANCE}/events/{{type}}", "event", instances.send_event, ("event_id",), body=object),
    _api("GET", f"{_INSTANCE}/step", "step", looking.get_step, ("name", "count", "type", "attempt")),
    _api("GET", f"{_INSTANCE}/why", "why", looking.get_reasons),
    _api("GET", f"{_INSTANCE}/timeline", "timeline", looking.get_timeline),
    _api("GET", f"{_INSTANCE}/journal", "journal", looking.get_journal, ("cursor",)),
    _api("GET", "/api/queues", "queues", processes.list_queues),
    _api("GET", "/api/workers", "workers", processes.list_workers),
    _api("GET", "/api/errors", "errors", processes.list_errors, ("workflow", "since")),
    _api("GET", "/api/schedules", "schedules", processes.list_schedules),
    _api("GET", "/api/errors", "errors", failed.list_error_groups, ("workflow", "since")),
    _api("GET", "/api/doctor", "doctor", processes.examine),
    _api("GET", "/api/stages", "stages", processes.profile_stages),
    _api("GET", "/api/metrics", "metrics", processes.metrics),
    _api("GET", "/api/health", "health", processes.health, is_open=True),
    _api("POST", "/api/bulk", "bulk", bulk.start, body=_ORDER),
    _api("GET", "/api/bulk", "bulk", bulk.jobs),
    _api("GET", "/api/bulk/{job}", "job", bulk.job),
    _api("DELETE", "/api/bulk/{job}", "job", bulk.stop),
)
"""What programs see."""

LIVE: Final = (Route("GET", "/api/stream", "stream", stream, face="stream"),)
"""What tells browsers that something has changed."""

ROUTES: Final = (*PAGES, *API, *LIVE)

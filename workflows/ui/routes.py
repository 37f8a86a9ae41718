"""Every address of the dashboard and of the JSON interface: one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from workflows.ui import pages
from workflows.ui.api import bulk
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


PAGES: Final = (Route("GET", "/", "overview", pages.overview),)
"""What people see."""

API: Final = (
    Route("POST", "/api/bulk", "bulk", bulk.start, face="json"),
    Route("GET", "/api/bulk", "bulk", bulk.jobs, face="json"),
    Route("GET", "/api/bulk/{job}", "job", bulk.job, face="json"),
    Route("DELETE", "/api/bulk/{job}", "job", bulk.stop, face="json"),
)
"""What programs see."""

LIVE: Final = (Route("GET", "/api/stream", "stream", stream, face="stream"),)
"""What tells browsers that something has changed."""

ROUTES: Final = (*PAGES, *API, *LIVE)

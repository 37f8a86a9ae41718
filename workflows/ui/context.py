"""What a handler is given: one request, what its sender may do, and what answers are made with."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import ImmutableMultiDict, QueryParams
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from workflows.client import Client
from workflows.client.blocking import WorkflowHandle, WorkflowInstance
from workflows.clock import here
from workflows.errors import WorkflowError
from workflows.storage.outage import server_errors
from workflows.storage.store import Store
from workflows.ui.access import Access
from workflows.ui.assets import assets
from workflows.ui.bulk import Jobs
from workflows.ui.live import Live
from workflows.ui.mounting import below
from workflows.ui.refusals import Refusal, RequestRefused
from workflows.ui.rendering import rendered

FRAGMENT: Final = "x-fragment"
FIELDS_MAX: Final = 1000
THEMES: Final = ("light", "dark")
MENU: Final = (
    ("overview", "Overview"),
    ("failed", "Failed"),
    ("schedules", "Schedules"),
    ("workers", "Workers"),
    ("doctor", "Doctor"),
)
"""Routes that every page leads to, and their names."""
_LOG = logging.getLogger("workflows.ui")


class Context:
    """One request.

    Attributes:
        request: as Starlette has it.
        access: what its sender may do.
        namespace: whose instances these are.
        hide_values: params, outputs and payloads are shown as sizes only.
        is_read_only: nobody may write here, because nobody has said who may.
        jobs: what this process does to many instances at once.
        live: the browsers that are told of changes.
        acted: what has been done on the way, whether or not it succeeded.
    """

    def __init__(
        self,
        request: Request,
        access: Access,
        client: Callable[[], Client],
        path_of: Callable[[str, dict[str, Any]], tuple[str, dict[str, Any]]],
        jobs: Jobs,
        live: Live,
        *,
        body: bytes = b"",
        namespace: str = "",
        hide_values: bool = False,
        is_read_only: bool = False,
    ) -> None:
        self.request = request
        self.access = access
        self.namespace = namespace
        self.hide_values = hide_values
        self.is_read_only = is_read_only
        self.jobs = jobs
        self.live = live
        self.acted: list[str] = []
        self._client = client
        self._path_of = path_of
        self._body = body

    @property
    def client(self) -> Client:
        """The client of this process, made at the first request.

        Raises: ConfigError: nobody said where Redis is.
        """
        return self._client()

    @property
    def store(self) -> Store:
        """Where the client's commands go. Raises: ServerUnavailable."""
        return self.client.store

    @property
    def workflow(self) -> WorkflowHandle:
        """The workflow that the path names. Raises: BadName."""
        return self.client.workflow(self.path["name"])

    @property
    def instance(self) -> WorkflowInstance:
        """The instance that the path names. Raises: BadName, InstanceNotFound."""
        return self.workflow.get(self.path["id"])

    @property
    def path(self) -> dict[str, str]:
        """What the path says, by the names of the route."""
        return self.request.path_params

    @property
    def query(self) -> QueryParams:
        return self.request.query_params

    @property
    def theme(self) -> str:
        """The colours that somebody has chosen; '': those of the browser."""
        chosen = self.request.cookies.get("theme", "")
        return chosen if chosen in THEMES else ""

    @property
    def menu(self) -> tuple[tuple[str, str], ...]:
        return MENU

    @property
    def back(self) -> str:
        """This very page, seen from where the dashboard is mounted; ``query`` and all."""
        query = self.request.url.query
        return below(self.request.scope) + ("?" + query if query else "")

    @cached_property
    def now(self) -> datetime:
        """By the clock of Redis, which instances live by; by our own while it does not answer."""
        try:
            store = self.store
            with server_errors(store.redis):
                seconds, microseconds = store.redis.time()
        except WorkflowError:
            return here().astimezone(UTC)
        return datetime.fromtimestamp(seconds + microseconds / 1e6, UTC)

    @cached_property
    def form(self) -> ImmutableMultiDict[str, str]:
        """The fields of a form that was posted. Raises: RequestRefused."""
        try:
            fields = parse_qsl(
                self._body.decode(), keep_blank_values=True, strict_parsing=bool(self._body), max_num_fields=FIELDS_MAX
            )
        except ValueError as error:
            raise RequestRefused(400, "BadForm", f"The form cannot be read: {error}") from error
        return ImmutableMultiDict(fields)

    @cached_property
    def json(self) -> Any:
        """The body; None where it is empty. Raises: RequestRefused."""
        if not self._body.strip():
            return None
        try:
            return json.loads(self._body, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise RequestRefused(400, "BadJson", f"The body is not JSON: {error}") from error

    def url(self, route: str, /, **params: Any) -> str:
        """Where a route is, seen from the browser.

        Args:
            params: what its path names; anything else becomes the query, without what is None, and once for each
                element of a list.
        """
        path, query = self._path_of(route, params)
        pairs = [
            (key, str(one))
            for key, value in query.items()
            for one in (value if isinstance(value, list | tuple) else [value])
            if one is not None
        ]
        return str(self.request.scope.get("root_path", "")) + path + ("?" + urlencode(pairs) if pairs else "")

    def static(self, name: str) -> str:
        """Where a file of ``static/`` is."""
        return self.url("static", name=assets()[name].name)

    @property
    def fragments(self) -> list[str]:
        """The ids of the elements that are asked for, in a header, between spaces; none: the whole page."""
        return self.request.headers.get(FRAGMENT, "").split()

    def render(self, template: str, /, *, status: int = 200, whole: bool = False, **values: Any) -> HTMLResponse:
        """A page made of a template, or the elements of it that were asked for.

        Args:
            whole: the page, whatever was asked for.
            values: what the template knows beside ``context``, ``url``, ``static`` and ``access``.
        """
        known = {"context": self, "url": self.url, "static": self.static, "access": self.access}
        return HTMLResponse(rendered(template, known | values, () if whole else self.fragments), status)

    def redirect(self, route: str, /, **params: Any) -> Response:
        """After a write: what to look at next."""
        return RedirectResponse(self.url(route, **params), 303)

    def require(self, action: str) -> None:
        """Raises: RequestRefused: its sender may not do this."""
        if self.access.allows(action):
            return
        why = "this dashboard is read-only" if self.is_read_only else f"you may not {action.replace('_', ' ')} here"
        raise RequestRefused(403, "Forbidden", f"{why[0].upper()}{why[1:]}.")

    @contextmanager
    def acting(self, action: str, workflow: str, id: str | None = None, **facts: Any) -> Iterator[None]:
        """Around every write: its sender must be allowed to, and one line of the log tells what came of it.

        Args:
            action: one of ``access.ACTIONS``.
            facts: what else the line says; never values.
        Raises: RequestRefused: its sender may not.
        """
        self.acted.append(action)
        outcome = "done"
        try:
            self.require(action)
            yield
        except Exception as error:
            refusal = Refusal.of(error)
            outcome = type(error).__name__ if refusal is None else refusal.code
            raise
        finally:
            line = {
                "user": self.user,
                "action": action,
                "instance": workflow if id is None else f"{workflow}/{id}",
                "outcome": outcome,
            }
            _LOG.info("ui_action", extra=line | facts)

    @property
    def user(self) -> str:
        """Who this is, as far as anybody knows."""
        if self.access.user:
            return self.access.user
        client = self.request.client
        return "unknown" if client is None else client.host


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")

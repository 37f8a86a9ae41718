"""The dashboard: an ASGI application over the table of routes.

A handler is a plain function over the blocking client and runs in a thread; what is here runs in the event loop and
waits for nothing but the request's body, the answer of ``access``, and the handler.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import threading
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any, Final
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route as StarletteRoute
from starlette.types import Message, Receive, Scope, Send

from workflows.authoring.app import App
from workflows.client import Client
from workflows.ui import answers
from workflows.ui.access import Access, Decide, nobody_writes
from workflows.ui.assets import asset
from workflows.ui.bulk import Jobs
from workflows.ui.context import Context
from workflows.ui.live import Live
from workflows.ui.mounting import below
from workflows.ui.openapi import document
from workflows.ui.refusals import Refusal, RequestRefused
from workflows.ui.routes import API, ROUTES, Route
from workflows.ui.security import HEADERS, check_host, check_origin

BODY_MAX: Final = 16 * 1024 * 1024
"""Bytes: a batch of creations, each of whose params may be 1 MiB, is sent in parts when it is larger."""

IMMUTABLE: Final = "public, max-age=31536000, immutable"
_LOG = logging.getLogger("workflows.ui")
_API: Final = "/api"


class Dashboard:
    """The dashboard of a namespace; see ``workflows.ui.dashboard``.

    Args:
        hosts: the names it answers to; None: whatever is around this checks them.
        challenge: ask browsers for a password.
    """

    def __init__(
        self,
        app: App | str | Client,
        *,
        redis_url: str | None = None,
        access: Decide | None = None,
        hide_values: bool = False,
        hosts: Collection[str] | None = None,
        challenge: bool = False,
    ) -> None:
        self._app = app
        self._redis_url = redis_url
        self._decide = access or nobody_writes
        self._is_read_only = access is None
        self._hide_values = hide_values
        self._hosts = hosts
        self._challenge = challenge
        self._lock = threading.Lock()
        self._jobs = Jobs(self.client)
        self._live = Live(lambda: self.client().store, self._jobs)
        self._client: Client | None = app if isinstance(app, Client) else None
        self._paths = {route.name: route.path for route in ROUTES} | {"static": "/static/{name}"}
        self._starlette = Starlette(
            routes=[
                *map(self._routed, _by_path()),
                StarletteRoute("/static/{name}", _static, name="static"),
                StarletteRoute(f"{_API}/openapi.json", _openapi),
            ],
            exception_handlers={HTTPException: self._http_error, RequestRefused: self._refused},
            lifespan=self._lifespan,
        )
        self._starlette.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._starlette(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope)
        try:
            if self._hosts is not None:
                check_host(request.headers, self._hosts)
        except RequestRefused as error:
            await self._answer_to(request, error)(scope, receive, with_headers)
            return
        if not below(scope):
            await RedirectResponse(str(scope.get("root_path", "")) + "/", 307)(scope, receive, with_headers)
            return
        await self._starlette(scope, receive, with_headers)

    def client(self) -> Client:
        """The client of this process, made at the first request. Raises: ConfigError."""
        with self._lock:
            if self._client is None:
                assert not isinstance(self._app, Client)
                self._client = Client(self._app, self._redis_url)
            return self._client

    def close(self) -> None:
        """Stop what is being done to many, and close the connections to Redis, unless they were given. The next request
        opens new ones."""
        self._jobs.close()
        with self._lock:
            if self._client is not None and self._client is not self._app:
                self._client.close()
                self._client = None

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Of an application that stands alone; nobody tells a mounted one when its process ends."""
        yield
        await run_in_threadpool(self.close)

    def _routed(self, routes: tuple[Route, ...]) -> StarletteRoute:
        by_method = {route.method: route for route in routes}

        async def endpoint(request: Request) -> Response:
            method = "GET" if request.method == "HEAD" else request.method
            return await self._answer(by_method[method], request)

        return StarletteRoute(routes[0].path, endpoint, methods=list(by_method), name=routes[0].name)

    async def _answer(self, route: Route, request: Request) -> Response:
        access = Access.NONE
        try:
            check_origin(request.method, request.headers)
            if route.needs != "open":
                access = await self._access(request)
                if not access.reads:
                    raise self._not_allowed()
            context = self._context(request, access, await _body(request))
            if route.face == "stream":
                answer = await route.handler(context)
            else:
                answer = await run_in_threadpool(route.handler, context)
            return answer if isinstance(answer, Response) else answers.json_of(answer)
        except ClientDisconnect:
            # Whoever has asked has gone, and nobody hears the answer.
            return Response(status_code=400)
        except Exception as error:
            return self._answer_to(request, error, access)

    async def _access(self, request: Request) -> Access:
        if inspect.iscoroutinefunction(self._decide):
            given = await self._decide(request)
        else:
            # It may ask a database.
            given = await run_in_threadpool(self._decide, request)
            if inspect.isawaitable(given):
                given = await given
        return Access.of(given)

    def _not_allowed(self) -> RequestRefused:
        if self._challenge:
            return RequestRefused(
                401, "Unauthorized", "Give the token: as a bearer token, or as the password of any user."
            )
        return RequestRefused(403, "Forbidden", "You may not see this.")

    def _context(self, request: Request, access: Access, body: bytes = b"") -> Context:
        return Context(
            request,
            access,
            self.client,
            self._path_of,
            self._jobs,
            self._live,
            body=body,
            namespace=self.namespace,
            hide_values=self._hide_values,
            is_read_only=self._is_read_only,
        )

    @property
    def namespace(self) -> str:
        """Whose instances are shown."""
        if isinstance(self._app, str):
            return self._app
        return self._app.namespace if isinstance(self._app, Client) else self._app.name

    def _path_of(self, name: str, params: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The path of a route, and what of ``params`` does not belong into it."""
        path, left = self._paths[name], dict(params)
        for key in params:
            if f"{{{key}}}" in path:
                path = path.replace(f"{{{key}}}", quote(str(left.pop(key)), safe=""))
        assert "{" not in path, f"{name} needs more than {', '.join(params)}"
        return path, left

    async def _http_error(self, request: Request, error: Exception) -> Response:
        """What Starlette itself says: there is no such path, or it has no such method."""
        assert isinstance(error, HTTPException)
        return self._answer_to(request, _of_starlette(error), headers=error.headers)

    async def _refused(self, request: Request, error: Exception) -> Response:
        return self._answer_to(request, error)

    def _answer_to(
        self,
        request: Request,
        error: Exception,
        access: Access = Access.NONE,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """An error, as a page or in JSON."""
        refusal = Refusal.of(error)
        if refusal is None:
            _LOG.error("ui_error", exc_info=error, extra={"path": request.url.path})
            refusal = Refusal(500, "Error", "Something went wrong here; the log of this process says what.")
        path = below(request.scope)
        if path == _API or path.startswith(f"{_API}/"):
            answer: Response = answers.refused(refusal)
        else:
            answer = self._context(request, access).render(
                "error.html", status=refusal.status, whole=True, refusal=refusal
            )
        if refusal.status == 401:
            answer.headers["www-authenticate"] = 'Basic realm="workflows", charset="UTF-8"'
        answer.headers.update(headers or {})
        return answer


def _by_path() -> list[tuple[Route, ...]]:
    """The routes of each path, which have one name."""
    paths: dict[str, list[Route]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, []).append(route)
    return [tuple(routes) for routes in paths.values()]


async def _body(request: Request) -> bytes:
    """What was sent. Raises: RequestRefused: too much."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > BODY_MAX:
            raise RequestRefused(413, "TooLarge", f"The body is larger than {BODY_MAX // 1024 // 1024} MiB")
        parts.append(part)
    return b"".join(parts)


async def _static(request: Request) -> Response:
    """A file of ``static/``; nothing in it is anybody's secret."""
    found = asset(request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    return Response(found.content, media_type=found.media_type, headers={"cache-control": IMMUTABLE})


async def _openapi(request: Request) -> Response:
    """What there is for programs; the same for everybody."""
    return JSONResponse(document(API, str(request.scope.get("root_path", ""))))


def _of_starlette(error: HTTPException) -> RequestRefused:
    if error.status_code == 404:
        return RequestRefused(404, "NotFound", "There is nothing at this address.")
    return RequestRefused(error.status_code, "MethodNotAllowed", "This address does not take that method.")

"""Finding a way through two ASGI applications by path, for frameworks that cannot mount one into the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Asgi: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


def below(scope: Scope) -> str:
    """The path of a request, seen from where its application is mounted."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] if path == root or path.startswith(f"{root}/") else path


def mount(around: Asgi, path: str, inner: Asgi) -> Asgi:
    """An application that hands what comes below ``path`` to ``inner``, and everything else to ``around``.

    Starlette and FastAPI have a ``mount`` of their own, which does the same.
    """
    prefix = "/" + path.strip("/")

    async def switch(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            asked = below(scope)
            if asked == prefix or asked.startswith(f"{prefix}/"):
                scope = {**scope, "root_path": str(scope.get("root_path", "")) + prefix}
                await inner(scope, receive, send)
                return
        await around(scope, receive, send)

    return switch

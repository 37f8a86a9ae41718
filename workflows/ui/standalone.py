"""The dashboard by itself, served by uvicorn: whoever reaches its address is let in by a token, or by being at home."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

import uvicorn

from workflows.authoring.app import App
from workflows.client import Client
from workflows.errors import ConfigError
from workflows.process.parent import end_with_parent
from workflows.ui.access import Access, Decide, TokenAccess
from workflows.ui.application import Dashboard
from workflows.ui.mounting import Asgi, Receive, Scope, Send, below
from workflows.ui.security import LOOPBACK_NAMES

PORT: Final = 8787
PORTS_TRIED: Final = 20
DRAIN_SECONDS: Final = 2
"""How long open streams may keep the process that is told to end."""

TOKEN_VARIABLE: Final = "WORKFLOWS_UI_TOKEN"  # noqa: S105  # the name of a variable


@dataclass(frozen=True, slots=True)
class StandaloneSettings:
    """Where and for whom it stands.

    Attributes:
        port: None: the first free one from ``PORT`` on.
        token: who has it is let in; None: who reaches it, which must be this machine alone.
        prefix: the path that it is below, whether or not somebody in front takes that away.
        hosts: names it answers to beside those of this machine.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    token: str | None = None
    is_read_only: bool = False
    prefix: str = ""
    hosts: Collection[str] = ()
    hide_values: bool = False

    def check(self) -> None:
        """Raises ConfigError: everybody who reaches the address could do everything."""
        if self.token is None and not is_loopback(self.host):
            raise ConfigError(
                f"{self.host} can be reached from other machines, so the dashboard needs a token there: give "
                f"--token-file, or set {TOKEN_VARIABLE}"
            )

    def names(self) -> frozenset[str]:
        """What it answers to."""
        own = {self.host} if self.host not in ("0.0.0.0", "::") else set()  # noqa: S104  # compared, not bound
        return frozenset(name.strip("[]").lower() for name in {*LOOPBACK_NAMES, *self.hosts, *own})

    def access(self) -> Decide:
        """Who may do what."""
        level = Access.READ if self.is_read_only else Access.OPERATE
        return (lambda _: level) if self.token is None else TokenAccess(self.token, level)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def application(app: App | str | Client, standing: StandaloneSettings, redis_url: str | None = None) -> Asgi:
    """What is served. Raises: ConfigError, see ``StandaloneSettings.check``."""
    standing.check()
    dashboard = Dashboard(
        app,
        redis_url=redis_url,
        access=standing.access(),
        hide_values=standing.hide_values,
        hosts=standing.names(),
        challenge=standing.token is not None,
    )
    prefix = "/" + standing.prefix.strip("/")
    return dashboard if prefix == "/" else _below(prefix, dashboard)


def _below(prefix: str, inner: Asgi) -> Asgi:
    """``inner`` under a prefix that a proxy in front of it may or may not have taken away."""

    async def prefixed(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = below(scope)
            if path != prefix and not path.startswith(f"{prefix}/"):
                scope = {**scope, "path": prefix + path}
            scope = {**scope, "root_path": prefix}
        await inner(scope, receive, send)

    return prefixed


def listening(standing: StandaloneSettings) -> socket.socket:
    """A socket at the address.

    Raises: ConfigError: it is taken, or none of this machine's.
    """
    family = socket.AF_INET6 if ":" in standing.host else socket.AF_INET
    ports = range(PORT, PORT + PORTS_TRIED) if standing.port is None else [standing.port]
    refused = ""
    for port in ports:
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind((standing.host, port))
            # Bound is not enough: two may be bound to one port, and one of them cannot listen.
            opened.listen()
        except OSError as error:
            opened.close()
            refused = error.strerror or str(error)
        else:
            return opened
    tried = f"port {ports[0]}" if len(ports) == 1 else f"ports {ports[0]} to {ports[-1]}"
    raise ConfigError(f"the dashboard cannot listen on {standing.host}, {tried}: {refused}")


def serve(
    app: App | str | Client, standing: StandaloneSettings, *, redis_url: str | None = None, say: Callable[[str], None]
) -> None:
    """Serve until SIGINT or SIGTERM, or until the parent that the environment names is gone.

    Args:
        say: prints one line: where it is.
    Raises: ConfigError.
    """
    served = application(app, standing, redis_url)
    with contextlib.closing(listening(standing)) as opened:
        config = uvicorn.Config(
            served,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
        server = uvicorn.Server(config)
        end_with_parent(lambda: setattr(server, "should_exit", True))
        say(address(standing, opened))
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[opened])


def address(standing: StandaloneSettings, opened: socket.socket) -> str:
    """Where somebody finds it."""
    port = opened.getsockname()[1]
    host = f"[{standing.host}]" if ":" in standing.host else standing.host
    prefix = standing.prefix.strip("/")
    return f"http://{host}:{port}/" + (f"{prefix}/" if prefix else "")

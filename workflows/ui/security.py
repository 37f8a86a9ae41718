"""What keeps other web sites from using this one through the browser of somebody who may use it.

No session, no token in forms: a browser says itself where a request comes from. Pure: headers in, a refusal out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import urlsplit

from workflows.ui.refusals import RequestRefused

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
"""Of every answer that does not say otherwise."""

SAFE: Final = frozenset({"GET", "HEAD"})
LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "::1")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def check_host(headers: Mapping[str, str], hosts: Collection[str]) -> None:
    """Refuse a name that is not ours: a foreign one may be bound to this address to get at what it answers.

    Raises: RequestRefused.
    """
    given = headers.get("host", "")
    if _name_of(given) not in hosts:
        raise RequestRefused(
            403,
            "ForbiddenHost",
            f"This dashboard does not answer to the name {given!r:.200}: start it with --allow-host",
        )


def check_origin(method: str, headers: Mapping[str, str]) -> None:
    """Refuse a write that a page of another site may have made.

    Raises: RequestRefused.
    """
    if method in SAFE:
        return
    site = headers.get("sec-fetch-site")
    origin = headers.get("origin")
    if site is not None:
        if site == "same-origin":
            return
    elif origin is not None:
        if _is_origin_of(origin, headers.get("host", "")):
            return
    elif headers.get("authorization"):
        return
    raise RequestRefused(
        403,
        "ForbiddenOrigin",
        "A write must come from a page of this dashboard; a program sends an Authorization header with it.",
    )


def _name_of(host: str) -> str | None:
    """The name in a Host header, without its port; None: nothing that could be one."""
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018  # raises when it is no number
    except ValueError:
        return None
    return parts.hostname if parts.netloc == host and "@" not in host else None


def _is_origin_of(origin: str, host: str) -> bool:
    # The scheme is not compared: in front of this there may be somebody who speaks TLS.
    try:
        ours, theirs = urlsplit(f"//{host}"), urlsplit(origin)
        default = _DEFAULT_PORTS.get(theirs.scheme)
        return (
            default is not None
            and bool(theirs.hostname)
            and theirs.hostname == ours.hostname
            and (theirs.port or default) == (ours.port or default)
        )
    except ValueError:
        return False

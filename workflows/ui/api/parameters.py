"""What requests say, read and checked: queries and bodies."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from workflows.client.selection import Where, read_moment
from workflows.errors import ConfigError
from workflows.ui.bulk_orders import MOMENTS
from workflows.ui.context import Context
from workflows.ui.refusals import RequestRefused

PER_PAGE: Final = 50
PER_PAGE_MAX: Final = 100


def where(context: Context) -> Where:
    """The conditions of a query. Raises: ConfigError."""
    found: Where = {}
    for name, (condition, end) in MOMENTS.items():
        if text := context.query.get(name):
            found[condition] = read_moment(text, end=end)
    pairs = [text.partition("=") for text in context.query.getlist("metadata")]
    if any(not equals for _, equals, _ in pairs):
        raise ConfigError("metadata is asked for as metadata=key=value")
    if pairs:
        found["metadata"] = {key: value for key, _, value in pairs}
    return found


def statuses(context: Context) -> list[str] | None:
    """The statuses of a query; None: all."""
    return context.query.getlist("status") or None


def number(context: Context, name: str, otherwise: int, *, least: int = 1, most: int = 10**9 - 1) -> int:
    """A whole number of a query. Raises: ConfigError."""
    text = context.query.get(name) or str(otherwise)
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        raise ConfigError(f"{name} is {text!r:.100}; it must be a number from {least} to {most:,}")
    return int(text)


def per_page(context: Context) -> int:
    """How much a page holds. Raises: ConfigError."""
    return number(context, "per_page", PER_PAGE, most=PER_PAGE_MAX)


def oldest_first(context: Context) -> bool:
    """Raises: ConfigError."""
    direction = context.query.get("direction") or "desc"
    if direction not in ("asc", "desc"):
        raise ConfigError(f"direction is {direction!r:.100}; it must be asc or desc")
    return direction == "asc"


def refuse_page(context: Context) -> None:
    """Pages have no numbers here. Raises: RequestRefused."""
    if "page" in context.query:
        raise RequestRefused(
            400, "Unsupported", "unsupported: page. A page is asked for with the cursor of the one before it."
        )


def flag(context: Context, name: str) -> bool:
    """Raises: ConfigError."""
    text = context.query.get(name) or "false"
    if text not in ("true", "false"):
        raise ConfigError(f"{name} is {text!r:.100}; it must be true or false")
    return text == "true"


def body(context: Context, known: Collection[str]) -> Mapping[str, Any]:
    """The fields of a body that is an object; none where there is no body. Raises: ConfigError, RequestRefused."""
    found = context.json
    return fields(found if found is not None else {}, known, "the body")


def fields(found: object, known: Collection[str], what: str) -> Mapping[str, Any]:
    """Raises: ConfigError: it is no object, or has other fields."""
    if not isinstance(found, Mapping):
        raise ConfigError(f"{what} must be an object with any of {', '.join(known)}")
    unknown = sorted(found.keys() - {*known})
    if unknown:
        raise ConfigError(f"{what} has the fields {', '.join(unknown)}; there are: {', '.join(known)}")
    return found


def params_of(given: Any) -> Any:
    """Params as Cloudflare takes them, as JSON in a text, or as they are."""
    if isinstance(given, str):
        try:
            return json.loads(given)
        except (ValueError, RecursionError):
            return given
    return given

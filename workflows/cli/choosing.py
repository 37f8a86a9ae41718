"""Options that say which instances are meant, for every verb that may go to many of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import click

from workflows.client.selection import Where, read_moment
from workflows.errors import ConfigError


def metadata(ctx: click.Context, parameter: click.Parameter, texts: Sequence[str]) -> Mapping[str, str] | None:
    """Reads ``key=value``, each key once; None where there is nothing to read."""
    pairs = [text.partition("=") for text in texts]
    for key, equals, _ in pairs:
        if not equals:
            raise click.BadParameter(f"{key!r:.100} has no value; write key=value")
    found = {key: value for key, _, value in pairs}
    if len(found) < len(pairs):
        raise click.BadParameter("a key is given twice")
    return found or None


def _moment(*, end: bool) -> Callable[[click.Context, click.Parameter, str | None], datetime | None]:
    """Reads a moment. A date alone is a whole day: its start, or its end."""

    def read(ctx: click.Context, parameter: click.Parameter, text: str | None) -> datetime | None:
        if text is None:
            return None
        try:
            return read_moment(text, end=end)
        except ConfigError as error:
            raise click.BadParameter(str(error)) from None

    return read


_OPTIONS: Final = (
    click.option(
        "--date-start", callback=_moment(end=False), help="Created then or later: ISO 8601, UTC; a date is a whole day."
    ),
    click.option("--date-end", callback=_moment(end=True), help="Created before; a date counts to its end."),
    click.option("--ended-start", callback=_moment(end=False), help="Ended then or later."),
    click.option("--ended-end", callback=_moment(end=True), help="Ended before."),
    click.option(
        "--metadata", callback=metadata, multiple=True, help="Created with this, as key=value; all of several."
    ),
)


def where_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options; the command is given ``where``, made of those that were."""

    @functools.wraps(command)
    def with_where(
        *args: Any,
        date_start: datetime | None,
        date_end: datetime | None,
        ended_start: datetime | None,
        ended_end: datetime | None,
        metadata: Mapping[str, str] | None,
        **more: Any,
    ) -> Any:
        where: Where = {}
        if date_start is not None:
            where["created_from"] = date_start
        if date_end is not None:
            where["created_before"] = date_end
        if ended_start is not None:
            where["ended_from"] = ended_start
        if ended_end is not None:
            where["ended_before"] = ended_end
        if metadata is not None:
            where["metadata"] = metadata
        return command(*args, where=where, **more)

    decorated: Callable[..., Any] = with_where
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def described(where: Where) -> str:
    """The conditions in words; nothing where there are none."""
    moments = [
        f", {name.replace('_', ' ')} {value.isoformat()}"
        for name, value in where.items()
        if isinstance(value, datetime)
    ]
    return "".join(moments) + "".join(f", {key}={value}" for key, value in (where.get("metadata") or {}).items())

"""How answers are put on a terminal.

Whatever comes out of Redis is shown with control characters escaped: a step's name or an error's text was written by
somebody else and must not move the reader's cursor.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import click

from workflows.values.durations import format_ms


def shown(text: str, *, lines: bool = False) -> str:
    """Text with everything escaped that is not plainly printable; ``lines`` leaves line breaks."""
    return "".join(
        one if one.isprintable() or (lines and one == "\n") else one.encode("unicode_escape").decode() for one in text
    )


def one_line(text: str) -> str:
    """Text of one line or more as one."""
    return shown(re.sub(r"\s*\n\s*", " ", text.strip()))


def indented(text: str, indent: int) -> str:
    """The same as lines, the further ones set in, so that none of them can pass for one of ours."""
    return shown(text.strip(), lines=True).replace("\n", "\n" + " " * indent)


def reply(as_json: bool, value: Any, text: str) -> None:
    """An answer: the value as JSON, or the text."""
    click.echo(json.dumps(value) if as_json else shown(text, lines=True))


def pretty(value: Any) -> str:
    """JSON to read."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """Columns as wide as what stands in them; ``empty`` when there are no rows."""
    cells = [[shown(str(cell)) for cell in row] for row in rows]
    if not cells:
        click.echo(empty)
        return
    widths = [max(len(row[column]) for row in [list(head), *cells]) for column in range(len(head))]
    for row in [list(head), *cells]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def named_lines(lines: Iterable[tuple[str, str]]) -> None:
    """Names and values, one pair a line; nothing for an empty value."""
    for name, value in lines:
        if value:
            click.echo(f"{name:<12} {indented(value, 13)}")


def pairs_text(pairs: Mapping[str, str]) -> str:
    """Names and texts, on one line."""
    return " ".join(f"{key}={value}" for key, value in pairs.items())


def moment_text(moment: datetime | None) -> str:
    """A moment in UTC, to the second."""
    return "" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def duration_text(span: timedelta) -> str:
    """How long something took, such as ``"1.5s"``."""
    ms = round(span / timedelta(milliseconds=1))
    if ms < 1000:
        return f"{ms}ms"
    return f"{ms / 1000:.1f}s" if ms < 60_000 else format_ms(ms // 1000 * 1000)

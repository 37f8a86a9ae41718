"""How facts are put on a page. Pure.

Names, values and errors were written by strangers. Templates escape what means something to HTML; what would mean
something to the reader's eye alone, characters that turn text around or cannot be seen, is made visible here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from workflows.client.history import readable
from workflows.ui.timeline import between, span_text

VALUE_CHARACTERS: Final = 5_000
"""Shown of a value at first."""
TEXT_CHARACTERS: Final = 2_000
"""Shown of an error or a reason; the command line has all of it."""


class _Visible(dict[int, str]):
    """Characters to what is shown for them; those that are not plainly printable as escapes."""

    def __missing__(self, code: int) -> str:
        one = chr(code)
        shown = one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode()
        if len(self) < 10_000:
            self[code] = shown
        return shown


_VISIBLE: Final = _Visible()


def visible(value: Any) -> Any:
    """Text with everything escaped that is not plainly printable, apart from line breaks and tabs; others as they are.

    Every expression of every template goes through this.
    """
    if type(value) is not str or value.isprintable():
        return value
    return value.translate(_VISIBLE)


@dataclass(frozen=True, slots=True)
class ShownValue:
    """A stored value as it is shown.

    Attributes:
        text: JSON, or a part of it; '' where it is hidden.
        size: of what is stored, in bytes.
        characters: of the whole text.
    """

    text: str
    size: int
    characters: int
    is_hidden: bool = False

    @property
    def is_cut(self) -> bool:
        return not self.is_hidden and len(self.text) < self.characters


def value_of(
    read: Callable[[], Any], stored: bytes | None, *, hide: bool, whole: bool, indent: int | None = 2
) -> ShownValue | None:
    """A value to be shown; None where there is none.

    Args:
        read: makes it of what is stored; may raise CorruptPayload, which is shown in its place.
        whole: however long it is.
        indent: of its lines; None: it is one line.
    """
    if stored is None:
        return None
    if hide:
        return ShownValue("", len(stored), 0, is_hidden=True)
    text = json_text(readable(read), indent)
    return ShownValue(text if whole else text[:VALUE_CHARACTERS], len(stored), len(text))


def json_text(value: Any, indent: int | None = 2) -> str:
    """JSON to read."""
    return json.dumps(value, indent=indent, ensure_ascii=False)


def cut(text: str, most: int = TEXT_CHARACTERS) -> str:
    """At most so many characters of a text, and how many there were."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def utc(moment: datetime) -> str:
    """To the second, for people."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def clock(moment: datetime, other: datetime) -> str:
    """The same, without its day where that is the day of another moment."""
    text = utc(moment)
    return text[11:] if text[:10] == utc(other)[:10] else text


def iso(moment: datetime) -> str:
    """For machines."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ago(moment: datetime, now: datetime) -> str:
    """How far from now, in one unit: ``"3 min ago"``, ``"in 2 h"``."""
    ms = (now - moment).total_seconds() * 1000
    number, unit = span_text(abs(ms)).split(" ")[:2]
    if abs(ms) < 1000:
        return "now"
    far = f"{number.partition('.')[0]} {unit}"
    return f"{far} ago" if ms > 0 else f"in {far}"


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "utc": utc,
    "clock": clock,
    "iso": iso,
    "ago": ago,
    "cut": cut,
    "span": span_text,
    "json_text": json_text,
}
GLOBALS: Final[dict[str, Callable[..., Any]]] = {"between": between}

"""Durations as users write them, turned into whole milliseconds.

Cloudflare reads ``"<number> <unit>"`` and takes every unit it does not know for milliseconds, so that ``"1 Hour"`` is
one millisecond and ``"24h"`` is not a number at all. Here both spellings are read, and anything else is an error that
lists the accepted forms. Units are case-sensitive and ``m`` is minutes.

Source: https://developers.cloudflare.com/workflows/build/sleeping-and-retrying/
"""

from __future__ import annotations

import json
import math
import re
from datetime import timedelta
from typing import Final

from workflows import limits
from workflows.errors import BadDuration

Duration = timedelta | int | float | str

_BARE: Final = "(a bare number is milliseconds)"


class BareMs(int):
    """Milliseconds that somebody gave as a number without a unit, who may have meant seconds: messages say so."""

    __slots__ = ()


_WORDS_MS: Final = {
    "year": round(365.25 * limits.DAY_MS),
    "month": 30 * limits.DAY_MS,
    "week": 7 * limits.DAY_MS,
    "day": limits.DAY_MS,
    "hour": limits.HOUR_MS,
    "minute": limits.MINUTE_MS,
    "second": limits.SECOND_MS,
    "millisecond": 1,
}
_LETTERS_MS: Final = {
    "w": 7 * limits.DAY_MS,
    "d": limits.DAY_MS,
    "h": limits.HOUR_MS,
    "m": limits.MINUTE_MS,
    "s": limits.SECOND_MS,
    "ms": 1,
}
_UNITS_MS: Final = _LETTERS_MS | _WORDS_MS | {word + "s": ms for word, ms in _WORDS_MS.items()}
_PART = re.compile(r"((?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?) *([^\W\d_]+) *")
_TEXT_CHARACTERS = 100
_ACCEPTED = (
    "Give a timedelta, a number of milliseconds, or text: a number and a unit (second, minute, hour, day, week, month, "
    'year; ms, s, m, h, d, w), such as "30 seconds", "1.5 hours", "7 days", "500ms", "24h" or "1h30m".'
)


def parse_ms(value: object, *, what: str, minimum_ms: int = 0, maximum_ms: int = limits.DURATION_MS_MAX) -> int:
    """Read a duration.

    Args:
        value: a ``timedelta``, a number of milliseconds, or text such as ``"7 days"``, ``"24h"``, ``"1h30m"``.
            A month is 30 days and a year 365.25 days.
        what: names the duration in the error, for example ``'the timeout of step "fetch"'``.
        minimum_ms: smallest accepted result; below zero also admits negative durations.
        maximum_ms: largest accepted result.
    Returns: whole milliseconds, rounded to the nearest; a ``BareMs`` where ``value`` has no unit.
    Raises:
        BadDuration: it is none of these or out of range; the message says what was given, where, and what would do.
    """
    ms = _milliseconds(value, what)
    if minimum_ms <= ms <= maximum_ms:
        return ms
    note = note_of(ms)
    if ms > maximum_ms:
        raise BadDuration(f"{what} is {_shown(value)}, which is too long; the most is {format_ms(maximum_ms)}{note}.")
    how = "negative" if ms < 0 else "too short"
    raise BadDuration(f"{what} is {_shown(value)}, which is {how}; the least is {format_ms(minimum_ms)}{note}.")


def note_of(ms: int) -> str:
    """What to add to a message that a duration has caused: of a bare number, what it was taken for."""
    return f" {_BARE}" if isinstance(ms, BareMs) else ""


def format_ms(ms: int) -> str:
    """Write a duration in the compact form, without loss: ``"1h30m"`` for 5,400,000 and ``"0ms"`` for 0."""
    if ms == 0:
        return "0ms"
    parts = ["-"] if ms < 0 else []
    rest = abs(ms)
    for unit, size in _LETTERS_MS.items():
        if unit == "w":
            continue  # "365d" reads better than "52w1d"
        number, rest = divmod(rest, size)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts)


def _milliseconds(value: object, what: str) -> int:
    match value:
        case bool() | None:
            raise _refusal(value, what)
        case int():
            return BareMs(value)
        case float():
            return BareMs(_rounded(value, value, what))
        case timedelta():
            return (value // timedelta(microseconds=1) + 500) // 1000
        case str():
            return _rounded(_read(value, what), value, what)
    raise _refusal(value, what)


def _rounded(ms: float, value: object, what: str) -> int:
    if not math.isfinite(ms):
        raise _refusal(value, what, "it is not a finite number")
    return math.floor(ms + 0.5)


def _read(text: str, what: str) -> float:
    stripped = text.strip(" ")
    if not stripped:
        raise _refusal(text, what, "it is empty")
    if len(stripped) > _TEXT_CHARACTERS:
        raise _refusal(text, what, f"it has {len(text):,} characters")
    sign, position = (-1, 1) if stripped[0] == "-" else (1, 0)
    total, smallest = 0.0, math.inf
    while position < len(stripped):
        part = _PART.match(stripped, position)
        if part is None:
            raise _refusal(text, what, f"no number with a unit at {stripped[position:]!r}")
        unit_ms = _UNITS_MS.get(part[2])
        if unit_ms is None:
            raise _refusal(text, what, f"{part[2]!r} is not a unit")
        if unit_ms >= smallest:
            raise _refusal(text, what, "larger units come first, each once")
        total += float(part[1]) * unit_ms
        smallest, position = unit_ms, part.end()
    if position == 1 and sign < 0:
        raise _refusal(text, what)
    return sign * total


def _refusal(value: object, what: str, reason: str = "") -> BadDuration:
    return BadDuration(f"{what} is {_shown(value)}, which is not a duration{': ' * bool(reason)}{reason}. {_ACCEPTED}")


def _shown(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
    except Exception:  # the caller's own __repr__, or an int beyond the interpreter's limit of digits
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= _TEXT_CHARACTERS else text[:_TEXT_CHARACTERS] + "…"

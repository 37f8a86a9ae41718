"""How reasons put names, moments and commands into words.

Names of steps, types of events and texts of errors were written by somebody else: here they become one line, short and
plainly printable.
"""

from __future__ import annotations

import shlex
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from workflows.errors import CorruptPayload
from workflows.insight.standing import Standing
from workflows.values.durations import format_ms
from workflows.values.failure import Failure

NAME_CHARACTERS: Final = 100
TEXT_CHARACTERS: Final = 500


def plain(text: str, most: int = TEXT_CHARACTERS) -> str:
    """Text as one line of so many characters at most."""
    line = " ".join(text.split())
    cut = line if len(line) <= most else line[:most] + "…"
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in cut)


def quoted(name: str) -> str:
    """A name, in quotation marks."""
    return f'"{plain(name, NAME_CHARACTERS)}"'


def word(text: str) -> str:
    """Text as one word of a command; dots for what nobody could type."""
    return shlex.quote(text) if text.isprintable() and len(text) <= NAME_CHARACTERS else "…"


def begun(sentence: str) -> str:
    """Words as a sentence begins with them."""
    return sentence[:1].upper() + sentence[1:]


def command(verb: str, seen: Standing, *more: str) -> str:
    """A command about an instance, to be copied."""
    return " ".join((f"workflows {verb} {seen.instance.workflow} {seen.instance.id}", *more))


def _at(ms: float) -> datetime | None:
    with suppress(ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(ms / 1000, UTC)
    return None


def moment(ms: float) -> str:
    """A moment in UTC, to the second."""
    at = _at(ms)
    return "at no moment of any calendar" if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def iso(ms: float) -> str | None:
    """A moment as facts have it."""
    at = _at(ms)
    return None if at is None else at.isoformat(timespec="milliseconds")


def span(ms: float) -> str:
    """A length of time, as exact as anybody wants to know."""
    whole = max(0, int(ms))
    return (
        format_ms(whole // 1000 * 1000 if whole < 86_400_000 else whole // 60_000 * 60_000) if whole >= 1000 else "0s"
    )


def failed_with(blob: bytes) -> str:
    """What a stored failure says."""
    try:
        found = Failure.from_blob(blob)
    except CorruptPayload:
        return "an error that cannot be read"
    return plain(f"{found.name}: {found.message}")

"""When a cron line fires, in the time of a place: what happens when clocks are put forward or back is decided here.

A line is read as cron reads it: minute, hour, day, month, weekday (0 and 7 are Sunday, 1 is Monday), and seconds as a
sixth field. It is compared with the clock on the wall of its zone, which twice a year leaves out an hour or shows one
twice in most places:

- A line whose minute or hour begins with ``*`` is a rhythm. It fires in real time, whenever the clock on the wall
  matches: through both hours of the same name, and not in an hour that is left out.
- Any other line names times of day. One that is left out fires once, at the first moment after the gap; one that comes
  twice fires at its first occurrence only.

That is the rule of Vixie's cron (``man 8 cron``). croniter reads the fields; it knows nothing of zones here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from workflows import limits
from workflows.errors import BadSchedule

_CRON: Final = re.compile(r"[0-9A-Za-z*/,#?L -]+")
_CRON_FIELDS: Final = (5, 6)
_ZONE: Final = re.compile(r"[A-Za-z0-9_+-]{1,40}(/[A-Za-z0-9_+-]{1,40}){0,2}")
_EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)  # any moment does: it is only asked whether there is a next one
# No zone changes its offset twice within so long.
_STEP_SECONDS: Final = 12 * 3600
# How far back the last firing is looked for: soon found where there are many, and all the way where there are few.
_BACK_SECONDS: Final = (60, 3600, 86_400, 8 * 86_400, 32 * 86_400, 367 * 86_400)


def checked_line(expression: object, where: str = "schedule") -> str:
    """A cron line with single spaces between its fields. Raises: BadSchedule."""
    if not isinstance(expression, str) or not expression.strip():
        raise BadSchedule(f'The {where} has an empty schedule. Use a cron expression such as "0 9 * * MON-FRI".')
    fields = expression.split()
    text = " ".join(fields)
    reason = None
    if len(text) > limits.SCHEDULE_CHARACTERS:
        reason = f"it has {len(text)} characters, and the most is {limits.SCHEDULE_CHARACTERS}"
    elif len(fields) not in _CRON_FIELDS:
        reason = f"it has {len(fields)} fields instead of 5 (or 6, the last being seconds)"
    elif not _CRON.fullmatch(text) or any(field.upper() in ("H", "R") for field in fields):
        reason = "it has other characters than numbers, names, * / , - # ? L"
    else:
        reason = _problem(text)
    if reason is not None:
        raise BadSchedule(
            f'The {where} has the schedule "{expression[:100]}", which cannot be read: {reason}. Use minute, hour, '
            'day, month and weekday, such as "0 9 * * MON-FRI" or "*/15 * * * *".'
        )
    return text


def _problem(text: str) -> str | None:
    try:
        _first(text, int(_EPOCH.timestamp()))  # fails for a day that never comes, 31 February
    except (ValueError, KeyError, OverflowError) as error:  # what croniter raises are ValueErrors
        return str(error)
    return None


def checked_zone(name: object, where: str = "schedule") -> str:
    """The name of a time zone that is known here. Raises: BadSchedule."""
    if isinstance(name, str) and _ZONE.fullmatch(name) and name != "localtime":
        try:
            ZoneInfo(name)
        except (ValueError, KeyError, OSError):  # a folder of zones is no zone
            pass
        else:
            return name
    raise BadSchedule(
        f'The {where} is in the time zone {name!r:.60}, which is not known here. Use a name such as "Europe/Rome", '
        '"America/New_York" or "UTC".'
    )


@lru_cache(maxsize=1024)
def next_firing(line: str, zone: str, after_ms: int) -> int:
    """The first firing later than a moment; both in ms since the epoch.

    Remembered, because whoever waits for a firing asks again and again.

    Raises: ValueError, KeyError, OverflowError: the line or the zone cannot be read, or no day ever matches.
    """
    place = ZoneInfo(zone)
    rhythm = any(field.startswith("*") for field in line.split()[:2])
    start = after_ms // 1000 + 1
    while True:
        offset = _offset(place, start)
        wall = _first(line, start + offset)
        found = wall - offset
        change = _change(place, start, found)
        if change is None:
            if rhythm or not datetime.fromtimestamp(found, place).fold:
                return found * 1000
            start = _end_of_repetition(place, found)
        elif not rhythm and wall < change + _offset(place, change):
            return change * 1000  # the clock was put forward over it
        else:
            start = change


def firings(line: str, zone: str, after_ms: int, until_ms: int) -> Iterator[int]:
    """The firings later than the one moment and no later than the other, oldest first. Raises: as ``next_firing``."""
    moment = next_firing(line, zone, after_ms)
    while moment <= until_ms:
        yield moment
        moment = next_firing(line, zone, moment)


def last_firing(line: str, zone: str, after_ms: int, until_ms: int) -> int | None:
    """The last of ``firings``, soon found however many there are; None: there are none. Raises: as ``next_firing``."""
    for back in (*(until_ms - seconds * 1000 for seconds in _BACK_SECONDS), after_ms):
        last = None
        for last in firings(line, zone, max(after_ms, back), until_ms):  # noqa: B007
            pass
        if last is not None or back <= after_ms:
            return last
    return None


def _first(line: str, wall: int) -> int:
    """The first match at this second of the clock on the wall or later. Such seconds are counted as if in UTC."""
    # Imported here, because only apps with schedules need it.
    from croniter import croniter

    return int(croniter(line, datetime.fromtimestamp(wall - 1, UTC)).get_next(float))


def _offset(place: ZoneInfo, at: int) -> int:
    """What the clock on the wall shows more than UTC, in seconds."""
    offset = datetime.fromtimestamp(at, place).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def _change(place: ZoneInfo, start: int, end: int) -> int | None:
    """The first second after ``start``, and no later than ``end``, at which the clock on the wall is put."""
    before = _offset(place, start)
    for low in range(start, end, _STEP_SECONDS):
        high = min(low + _STEP_SECONDS, end)
        if _offset(place, high) != before:
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if _offset(place, middle) == before else (low, middle)
            return high
    return None


def _end_of_repetition(place: ZoneInfo, at: int) -> int:
    """When the clock on the wall shows what it has not shown before."""
    shown = datetime.fromtimestamp(at, place)
    first, second = shown.replace(fold=0).utcoffset(), shown.utcoffset()
    assert first is not None
    assert second is not None
    length = int((first - second).total_seconds())
    change = _change(place, at - length, at)
    assert change is not None
    return change + length

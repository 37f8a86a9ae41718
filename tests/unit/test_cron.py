"""When does a cron line fire where clocks are put forward and back? Compared with a walk through every minute."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.errors import BadSchedule
from workflows.values.cron import checked_line, checked_zone, firings, last_firing, next_firing

MINUTE = 60_000
# Places, and moments about which their clocks are put: by an hour, by half of one, by two, by a whole day, not at all.
CHANGES = [
    ("Europe/Rome", datetime(2027, 3, 28, 1, tzinfo=UTC)),
    ("Europe/Rome", datetime(2027, 10, 31, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2027, 3, 14, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2027, 11, 7, 6, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2027, 4, 3, 15, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2027, 10, 2, 15, 30, tzinfo=UTC)),
    ("Antarctica/Troll", datetime(2027, 3, 28, 1, tzinfo=UTC)),
    ("Antarctica/Troll", datetime(2027, 10, 31, 1, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ("America/Havana", datetime(2027, 11, 7, 5, tzinfo=UTC)),
    ("Asia/Kathmandu", datetime(2027, 5, 5, tzinfo=UTC)),
    ("UTC", datetime(2027, 3, 28, 1, tzinfo=UTC)),
]


def ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000


def by_walking(line: str, zone: str, after_ms: int, until_ms: int) -> Iterator[int]:
    """The rules of the page, word for word, asked of every minute."""
    place = ZoneInfo(zone)
    rhythm = line.split()[0].startswith("*") or line.split()[1].startswith("*")

    def wall(at: int) -> datetime:
        return datetime.fromtimestamp(at / 1000, UTC).astimezone(place)

    fields, _ = croniter.expand(line)

    def matches(shown: datetime) -> bool:
        values = (shown.minute, shown.hour, shown.day, shown.month, shown.isoweekday() % 7)
        return all(field == ["*"] or value in field for field, value in zip(fields, values, strict=True))

    for at in range(after_ms // MINUTE * MINUTE + MINUTE, until_ms + 1, MINUTE):
        shown = wall(at)
        if rhythm:
            if matches(shown):
                yield at
            continue
        left_out = wall(at - MINUTE).replace(tzinfo=None) + timedelta(minutes=1)
        skipped = False
        while left_out < shown.replace(tzinfo=None):
            skipped = skipped or matches(left_out)
            left_out += timedelta(minutes=1)
        if skipped or (matches(shown) and not shown.fold):
            yield at


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    one = st.integers(low, high).map(str)
    several = st.lists(st.integers(low, high), min_size=1, max_size=3).map(lambda found: ",".join(map(str, found)))
    ranges = st.tuples(st.integers(low, high), st.integers(low, high)).map(lambda two: f"{min(two)}-{max(two)}")
    return one | several | ranges | st.just("*") | st.sampled_from(["*/2", "*/7", "*/15"])


lines = st.tuples(
    numbers(0, 59), numbers(0, 5) | numbers(0, 23), st.just("*"), st.just("*"), st.just("*") | numbers(0, 6)
).map(" ".join)


@given(lines, st.sampled_from(CHANGES), st.integers(0, 240 * MINUTE))
@settings(max_examples=100, deadline=None)
def test_a_line_fires_when_a_walk_through_every_minute_says_so(
    line: str, change: tuple[str, datetime], offset: int
) -> None:
    zone, moment = change
    after = ms(moment - timedelta(hours=3)) + offset
    until = after + 240 * MINUTE
    assert list(firings(line, zone, after, until)) == list(by_walking(line, zone, after, until))


@given(lines, st.sampled_from(CHANGES), st.integers(0, 2880))
@settings(max_examples=40, deadline=None)
def test_the_last_firing_is_the_last_of_all(line: str, change: tuple[str, datetime], minutes: int) -> None:
    zone, moment = change
    after = ms(moment - timedelta(hours=12))
    until = after + minutes * MINUTE
    assert last_firing(line, zone, after, until) == (list(firings(line, zone, after, until)) or [None])[-1]


@pytest.mark.parametrize(
    ("line", "fires"),
    [
        ("30 2 * * *", ["01:00"]),  # 02:30 is left out: at 03:00, which is 01:00 UTC
        ("0,30 2 * * *", ["01:00"]),
        ("0 3 * * *", ["01:00"]),
        ("15 2,3 * * *", ["01:00", "01:15"]),
        ("0 * * * *", ["00:00", "01:00", "02:00"]),
        ("30 */2 * * *", []),
    ],
)
def test_what_is_left_out_in_spring_fires_once_when_the_clock_has_been_put(line: str, fires: list[str]) -> None:
    start = datetime(2027, 3, 28, tzinfo=UTC)
    found = firings(line, "Europe/Rome", ms(start) - 1, ms(start + timedelta(hours=2)))
    assert [f"{datetime.fromtimestamp(at / 1000, UTC):%H:%M}" for at in found] == fires


@pytest.mark.parametrize(
    ("line", "fires"),
    [
        ("30 2 * * *", ["00:30"]),  # the first 02:30, still in summer time
        ("0 3 * * *", ["02:00"]),
        ("0 * * * *", ["00:00", "01:00", "02:00"]),
        ("*/30 2 * * *", ["00:00", "00:30", "01:00", "01:30"]),
    ],
)
def test_what_comes_twice_in_autumn_fires_at_its_first_occurrence(line: str, fires: list[str]) -> None:
    start = datetime(2027, 10, 31, tzinfo=UTC)
    found = firings(line, "Europe/Rome", ms(start) - 1, ms(start + timedelta(hours=2)))
    assert [f"{datetime.fromtimestamp(at / 1000, UTC):%H:%M}" for at in found] == fires


def test_a_line_of_seconds_is_not_repeated_either() -> None:
    start = ms(datetime(2027, 10, 31, 0, 30, tzinfo=UTC))
    assert len(list(firings("30-31 2 * * * */20", "Europe/Rome", start - 1, start + 120 * MINUTE))) == 6


@pytest.mark.parametrize("sunday", ["0", "7", "SUN"])
def test_weekdays_are_counted_as_cron_counts_them(sunday: str) -> None:
    found = next_firing(f"0 9 * * {sunday}", "UTC", ms(datetime(2027, 1, 15, tzinfo=UTC)))
    assert f"{datetime.fromtimestamp(found / 1000, UTC):%A}" == "Sunday"


def test_a_line_whose_day_is_years_away_is_found_at_once() -> None:
    found = next_firing("*/10 12 29 2 *", "Europe/Rome", ms(datetime(2028, 3, 1, tzinfo=UTC)))
    assert datetime.fromtimestamp(found / 1000, UTC) == datetime(2032, 2, 29, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    "name", ["Europe/Atlantis", "Europe", "../etc/passwd", "/etc/localtime", "localtime", "", None]
)
def test_a_place_that_is_none_is_refused(name: object) -> None:
    with pytest.raises(BadSchedule, match="not known here"):
        checked_zone(name)


def test_a_place_is_known_by_its_name() -> None:
    assert checked_zone("America/Argentina/Buenos_Aires") == "America/Argentina/Buenos_Aires"


def test_a_line_has_single_spaces() -> None:
    assert checked_line(" */5  * * * *") == "*/5 * * * *"

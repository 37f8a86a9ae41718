"""How durations are read and written."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows import limits
from workflows.errors import BadDuration
from workflows.values.durations import format_ms, parse_ms

DAY = 86_400_000


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        ("1 second", 1_000),
        ("30 seconds", 30_000),
        ("1.5 hours", 5_400_000),
        ("1e3 seconds", 1_000_000),
        ("7 days", 7 * DAY),
        ("2 weeks", 14 * DAY),
        ("1 month", 30 * DAY),
        ("10   minutes", 600_000),
        ("500ms", 500),
        ("500 ms", 500),
        ("30s", 30_000),
        ("10m", 600_000),
        ("24h", DAY),
        ("48 h", 2 * DAY),
        ("7d", 7 * DAY),
        ("2w", 14 * DAY),
        ("1h30m", 5_400_000),
        ("1d 12h", DAY + DAY // 2),
        ("1 hour 30 minutes", 5_400_000),
        (" 5s ", 5_000),
        (250, 250),
        (1.5, 2),
        (0, 0),
        (timedelta(hours=1), 3_600_000),
        (timedelta(microseconds=500), 1),
        (timedelta(microseconds=499), 0),
    ],
)
def test_accepted_form_is_read(value: object, ms: int) -> None:
    assert parse_ms(value, what="the sleep") == ms


def test_year_has_365_and_a_quarter_days() -> None:
    assert parse_ms("1 year", what="the sleep", maximum_ms=10**12) == 31_557_600_000


@pytest.mark.parametrize(
    "value",
    [
        "",
        "  ",
        "5",
        "five seconds",
        "1 Hour",
        "5 M",
        "1 fortnight",
        "1 sec",
        "h",
        "-",
        "1h!",
        "30m1h",
        "1h1h",
        "1..5 hours",
        "1 second\n",
        "٣ seconds",
        "1e999 seconds",
        "9" * 5000 + " ms",
        True,
        False,
        None,
        [],
        b"1s",
        math.nan,
        math.inf,
        -math.inf,
    ],
)
def test_anything_else_is_refused_with_the_accepted_forms(value: object) -> None:
    with pytest.raises(BadDuration, match=r'^the timeout is .* not a duration.*"1\.5 hours".*"24h"'):
        parse_ms(value, what="the timeout")


@pytest.mark.parametrize("value", [-1, -0.9, "-5 seconds", "-1h30m", timedelta(seconds=-1)])
def test_negative_duration_is_refused(value: object) -> None:
    with pytest.raises(BadDuration, match="negative"):
        parse_ms(value, what="the sleep")


def test_negative_duration_is_read_where_the_minimum_allows_it() -> None:
    assert parse_ms("-1m30s", what="the shift", minimum_ms=-DAY) == -90_000


def test_too_short_names_the_least() -> None:
    with pytest.raises(BadDuration, match="too short; the least is 1s"):
        parse_ms(999, what="the timeout", minimum_ms=1_000)


@pytest.mark.parametrize(("value", "says_so"), [(30, True), (30.0, True), ("30ms", False), (timedelta(), False)])
def test_a_bare_number_that_is_refused_says_what_it_was_taken_for(value: object, says_so: bool) -> None:
    with pytest.raises(BadDuration) as refused:
        parse_ms(value, what="the timeout", minimum_ms=1_000)
    assert str(refused.value).endswith("the least is 1s (a bare number is milliseconds).") is says_so


@pytest.mark.parametrize("value", [10**400, 1e300, "366 days", timedelta.max])
def test_longer_than_a_year_is_refused(value: object) -> None:
    with pytest.raises(BadDuration, match="too long; the most is 365d"):
        parse_ms(value, what="the sleep")


def test_365_days_are_accepted() -> None:
    assert parse_ms("365 days", what="the sleep") == limits.DURATION_MS_MAX


@given(st.integers(-limits.DURATION_MS_MAX, limits.DURATION_MS_MAX))
def test_what_is_written_reads_back(ms: int) -> None:
    assert parse_ms(format_ms(ms), what="x", minimum_ms=-limits.DURATION_MS_MAX) == ms


@given(st.integers(0, limits.DURATION_MS_MAX))
def test_timedelta_and_number_agree(ms: int) -> None:
    assert parse_ms(timedelta(milliseconds=ms), what="x") == parse_ms(ms, what="x") == ms


@given(st.text(max_size=30) | st.text("0123456789.eE+- smhdw", max_size=150) | st.floats() | st.integers())
def test_any_value_is_read_or_refused(value: object) -> None:
    """Nothing but BadDuration is raised, and the result is within the bounds."""
    try:
        assert 0 <= parse_ms(value, what="x") <= limits.DURATION_MS_MAX
    except BadDuration:
        pass

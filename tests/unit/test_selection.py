"""Which instances are meant: moments, exactly, and conditions that are none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.client.selection import NEVER, selection
from workflows.errors import BadParams, ConfigError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECONDS = st.integers(0, NEVER - 1)


@given(MILLISECONDS, st.integers(-23, 23))
def test_a_whole_millisecond_is_itself_wherever_it_is_named(ms: int, hours: int) -> None:
    moment = (EPOCH + timedelta(milliseconds=ms)).astimezone(timezone(timedelta(hours=hours)))
    found = selection(None, {"created_from": moment, "created_before": moment + timedelta(milliseconds=1)})
    assert (found.created.start, found.created.stop) == (ms, ms + 1)
    assert [found.created.holds(one) for one in (ms - 1, ms, ms + 1)] == [False, True, False]


@given(MILLISECONDS, st.integers(1, 999))
def test_a_part_of_a_millisecond_leaves_the_one_before_it_out(ms: int, microseconds: int) -> None:
    moment = EPOCH + timedelta(milliseconds=ms, microseconds=microseconds)
    assert not selection(None, {"created_from": moment}).created.holds(ms)
    assert selection(None, {"created_before": moment}).created.holds(ms)


@given(MILLISECONDS, MILLISECONDS)
def test_moments_in_the_index_are_in_order_of_their_text(one: int, other: int) -> None:
    low, high = sorted((one, other))
    found = selection(
        None,
        {
            "created_from": EPOCH + timedelta(milliseconds=low),
            "created_before": EPOCH + timedelta(milliseconds=high),
        },
    )
    start, stop = found.bounds()
    assert (start <= stop, int(start), int(stop)) == (True, low, high)


@pytest.mark.parametrize("moment", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_the_first_and_the_last_moment_there_are_bound_nothing(moment: datetime) -> None:
    assert selection(None, {"created_from": moment}).created.start in (0, NEVER)


def test_a_name_of_metadata_that_is_not_declared_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match="not found by b: @app.workflow.metadata=…. declares a"):
        selection(None, {"metadata": {"b": "x"}}, ("a",))
    assert selection(None, {"metadata": {"b": "x"}}).metadata == {"b": "x"}
    with pytest.raises(BadParams):
        selection(None, {"metadata": {"b c": "x"}})

"""Are steps shown as they are, whatever is in journal and records?"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.client.history import ErrorInfo, jsonable, moment, steps_of
from workflows.storage.journal import ChildEnded, Settled, Slept, Start, TimedOut, Withdrawn
from workflows.storage.records import Open, OpenChild, OpenSleep, OpenStep, OpenWait
from workflows.values import codec, failure
from workflows.values.codec import InstanceRef

AT = 1_800_000_000_000


FAILED = [[1, AT, AT, failure.make("E", "m")]]


@pytest.mark.parametrize(
    ("record", "status"),
    [
        (OpenStep(1, "s", 1, state="due"), "pending"),
        (OpenStep(1, "s", 1, state="ready"), "pending"),
        (OpenStep(1, "s", 1, state="ready", failures=FAILED), "retrying"),
        (OpenStep(1, "s", 1, state="held", attempts=1, begun=AT), "running"),
        (OpenStep(1, "s", 1, state="back", due=AT + 1, failures=FAILED), "retrying"),
        (OpenSleep(1, "s", 1, due=AT + 1), "sleeping"),
        (OpenWait(1, "s", 1, due=AT + 1, type="t"), "waiting"),
        (OpenChild(1, "s", 1, workflow="order", id="a1"), "waiting"),
    ],
)
def test_an_open_record_has_a_status(record: Open, status: str) -> None:
    (step,) = steps_of([Start(AT)], [record])
    assert (step.kind, step.status, step.ended_at) == (record.kind, status, None)


def test_a_paused_timer_has_no_moment() -> None:
    """Time stands still: nobody knows when the moment will be."""
    (step,) = steps_of([], [OpenSleep(1, "nap", 1, due=AT + 5_000)], stood_ms=None)
    assert step.due_at is None


def test_time_that_stood_still_moves_a_timer_but_not_one_that_was_given_as_a_moment() -> None:
    records = [OpenSleep(1, "nap", 1, due=AT + 5_000), OpenSleep(2, "nap", 1, due=AT + 5_000, absolute=True)]
    assert [step.due_at for step in steps_of([], records, stood_ms=700)] == [moment(AT + 5_700), moment(AT + 5_000)]


def test_what_an_ended_instance_has_open_is_withdrawn() -> None:
    """Its records are taken back slice by slice."""
    (step,) = steps_of([], [OpenSleep(1, "nap", 1, due=AT + 5_000)], ended=True)
    assert (step.status, step.due_at) == ("withdrawn", None)


def test_steps_come_in_the_order_run_asked_for_them() -> None:
    entries = [Start(AT), Slept(3, "c", 1, AT), Settled(1, "a", 1, AT, value=codec.encode(1, what="x"))]
    assert [
        step.seq for step in steps_of(entries, [OpenStep(2, "s", 1, state="held"), OpenStep(4, "s", 1, state="due")])
    ] == [1, 2, 3, 4]


def test_every_kind_of_answer_is_shown() -> None:
    error = failure.make("StepFailed", "bad")
    entries = [
        Settled(1, "failed", 1, AT, error=error, started_at_ms=AT, attempts=2, failures=((1, AT - 9, AT - 5, error),)),
        TimedOut(2, "late", 1, AT, timeout_ms=5),
        Withdrawn(3, "lost", 1, AT, command="sleep"),
        ChildEnded(4, "child", 1, AT, workflow="order", id="a1", error=error),
    ]
    failed, late, lost, child = steps_of(entries, [])
    assert (failed.status, failed.attempts, str(failed.error)) == ("failed", 2, "StepFailed: bad")
    assert failed.started_at == moment(AT - 9)
    assert (late.kind, late.status) == ("wait", "timed out")
    assert (lost.kind, lost.status) == ("sleep", "withdrawn")
    assert (child.status, child.child) == ("failed", InstanceRef("order", "a1"))


def test_an_error_that_cannot_be_read_says_so() -> None:
    """A listing must not stumble over what it is meant to show."""
    assert ErrorInfo.from_blob(b"\xffnonsense").name == "CorruptPayload"


def test_values_become_json() -> None:
    value = {
        "when": datetime(2026, 1, 2, tzinfo=UTC),
        "span": timedelta(minutes=1),
        "bytes": b"\x00",
        "set": {2, 1},
        "money": Decimal("1.10"),
        "id": UUID(int=1),
        "nan": float("nan"),
        "child": InstanceRef("order", "a1"),
        (1, 2): (None, True),
    }
    assert jsonable(value) == {
        "when": "2026-01-02T00:00:00+00:00",
        "span": 60.0,
        "bytes": "AA==",
        "set": [1, 2],
        "money": "1.10",
        "id": "00000000-0000-0000-0000-000000000001",
        "nan": None,
        "child": {"workflow": "order", "id": "a1"},
        "(1, 2)": [None, True],
    }


_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes() | st.decimals()
)


@given(
    st.recursive(
        _LEAVES, lambda below: st.lists(below) | st.dictionaries(st.integers() | st.text(), below), max_leaves=20
    )
)
def test_whatever_can_be_stored_can_be_shown(value: Any) -> None:
    json.dumps(jsonable(value), allow_nan=False)

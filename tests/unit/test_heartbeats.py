"""``ctx.heartbeat(details)``: said in no time, sent now and then, the last always."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.attempt import Attempt, Outcome
from workflows.authoring.callback import Callback
from workflows.authoring.context import StepContext, StepName
from workflows.authoring.heartbeats import PAUSE_SECONDS, Heartbeats
from workflows.authoring.retries import StepConfig
from workflows.errors import PayloadTooLarge
from workflows.storage.keys import Instance
from workflows.values import codec


def context(before: Any = None) -> StepContext:
    beats = None if before is None else Heartbeats(codec.encode(before, what="details"))
    return StepContext(StepName("copy", 1), 1, StepConfig(), "key", beats=beats)


def attempt(ctx: StepContext, **settings: Any) -> Attempt:
    call = Callback(lambda: None)
    config = StepConfig(**settings)
    at = Instance(0, "copies", "c-1")
    return Attempt(at, "g", 1, "t", "w", "copy", 1, config, None, call, ctx, 0)


pauses = st.integers(0, 45).map(lambda n: n / 64)
"""In seconds, of which sums are exact."""


@given(st.lists(st.tuples(pauses, st.booleans()), max_size=40))
def test_at_most_one_a_second_is_sent_and_the_last_is_never_kept_back(moves: list[tuple[float, bool]]) -> None:
    beats, now, said, sent = Heartbeats(), 0.0, 0, []
    for pause, says in moves:
        now += pause
        if says:
            said += 1
            beats.say(said, "details")
        if beats.take(now):
            assert beats.last is not None
            sent.append((now, codec.decode(beats.last)))
    now += PAUSE_SECONDS
    if beats.take(now):
        assert beats.last is not None
        sent.append((now, codec.decode(beats.last)))
    assert all(later - earlier >= PAUSE_SECONDS for (earlier, _), (later, _) in pairwise(sent))
    assert [number for _, number in sent][-1:] == [said][:said]
    assert not beats.take(now + 100)


def test_an_attempt_finds_what_the_one_before_it_has_said_and_not_what_it_says_itself() -> None:
    ctx = context({"row": 5})
    assert (ctx.heartbeat({"row": 7}), ctx.heartbeat_details, ctx["heartbeat_details"]) == (
        True,
        {"row": 5},
        {"row": 5},
    )
    assert attempt(ctx).details == codec.encode({"row": 7}, what="details")


def test_one_that_says_nothing_has_nothing_made_for_it() -> None:
    ctx = context()
    assert (ctx.heartbeat(), ctx.beats, ctx.heartbeat_details, attempt(ctx).details) == (True, None, None, None)


def test_details_are_captured_by_value_and_bounded() -> None:
    ctx, rows = context(), [1]
    ctx.heartbeat(rows)
    rows.append(2)
    said = attempt(ctx).details
    assert said is not None and codec.decode(said) == [1]
    with pytest.raises(PayloadTooLarge, match='What step "copy-1" says with its heartbeat'):
        ctx.heartbeat("x" * 5000)


@pytest.mark.parametrize("outcome", [Outcome(error=b"x", retry_delay_ms=5), Outcome()])
def test_an_attempt_that_is_followed_by_another_hands_on_what_it_has_said(outcome: Outcome) -> None:
    ctx = context()
    ctx.heartbeat(1)
    poll = {} if outcome.error else {"every_ms": 5, "patience_ms": 10}
    assert attempt(ctx, **poll).settlement(outcome, 1).wire()["h"] == codec.encode(1, what="details")


def test_a_last_outcome_hands_nothing_on() -> None:
    ctx = context()
    ctx.heartbeat(1)
    assert "h" not in attempt(ctx).settlement(Outcome(value=b"1"), 1).wire()

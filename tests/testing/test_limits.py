"""Limits on running instances hold in the engine of tests as well."""

from __future__ import annotations

from typing import Any

from tests.testing import shop
from workflows.testing import TestClock, WorkflowEngine


def test_as_many_run_at_a_time_as_the_limit_says_and_sleeping_ones_do_not_count(
    env: Any, clock: TestClock, workflow_engine: WorkflowEngine
) -> None:
    sleeping = [env.LIMITED.create(id=f"s{n}", params={"tenant": "a", "sleeps": True}) for n in range(5)]
    workflow_engine.settle()
    meeting = [env.LIMITED.create(id=f"{tenant}{n}", params={"tenant": tenant}) for n in range(4) for tenant in "ab"]
    for instance in meeting:
        instance.result()
    assert [one.most for one in shop.meetings.values()] == [2, 2]
    assert {instance.status().status for instance in sleeping} == {"waiting"}
    clock.advance("1 day")
    for instance in sleeping:
        instance.result()

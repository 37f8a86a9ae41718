"""Do schedules fire under the pytest plugin when its clock passes them, each by its own rules?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from workflows import App, CronSchedule, WorkflowEntrypoint, WorkflowEvent, WorkflowStep
from workflows.testing import TestClock, introspect_workflow
from workflows.testing.env import TestEnv

app = App("calendar")
ROME = ZoneInfo("Europe/Rome")


@app.workflow(schedules=CronSchedule("30 2 * * *", timezone="Europe/Rome"))
class Nightly(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> str:
        assert event.schedule is not None
        local = event.scheduled_time.astimezone(ZoneInfo(event.schedule.timezone))
        assert (event.schedule["timezone"], f"{local:%H}") in {("Europe/Rome", "02"), ("Europe/Rome", "03")}
        return event.scheduled_time.isoformat()


@app.workflow(schedules=CronSchedule("*/10 * * * *", overlap="queue"))
class Slow(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None:
        await step.sleep("work", "25 minutes")


@app.workflow(schedules=CronSchedule("0 * * * *", jitter="30 minutes"))
class Spread(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None: ...


@pytest.fixture
def workflow_app() -> App:
    return app


def _next_change(clock: TestClock, shift: timedelta) -> datetime:
    """The next day on which clocks in Rome are put by so much."""
    day = clock.now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=2)
    while True:
        following = day + timedelta(days=1)
        before, after = (one.astimezone(ROME).utcoffset() for one in (day, following))
        assert before is not None and after is not None
        if after - before == shift:
            return day
        day = following


@pytest.mark.workflows(schedules=True)
@pytest.mark.parametrize(("shift", "hour"), [(timedelta(hours=1), "T01:00:00"), (timedelta(hours=-1), "T00:30:00")])
def test_a_night_on_which_clocks_are_put_has_one_firing(
    env: TestEnv, clock: TestClock, shift: timedelta, hour: str
) -> None:
    day = _next_change(clock, shift)
    clock._now_ms = round((day - timedelta(hours=2)).timestamp() * 1000)  # months without anything to look at
    clock.advance(1)
    with introspect_workflow(env.NIGHTLY) as nights:
        clock.advance("24 hours")
        assert [night.get_output() for night in nights.get()] == [f"{day:%Y-%m-%d}{hour}+00:00"]


@pytest.mark.workflows(schedules=True)
def test_a_firing_that_waits_begins_when_the_one_before_has_ended(env: TestEnv, clock: TestClock) -> None:
    minutes = clock.now.minute // 10 * 10
    due = clock.now.replace(minute=minutes, second=0, microsecond=0) + timedelta(minutes=10)
    with introspect_workflow(env.SLOW) as slow:
        clock.advance_to(due + timedelta(minutes=24))
        (first,) = slow.get()
        clock.advance_to(due + timedelta(minutes=25))
        assert [one.id == first.id for one in slow.get()] == [True, False]


@pytest.mark.workflows(schedules=True)
def test_the_clock_does_not_miss_a_firing_that_chance_has_put_off(env: TestEnv, clock: TestClock) -> None:
    with introspect_workflow(env.SPREAD) as spread:
        clock.advance("12 hours")
        assert len(spread.get()) in (11, 12)

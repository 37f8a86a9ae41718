"""Scheduled workflow chain: a cron line starts an instance every day, and each goes on for a week.

Shows both ways to start on a schedule. A handler under ``@app.cron`` decides for itself what to create; it makes the
id from the scheduled time, so that a handler which runs twice creates one instance. ``schedules`` on the workflow
needs no handler: the engine creates the instance and ``event.schedule`` says which firing it belongs to.
Try it with ``python -m examples.scheduled_chain``.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from examples.environment import app
from examples.scene import Place, Promise
from workflows import InstanceAlreadyExists, WorkflowEntrypoint, WorkflowEvent, WorkflowStep


@app.cron("0 9 * * *")
async def scheduled(event: WorkflowEvent[Any], env: Any) -> None:
    """Starts the chain of the day, at nine in the morning UTC."""
    with suppress(InstanceAlreadyExists):  # This firing may have been delivered before.
        due_ms = int(event.scheduled_time)
        await env.DAILY_WORKFLOW.create(id=f"daily-{due_ms}", params={"timestamp": due_ms})


@app.workflow
class DailyWorkflow(WorkflowEntrypoint):
    """Params: ``timestamp`` (ms since the epoch), and optionally ``pause``, the time to the follow-up (7 days)."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> list[str]:
        task = await step.do("daily task", lambda: f"task of {event.params.timestamp}")
        await step.sleep("wait 7 days", event.params.get("pause", "7 days"))
        followup = await step.do("weekly followup", lambda: f"follow-up of {event.params.timestamp}")
        return [task, followup]


@app.workflow(schedules="30 2 * * MON")
class WeeklyReportWorkflow(WorkflowEntrypoint):
    """Started by the engine alone; without params."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> str:
        cron = event.schedule.cron if event.schedule else "by hand"
        return await step.do("write report", lambda: f"report ({cron})")


def demonstrate(place: Place) -> list[Promise]:
    """Does what the handler does at nine, with a week that lasts one second here."""
    nine_in_the_morning = 1_767_258_000_000
    daily = place.client.workflow("daily-workflow").create(
        id=f"daily-{nine_in_the_morning}", params={"timestamp": nine_in_the_morning, "pause": "1 second"}
    )
    report = place.client.workflow("weekly-report-workflow").create()
    return [
        Promise(daily, output=[f"task of {nine_in_the_morning}", f"follow-up of {nine_in_the_morning}"]),
        Promise(report, output="report (by hand)"),
    ]


if __name__ == "__main__":
    from examples.demo import play

    raise SystemExit(play(app, [demonstrate]))

"""Can schedules be steered from a command line?"""

from __future__ import annotations

import json

import pytest
import redis as redis_py

from tests.commands import Run, run_in
from workflows import App, CronSchedule, WorkflowEntrypoint, WorkflowEvent, WorkflowStep
from workflows.storage.manifest import publish_manifest
from workflows.storage.store import Store, open_keyspace

app = App("reports")


MONDAY = CronSchedule("0 9 * * MON", timezone="Europe/Rome", overlap="queue", jitter="5m")


@app.workflow(schedules=["*/5 * * * *", MONDAY])
class Report(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None: ...


@pytest.fixture
def run(redis: redis_py.Redis, redis_url: str) -> Run:
    """Runs the command in the namespace of the app."""
    publish_manifest(Store(redis, open_keyspace(redis, "reports", 2)), app)

    return run_in(redis_url, "reports")


def test_a_list_says_when_each_schedule_fires_next_and_in_which_zone(run: Run) -> None:
    head, every, monday = run("schedules", "list").output.splitlines()
    assert head.split() == ["WORKFLOW", "SCHEDULE", "ZONE", "NEXT", "SETTINGS"]
    assert every.startswith("report    */5 * * * *  UTC          2") and every.endswith(" UTC")
    assert " 09:00:00 CE" in monday and monday.endswith("overlap queue, jitter 5m")


def test_a_list_for_programs_has_moments_with_their_offset(run: Run) -> None:
    (monday,) = [one for one in json.loads(run("schedules", "list", "report", "--json").output) if "MON" in one["cron"]]
    assert {monday["timezone"], monday["overlap"]} == {"Europe/Rome", "queue"}
    assert "T09:00:00+0" in monday["next_instance"]


def test_a_schedule_is_paused_and_resumed(run: Run) -> None:
    assert run("schedules", "pause", "report", "*/5 * * * *").output == "paused\n"
    assert run("schedules", "pause", "report", "*/5 * * * *").output == "was paused already\n"
    assert "paused since 2" in run("schedules", "list").output
    assert json.loads(run("schedules", "resume", "report", "*/5 * * * *", "--json").output)["changed"] is True
    assert run("schedules", "resume", "report", "*/5 * * * *").output == "was not paused\n"


def test_a_workflow_with_several_schedules_needs_to_be_told_which(run: Run) -> None:
    assert "say which of" in str(run("schedules", "trigger", "report", code=1).stderr)


def test_a_schedule_is_fired_by_hand(run: Run) -> None:
    id = run("schedules", "trigger", "report", "0 9 * * MON Europe/Rome").output.strip()
    described = json.loads(run("instances", "describe", "report", id, "--json").output)
    assert described["schedule"]["cron"] == "0 9 * * MON"


def test_a_backfill_asks_first(run: Run) -> None:
    span = ("schedules", "backfill", "report", "*/5 * * * *", "--from", "2026-01-05", "--to", "2026-01-05T00:20")
    assert len(run(*span, "--dry-run").output.splitlines()) == 4
    assert run("instances", "list", "report").output == "none\n"
    assert "add --yes" in run(*span, code=2).stderr
    assert len(run(*span, "--yes").output.splitlines()) == 4
    assert run(*span, "--yes").output == "nothing to create\n"


def test_lines_with_a_zone_are_shown_with_the_workflow(run: Run) -> None:
    assert "0 9 * * MON Europe/Rome" in run("list").output
    assert json.loads(run("describe", "report", "--json").output)["schedules"] == [
        "*/5 * * * *",
        "0 9 * * MON Europe/Rome",
    ]

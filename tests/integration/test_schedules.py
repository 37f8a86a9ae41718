"""Do schedules create one instance per firing, whoever looks, whenever, and however long nobody did?"""

from __future__ import annotations

import pytest
import redis as redis_py

from orchestrator import schedules
from tests.driving import HandClock
from workflows import App, Client, WorkflowEntrypoint, WorkflowEvent, WorkflowStep
from workflows.storage.manifest import KnownWorkflow, publish_manifest
from workflows.storage.store import Store, open_keyspace

# 2027-01-15, 08:00:00 UTC.
EIGHT = 1_800_000_000_000
SECOND = 1_000
HOUR = 3_600 * SECOND

app = App("times")


@app.workflow(schedules=["* * * * * *", "0 * * * *"])
class Ticking(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None: ...


@pytest.fixture
def store(redis: redis_py.Redis) -> Store:
    """Where the schedules are published and were first seen at eight o'clock."""
    opened = Store(redis, open_keyspace(redis, app.name, 2), HandClock(EIGHT))
    publish_manifest(opened, app)
    schedules.tick(opened, EIGHT)
    return opened


def _fired(store: Store, cron: str) -> list[int]:
    """Moments after eight for which the cron line has an instance, in ms."""
    prefix = schedules.CronLine(KnownWorkflow("ticking"), cron).instance_id(0).removesuffix("0")
    ids = [one.id for one in Client(app, connection=store.redis).workflow("ticking").list(limit=1000)]
    return sorted(int(id.removeprefix(prefix)) - EIGHT for id in ids if id.startswith(prefix))


def test_a_schedule_that_is_new_does_not_fire_for_the_past(store: Store) -> None:
    """Nor for the moment at which it was seen first."""
    assert schedules.tick(store, EIGHT) == 0
    assert _fired(store, "* * * * * *") == []


def test_looking_late_creates_every_firing_of_the_last_minute(store: Store) -> None:
    assert schedules.tick(store, EIGHT + 3 * SECOND + 700) == 3
    assert _fired(store, "* * * * * *") == [SECOND, 2 * SECOND, 3 * SECOND]


def test_looking_again_creates_nothing(store: Store) -> None:
    schedules.tick(store, EIGHT + 2 * SECOND)
    assert schedules.tick(store, EIGHT + 2 * SECOND) == 0
    assert _fired(store, "* * * * * *") == [SECOND, 2 * SECOND]


def test_two_that_look_at_the_same_moment_create_one_instance(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one looks while this one is about to create: both create it, and the other one moves on first (F38)."""
    create = schedules._create

    def overtaken(mine: Store, schedule: schedules.CronLine, at_ms: int) -> None:
        monkeypatch.setattr(schedules, "_create", create)
        assert schedules.tick(store, EIGHT + SECOND) == 1
        create(mine, schedule, at_ms)

    monkeypatch.setattr(schedules, "_create", overtaken)
    assert schedules.tick(store, EIGHT + SECOND) == 0
    assert _fired(store, "* * * * * *") == [SECOND]


def test_one_that_died_between_creating_and_noting_it_leaves_one_instance(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(schedules, "_move", lambda *_: pytest.fail("dead"))
        with pytest.raises(pytest.fail.Exception):
            schedules.tick(store, EIGHT + SECOND)
    assert schedules.tick(store, EIGHT + SECOND) == 1
    assert _fired(store, "* * * * * *") == [SECOND]


def test_after_hours_of_silence_an_hourly_schedule_fires_once(store: Store) -> None:
    """For the last firing missed, not for each of them (F39)."""
    schedules.tick(store, EIGHT + 5 * HOUR + HOUR // 2)
    assert _fired(store, "0 * * * *") == [5 * HOUR]


def test_each_cron_line_has_instances_of_its_own(store: Store) -> None:
    """At the full hour both fire."""
    schedules.tick(store, EIGHT + HOUR)
    assert _fired(store, "0 * * * *") == [HOUR]
    assert _fired(store, "* * * * * *")[-1] == HOUR

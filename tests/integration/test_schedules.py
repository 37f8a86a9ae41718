"""Do schedules create one instance per firing, whoever looks, whenever, and however long nobody did?"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
import redis as redis_py

from orchestrator import schedules
from tests.driving import HandClock, HandWorker
from workflows import App, Client, CronSchedule, WorkflowEntrypoint, WorkflowEvent, WorkflowStep
from workflows.client import WorkflowHandle, WorkflowInstance
from workflows.client.aio import AsyncClient
from workflows.errors import ConfigError
from workflows.storage.connection import connection
from workflows.storage.manifest import KnownWorkflow, load_manifest, publish_manifest
from workflows.storage.schedules import KnownSchedule, ScheduleState, schedules_of, states_of
from workflows.storage.store import Call, Store, open_keyspace

# 2027-01-15, 08:00:00 UTC.
EIGHT = 1_800_000_000_000
SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE


class Idle(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None: ...


def app_with(*given: str | CronSchedule) -> App:
    app = App("times")
    app.workflow(name="ticking", schedules=given)(Idle)
    return app


class Place:
    """A namespace in which a workflow has been scheduled since eight o'clock, and nobody looks by himself."""

    def __init__(self, redis: redis_py.Redis, *given: str | CronSchedule) -> None:
        self.clock = HandClock(EIGHT)
        self.store = Store(redis, open_keyspace(redis, "times", 2), self.clock)
        self.redis = redis
        self.deploy(*given)
        schedules.tick(self.store, EIGHT)

    def deploy(self, *given: str | CronSchedule) -> None:
        self.app = app_with(*given)
        publish_manifest(self.store, self.app)

    @property
    def workflow(self) -> WorkflowHandle:
        return self.client.workflow("ticking")

    @property
    def client(self) -> Client:
        return Client(self.app, connection=self.redis, clock=self.clock)

    def tick(self, after_ms: int) -> int:
        """Look so much after eight."""
        self.clock.ms = EIGHT + after_ms
        return schedules.tick(self.store, self.clock.ms)

    def ticks(self, until_ms: int, every_ms: int) -> None:
        for after in range(self.clock.ms - EIGHT, until_ms, every_ms):
            self.tick(after + every_ms)

    def fired(self, line: str | CronSchedule) -> list[int]:
        """Moments after eight for which the schedule has an instance, in ms."""
        return sorted(self.instances(line))

    def instances(self, line: str | CronSchedule) -> dict[int, WorkflowInstance]:
        prefix = (line if isinstance(line, CronSchedule) else CronSchedule(line)).instance_id(0).removesuffix("0")
        found = [one.id for one in self.workflow.list(limit=1000) if one.id.startswith(prefix)]
        return {int(id.removeprefix(prefix)) - EIGHT: self.workflow.get(id) for id in found}

    def live(self, line: CronSchedule) -> list[int]:
        instances = self.instances(line)
        return sorted(at for at, one in instances.items() if one.status().status != "terminated")

    def end(self, line: CronSchedule, at: int) -> None:
        self.instances(line)[at].terminate()


Begin = Callable[..., Place]


@pytest.fixture
def begin(redis: redis_py.Redis) -> Begin:
    return lambda *given: Place(redis, *given)


EVERY_SECOND, HOURLY = "* * * * * *", "0 * * * *"


@pytest.fixture
def place(begin: Begin) -> Place:
    return begin(EVERY_SECOND, HOURLY)


def test_a_schedule_that_is_new_does_not_fire_for_the_past(place: Place) -> None:
    """Nor for the moment at which it was seen first."""
    assert place.tick(0) == 0
    assert place.fired(EVERY_SECOND) == []


def test_looking_late_creates_every_firing_of_the_last_minute(place: Place) -> None:
    assert place.tick(3 * SECOND + 700) == 3
    assert place.fired(EVERY_SECOND) == [SECOND, 2 * SECOND, 3 * SECOND]


def test_looking_again_creates_nothing(place: Place) -> None:
    place.tick(2 * SECOND)
    assert place.tick(2 * SECOND) == 0
    assert place.fired(EVERY_SECOND) == [SECOND, 2 * SECOND]


def test_after_hours_of_silence_an_hourly_schedule_fires_once(place: Place) -> None:
    """For the last firing missed, not for each of them (F39)."""
    place.tick(5 * HOUR + HOUR // 2)
    assert place.fired(HOURLY) == [5 * HOUR]


def test_each_cron_line_has_instances_of_its_own(place: Place) -> None:
    """At the full hour both fire."""
    place.tick(HOUR)
    assert place.fired(HOURLY) == [HOUR]
    assert place.fired(EVERY_SECOND)[-1] == HOUR


# Several who look


class Killed(BaseException):
    """The end of a process."""


class Mortal(Store):
    """The store of an orchestrator. Each of the deaths, before or after the call of a script, is somebody's."""

    deaths: ClassVar[list[tuple[str, str]]] = []

    def call(self, call: Call) -> Any:
        self._meet("before", call)
        answer = super().call(call)
        self._meet("after", call)
        return answer

    def _meet(self, how: str, call: Call) -> None:
        with suppress(ValueError):
            self.deaths.remove((how, call.script.name))
            raise Killed


def _dies(place: Place, after_ms: int, how: str, name: str) -> None:
    """An orchestrator looks so much after eight, and dies before or after the call of a script."""
    Mortal.deaths.append((how, name))
    with pytest.raises(Killed):
        schedules.tick(Mortal(place.redis, place.store.keys, place.clock), EIGHT + after_ms)


@pytest.mark.parametrize("name", ["schedule", "create"])
@pytest.mark.parametrize("how", ["before", "after"])
def test_wherever_one_dies_another_one_leaves_one_instance(begin: Begin, how: str, name: str) -> None:
    place = begin("* * * * *")
    _dies(place, MINUTE, how, name)
    assert place.tick(MINUTE + SECOND) == 1
    assert place.tick(MINUTE + SECOND) == 0
    assert place.fired("* * * * *") == [MINUTE]


def test_of_two_that_look_at_the_same_moment_one_decides(begin: Begin) -> None:
    place = begin("* * * * *")
    (known,) = schedules_of(load_manifest(place.store))
    found = place.redis.hget(place.store.keys.schedules, known.id)
    assert isinstance(found, bytes)
    wanted = schedules.look(place.store, known, found, EIGHT + MINUTE)
    assert wanted is not None
    assert place.tick(MINUTE) == 1
    assert schedules.stand(place.store, known, found, wanted) == 0
    assert place.fired("* * * * *") == [MINUTE]


@pytest.mark.slow
def test_three_orchestrators_of_whom_one_is_killed_create_sixty_instances_in_an_hour(
    begin: Begin, redis_url: str
) -> None:
    """They look at the same moments, and one dies between a decision and what it says (F38)."""
    place = begin("* * * * *")
    done, dead = threading.Event(), threading.Event()

    def look() -> None:
        with connection(redis_url) as own:
            store = Mortal(own, place.store.keys, place.clock)
            try:
                while not done.wait(0.005):
                    schedules.tick(store, place.clock.ms)
            except Killed:
                dead.set()
            finally:
                store.release()

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for minute in range(1, 61):
            if minute == 30:
                Mortal.deaths.append(("before", "create"))
            place.clock.ms = EIGHT + minute * MINUTE
            id = CronSchedule("* * * * *").instance_id(place.clock.ms)
            instance = place.store.keys.instance("ticking", id)
            while not place.redis.exists(place.store.keys.header(instance)):
                done.wait(0.001)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert dead.is_set()
    assert place.fired("* * * * *") == [minute * MINUTE for minute in range(1, 61)]


# Time zones


def test_a_schedule_follows_the_clock_of_its_place(begin: Begin) -> None:
    """Nine in Rome is eight in London, in winter."""
    rome = CronSchedule("30 9 * * *", timezone="Europe/Rome")
    place = begin(rome)
    place.tick(HOUR)
    assert place.fired(rome) == [HOUR // 2]
    (instance,) = place.instances(rome).values()
    schedule = instance.status().schedule
    assert schedule is not None
    assert schedule[0] == "30 9 * * *"


def test_one_line_in_two_places_is_two_schedules(begin: Begin) -> None:
    """Also where both fire at one moment."""
    places = [CronSchedule("0 9 * * *", timezone=zone) for zone in ("Europe/Rome", "Europe/Paris")]
    place = begin(*places)
    place.ticks(26 * HOUR, HOUR)
    assert [place.fired(one) for one in places] == [[24 * HOUR], [24 * HOUR]]


# Late firings, and chance


def test_a_schedule_may_make_up_for_more_than_a_minute(begin: Begin) -> None:
    patient = CronSchedule(HOURLY, catch_up="3 hours")
    place = begin(patient)
    assert place.tick(5 * HOUR + MINUTE) == 3
    assert place.fired(patient) == [3 * HOUR, 4 * HOUR, 5 * HOUR]


def test_what_is_later_than_a_schedule_allows_is_skipped_altogether(begin: Begin) -> None:
    strict = CronSchedule(HOURLY, catch_up="1 minute")
    place = begin(strict)
    assert place.tick(5 * HOUR + 2 * MINUTE) == 0
    place.tick(6 * HOUR)
    assert place.fired(strict) == [6 * HOUR]


def test_skipping_very_many_firings_takes_some_looks(begin: Begin) -> None:
    """A few at a time, those that chance has put off among them, until it is with the present."""
    spread = CronSchedule(EVERY_SECOND, jitter="10 minutes", catch_up="10 seconds")
    place = begin(spread)
    place.clock.ms = EIGHT + HOUR
    for _ in range(20):
        schedules.tick(place.store, place.clock.ms)
    (state,) = states_of(place.store.fields(place.store.keys.schedules), place.clock.ms).values()
    assert state.at - EIGHT > HOUR - 11 * MINUTE
    assert all(EIGHT + at > EIGHT + HOUR - 11 * MINUTE for at in place.fired(spread))


def test_of_very_many_missed_firings_some_are_made_up_for_at_a_time(begin: Begin) -> None:
    patient = CronSchedule("* * * * *", catch_up="1 day")
    place = begin(patient)
    assert [place.tick(4 * HOUR) for _ in range(4)] == [100, 100, 40, 0]


def test_chance_puts_a_firing_off_by_a_time_that_is_its_own(begin: Begin) -> None:
    spread = CronSchedule("*/10 * * * *", jitter="5 minutes")
    place = begin(spread)
    due = {at: spread.due_ms(EIGHT + at) - EIGHT - at for at in range(10 * MINUTE, 60 * MINUTE, 10 * MINUTE)}
    assert len(set(due.values())) > 1
    assert all(0 <= delay < 5 * MINUTE for delay in due.values())
    for at, delay in due.items():
        assert place.tick(at + delay - 1) == 0
        assert place.tick(at + delay) == 1
    assert place.fired(spread) == list(due)


def test_firings_that_chance_would_swap_keep_their_order(begin: Begin) -> None:
    spread = CronSchedule(EVERY_SECOND, jitter="1 minute", catch_up="1 hour")
    place = begin(spread)
    seen: list[int] = []
    for second in range(90):
        place.tick(second * SECOND)
        seen = place.fired(spread)
        assert seen == [n * SECOND for n in range(1, len(seen) + 1)]
    assert len(seen) > 20


# When firings overlap


def test_a_firing_is_skipped_while_the_one_before_runs(begin: Begin) -> None:
    alone = CronSchedule("* * * * *", overlap="skip")
    place = begin(alone)
    place.ticks(3 * MINUTE, MINUTE)
    assert place.fired(alone) == [MINUTE]
    place.end(alone, MINUTE)
    place.ticks(5 * MINUTE, MINUTE)
    assert place.fired(alone) == [MINUTE, 4 * MINUTE]


def test_a_paused_instance_has_not_ended(begin: Begin) -> None:
    alone = CronSchedule("* * * * *", overlap="skip")
    place = begin(alone)
    place.tick(MINUTE)
    place.instances(alone)[MINUTE].pause()
    place.tick(2 * MINUTE)
    assert place.fired(alone) == [MINUTE]


def test_an_instance_that_was_deleted_is_in_nobodys_way(begin: Begin) -> None:
    alone = CronSchedule("* * * * *", overlap="skip")
    place = begin(alone)
    place.tick(MINUTE)
    place.workflow.delete_batch([alone.instance_id(EIGHT + MINUTE)])
    place.tick(2 * MINUTE)
    assert place.fired(alone) == [2 * MINUTE]


def test_one_firing_waits_for_the_one_before_and_no_second_one(begin: Begin) -> None:
    """The first of those that had to wait."""
    waiting = CronSchedule("* * * * *", overlap="queue")
    place = begin(waiting)
    place.ticks(4 * MINUTE, MINUTE)
    assert place.fired(waiting) == [MINUTE]
    place.end(waiting, MINUTE)
    assert place.tick(4 * MINUTE + SECOND) == 1
    assert place.fired(waiting) == [MINUTE, 2 * MINUTE]
    place.tick(5 * MINUTE)
    place.end(waiting, 2 * MINUTE)
    place.tick(5 * MINUTE + SECOND)
    assert place.fired(waiting) == [MINUTE, 2 * MINUTE, 5 * MINUTE]


def test_the_one_before_is_terminated_first(begin: Begin) -> None:
    newest = CronSchedule("* * * * *", overlap="cancel")
    place = begin(newest)
    place.ticks(3 * MINUTE, MINUTE)
    assert place.fired(newest) == [MINUTE, 2 * MINUTE, 3 * MINUTE]
    assert place.live(newest) == [3 * MINUTE]


def test_one_that_was_started_over_is_not_terminated_twice_for_one_firing(begin: Begin) -> None:
    """Whoever cancelled it died before it could say so; somebody has restarted it since."""
    newest = CronSchedule("* * * * *", overlap="cancel")
    place = begin(newest)
    place.tick(MINUTE)
    _dies(place, 2 * MINUTE, "after", "terminate")
    place.instances(newest)[MINUTE].restart()
    place.tick(2 * MINUTE + SECOND)
    assert place.live(newest) == [MINUTE, 2 * MINUTE]


def test_of_firings_made_up_for_together_only_the_last_would_not_be_cancelled(begin: Begin) -> None:
    newest = CronSchedule("* * * * *", overlap="cancel", catch_up="1 hour")
    place = begin(newest)
    assert place.tick(10 * MINUTE) == 1
    assert place.fired(newest) == [10 * MINUTE]


# Deploys


def test_a_schedule_that_is_gone_from_the_code_fires_no_more(place: Place) -> None:
    place.deploy(HOURLY)
    place.tick(10 * SECOND)
    assert place.fired(EVERY_SECOND) == []
    assert list(states_of(place.store.fields(place.store.keys.schedules), EIGHT)) == [f"ticking {HOURLY}"]


def test_a_schedule_that_comes_back_begins_anew(place: Place) -> None:
    """It does not make up for what was due while it was not there."""
    place.deploy(EVERY_SECOND)
    place.tick(HOUR)
    place.deploy(EVERY_SECOND, HOURLY)
    place.tick(2 * HOUR + MINUTE)
    assert place.fired(HOURLY) == []
    place.tick(3 * HOUR)
    assert place.fired(HOURLY) == [3 * HOUR]


def test_with_another_policy_it_is_still_the_same_schedule(begin: Begin) -> None:
    place = begin(CronSchedule("* * * * *", overlap="queue"))
    place.ticks(2 * MINUTE, MINUTE)
    place.deploy(CronSchedule("* * * * *"))
    place.tick(3 * MINUTE)
    assert place.fired("* * * * *") == [MINUTE, 2 * MINUTE, 3 * MINUTE]


def test_a_manifest_that_cannot_be_read_forgets_no_schedule(place: Place) -> None:
    place.redis.hset(place.store.keys.manifest, "times", b"\xff")
    place.tick(SECOND)
    assert len(place.store.fields(place.store.keys.schedules)) == 2


def test_an_app_without_schedules_leaves_nothing_behind(begin: Begin) -> None:
    place = begin()
    place.tick(HOUR)
    assert not place.redis.exists(place.store.keys.schedules)


# By hand


def test_a_paused_schedule_does_not_fire_whoever_is_restarted_or_deployed(begin: Begin) -> None:
    """The pause stands in Redis, and what was due meanwhile is not made up for."""
    place = begin("* * * * *")
    place.tick(MINUTE)
    assert place.client.schedules.pause("ticking")
    assert not place.client.schedules.pause("ticking")
    place.deploy("* * * * *", HOURLY)
    place.store = Store(place.redis, open_keyspace(place.redis, "times", 2), place.clock)
    place.ticks(5 * MINUTE, MINUTE)
    assert place.client.schedules.resume("ticking", "* * * * *")
    assert not place.client.schedules.resume("ticking", "* * * * *")
    place.tick(6 * MINUTE)
    assert place.fired("* * * * *") == [MINUTE, 6 * MINUTE]


def test_a_schedule_can_be_paused_before_anybody_has_looked_at_it(begin: Begin) -> None:
    place = begin()
    place.deploy("* * * * *")
    place.client.schedules.pause("ticking")
    place.ticks(3 * MINUTE, MINUTE)
    assert place.fired("* * * * *") == []


def test_what_was_decided_before_a_pause_is_carried_out(begin: Begin) -> None:
    place = begin("* * * * *")
    _dies(place, MINUTE, "before", "create")
    place.client.schedules.pause("ticking")
    place.ticks(3 * MINUTE, MINUTE)
    assert place.fired("* * * * *") == [MINUTE]


def test_one_that_waited_when_its_schedule_was_paused_is_not_made_up_for(begin: Begin) -> None:
    waiting = CronSchedule("* * * * *", overlap="queue")
    place = begin(waiting)
    place.ticks(2 * MINUTE, MINUTE)
    place.client.schedules.pause("ticking")
    place.end(waiting, MINUTE)
    place.tick(3 * MINUTE)
    place.client.schedules.resume("ticking")
    place.tick(3 * MINUTE + SECOND)
    assert place.fired(waiting) == [MINUTE]


def test_a_schedule_says_when_it_fires_next_on_its_own_clock(begin: Begin) -> None:
    rome = CronSchedule("30 9 * * *", timezone="Europe/Rome", overlap="skip", catch_up="1 hour", jitter="1 minute")
    place = begin(rome)
    (status,) = place.client.schedules.list()
    assert status.as_dict() == {
        "workflow": "ticking",
        "line": "30 9 * * * Europe/Rome",
        "cron": "30 9 * * *",
        "timezone": "Europe/Rome",
        "overlap": "skip",
        "catch_up_ms": HOUR,
        "jitter_ms": MINUTE,
        "next_instance": "2027-01-15T09:30:00+01:00",
        "paused_at": None,
        "waiting_at": None,
    }


def test_a_paused_schedule_fires_never_next(begin: Begin) -> None:
    place = begin("* * * * *")
    place.client.schedules.pause("ticking")
    (status,) = place.client.schedules.list()
    assert (status.next_at, status.paused_at) == (None, datetime.fromtimestamp(EIGHT / 1000, UTC))


def test_a_schedule_fired_by_hand_is_as_if_it_had_fired_now(begin: Begin) -> None:
    place = begin(CronSchedule("* * * * *", overlap="skip"))
    place.tick(MINUTE)
    place.clock.ms += 5 * SECOND
    ids = {place.client.schedules.trigger("ticking") for _ in range(2)}
    assert len(ids) == 2
    for id in ids:
        schedule = place.workflow.get(id).status().schedule
        assert schedule == ("* * * * *", datetime.fromtimestamp(place.clock.ms / 1000, UTC))


def test_a_backfill_creates_what_is_missing_of_a_span(begin: Begin) -> None:
    """Its end does not belong to it, and a second time there is nothing left to create."""
    place = begin(HOURLY)
    place.tick(HOUR)
    start, end = (datetime.fromtimestamp((EIGHT + at) / 1000, UTC) for at in (-2 * HOUR, HOUR))
    place.clock.ms += HOUR
    schedules_ = place.client.schedules
    assert len(schedules_.backfill("ticking", start, end, dry_run=True)) == 3
    assert len(schedules_.backfill("ticking", start, end + timedelta(hours=1))) == 3
    assert schedules_.backfill("ticking", start, end) == []
    assert place.fired(HOURLY) == [-2 * HOUR, -HOUR, 0, HOUR]


def test_a_backfill_without_a_zone_is_meant_as_the_clock_of_the_schedule_shows_it(begin: Begin) -> None:
    rome = CronSchedule("0 9 * * *", timezone="Europe/Rome")
    place = begin(rome)
    place.client.schedules.backfill("ticking", datetime(2027, 1, 14, 9), datetime(2027, 1, 14, 9, 1))
    assert place.fired(rome) == [-24 * HOUR]


@pytest.mark.parametrize(
    ("start", "end", "says"),
    [(0, 2 * HOUR, "ends in the future"), (-2_000 * MINUTE, 0, "more than 1,000 firings")],
)
def test_a_backfill_that_makes_no_sense_is_refused(begin: Begin, start: int, end: int, says: str) -> None:
    place = begin("* * * * *")
    span = (datetime.fromtimestamp((EIGHT + at) / 1000, UTC) for at in (start, end))
    with pytest.raises(ConfigError, match=says):
        place.client.schedules.backfill("ticking", *span)
    assert place.fired("* * * * *") == []


@pytest.mark.parametrize(
    ("workflow", "line", "says"),
    [
        ("nobody", None, "no workflow 'nobody'"),
        ("ticking", None, 'several schedules: say which of "\\* .*", "0 \\* '),
        ("ticking", "1 2 3 4 5", 'no schedule "1 2 3 4 5"; it has'),
    ],
)
def test_a_schedule_that_is_not_there_is_named_with_those_that_are(
    place: Place, workflow: str, line: str | None, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        place.client.schedules.pause(workflow, line)


def test_a_workflow_without_a_schedule_has_none_to_pause(begin: Begin) -> None:
    with pytest.raises(ConfigError, match="has no schedule"):
        begin().client.schedules.pause("ticking")


@pytest.mark.parametrize("stored", [b"\xff", b"\x01", b"\x81\xa2at\xa1x"])
def test_a_schedule_whose_state_is_garbage_can_be_paused(begin: Begin, stored: bytes) -> None:
    place = begin("* * * * *")
    place.redis.hset(place.store.keys.schedules, "ticking * * * * *", stored)
    assert place.client.schedules.pause("ticking")
    place.tick(MINUTE)
    assert place.fired("* * * * *") == []


async def _steered(client: AsyncClient) -> list[Any]:
    verbs = client.schedules
    return [
        await verbs.pause("ticking"),
        await verbs.resume("ticking"),
        await verbs.trigger("ticking"),
        await verbs.backfill("ticking", datetime(2027, 1, 15, 7), datetime(2027, 1, 15, 7, 1)),
        await verbs.list(),
    ]


def test_the_verbs_are_there_for_asyncio_too(begin: Begin, redis_url: str) -> None:
    place = begin("* * * * *")

    async def main() -> list[Any]:
        async with AsyncClient(place.app, redis_url, clock=place.clock) as client:
            return await _steered(client)

    paused, resumed, triggered, filled, (status,) = asyncio.run(main())
    assert (paused, resumed, len(filled)) == (True, True, 1)
    assert {triggered, *filled} == {one.id for one in place.workflow.list()}
    assert status == place.client.schedules.list()[0]


# What stands in Redis


def test_how_far_a_schedule_has_come_is_read_as_it_was_written() -> None:
    state = ScheduleState(EIGHT, paused=EIGHT, last=1, waits=2, make=(3, 4), ends=1)
    assert ScheduleState.of(state.wire(), EIGHT) == state
    assert ScheduleState.of(ScheduleState(EIGHT).wire(), EIGHT) == ScheduleState(EIGHT)


def test_one_who_waits_for_nothing_costs_no_bytes() -> None:
    assert len(ScheduleState(EIGHT).wire()) < 20


def test_schedules_are_told_apart_by_workflow_and_line() -> None:
    rome = CronSchedule("0 9 * * *", timezone="Europe/Rome", overlap="skip")
    assert KnownSchedule(KnownWorkflow("report"), rome).id == "report 0 9 * * * Europe/Rome"


def test_an_end_by_hand_counts_as_an_end(begin: Begin) -> None:
    """Whatever its outcome."""
    alone = CronSchedule("* * * * *", overlap="skip")
    place = begin(alone)
    place.tick(MINUTE)
    worker = HandWorker(place.store)
    worker.complete(place.store.keys.instance("ticking", alone.instance_id(EIGHT + MINUTE)))
    place.tick(2 * MINUTE)
    assert place.fired(alone) == [MINUTE, 2 * MINUTE]

"""The guide's eight patterns under the pytest plugin: their own durations, days and all, in virtual time.

``tests/acceptance/test_patterns.py`` runs the same patterns in real processes with shorter times. Here the app of the
examples stays as it is and only its bindings are replaced: a database in memory, a bucket in a temporary folder, a
mailbox and a describer that are lists.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from examples.app import app as examples_app
from examples.bindings import Bucket, Database
from examples.environment import SCHEMA
from workflows import App, Client, InstanceEnded, InstanceRef, NonRetryableError
from workflows.testing import (
    InstanceModifier,
    TestClock,
    WorkflowEngine,
    introspect_workflow,
    introspect_workflow_instance,
)
from workflows.testing.env import TestEnv, TestInstance

ITEMS = [{"id": number, "name": f"  Item  NUMBER {number} "} for number in range(250)]


class Mailbox:
    """Takes mail as ``Mailer`` does and keeps each key once, as the reader's mail program does."""

    def __init__(self) -> None:
        self._subjects: dict[str, tuple[str, str]] = {}
        self._lock = threading.Lock()

    def send(self, to: str, subject: str, body: str = "", *, key: str) -> str:
        with self._lock:
            self._subjects.setdefault(key, (to, subject))
        return f"<{key}>"

    def subjects(self, to: str) -> list[str]:
        """What somebody got, in order of arrival."""
        with self._lock:
            return [subject for reader, subject in self._subjects.values() if reader == to]


class Describer:
    """Says how long a picture is, in bytes, in the place of a model."""

    def run(self, model: str, inputs: Mapping[str, Any]) -> dict[str, str]:
        return {"description": f"{len(inputs['image'])} bytes for {model}"}


@pytest.fixture
def workflow_app() -> App:
    return examples_app


@pytest.fixture
def workflow_bindings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    # The app's own bindings are made before these take their place.
    monkeypatch.setenv("EXAMPLES_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EXAMPLES_BUCKET", raising=False)
    with Database(":memory:", schema=SCHEMA) as database:
        yield {
            "BUCKET": Bucket((tmp_path / "bucket").as_uri()),
            "DB": database,
            "MAIL": Mailbox(),
            "AI": Describer(),
        }


def _story(instance: TestInstance) -> list[tuple[str, str]]:
    """Its steps and how they are, in the order in which they were asked for."""
    return [(step.name, step.status) for step in instance.status().steps]


def _step(instance: TestInstance, name: str) -> Any:
    return next(step for step in instance.status().steps if step.name == name)


# Image processing pipeline


def test_a_picture_is_published_when_the_approval_comes_within_a_day(env: TestEnv, clock: TestClock) -> None:
    env.BUCKET.put("house.png", b"a picture")
    instance = env.IMAGE_PROCESSING_WORKFLOW.create(params={"imageKey": "house.png"})
    clock.advance("23 hours")
    assert env.BUCKET.list("public/") == []
    instance.send_event("approved")
    assert instance.result() == {"published": "public/house.png", "description": "9 bytes for pillow/describe"}
    assert env.BUCKET.get("public/house.png").bytes() == b"a picture"


def test_a_picture_that_nobody_approves_for_24_hours_is_never_published(env: TestEnv, clock: TestClock) -> None:
    env.BUCKET.put("house.png", b"a picture")
    introspector = introspect_workflow_instance(env.IMAGE_PROCESSING_WORKFLOW, "house")
    instance = env.IMAGE_PROCESSING_WORKFLOW.create("house", {"imageKey": "house.png"})
    clock.advance(timedelta(hours=24) - timedelta(milliseconds=1))
    assert instance.status().status == "waiting"
    clock.advance(1)
    introspector.wait_for_status("errored")
    assert introspector.get_error().name == "EventTimeout"
    assert env.BUCKET.list("public/") == []


def test_the_describer_can_be_mocked_and_the_approval_be_there_in_advance(env: TestEnv) -> None:
    def mock(m: InstanceModifier) -> None:
        m.mock_step_result("generate description", {"description": "a house"})
        m.mock_event("approved")

    env.BUCKET.put("house.png", b"a picture")
    introspect_workflow_instance(env.IMAGE_PROCESSING_WORKFLOW, "house").modify(mock)
    instance = env.IMAGE_PROCESSING_WORKFLOW.create("house", {"imageKey": "house.png"})
    assert instance.result() == {"published": "public/house.png", "description": "a house"}


# User lifecycle


def _sign_up(env: TestEnv, user: str) -> TestInstance:
    env.DB.prepare("INSERT INTO users VALUES (?, ?, 'trial')").bind(user, f"{user}@example.org").run()
    created: TestInstance = env.USER_LIFECYCLE_WORKFLOW.create(user, {"userId": user, "email": f"{user}@example.org"})
    return created


def test_a_user_who_subscribes_on_the_last_day_of_the_trial_has_converted(env: TestEnv, clock: TestClock) -> None:
    instance = _sign_up(env, "ada")
    clock.advance("6 days")
    assert _story(instance) == [("welcome email", "complete"), ("trial period", "sleeping")]
    env.DB.prepare("UPDATE users SET subscription_status = 'active' WHERE id = 'ada'").run()
    clock.advance("1 day")
    assert instance.result() == "converted"
    assert env.MAIL.subjects("ada@example.org") == ["Welcome!"]


def test_a_user_who_does_not_subscribe_within_seven_days_gets_one_more_mail(env: TestEnv, clock: TestClock) -> None:
    instance = _sign_up(env, "bob")
    clock.advance(timedelta(days=7) - timedelta(milliseconds=1))
    assert env.MAIL.subjects("bob@example.org") == ["Welcome!"]
    clock.advance(1)
    assert instance.result() == "trial ended"
    assert env.MAIL.subjects("bob@example.org") == ["Welcome!", "Trial ending"]


async def test_a_trial_can_be_skipped_and_its_decision_mocked(env: TestEnv) -> None:
    async def mock(m: InstanceModifier) -> None:
        await m.disable_sleeps([{"name": "trial period"}])
        await m.mock_step_result({"name": "check conversion"}, True)

    introspector = await introspect_workflow_instance(env.USER_LIFECYCLE_WORKFLOW, "eve")
    await introspector.modify(mock)
    await env.USER_LIFECYCLE_WORKFLOW.create("eve", {"userId": "eve", "email": "eve@example.org"})
    await introspector.wait_for_status("complete")
    assert await introspector.get_output() == "converted"


def test_a_user_who_was_deleted_during_the_trial_fails_the_instance_at_once(env: TestEnv, clock: TestClock) -> None:
    instance = _sign_up(env, "kim")
    clock.advance("1 day")
    env.DB.prepare("DELETE FROM users").run()
    clock.advance("6 days")
    with pytest.raises(NonRetryableError, match="No user kim"):
        instance.result()
    assert _step(instance, "check conversion").attempts == 1


@pytest.mark.crash_matrix(most=16)
def test_a_trial_and_its_mails_survive_every_crash(env: TestEnv, clock: TestClock) -> None:
    """A callback may run twice after a crash; the key of its mail is the same, so nobody sees it twice."""
    instance = _sign_up(env, "bob")
    clock.advance("7 days")
    assert instance.result() == "trial ended"
    assert env.MAIL.subjects("bob@example.org") == ["Welcome!", "Trial ending"]


# Data pipeline


def _import(env: TestEnv, errors: int | None) -> TestInstance:
    """An import whose source fails so often, or always, and then answers."""

    def mock(m: InstanceModifier) -> None:
        m.mock_step_error("extract", OSError("source is down"), times=errors)
        if errors is not None:
            m.mock_step_result("extract", ITEMS)

    introspect_workflow_instance(env.DATA_PIPELINE_WORKFLOW, "import").modify(mock)
    created: TestInstance = env.DATA_PIPELINE_WORKFLOW.create("import", {"sourceUrl": "https://source.invalid/items"})
    return created


def test_a_source_that_fails_twice_is_asked_again_after_30_and_after_60_seconds(env: TestEnv, clock: TestClock) -> None:
    instance = _import(env, errors=2)
    attempts = []
    for seconds in (0, 29, 1, 59, 1):
        clock.advance(timedelta(seconds=seconds))
        attempts.append(_step(instance, "extract").attempts)
    assert attempts == [1, 1, 2, 2, 3]
    assert instance.result() == {"key": "processed/import.json", "loaded": 250}
    assert [failure.error.message for failure in _step(instance, "extract").failures] == ["source is down"] * 2


def test_an_import_ends_with_its_records_in_the_bucket_and_in_the_database(env: TestEnv) -> None:
    introspect_workflow_instance(env.DATA_PIPELINE_WORKFLOW, "import").modify(lambda m: m.disable_retry_delays())
    instance = _import(env, errors=2)
    assert instance.result()["loaded"] == 250
    expected = [{"id": number, "normalized": f"item number {number}"} for number in range(250)]
    assert env.BUCKET.get("processed/import.json").json() == expected
    assert env.DB.prepare("SELECT id, normalized FROM records ORDER BY id").all() == expected


def test_a_source_that_stays_down_fails_the_import_after_ten_retries_in_eight_and_a_half_hours(
    env: TestEnv, clock: TestClock
) -> None:
    instance = _import(env, errors=None)
    delays = timedelta(seconds=30 * (2**10 - 1))
    clock.advance(delays - timedelta(seconds=1))
    assert instance.status().status != "errored"
    clock.advance("1 second")
    with pytest.raises(OSError, match="source is down"):
        instance.result()
    assert _story(instance) == [("extract", "failed")]
    assert _step(instance, "extract").attempts == 11


def test_an_address_that_is_none_is_not_tried_again(env: TestEnv) -> None:
    instance = env.DATA_PIPELINE_WORKFLOW.create(params={"sourceUrl": "file:///etc/hostname"})
    with pytest.raises(NonRetryableError, match="not an http or https address"):
        instance.result()
    assert _step(instance, "extract").attempts == 1


# Approval


def _approval(env: TestEnv, id: str) -> str:
    return str(env.DB.prepare("SELECT status FROM approvals WHERE id = ?").bind(id).first()["status"])


@pytest.mark.parametrize(("approved", "outcome"), [(True, "approved"), (False, "rejected")])
def test_an_answer_on_the_second_day_decides_the_approval(
    env: TestEnv, clock: TestClock, approved: bool, outcome: str
) -> None:
    instance = env.APPROVAL_WORKFLOW.create("request", {"userId": "ada"})
    clock.advance("47 hours")
    assert (instance.status().status, _approval(env, "request")) == ("waiting", "pending")
    instance.send_event("approval-response", {"approved": approved})
    assert instance.result() == outcome
    assert _approval(env, "request") == outcome


def test_silence_for_48_hours_rejects_the_approval(env: TestEnv, clock: TestClock) -> None:
    instance = env.APPROVAL_WORKFLOW.create("request", {"userId": "ada"})
    clock.advance(timedelta(hours=48) - timedelta(milliseconds=1))
    assert _approval(env, "request") == "pending"
    clock.advance(1)
    assert instance.result() == "auto-rejected"
    assert _approval(env, "request") == "auto-rejected"
    assert _story(instance) == [
        ("create approval", "complete"),
        ("wait for approval", "timed out"),
        ("auto reject", "complete"),
    ]


def test_an_answer_after_the_48_hours_is_refused(env: TestEnv, clock: TestClock) -> None:
    instance = env.APPROVAL_WORKFLOW.create("request", {"userId": "ada"})
    clock.advance("48h")
    with pytest.raises(InstanceEnded):
        instance.send_event("approval-response", {"approved": True})
    assert _approval(env, "request") == "auto-rejected"


def test_a_database_that_fails_after_the_approval_does_not_look_like_silence(env: TestEnv) -> None:
    def mock(m: InstanceModifier) -> None:
        m.mock_event("approval-response", {"approved": True})
        m.mock_step_error("process approval", NonRetryableError("database is gone"))

    introspector = introspect_workflow_instance(env.APPROVAL_WORKFLOW, "request").modify(mock)
    env.APPROVAL_WORKFLOW.create("request", {"userId": "ada"})
    with pytest.raises(NonRetryableError, match="database is gone"):
        introspector.wait_for_step_result("process approval")
    introspector.wait_for_status("errored")
    assert _approval(env, "request") == "pending"


# Fan-out


def test_every_file_of_a_mocked_listing_is_processed_in_a_step_of_its_own(env: TestEnv) -> None:
    """The bucket holds one more file, which the listing does not name."""
    expected = {f"texts/{number:02}.txt": number for number in range(12)}
    for key, words in {**expected, "texts/late.txt": 99}.items():
        env.BUCKET.put(key, "word " * words)
    introspector = introspect_workflow_instance(env.FAN_OUT_WORKFLOW, "texts")
    introspector.modify(lambda m: m.mock_step_result("list", list(expected)))
    instance = env.FAN_OUT_WORKFLOW.create("texts", {"prefix": "texts/"})
    assert instance.result() == expected
    assert _story(instance) == [("list", "complete"), *((f"process {n}", "complete") for n in range(12))]


def test_a_piece_that_fails_is_tried_again_alone(env: TestEnv, clock: TestClock) -> None:
    def mock(m: InstanceModifier) -> None:
        m.mock_step_result("list", ["a", "b", "c"])
        m.mock_step_error("process 1", OSError("try again"), times=1)

    for key in ("a", "b", "c"):
        env.BUCKET.put(key, f"text {key}")
    introspect_workflow_instance(env.FAN_OUT_WORKFLOW, "texts").modify(mock)
    instance = env.FAN_OUT_WORKFLOW.create("texts", {"prefix": ""})
    clock.advance(0)
    assert _story(instance)[1:] == [("process 0", "complete"), ("process 1", "retrying"), ("process 2", "complete")]
    clock.advance("10 seconds")
    assert instance.result() == {"a": 2, "b": 2, "c": 2}
    assert [step.attempts for step in instance.status().steps] == [1, 1, 2, 1]


# Parent and child


def test_a_parent_joins_a_child_that_is_an_instance_of_its_own(env: TestEnv) -> None:
    parent = env.PARENT_WORKFLOW.create("family", {"numbers": [3, 1, 2]})
    assert parent.result() == {"note": "Child started: child-family", "total": 6}
    assert _step(parent, "join child").child == InstanceRef("child-workflow", "child-family")
    child = env.CHILD_WORKFLOW.get("child-family")
    assert (child.result(), _story(child)) == (6, [("add up", "complete")])


def test_a_parent_waits_while_its_child_is_tried_again(env: TestEnv, clock: TestClock) -> None:
    with introspect_workflow(env.CHILD_WORKFLOW) as children:
        children.modify_all(lambda m: m.mock_step_error("add up", OSError("busy"), times=1))
        parent = env.PARENT_WORKFLOW.create("family", {"numbers": [3, 1, 2]})
        clock.advance(0)
        assert _story(parent)[-1] == ("join child", "waiting")
        clock.advance("10 seconds")
        assert parent.result()["total"] == 6
        assert [child.id for child in children.get()] == ["child-family"]


def test_a_child_that_fails_fails_the_parent_that_joins_it(env: TestEnv) -> None:
    with introspect_workflow(env.CHILD_WORKFLOW) as children:
        children.modify_all(lambda m: m.mock_step_error("add up", NonRetryableError("cannot add")))
        parent = env.PARENT_WORKFLOW.create("family", {"numbers": [1]})
        with pytest.raises(Exception, match="cannot add"):
            parent.result()
        (child,) = children.get()
        assert child.get_error().message == "cannot add"
    assert _story(parent)[-1] == ("join child", "failed")


@pytest.mark.crash_matrix(most=16)
def test_no_crash_starts_a_second_child(env: TestEnv, workflow_client: Client) -> None:
    """Also where the child was created and the step that did it never said so."""
    assert env.PARENT_WORKFLOW.create("family", {"numbers": [3, 1, 2]}).result()["total"] == 6
    assert [child.id for child in workflow_client.workflow("child-workflow").list()] == ["child-family"]


# Race


def test_the_first_answer_wins_and_the_slow_option_is_called_off(env: TestEnv) -> None:
    """The slow options would take 30 real seconds each if nobody told them."""
    instance = env.RACE_WORKFLOW.create(params={})
    assert instance.result() == {"with asyncio.wait": "fast", "with step.race": "fast"}
    assert _story(instance) == [
        ("option A", "withdrawn"),
        ("option B", "complete"),
        ("option C", "withdrawn"),
        ("option D", "complete"),
    ]


@pytest.mark.parametrize(("winner", "loser"), [("option A", "option B"), ("option B", "option A")])
def test_the_winner_stays_the_winner_in_every_replay(
    env: TestEnv, clock: TestClock, workflow_engine: WorkflowEngine, winner: str, loser: str
) -> None:
    """Both processes die while the second question is open; what follows replays the first one from the journal."""

    def mock(m: InstanceModifier) -> None:
        m.mock_step_result(winner, "the winner's")
        m.mock_step_error(loser, OSError("not yet"))
        m.mock_step_error("option C", OSError("not yet"), times=1)
        m.mock_step_error("option D", OSError("not yet"), times=1)
        m.mock_step_result("option C", "C's")

    introspect_workflow_instance(env.RACE_WORKFLOW, "race").modify(mock)
    instance = env.RACE_WORKFLOW.create("race", {})
    clock.advance(0)
    before = _story(instance)
    workflow_engine.crash_worker()
    workflow_engine.crash_orchestrator()
    clock.advance("10 seconds")
    assert instance.result()["with asyncio.wait"] == "the winner's"
    assert (winner, "complete") in before
    assert (loser, "withdrawn") in before
    assert _story(instance)[:2] == before[:2]


# Scheduled chain


def test_the_chain_of_a_day_has_its_follow_up_after_seven_days(env: TestEnv, clock: TestClock) -> None:
    instance = env.DAILY_WORKFLOW.create(params={"timestamp": 1})
    clock.advance("6 days")
    assert _story(instance) == [("daily task", "complete"), ("wait 7 days", "sleeping")]
    assert _step(instance, "wait 7 days").due_at == clock.now + timedelta(days=1)
    clock.advance("1 day")
    assert instance.result() == ["task of 1", "follow-up of 1"]


def _next(now: datetime, hour: int, minute: int = 0) -> datetime:
    """The next time it is that late, in UTC."""
    today = now.astimezone(UTC).replace(hour=hour, minute=minute, second=0, microsecond=0)
    return today if today > now else today + timedelta(days=1)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


@pytest.mark.workflows(schedules=True)
def test_a_chain_begins_every_day_at_nine_and_ends_a_week_later(env: TestEnv, clock: TestClock) -> None:
    nine = _next(clock.now, 9)
    with introspect_workflow(env.DAILY_WORKFLOW) as chains:
        clock.advance_to(nine - timedelta(milliseconds=1))
        assert chains.get() == []
        clock.advance(1)
        (first,) = chains.get()
        assert first.id == f"daily-{_ms(nine)}"
        clock.advance("7 days")
        assert [chain.id for chain in chains.get()] == [f"daily-{_ms(nine + timedelta(days=n))}" for n in range(8)]
        assert first.get_output() == [f"task of {_ms(nine)}", f"follow-up of {_ms(nine)}"]
        assert [_story(env.DAILY_WORKFLOW.get(one.id))[-1] for one in chains.get()[1:]] == [
            ("wait 7 days", "sleeping")
        ] * 7


@pytest.mark.workflows(schedules=True)
def test_a_report_is_written_once_a_week_without_a_handler(env: TestEnv, clock: TestClock) -> None:
    with introspect_workflow(env.WEEKLY_REPORT_WORKFLOW) as reports:
        for week in (1, 2):
            clock.advance("7 days")
            assert len(reports.get()) == week
            assert reports.get()[-1].get_output() == "report (30 2 * * MON)"


def test_a_week_without_schedules_starts_nothing(env: TestEnv, clock: TestClock) -> None:
    with introspect_workflow(env.DAILY_WORKFLOW) as chains, introspect_workflow(env.WEEKLY_REPORT_WORKFLOW) as reports:
        clock.advance("8 days")
        assert (chains.get(), reports.get()) == ([], [])

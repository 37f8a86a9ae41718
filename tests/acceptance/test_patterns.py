"""The guide's eight patterns to their ends: real processes, files, SQLite, SMTP and HTTP, and what is true afterwards.

The first part runs the examples as a user would, with their own app in two workers. The second part runs the same
patterns in the guide's words (``guide.py``). Times that would be days are params.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from examples import environment
from examples.app import app as examples_app
from examples.bindings import MailSink, flaky_source
from examples.image_pipeline import draw_house
from examples.scene import Place
from tests.acceptance import guide
from tests.acceptance.processes import Cluster
from workflows import InstanceRef, StepStatus, WorkflowInstance

Create = Callable[..., WorkflowInstance]


@pytest.fixture(scope="module")
def mail() -> Iterator[MailSink]:
    with MailSink() as sink:
        yield sink


@contextmanager
def _place(target: str, folder: Path, mail: MailSink) -> Iterator[tuple[Cluster, Place]]:
    """A cluster whose workers find their files, database and mail server in the folder and at the sink."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as until_the_end:
        patch.setenv("EXAMPLES_HOME", str(folder / "home"))
        patch.setenv("EXAMPLES_SMTP_PORT", str(mail.port))
        patch.delenv("EXAMPLES_BUCKET", raising=False)
        patch.delenv("EXAMPLES_SMTP_HOST", raising=False)
        cluster = until_the_end.enter_context(Cluster(folder, target))
        database = until_the_end.enter_context(environment.open_database())
        yield cluster, Place(cluster.client, environment.open_bucket(), database, mail, until_the_end)
        cluster.check_logs()


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory, mail: MailSink) -> Iterator[tuple[Cluster, Place]]:
    """The examples' app: one orchestrator, two workers."""
    with _place("examples.app:app", tmp_path_factory.mktemp("examples"), mail) as (cluster, place):
        cluster.orchestrator()
        for worker in [cluster.worker(), cluster.worker()]:
            cluster.ready(worker)
        yield cluster, place


@pytest.fixture(scope="module")
def in_its_words(tmp_path_factory: pytest.TempPathFactory, mail: MailSink) -> Iterator[tuple[Cluster, Place]]:
    """The guide's words: two orchestrators, one worker."""
    with _place("tests.acceptance.guide:app", tmp_path_factory.mktemp("guide"), mail) as (cluster, place):
        cluster.orchestrator()
        cluster.orchestrator()
        cluster.ready(cluster.worker())
        yield cluster, place


@pytest.fixture
def cluster(examples: tuple[Cluster, Place]) -> Cluster:
    return examples[0]


@pytest.fixture
def place(examples: tuple[Cluster, Place]) -> Place:
    """What the examples' steps change, seen from outside; the tables are empty."""
    for table in ("users", "approvals", "records"):
        examples[1].database.prepare(f"DELETE FROM {table}").run()
    return examples[1]


def _step(instance: WorkflowInstance, name: str) -> StepStatus | None:
    return next((step for step in instance.status().steps if step.name == name), None)


def _open_step(cluster: Cluster, instance: WorkflowInstance, name: str, status: str) -> StepStatus:
    """The step, once it is in this status."""

    def reached() -> StepStatus | None:
        step = _step(instance, name)
        return step if step is not None and step.status == status else None

    found = cluster.wait_until(reached, what=f"{name} {status}")
    assert found is not None
    return found


def _story(instance: WorkflowInstance) -> list[tuple[str, str]]:
    """Its steps and how they ended, in the order in which they were asked for."""
    return [(step.name, step.status) for step in instance.status().steps]


def _mails(place: Place, to: str) -> list[str]:
    return [mail.subject for mail in place.mail.mails if mail.to == to]


def _rows(place: Place) -> dict[int, str]:
    return {row["id"]: row["normalized"] for row in place.database.prepare("SELECT * FROM records").all()}


def _approval(place: Place, id: str) -> dict[str, Any] | None:
    return place.database.prepare("SELECT user_id, status FROM approvals WHERE id = ?").bind(id).first()


# Image processing pipeline


def test_a_picture_is_published_once_it_is_approved(cluster: Cluster, place: Place) -> None:
    """And not before; the published object is the picture, byte by byte."""
    picture = draw_house()
    place.bucket.put("house.png", picture)
    instance = cluster.create("image-processing-workflow", "house", {"imageKey": "house.png"})
    wait = _open_step(cluster, instance, "await approval", "waiting")
    assert [one.key for one in place.bucket.list("public/")] == []
    assert instance.send_event("approved") == "delivered"
    output = cluster.result(instance)
    assert output["published"] == "public/house.png"
    assert output["description"].startswith("A medium-bright landscape picture of 320 by 200 pixels, mostly sky blue")
    assert place.bucket.get("public/house.png").bytes() == picture
    assert wait.started_at is not None
    assert wait.due_at == wait.started_at + timedelta(hours=24)


def test_a_picture_approved_in_advance_is_published_without_waiting(cluster: Cluster, place: Place) -> None:
    """The event came before anybody waited for it, and is kept."""
    place.bucket.put("early.png", draw_house())
    instance = cluster.create("image-processing-workflow", "early", {"imageKey": "early.png"})
    instance.send_event("approved")
    assert cluster.result(instance)["published"] == "public/early.png"


# User lifecycle


@pytest.mark.parametrize(
    ("user", "subscription", "output", "mails"),
    [
        ("ada", "active", "converted", ["Welcome!"]),
        ("bob", "trial", "trial ended", ["Welcome!", "Trial ending"]),
    ],
)
def test_who_does_not_convert_gets_one_more_mail(
    cluster: Cluster, place: Place, user: str, subscription: str, output: str, mails: list[str]
) -> None:
    """The decision is made after the trial, and the server gets every mail exactly once."""
    email, before = f"{user}@example.org", place.mail.deliveries
    place.database.prepare("INSERT INTO users VALUES (?, ?, 'trial')").bind(user, email).run()
    instance = cluster.create("user-lifecycle-workflow", user, {"userId": user, "email": email, "trial": 500})
    assert place.mail.wait_for(email, "Welcome!").body == "Welcome!"
    place.database.prepare("UPDATE users SET subscription_status = ? WHERE id = ?").bind(subscription, user).run()
    assert cluster.result(instance) == output
    assert _mails(place, email) == mails
    assert place.mail.deliveries - before == len(mails)
    sleep = _step(instance, "trial period")
    assert sleep is not None
    assert sleep.ended_at is not None
    welcome = _step(instance, "welcome email")
    assert welcome is not None
    assert welcome.ended_at is not None
    assert sleep.ended_at - welcome.ended_at >= timedelta(milliseconds=490)


def test_a_trial_lasts_seven_days_unless_told_otherwise(cluster: Cluster, place: Place) -> None:
    params = {"userId": "eve", "email": "eve@example.org"}
    instance = cluster.create("user-lifecycle-workflow", "eve", params)
    sleep = _open_step(cluster, instance, "trial period", "sleeping")
    assert sleep.started_at is not None
    assert sleep.due_at == sleep.started_at + timedelta(days=7)
    assert _mails(place, "eve@example.org") == ["Welcome!"]
    instance.terminate()


# Data pipeline


def test_a_source_that_fails_twice_is_loaded_completely(cluster: Cluster, place: Place) -> None:
    with flaky_source(items=250, failures=2) as url:
        params = {"sourceUrl": url, "retryDelay": "100 ms"}
        instance = cluster.create("data-pipeline-workflow", "import", params)
        assert cluster.result(instance) == {"key": "processed/import.json", "loaded": 250}
    assert _rows(place) == {number: f"item number {number}" for number in range(250)}
    assert place.bucket.get("processed/import.json").json() == [
        {"id": number, "normalized": f"item number {number}"} for number in range(250)
    ]
    extract, *others = instance.status().steps
    assert (extract.attempts, [one.error.name for one in extract.failures]) == (3, ["HTTPError", "HTTPError"])
    assert [(step.name, step.attempts) for step in others] == [("transform", 1), ("store", 1), ("load", 1)]
    first, second = extract.failures
    assert second.started_at - first.ended_at >= timedelta(milliseconds=90)
    assert extract.ended_at is not None
    assert extract.ended_at - second.ended_at >= timedelta(milliseconds=190)


def test_rows_are_loaded_in_transactions_of_a_hundred(cluster: Cluster, place: Place) -> None:
    """One bad row takes its own hundred with it and no other; loading again completes the table."""
    place.database.prepare(
        "CREATE TRIGGER refuse BEFORE INSERT ON records WHEN new.id = 150 BEGIN SELECT RAISE(ABORT, 'not now'); END"
    ).run()
    with flaky_source(items=250, failures=0) as url:
        instance = cluster.create("data-pipeline-workflow", "batches", {"sourceUrl": url})
        load = _open_step(cluster, instance, "load", "retrying")
        assert str(load.error) == "IntegrityError: not now"
        assert sorted(_rows(place)) == list(range(100))
        place.database.prepare("DROP TRIGGER refuse").run()
        instance.restart()
        assert cluster.result(instance)["loaded"] == 250
    assert _rows(place) == {number: f"item number {number}" for number in range(250)}


def test_a_failed_fetch_is_tried_again_after_30_seconds_unless_told_otherwise(cluster: Cluster) -> None:
    with flaky_source(items=1, failures=100) as url:
        instance = cluster.create("data-pipeline-workflow", "patient", {"sourceUrl": url})
        extract = _open_step(cluster, instance, "extract", "retrying")
    assert extract.due_at is not None
    assert timedelta(0) <= extract.due_at - extract.failures[0].ended_at - timedelta(seconds=30) < timedelta(seconds=1)
    instance.terminate()


# Approval


@pytest.mark.parametrize(("approved", "outcome"), [(True, "approved"), (False, "rejected")])
def test_an_answer_decides_the_approval(cluster: Cluster, place: Place, approved: bool, outcome: str) -> None:
    instance = cluster.create("approval-workflow", outcome, {"userId": "ada"})
    wait = _open_step(cluster, instance, "wait for approval", "waiting")
    assert _approval(place, outcome) == {"user_id": "ada", "status": "pending"}
    assert wait.started_at is not None
    assert wait.due_at == wait.started_at + timedelta(hours=48)
    instance.send_event("approval-response", {"approved": approved})
    assert cluster.result(instance) == outcome
    assert _approval(place, outcome) == {"user_id": "ada", "status": outcome}


def test_silence_rejects_the_approval(cluster: Cluster, place: Place) -> None:
    instance = cluster.create("approval-workflow", "forgotten", {"userId": "ada", "timeout": "1 second"})
    assert cluster.result(instance) == "auto-rejected"
    assert _approval(place, "forgotten") == {"user_id": "ada", "status": "auto-rejected"}
    assert _story(instance) == [
        ("create approval", "complete"),
        ("wait for approval", "timed out"),
        ("auto reject", "complete"),
    ]


# Fan-out


def test_every_file_is_processed_once_in_a_step_of_its_own(cluster: Cluster, place: Place) -> None:
    expected = {f"texts/{number:02}.txt": number for number in range(1, 26)}
    for key, words in expected.items():
        place.bucket.put(key, "word " * words)
    instance = cluster.create("fan-out-workflow", "texts", {"prefix": "texts/"})
    assert cluster.result(instance) == expected
    steps = instance.status().steps
    assert {(step.name, step.attempts) for step in steps} == {("list", 1), *((f"process {n}", 1) for n in range(25))}


# Parent and child


def test_a_parent_joins_the_child_whose_handle_a_step_stored(cluster: Cluster, place: Place) -> None:
    parent = cluster.create("parent-workflow", "family", {"numbers": [3, 1, 2]})
    assert cluster.result(parent) == {"note": "Child started: child-family", "total": 6}
    child = InstanceRef("child-workflow", "child-family")
    started, joined = _step(parent, "start child"), _step(parent, "join child")
    assert started is not None
    assert joined is not None
    assert (started.output, joined.child, joined.output) == (child, child, 6)
    assert cluster.client.workflow(child.workflow).get(child.id).status().output == 6


# Race


def test_the_first_answer_wins_and_the_other_step_is_called_off(cluster: Cluster) -> None:
    """The slow option would take a minute if nobody told it."""
    began = time.monotonic()
    instance = cluster.create("race-workflow", "race", {"slowSeconds": 60})
    assert cluster.result(instance) == {"with asyncio.wait": "fast", "with step.race": "fast"}
    assert time.monotonic() - began < 10
    assert _story(instance) == [
        ("option A", "withdrawn"),
        ("option B", "complete"),
        ("option C", "withdrawn"),
        ("option D", "complete"),
    ]


# Scheduled chain


def test_the_chain_of_a_day_has_its_follow_up_after_a_week(cluster: Cluster) -> None:
    instance = cluster.create("daily-workflow", "daily-1", {"timestamp": 1, "pause": 200})
    assert cluster.result(instance) == ["task of 1", "follow-up of 1"]
    patient = cluster.create("daily-workflow", "daily-2", {"timestamp": 2})
    sleep = _open_step(cluster, patient, "wait 7 days", "sleeping")
    assert sleep.started_at is not None
    assert sleep.due_at == sleep.started_at + timedelta(days=7)
    patient.terminate()


def _due(cluster: Cluster, workflow: str, prefix: str) -> list[int]:
    """The moments in the ids of a workflow's instances, in order."""
    ids = [one.id for one in cluster.client.workflow(workflow).list(limit=1000)]
    return sorted(int(id.rpartition("-")[2]) for id in ids if id.startswith(prefix))


def _wait_for_firings(cluster: Cluster, workflow: str, prefix: str) -> list[int]:
    """Four moments, each a second after the one before: none is missing, and none can be there twice."""

    def found() -> list[int]:
        moments = _due(cluster, workflow, prefix)[:4]
        return moments if len(moments) == 4 else []

    moments = cluster.wait_until(found, what=f"four firings of {workflow}")
    assert moments == [moments[0] + 1000 * second for second in range(4)]
    assert moments[0] % 1000 == 0
    return moments


def test_a_cron_handler_creates_one_instance_per_firing_with_two_orchestrators(
    in_its_words: tuple[Cluster, Place],
) -> None:
    """The example's own handler, on a line that fires every second: ``daily-`` and the moment that was due."""
    cluster, _ = in_its_words
    first, *_ = _wait_for_firings(cluster, "daily-workflow", "daily-")
    chain = cluster.client.workflow("daily-workflow").get(f"daily-{first}")
    _open_step(cluster, chain, "wait 7 days", "sleeping")
    task = _step(chain, "daily task")
    assert task is not None
    assert task.output == f"task of {first}"


def test_the_guides_cron_handler_is_called_once_per_firing(in_its_words: tuple[Cluster, Place]) -> None:
    """``event.scheduledTime``, and no guard against instances that exist already: there are none."""
    cluster, _ = in_its_words
    moments = _wait_for_firings(cluster, "chain", "daily-")
    handled = cluster.ledger.counts("cron/")
    assert [handled[f"cron/{moment}"] for moment in moments] == [1, 1, 1, 1]
    assert cluster.result(cluster.client.workflow("chain").get(f"daily-{moments[0]}")) == moments[0]


def test_a_schedule_on_the_workflow_needs_no_handler(in_its_words: tuple[Cluster, Place]) -> None:
    """The engine creates the instance, and ``event.schedule`` says which firing it belongs to."""
    cluster, _ = in_its_words
    moments = _wait_for_firings(cluster, "chain", "cron-")
    chains = [one.id for one in cluster.client.workflow("chain").list(limit=1000, oldest_first=True)]
    first = next(id for id in chains if id.startswith("cron-"))
    assert cluster.result(cluster.client.workflow("chain").get(first)) == moments[0]


# In the guide's words


def test_nothing_in_the_patterns_is_reported_as_a_mistake() -> None:
    assert [str(finding) for finding in [*examples_app.findings, *guide.app.findings]] == []


def test_the_guides_image_pipeline_publishes(in_its_words: tuple[Cluster, Place]) -> None:
    """``waitForEvent(name, {event, timeout})``, ``event.params.imageKey``, and closures over ``event`` and results."""
    cluster, place = in_its_words
    picture = draw_house()
    place.bucket.put("house.png", picture)
    instance = cluster.create("image-processing-workflow", "house", {"imageKey": "house.png"})
    wait = _open_step(cluster, instance, "await approval", "waiting")
    assert wait.started_at is not None
    assert wait.due_at == wait.started_at + timedelta(hours=24)
    instance.send_event("approved")
    assert cluster.result(instance) is None
    assert place.bucket.get("public/house.png").bytes() == picture
    described = _step(instance, "generate description")
    assert described is not None
    assert described.output == {"description": "A medium-bright landscape picture of"}


def test_the_guides_lifecycle_sends_its_mails(in_its_words: tuple[Cluster, Place]) -> None:
    """``sleepUntil`` a moment in milliseconds, and a callback that asks for ``ctx``."""
    cluster, place = in_its_words
    place.database.prepare("INSERT INTO users VALUES ('kim', 'kim@example.org', 'trial')").run()
    params = {"userId": "kim", "email": "kim@example.org", "trialEndsAt": int(time.time() * 1000) + 300}
    assert cluster.result(cluster.create("user-lifecycle-workflow", "kim", params)) is None
    assert _mails(place, "kim@example.org") == ["Welcome!", "Trial ending"]


def test_the_guides_data_pipeline_loads(in_its_words: tuple[Cluster, Place]) -> None:
    """Cloudflare's options as the second argument, and ``Date.now()`` inside a step."""
    cluster, place = in_its_words
    with flaky_source(items=250, failures=0) as url:
        data_ref = cluster.result(cluster.create("data-pipeline-workflow", "load", {"sourceUrl": url}))
    assert _rows(place) == {number: f"Item  NUMBER {number}" for number in range(250)}
    assert len(json.loads(place.bucket.get(data_ref["key"]).text())) == 250


@pytest.mark.parametrize(
    ("reply", "outcome", "row"),
    [({"approved": True}, "approved", "pending"), ({"approved": False}, "rejected", "pending")],
)
def test_the_guides_approval_reads_the_answer(
    in_its_words: tuple[Cluster, Place], reply: dict[str, bool], outcome: str, row: str
) -> None:
    """``event=`` for ``type=``, ``"48h"`` and ``approval.approved``."""
    cluster, place = in_its_words
    instance = cluster.create("approval-workflow", outcome, {"userId": "ada"})
    wait = _open_step(cluster, instance, "wait for approval", "waiting")
    assert wait.started_at is not None
    assert wait.due_at == wait.started_at + timedelta(hours=48)
    instance.send_event("approval-response", reply)
    assert cluster.result(instance) == outcome
    assert _approval(place, outcome) == {"user_id": "ada", "status": row}


def test_the_guides_approval_rejects_by_itself(in_its_words: tuple[Cluster, Place]) -> None:
    """Caught as any exception, as ``catch (e)`` does."""
    cluster, place = in_its_words
    instance = cluster.create("approval-workflow", "forgotten", {"userId": "ada", "timeout": "1s"})
    assert cluster.result(instance) == "auto-rejected"
    assert _approval(place, "forgotten") == {"user_id": "ada", "status": "auto-rejected"}


def test_the_guides_fan_out_gives_each_lambda_its_own_file(in_its_words: tuple[Cluster, Place]) -> None:
    """The loop variable is captured as it was at the call, as in JavaScript."""
    cluster, place = in_its_words
    for number in range(12):
        place.bucket.put(f"files/{number:02}", b"." * number)
    instance = cluster.create("fan-out-workflow", "files", {"prefix": "files/"})
    assert cluster.result(instance) == list(range(12))


def test_the_guides_parent_logs_the_childs_id(in_its_words: tuple[Cluster, Place]) -> None:
    """A handle that went through a step's result still has its ``id``, and can be waited for."""
    cluster, _ = in_its_words
    assert cluster.result(cluster.create("parent-workflow", "family")) == 3
    assert len(cluster.logged("Child started: child-family")) == 1


def test_the_loser_of_the_guides_race_hears_of_it_and_is_not_tried_again(in_its_words: tuple[Cluster, Place]) -> None:
    cluster, _ = in_its_words
    instance = cluster.create("race-workflow", "race", {"slowSeconds": 60})
    cluster.wait_until(lambda: cluster.ledger.count("race/A") == 1, what="the slow option begun")
    cluster.ledger.open_gate("fast")
    assert cluster.result(instance) == "fast"
    cluster.wait_until(lambda: cluster.ledger.count("race/A", "cancelled") == 1, what="the loser told")
    assert _story(instance) == [("option A", "withdrawn"), ("option B", "complete")]
    assert cluster.ledger.count("race/A") == 1

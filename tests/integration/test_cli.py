"""Does the command line say what happens, in lines that people and programs can read?"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
from click.testing import CliRunner

from tests.commands import Run, run_in
from tests.driving import HandWorker, PublishedApp, published, step, wait
from tests.paths import packages
from tests.processes import is_there
from workflows import App, Retry, StepConfig
from workflows.authoring.retries import to_wire
from workflows.cli.main import cli
from workflows.cli.showing import shown
from workflows.client import Client, WorkflowHandle, WorkflowInstance
from workflows.client.aio import AsyncClient
from workflows.dev import run as dev
from workflows.errors import ConfigError, NonRetryableError
from workflows.storage import dev_state
from workflows.storage.manifest import publish_manifest
from workflows.values import failure
from workflows.values.failure import Failure

APP = """
from workflows import App, WorkflowEntrypoint

app = App("shop", queues=("default", "gpu"))


@app.workflow(queue="gpu", schedules="0 9 * * *", retention="1 day")
class Order(WorkflowEntrypoint):
    async def run(self, event, step):
        return await step.do("add", lambda: event.payload["n"] + 1)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(client: Client, folder: Path, redis_url: str) -> Run:
    """Runs the command on the namespace of the tests."""

    return run_in(redis_url, "shop")


def process(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "workflows.cli", *arguments],
        cwd=folder,
        env={**_clean(), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _clean() -> dict[str, str]:
    names = ("WORKFLOWS_REDIS_URL", "REDIS_URL", "WORKFLOWS_NAMESPACE")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return {**kept, "PYTHONPATH": packages()}


def test_a_triggered_instance_is_listed_and_described(run: Run, client: Client) -> None:
    assert run("trigger", "order", '{"n": 1}', "--id", "a1").output == "a1\n"
    assert "a1  queued" in run("instances", "list", "order").output
    described = json.loads(run("instances", "describe", "order", "--json").output)
    assert (described["id"], described["status"], described["params"]) == ("a1", "queued", {"n": 1})


def test_metadata_is_said_shown_and_asked_for(run: Run, client: Client, redis: redis_py.Redis) -> None:
    class Described(PublishedApp):
        def manifest(self) -> dict[str, Any]:
            body = super().manifest()
            body["workflows"]["order"]["metadata"] = ["customer"]
            return body

    publish_manifest(client.store, Described())
    run("trigger", "order", "--id", "a1", "--metadata", "customer=acme", "--metadata", "note=a=b")
    run("trigger", "order", "--id", "a2")
    assert "customer" in run("describe", "order").output
    assert "Metadata     customer=acme note=a=b\n" in run("instances", "describe", "order", "a1").output
    assert "METADATA" not in run("instances", "list", "order", "--status", "waiting").output
    (line,) = run("instances", "list", "order", "--metadata", "customer=acme").output.splitlines()[1:]
    assert line.endswith("  customer=acme note=a=b")
    said = json.loads(run("instances", "list", "order", "--json").output)
    assert {one["id"]: one["metadata"] for one in said["instances"]} == {
        "a1": {"customer": "acme", "note": "a=b"},
        "a2": {},
    }
    assert run("instances", "delete", "order", "--metadata", "customer=acme", "--yes").output == "order: 1 deleted\n"
    assert "not found by note" in run("instances", "delete", "order", "--metadata", "note=a", "--yes", code=1).stderr
    assert (
        "'customer' has no value; write key=value" in run("trigger", "order", "--metadata", "customer", code=2).stderr
    )
    twice = ("--metadata", "a=1", "--metadata", "a=2")
    assert "a key is given twice" in run("trigger", "order", *twice, code=2).stderr


def test_what_is_published_is_described_and_read_by_name(run: Run, client: Client) -> None:
    at = client.workflow("order").create("a1")._instance
    worker = HandWorker(client.store)
    worker.turn(at, opened=[wait(1, "w", "e")], published=published(progress={"done": 3}, by="\x1b[31mred"))
    lines = run("instances", "describe", "order", "a1").output.splitlines()
    shown = [line for line in lines if line.startswith("Value")]
    assert shown[0].startswith('Value        by = "\\u001b[31mred", 2026-')
    assert shown[1].startswith('Value        progress = {"done": 3}, ')
    assert json.loads(run("instances", "describe", "order", "--json").output)["values"]["progress"] == {"done": 3}
    assert run("instances", "value", "order", "latest", "progress").output == '{"done": 3}\n'
    said = json.loads(run("instances", "value", "order", "a1", "progress", "--json").output)
    assert (said["value"], said["at"]) == ({"done": 3}, "2026-09-21T14:13:20.001000+00:00")
    refused = run("instances", "value", "order", "a1", "other", code=1).stderr
    assert "order/a1 has published nothing as other; there are by, progress" in refused
    client.workflow("order").get("a1").terminate()
    watched = run("instances", "watch", "order", "a1", "--filter", "value_published").output.splitlines()
    assert " ".join(watched[0].split()[1:]) == 'value_published progress, -> {"done": 3}'


def test_a_description_shows_steps_as_a_timeline(run: Run, client: Client) -> None:
    worker = HandWorker(client.store)
    instance = client.workflow("order").create("a1")
    at = instance._instance
    worker.turn(at, opened=[step(1, "fetch"), step(2, "charge"), wait(3, "approval", "approved")])
    worker.settle(at, 1, "fetch", worker.claim(at, "a", 1), value={"n": 1})
    token = worker.claim(at, "a", 2)
    worker.beat(at, 2, token, {"tried": "\x1b[31mcard 1"})
    worker.settle(at, 2, "charge", token, retry=(60_000, OSError("card\x1b[31m\nrefused")))
    lines = run("instances", "describe", "order", "latest").output.splitlines()
    assert any("do     fetch     complete" in line for line in lines)
    assert any('-> {"n": 1}' in line for line in lines)
    assert any("do     charge    retrying" in line and "next attempt" in line for line in lines)
    assert any(line.endswith('UTC: {"tried": "\\u001b[31mcard 1"}') for line in lines if "heartbeat at 20" in line)
    place = next(n for n, line in enumerate(lines) if r"attempt 1 failed after 0ms: OSError: card\x1b[31m" in line)
    assert lines[place + 1] == " " * 12 + "refused"
    assert any("wait   approval  waiting" in line and "event approved" in line for line in lines)


def charge() -> None:
    raise OSError("card\x1b[31m refused")


def test_a_description_shows_where_a_failed_step_raised(run: Run, client: Client) -> None:
    """Below the timeline, also when the error went through ``run``; its characters are as harmless as elsewhere."""
    worker = HandWorker(client.store)
    at = client.workflow("order").create("a1")._instance
    worker.turn(at, opened=[step(1, "charge")])
    with pytest.raises(OSError, match="refused") as raised:
        charge()
    worker.settle(at, 1, "charge", worker.claim(at, "a", 1), error=raised.value)
    worker.fail(at, Failure.from_blob(failure.capture(raised.value)).to_exception())
    lines = run("instances", "describe", "order", "a1").output.splitlines()
    timeline = next(number for number, line in enumerate(lines) if "do     charge  failed" in line)
    below = "\n".join(lines[timeline:])
    assert 'test_cli.py", line' in below
    assert 'raise OSError("card' in below
    assert r"OSError: card\x1b[31m refused" in below
    assert "\x1b" not in below


def test_outputs_are_truncated_or_left_out(run: Run, client: Client) -> None:
    worker = HandWorker(client.store)
    at = client.workflow("order").create("a1")._instance
    worker.turn(at, opened=[step(1, "fetch")])
    worker.settle(at, 1, "fetch", worker.claim(at, "a", 1), value="x" * 100)
    assert (
        '-> "xxxxxxxxx… (102 characters)'
        in run("instances", "describe", "order", "a1", "--truncate-output-limit", "10").output
    )
    assert "->" not in run("instances", "describe", "order", "a1", "--no-step-output").output
    (only,) = json.loads(run("instances", "describe", "order", "a1", "--no-step-output", "--json").output)["steps"]
    assert "output" not in only


def test_following_ends_with_the_instance(run: Run, client: Client) -> None:
    instance = client.workflow("order").create("a1")
    instance.terminate()
    output = run("instances", "describe", "order", "a1", "--follow").output
    assert "workflow_terminated" in output.splitlines()[1]
    assert "Instance     order/a1" in output


def test_watching_shows_a_line_for_each_event_and_ends_with_the_instance(client: Client, redis_url: str) -> None:
    worker = HandWorker(client.store)
    at = client.workflow("order").create("a1", {"n": 1})._instance
    retrying = to_wire(StepConfig(Retry(limit=1, delay=1_500)))
    worker.turn(at, opened=[step(1, "fetch", config=retrying), step(2, "fetch", count=2), wait(3, "w", "go")])
    worker.settle(at, 1, "fetch", worker.claim(at, "a", 1), retry=(1_500, ValueError("bad\x1b[2J")))
    worker.settle(at, 2, "fetch", worker.claim(at, "a", 2), value="x" * 100)
    command = [
        "--redis-url",
        redis_url,
        "--namespace",
        "shop",
        "instances",
        "watch",
        "order",
        "--truncate-output-limit",
        "10",
    ]
    lines = []
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "workflows.cli", *command], env=_clean(), stdout=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout is not None
        for line in watching.stdout:
            lines.append(line[10:].rstrip("\n"))
            if line[10:].startswith("attempt_errored"):
                worker.complete(at, 7)
    assert [line.split()[0] for line in lines[:2]] == ["workflow_queued", "workflow_started"]
    assert lines[1].endswith('-> {"n": 1}')
    failed = "fetch, attempt 1, ValueError: bad\\x1b[2J, next attempt in 1.5s"
    assert [line.split(maxsplit=1)[1] for line in lines if line.startswith("attempt_errored")] == [failed]
    assert any(line.startswith("step_completed") and line.endswith('-> "xxxxxxxxx… (102 characters)') for line in lines)
    assert lines[-1].split() == ["workflow_completed", "->", "7"]


def test_watching_for_programs_gives_an_object_a_line_and_goes_on_behind_a_cursor(run: Run, client: Client) -> None:
    instance = client.workflow("order").create("a1")
    instance.terminate()
    events = [json.loads(line) for line in run("instances", "watch", "order", "a1", "--json").output.splitlines()]
    assert [event["type"] for event in events] == ["workflow_queued", "workflow_terminated"]
    assert events[0]["instanceId"] == "a1"
    rest = run("instances", "watch", "order", "a1", "--json", "--cursor", events[0]["eventId"]).output
    assert json.loads(rest) == events[1]
    assert run("instances", "watch", "order", "a1", "--filter", "workflow_queued").output.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nobody"], 1, "Instance does not exist"),
        (["a1", "--cursor", "7"], 1, "is not a cursor"),
        (["a1", "--filter", "done"], 2, "'done' is not one of"),
    ],
)
def test_what_cannot_be_watched_is_said_in_a_line(
    run: Run, client: Client, arguments: list[str], code: int, said: str
) -> None:
    client.workflow("order").create("a1")
    assert said in run("instances", "watch", "order", *arguments, code=code).stderr


@pytest.mark.parametrize(
    ("verb", "status"),
    [
        ("pause", "paused"),
        ("resume", "queued"),
        ("cancel", "terminated"),
        ("terminate", "terminated"),
        ("restart", "queued"),
    ],
)
def test_steering_says_the_status_afterwards(run: Run, client: Client, verb: str, status: str) -> None:
    instance = client.workflow("order").create("a1")
    if verb == "resume":
        instance.pause()
    assert run("instances", verb, "order", "latest").output == f"order/a1: {status}\n"
    assert json.loads(run("instances", "restart", "order", "a1", "--json").output)["status"] in ("queued", "paused")


def test_steering_that_changes_nothing_says_so(run: Run, client: Client) -> None:
    instance = client.workflow("order").create("a1")
    assert run("instances", "resume", "order", "a1").output == (
        "order/a1: queued (it was not paused, so nothing happened)\n"
    )
    instance.pause()
    assert run("instances", "pause", "order", "a1").output == (
        "order/a1: paused (it was paused already, so nothing happened)\n"
    )
    instance.terminate()
    for verb in ("pause", "resume"):
        assert run("instances", verb, "order", "a1").output == (
            "order/a1: terminated (it has ended, so nothing happened)\n"
        )
    refused = run("instances", "terminate", "order", "a1", code=1).stderr
    assert refused.endswith('Cannot terminate instance "a1" of workflow "order": it has ended already\n')


def test_cancelling_says_why_and_a_second_time_that_it_changes_nothing(run: Run, client: Client) -> None:
    instance = client.workflow("order").create("a1")
    HandWorker(client.store).turn(instance._instance, opened=[wait(1, "first", "approved")])
    asked = ("instances", "cancel", "order", "a1", "--reason", "no stock", "--grace", "1 hour")
    assert run(*asked).output == "order/a1: cancelling\n"
    assert run(*asked).output == "order/a1: cancelling (it was asked to end before, so nothing happened)\n"
    status = instance.status()
    assert status.cancelling is not None
    assert status.cancelling.reason == "no stock"
    assert "--grace" not in run("instances", "cancel", "order", "--status", "running", "--reason", "x", "--yes").stderr
    assert "'soon'" in run("instances", "cancel", "order", "a1", "--grace", "soon", code=1).stderr


def test_deleting_names_what_was_not_there(run: Run, client: Client) -> None:
    client.workflow("order").create("a1")
    result = run("instances", "delete", "order", "a1", "a2", code=1)
    assert result.stdout == "order/a1: deleted\n"
    assert result.stderr == "workflows: no such instance: a2\n"


def test_publishing_says_delivered_buffered_or_no_such_instance(run: Run, client: Client) -> None:
    at = client.workflow("order").create("a1")._instance
    assert run("publish", "order", "a1", "approved", '{"by": "ann"}').output == "buffered\n"
    HandWorker(client.store).turn(at, opened=[wait(1, "first", "approved"), wait(2, "second", "approved")])
    assert run("publish", "order", "a1", "approved").output == "delivered\n"
    assert run("publish", "order", "a2", "approved", code=1).output == "no such instance\n"


@pytest.mark.parametrize("verb", [("publish",), ("instances", "send-event")])
def test_an_event_may_be_an_error_with_a_name(run: Run, client: Client, verb: tuple[str, ...]) -> None:
    at = client.workflow("order").create("a1")._instance
    type = ("approved",) if len(verb) == 1 else ("--type", "approved")
    HandWorker(client.store).turn(at, opened=[wait(1, "first", "approved")])
    assert "there is none" in run(*verb, "order", "a1", *type, "--error-name", "No", code=2).stderr
    assert run(*verb, "order", "a1", *type, "--error", "too dear", "--error-name", "No").output == "delivered\n"
    (step,) = client.workflow("order").get("a1").status().steps
    assert step.error is not None
    assert (step.status, step.error.name, step.error.message) == ("failed", "No", "too dear")


@pytest.mark.parametrize("verb", [("publish",), ("instances", "send-event")])
def test_an_event_may_start_its_instance(run: Run, client: Client, verb: tuple[str, ...]) -> None:
    type = ("approved",) if len(verb) == 1 else ("--type", "approved")
    again = (*verb, "order", "a1", *type, "--create-with", '{"n": 1}', "--event-id", "click")
    assert [run(*again).output for _ in range(2)] == ["started\n", "started\n"]
    assert client.workflow("order").get("a1").status().params == {"n": 1}


def test_an_event_may_be_published_to_a_key(run: Run, client: Client) -> None:
    hand = HandWorker(client.store)
    for id in ("a1", "a2"):
        hand.turn(client.workflow("order").create(id)._instance, opened=[wait(1, "first", "approved|approved=k")])
    assert run("publish", "--key", "other", "approved").output == "delivered to 0\n"
    told = json.loads(run("publish", "--key", "k", "--workflow", "order", "approved", "7", "--json").output)
    assert sorted(one["id"] for one in told["delivered"]) == ["a1", "a2"]
    for wrong in (
        ("--key", "k"),
        ("--key", "k", "approved", "--create-with", "{}"),
        ("a", "b"),
        ("a", "--workflow", "b"),
    ):
        assert run("publish", *wrong, code=2).stderr


def test_an_answer_may_be_published_by_a_token(run: Run, client: Client) -> None:
    at = client.workflow("order").create("a1")._instance
    hand = HandWorker(client.store)
    hand.turn(at, opened=[wait(1, "first", "approved~1")])
    token = f"order.a1.{hand.header(at, 'gen')}.1.approved"
    assert run("publish", "--token", token, "--heartbeat").output == "heard\n"
    assert run("publish", "--token", token, '{"by": "ann"}').output == "delivered\n"
    assert "takes no answer any more" in run("publish", "--token", token, "--heartbeat", code=1).stderr
    for wrong in (("--heartbeat",), ("--heartbeat", "--token", token, "1")):
        assert "--heartbeat" in run("publish", *wrong, code=2).stderr
    assert "takes no answer any more" in run("publish", "--token", token, code=1).stderr
    for wrong in (("--token", token, "a", "b"), ("--token", token, "--key", "k")):
        assert "--token" in run("publish", *wrong, code=2).stderr


def test_an_event_has_a_type(run: Run, client: Client) -> None:
    client.workflow("order").create("a1")
    assert run("instances", "send-event", "order", "a1", "--type", "approved").output == "buffered\n"
    assert "--type" in run("instances", "send-event", "order", "a1", code=2).stderr


def test_a_wait_that_is_over_names_the_instance(run: Run, client: Client) -> None:
    result = run("trigger", "order", "--wait", "--timeout", "20ms", code=1)
    (one,) = client.workflow("order").list()
    assert result.stderr.splitlines()[0] == f"order/{one.id}"
    assert f'workflows: order/{one.id}: Instance "{one.id}" of workflow "order" did not end within' in result.stderr


@pytest.fixture
def ends(client: Client, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[HandWorker, Any], None]], None]:
    """Lets instances end, as told, in the moment they are created."""

    def ends(end: Callable[[HandWorker, Any], None]) -> None:
        created = WorkflowHandle.create

        def create(handle: WorkflowHandle, *arguments: Any, **more: Any) -> WorkflowInstance:
            instance = created(handle, *arguments, **more)
            end(HandWorker(client.store), instance._instance)
            return instance

        monkeypatch.setattr(WorkflowHandle, "create", create)

    return ends


@pytest.mark.parametrize("error", [KeyError("cents"), NonRetryableError("no"), ConnectionError("a\nb")])
def test_an_instance_that_fails_while_somebody_waits_is_named(run: Run, ends: Any, error: Exception) -> None:
    """Whatever run() raised, with the name of its class."""
    ends(lambda worker, instance: worker.fail(instance, error))
    result = run("trigger", "order", "--id", "a1", "--wait", code=1)
    assert f"workflows: order/a1 errored: {type(error).__name__}: {error}\n" in result.stderr


def test_waiting_prints_the_output(run: Run, ends: Any) -> None:
    ends(lambda worker, instance: worker.complete(instance, {"n": 1}))
    assert run("trigger", "order", "--wait").stdout == '{\n  "n": 1\n}\n'


def test_nothing_is_created_for_a_wait_that_is_not_understood(run: Run, client: Client) -> None:
    assert "'flies' is not a unit" in run("trigger", "order", "--wait", "--timeout", "7 flies", code=1).stderr
    assert "--timeout says how long --wait waits" in run("trigger", "order", "--timeout", "7s", code=2).stderr
    assert list(client.workflow("order").list()) == []


def test_workflows_are_listed_and_described(run: Run, client: Client) -> None:
    client.workflow("order").create("a1").pause()
    assert [one["name"] for one in json.loads(run("list", "--json").output)] == ["order"]
    assert "Instances    1 paused" in run("describe", "order").output
    assert "Channel      PUBLISH workflows:shop:0:events" in run("describe", "order").output


def test_the_apps_own_code_is_known_where_it_is_named(folder: Path, redis: redis_py.Redis, redis_url: str) -> None:
    (folder / "cli_shop.py").write_text(APP)
    (folder / "pyproject.toml").write_text('[tool.workflows]\napp = "cli_shop:app"\n')
    runner = CliRunner()
    output = runner.invoke(cli, ["--redis-url", redis_url, "register"]).output
    assert output == "registered shop: order\n"
    described = runner.invoke(cli, ["--redis-url", redis_url, "describe", "order"]).output
    assert "Queue        gpu" in described
    assert "Schedules    0 9 * * *" in described


def test_the_doctor_names_what_is_missing(run: Run, client: Client) -> None:
    client.workflow("order").create("a1")
    result = run("doctor", code=1)
    assert "error    no orchestrator is running" in result.output
    assert "error    no worker serves queue default" in result.output
    report = json.loads(run("doctor", "--json", code=1).output)
    assert report["namespace"]["instances"]["queued"] == 1


def test_the_doctor_is_content_where_everything_runs(run: Run, client: Client, redis: redis_py.Redis) -> None:
    redis.zadd(client.store.keys.orchestrators, {"o1": 2**45})
    redis.sadd("rq:workers:shop.default", "rq:worker:w1")
    redis.hset("rq:worker:w1", "state", "idle")
    for shard in range(client.store.keys.shards):
        redis.hset(client.store.keys.shard_key(shard, "owner"), mapping={"token": "t", "expiry": 2**45})
    before = set(redis.keys("*"))
    output = run("doctor").output
    assert not [line for line in output.splitlines() if not line.startswith("ok ")]
    assert "published events: channel workflows:shop:0:events, 0 listening" in output
    assert set(redis.keys("*")) == before


def test_a_workflow_that_no_app_has_any_more_is_named_with_the_ways_out(run: Run, client: Client) -> None:
    for id in ("a1", "a2", "a3"):
        client.workflow("order").create(id)
    client.workflow("order").get("a3").terminate()
    client.store.redis.delete(client.store.keys.manifest)
    publish_manifest(client.store, App("shop"))
    assert run("list").output.splitlines()[1].split() == ["order", "(in", "no", "registered", "app)"]
    assert {"name": "order", "app": None} in json.loads(run("list", "--json").output)
    assert "Instances    2 queued, 1 terminated" in run("describe", "order").output
    (line,) = [line for line in run("doctor", code=1).output.splitlines() if "workflow order" in line]
    assert line.startswith(
        "error    workflow order is in no registered app, but has instances: 2 queued, 1 terminated. "
        "They cannot go on: start a worker whose code has it, or end them with `workflows instances terminate order ID`"
    )
    assert "a2  queued" in run("instances", "list", "order").output
    assert run("instances", "pause", "order", "a1").output == "order/a1: paused\n"
    assert run("instances", "terminate", "order", "a1").output == "order/a1: terminated\n"
    run("instances", "delete", "order", "a2")
    assert "ok       workflow order is in no registered app" in run("doctor").output
    run("instances", "delete", "order", "a1", "a3")
    assert "workflow order" not in run("doctor").output
    for verb in (["describe"], ["instances", "list"], ["instances", "pause"], ["instances", "describe"]):
        ids = ["a1"] if verb[-1] in ("pause",) else []
        assert "There is no workflow 'order'" in run(*verb, "order", *ids, code=1).stderr


def test_a_parked_instance_is_named_by_the_doctor(run: Run, client: Client) -> None:
    HandWorker(client.store).park(client.workflow("order").create("a1")._instance, "run() changed:\n  mend it.")
    assert "warning  order/a1 is paused: run() changed: mend it. Resume it when" in run("doctor", code=1).output


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("trigger", "ordr"), 1, "There is no workflow 'ordr' here. Registered: order."),
        (("trigger", "order", "{"), 2, "PARAMS is not JSON"),
        (("trigger", "order", "--id", "-"), 1, "Workflow instance has invalid id"),
        (("instances", "pause", "order", "a1"), 1, "(instance.not_found) Instance does not exist"),
        (("instances", "describe", "order"), 1, "workflow order has no instances"),
        (("instances", "list", "order", "--status", "done"), 2, "'done' is not one of"),
        (("instances", "list", "order", "--date-start", "today"), 2, "'today' is no moment"),
        (("instances", "list", "order", "--page", "2", "--cursor", "1:a"), 2, "--page or --cursor, not both"),
        (("nonsense",), 2, "No such command 'nonsense'"),
        (("worker", "app:app", "--grace", "100000"), 2, "100000.0 is not in the range 0<=x<=86400"),
        (("worker", "app:app", "--grace", "nan"), 2, "'nan' is not a number of seconds"),
        (("worker", "app:app", "--lease", "1"), 2, "1.0 is not in the range 3<=x<=3600"),
        (("worker", "app:app", "--log-level", "LOUD"), 2, "'LOUD' is not one of"),
    ],
)
def test_an_error_is_one_line(run: Run, arguments: tuple[str, ...], code: int, text: str) -> None:
    result = run(*arguments, code=code)
    assert result.stdout == ""
    assert result.stderr.startswith("workflows: ")
    assert text in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_group_without_a_verb_shows_its_help_as_it_is(run: Run) -> None:
    result = run("instances", code=2)
    assert result.stderr.startswith("Usage: ")
    assert result.stderr.rstrip().splitlines()[-1].startswith("  watch")


def test_no_line_of_the_list_of_verbs_is_cut_off(run: Run) -> None:
    for group in ((), ("instances",)):
        assert "..." not in run(*group, "--help").output.partition("Commands:")[2]


def test_debug_shows_the_traceback(run: Run, client: Client, redis_url: str) -> None:
    result = CliRunner().invoke(
        cli, ["--redis-url", redis_url, "--namespace", "shop", "--debug", "instances", "pause", "order", "a1"]
    )
    assert type(result.exception).__name__ == "InstanceNotFound"


@pytest.mark.parametrize(
    ("arguments", "environment", "text"),
    [
        (["list"], {}, "no Redis URL: give --redis-url"),
        (["list"], {"REDIS_URL": "redis://127.0.0.1:1/0"}, "which app?"),
        (
            ["--namespace", "shop", "list"],
            {"REDIS_URL": "redis://:secret@127.0.0.1:1/0"},
            "Redis at 127.0.0.1:1 does not",
        ),
        (["--namespace", "shop", "list"], {"REDIS_URL": "http://x"}, "Cannot read the Redis URL"),
        (
            ["--app", "broken:app", "list"],
            {"REDIS_URL": "redis://127.0.0.1:1/0"},
            "loading the app failed: ZeroDivisionError",
        ),
        (["--app", "sound:app", "list"], {"REDIS_URL": "redis://127.0.0.1:1/0"}, "Redis at 127.0.0.1:1 does not"),
        (["worker", "none:app"], {}, "no Redis URL"),
        (["worker", "none:app"], {"REDIS_URL": "redis://127.0.0.1:1/0"}, 'no module "none"'),
    ],
)
def test_a_real_process_fails_in_one_line(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], text: str
) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "sound.py").write_text(APP)
    done = process(*arguments, folder=tmp_path, **environment)
    assert done.returncode == 1
    assert done.stdout == ""
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (
            ["--namespace", "shop", "orchestrator", "--shards", "4", "--unsafe"],
            ["orchestrator", "--namespace", "shop", "--unsafe", "--shards", "4"],
        ),
        (
            ["worker", "app:app", "-q", "default", "-q", "gpu", "-c", "64", "-p", "2"],
            ["worker", "app:app", "-q", "default", "-q", "gpu", "--concurrency", "64", "--processes", "2"],
        ),
        (
            ["worker", "app:app", "--grace", "100", "--log-level", "debug", "--unsafe"],
            ["worker", "app:app", "--unsafe", "--grace", "100.0", "--log-level", "DEBUG"],
        ),
    ],
)
def test_processes_replace_the_command_and_get_no_password_on_their_command_line(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], command: list[str]
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, args: started.append(args))
    monkeypatch.setenv("WORKFLOWS_REDIS_URL", "redis://unset")
    url = "redis://:secret@127.0.0.1:6379/0"
    assert CliRunner().invoke(cli, ["--redis-url", url, *arguments]).exit_code == 0
    assert started == [[sys.executable, "-P", "-m", *command]]
    assert os.environ["WORKFLOWS_REDIS_URL"] == url


@pytest.mark.parametrize("verb", [["list"], ["instances", "list", "order"], ["instances", "describe", "order"]])
def test_options_are_taken_in_front_of_every_word_of_a_verb_and_behind(
    client: Client, folder: Path, redis_url: str, verb: list[str]
) -> None:
    client.workflow("order").create("a1")
    options = ["--redis-url", redis_url, "--namespace", "shop", "--json", "--debug"]
    answers = set()
    for place in range(len(verb) + 1):
        result = CliRunner().invoke(cli, [*verb[:place], *options, *verb[place:]])
        assert result.exit_code == 0, (place, result.output, result.exception)
        answers.add(result.output)
    assert len(answers) == 1
    assert json.loads(answers.pop())


@pytest.mark.parametrize(
    "arguments",
    [["worker", "shop:app"], ["worker", "--app", "shop:app"], ["--app", "shop:app", "worker"]],
    ids=" ".join,
)
def test_an_app_is_named_by_an_argument_or_by_an_option_on_either_side(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, args: started.append(args))
    monkeypatch.setenv("WORKFLOWS_REDIS_URL", "redis://unset")
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert started == [[sys.executable, "-P", "-m", "worker", "shop:app"]]


def test_control_characters_are_escaped() -> None:
    assert shown("a\x1b[2J\r\n\u202e\x9bb") == r"a\x1b[2J\r\n\u202e\x9bb"
    assert shown("Zoë → ok") == "Zoë → ok"


def test_every_verb_has_json() -> None:
    def verbs(group: Any) -> Iterator[Any]:
        for command in group.commands.values():
            yield from verbs(command) if hasattr(command, "commands") else [command]

    assert [verb.name for verb in verbs(cli) if not any(p.name == "as_json" for p in verb.params)] == []


def test_a_state_file_of_others_or_of_the_dead_is_not_believed(folder: Path) -> None:
    (folder / ".workflows").mkdir()
    path = folder / ".workflows" / "dev.json"
    path.write_text(json.dumps({"url": "redis://evil", "namespace": "shop", "pid": os.getpid()}))
    path.chmod(0o644)
    assert dev_state.find_running(folder) is None
    path.chmod(0o600)
    assert dev_state.find_running(folder) == dev_state.Running("redis://evil", "shop", os.getpid())
    (folder / ".workflows").chmod(0o777)
    assert dev_state.find_running(folder) is None
    (folder / ".workflows").chmod(0o700)
    path.rename(folder / "planted.json")
    path.symlink_to(folder / "planted.json")
    assert dev_state.find_running(folder) is None
    path.unlink()
    (folder / "planted.json").rename(path)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    path.write_text(json.dumps({"url": "redis://old", "namespace": "shop", "pid": ended.pid}))
    assert dev_state.find_running(folder) is None


@pytest.mark.parametrize("planted", ["open to all", "a link"])
def test_dev_refuses_a_folder_that_others_can_have_filled(folder: Path, planted: str) -> None:
    (folder / "app.py").write_text(APP)
    (folder / "elsewhere").mkdir()
    if planted == "a link":
        (folder / ".workflows").symlink_to(folder / "elsewhere")
        words = "is a symbolic link"
    else:
        (folder / ".workflows").mkdir()
        (folder / ".workflows").chmod(0o777)
        words = "is open to other users"
    done = process("dev", "app:app", folder=folder)
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list((folder / "elsewhere").iterdir()) == []


def test_the_python_clients_find_a_running_dev_too(folder: Path, client: Client, redis_url: str) -> None:
    state = dev_state.prepare(folder) / "dev.json"
    state.write_text(json.dumps({"url": redis_url, "namespace": "shop", "pid": os.getpid()}))
    state.chmod(0o600)
    client.workflow("order").create("a1")
    with Client("shop") as found:
        assert found.workflow("order").get("a1").id == "a1"

    async def look() -> str:
        async with AsyncClient("shop") as found:
            return (await found.workflow("order").get("a1")).id

    assert asyncio.run(look()) == "a1"
    state.unlink()
    with pytest.raises(ConfigError, match="or run `workflows dev` in this folder"):
        Client("shop")


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_dev_runs_an_instance_and_leaves_no_process(folder: Path, end: signal.Signals) -> None:
    """With a second terminal that was told nothing."""
    (folder / "dev_shop.py").write_text(APP)
    running = subprocess.Popen(
        [sys.executable, "-P", "-m", "workflows.cli", "dev", "dev_shop:app"],
        cwd=folder,
        env=_clean(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while dev_state.find_running(folder) is None:
            assert time.monotonic() < deadline and running.poll() is None
            time.sleep(0.02)
        done = process("trigger", "order", '{"n": 1}', "--wait", "--timeout", "30s", folder=folder)
        assert (done.stdout, done.returncode) == ("2\n", 0), done.stderr
        children = dev.descendants(running.pid)
        assert len(children) >= 3
    finally:
        running.send_signal(end)
        code = running.wait(30)
    assert code == 0
    assert not [pid for pid in children if is_there(pid)]
    assert not (folder / ".workflows" / "dev.json").exists()

"""Exit codes, and the verbs for workflows and for instances by their ids (``docs/command-line.md``)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis as redis_py

from tests.commands import Run, run_in
from tests.paths import packages
from workflows import limits
from workflows.client import Client
from workflows.storage.keys import Keyspace


@pytest.fixture
def run(client: Client, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    return run_in(redis_url, "shop")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("list",), 0),
        (("instances", "terminate", "order", "--status", "running", "--yes"), 0),
        (("describe", "ordr"), 1),
        (("delete", "ordr", "--yes"), 1),
        (("instances", "describe", "order", "nobody"), 1),
        (("instances", "delete", "order", "a1", "nobody"), 1),
        (("trigger", "order", "--id", "a1"), 1),
        (("trigger", "order", "--wait", "--timeout", "10ms"), 1),
        (("publish", "order", "nobody", "packed"), 1),
        (("--redis-url", "redis://127.0.0.1:1", "list"), 1),
        (("list", "--nonsense"), 2),
        (("trigger", "order", "{"), 2),
        (("instances", "list", "order", "--status", "done"), 2),
        (("delete", "order"), 2),
        (("instances", "terminate-all", "order"), 2),
    ],
)
def test_what_became_of_a_command_is_its_exit_code(
    run: Run, client: Client, arguments: tuple[str, ...], code: int
) -> None:
    client.workflow("order").create("a1")
    said = run(*arguments, code=code)
    assert bool(said.stderr) == bool(code) or "publish" in arguments


def test_an_interrupted_command_says_so(client: Client, redis_url: str, tmp_path: Path) -> None:
    client.workflow("order").create("a1")
    command = ["--redis-url", redis_url, "--namespace", "shop", "instances", "describe", "order", "a1", "--follow"]
    following = subprocess.Popen(
        [sys.executable, "-P", "-m", "workflows.cli", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": packages(), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert following.stdout is not None
    assert "queued" in following.stdout.readline()
    following.send_signal(signal.SIGINT)
    _, said = following.communicate(timeout=30)
    assert (following.returncode, said.splitlines()[-1]) == (130, "workflows: interrupted")


# Verbs


def test_a_workflow_is_deleted_with_all_its_instances(run: Run, client: Client, redis: redis_py.Redis) -> None:
    orders = client.workflow("order")
    for at in range(0, 250, 50):
        orders.create_batch([{"id": f"a{number}"} for number in range(at, at + 50)])
    orders.get("a7").pause()
    orders.get("a8").terminate()
    client.workflow("order").get("a9").send_event("packed")
    refused = run("delete", "order", code=2).stderr
    assert "nobody can be asked here whether to delete 250 of order" in refused
    said = run("delete", "order", "--yes")
    assert said.stdout == "order: 250 deleted\n"
    assert said.stderr == "order can still be triggered: app shop is registered with it\n"
    assert not redis.keys("*:i:*")
    index = [redis.zcard(key) for shard in range(limits.SHARDS) for key in [Keyspace("shop").shard_key(shard, "index")]]
    assert not any(index)
    assert run("delete", "order", "--yes").stdout == "order: 0 deleted\n"


def test_a_workflow_without_an_app_is_gone_with_its_instances(run: Run, client: Client) -> None:
    client.workflow("order").create("a1")
    client.store.redis.delete(client.store.keys.manifest)
    said = json.loads(run("delete", "order", "--yes", "--json").stdout)
    assert (said["workflow"], said["done"]) == ("order", 1)
    assert "There is no workflow 'order'" in run("describe", "order", code=1).stderr


def test_ids_to_delete_may_stand_in_a_file(run: Run, client: Client) -> None:
    orders = client.workflow("order")
    orders.create_batch([{"id": f"a{number}"} for number in range(100)])
    orders.create_batch([{"id": f"b{number}"} for number in range(20)])
    ids = [*(f"a{number}" for number in range(100)), "nobody", *(f"b{number}" for number in range(10)), "a5"]
    Path("ids.json").write_text(json.dumps(ids))
    said = run("instances", "delete", "order", "b11", "--filename", "ids.json", code=1)
    assert said.stdout.count("deleted\n") == 111
    assert said.stderr == "workflows: no such instance: nobody\n"
    assert sorted(one.id for one in orders.list()) == sorted(["b10", *(f"b{number}" for number in range(12, 20))])
    run("instances", "delete", "order", "--filename", "-", input='["b12"]')


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("[", 2, "is not JSON"),
        ('{"id": 1}', 2, "must be a JSON list of ids"),
        ('["a1", 7]', 2, "must be a JSON list of ids"),
        ("[]", 2, "no id in that file"),
        ('["a1", "not an id"]', 1, "invalid id"),
    ],
)
def test_a_file_that_is_no_list_of_ids_deletes_nothing(
    run: Run, client: Client, text: str, code: int, said: str
) -> None:
    client.workflow("order").create("a1")
    assert said in run("instances", "delete", "order", "--filename", "-", input=text, code=code).stderr
    assert len(client.workflow("order").list()) == 1


def test_all_are_terminated_under_the_other_name_too(run: Run, client: Client) -> None:
    client.workflow("order").create_batch({"count": 3})
    assert run("instances", "terminate-all", "order", "--status", "paused", "--yes").stdout == "order: 0 terminated\n"
    assert run("instances", "terminate-all", "order", "--yes").stdout == "order: 3 terminated\n"


def test_instances_are_paged_by_number_and_by_cursor(run: Run, client: Client) -> None:
    client.workflow("order").create_batch([{"id": f"a{number}"} for number in range(7)])
    command = ("instances", "list", "order", "--per-page", "3", "--json")
    pages = [json.loads(run(*command, "--page", str(number)).stdout) for number in (1, 2, 3, 4)]
    ids = [[one["id"] for one in page["instances"]] for page in pages]
    assert [len(page) for page in ids] == [3, 3, 1, 0]
    assert len({id for page in ids for id in page}) == 7
    behind = json.loads(run(*command, "--cursor", pages[0]["cursor"]).stdout)
    assert [one["id"] for one in behind["instances"]] == ids[1]
    assert run("instances", "list", "order", "--page", "9").stdout == "none\n"


def test_workflows_are_paged(run: Run, client: Client) -> None:
    client.workflow("parcel")
    client.store.redis.zadd(client.store.keys.shard_key(0, "index"), {"queued|parcel|1800000000000|p1": 0})
    assert [one["name"] for one in json.loads(run("list", "--json").stdout)] == ["order", "parcel"]
    assert [one["name"] for one in json.loads(run("list", "--json", "--per-page", "1").stdout)] == ["order"]
    assert "parcel" in run("list", "--per-page", "1", "--page", "2").stdout
    assert run("list", "--page", "2").stdout == "none\n"

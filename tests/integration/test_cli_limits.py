"""Limits on running instances from the command line: which there are, how full they are, setting and clearing one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis as redis_py

from orchestrator.loop import Orchestrator
from tests.commands import Run, run_in
from workflows import App, Client, Concurrency, WorkflowEntrypoint
from workflows.storage.manifest import publish_manifest


class Job(WorkflowEntrypoint):
    """Never executed."""

    async def run(self, event: Any, step: Any) -> None: ...


@pytest.fixture
def client(redis: redis_py.Redis, redis_url: str) -> Iterator[Client]:
    app = App("shop")
    app.workflow(name="keyed", binding="KEYED", concurrency=Concurrency(1, key="tenant"))(Job)
    app.workflow(name="free", binding="FREE")(Job)
    app.workflow(name="daily", binding="DAILY", schedules="0 9 * * *")(Job)
    with Client(app, redis_url) as made:
        publish_manifest(made.store, app)
        yield made


@pytest.fixture
def run(client: Client, redis_url: str) -> Run:
    return run_in(redis_url, "shop")


def look(client: Client) -> None:
    """What an orchestrator does until there is nothing more to tell between shards."""
    orchestrator, store = Orchestrator(client.store, bridge=False), client.store
    orchestrator.look()
    while any(store.command("HLEN", store.keys.shard_key(shard, "relay")) for shard in range(store.keys.shards)):
        orchestrator.look()


def create(client: Client, workflow: str, *tenants: str) -> None:
    for n, tenant in enumerate(tenants):
        client.workflow(workflow).create(f"{workflow}-{n}", {"tenant": tenant})
    look(client)


def listed(run: Run) -> list[list[str]]:
    return [line.split() for line in run("limits", "list").output.splitlines()[1:]]


def test_a_limit_is_listed_with_how_many_run_and_wait_under_each_key(run: Run, client: Client) -> None:
    assert listed(run) == [["keyed", "1", "tenant", "0", "0", "app"]]
    create(client, "keyed", "acme", "acme", "a", "ab c", "acme")
    assert sorted(listed(run)) == [
        ["keyed", "1", "tenant", "a", "1", "0", "app"],
        ["keyed", "1", "tenant", "ab", "c", "1", "0", "app"],
        ["keyed", "1", "tenant", "acme", "1", "2", "app"],
    ]
    (told,) = json.loads(run("limits", "list", "keyed", "--json").output)
    assert (told["limit"], told["key"], told["from"]) == (1, "tenant", "app")
    assert {slots["key"]: (slots["running"], slots["queued"]) for slots in told["slots"]} == {
        "a": (1, 0),
        "ab c": (1, 0),
        "acme": (1, 2),
    }


def test_who_waits_for_a_slot_says_so(run: Run, client: Client) -> None:
    create(client, "keyed", "acme", "acme")
    reason = client.workflow("keyed").get("keyed-1").status().reason
    among = "instances of workflow keyed with the key 'acme'"
    assert reason == f"keyed-1 waits for a slot: as many {among} run as may at a time."
    assert "waits for a slot" in run("instances", "describe", "keyed", "keyed-1").output
    assert client.workflow("keyed").get("keyed-0").status().reason is None


def test_a_limit_is_set_and_cleared(run: Run, client: Client) -> None:
    assert run("limits", "set", "free", "2").output == "free: 2 at a time\n"
    create(client, "free", *"xyz")
    assert ["free", "2", "2", "1", "limits", "set"] in listed(run)
    assert "Limit        2 at a time, by limits set" in run("describe", "free").output
    assert run("limits", "clear", "free").output == "free: no limit\n"
    assert run("limits", "clear", "free").output == "free: no limit (nothing had been set)\n"
    assert "Limit" not in run("describe", "free").output


def test_what_is_set_keeps_the_declared_key_unless_it_names_one(run: Run) -> None:
    assert run("limits", "set", "keyed", "5").output == "keyed: 5 at a time for each 'tenant'\n"
    assert run("limits", "set", "keyed", "5", "--key", "region").output == "keyed: 5 at a time for each 'region'\n"
    described = json.loads(run("describe", "keyed", "--json").output)
    assert described["concurrency"] == {"limit": 5, "key": "region"}
    answer = json.loads(run("limits", "clear", "keyed", "--json").output)
    assert answer == {"workflow": "keyed", "concurrency": {"limit": 1, "key": "tenant"}}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["set", "free", "0"], 1, "use 1 to 1000000"),
        (["set", "free", "many"], 2, "is not a valid integer"),
        (["set", "free", "1", "--key", "a..b"], 1, "a name in the params"),
        (["set", "nothing", "1"], 1, "There is no workflow 'nothing' here"),
        (["clear", "nothing"], 1, "There is no workflow 'nothing' here"),
        (["list", "nothing"], 1, "There is no workflow 'nothing' here"),
        (["set", "daily", "1", "--key", "tenant"], 2, "no params to count by"),
    ],
)
def test_what_cannot_be_a_limit_is_one_line(run: Run, arguments: list[str], code: int, said: str) -> None:
    assert said in run("limits", *arguments, code=code).stderr


def test_a_client_refuses_params_without_the_key(run: Run) -> None:
    assert "need 'tenant'" in run("trigger", "keyed", "{}", code=1).stderr

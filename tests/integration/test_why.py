"""Does ``why`` give the right sentence and the way out, whatever an instance stands still for?

Real scripts, with a worker and a clock by hand: one trouble for each row of the catalogue.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from orchestrator.relay import deliver
from orchestrator.slots import grant
from tests.commands import Run, run_in
from tests.driving import HandClock, HandWorker, PublishedApp, sleep, step, undo, wait
from tests.scripts.world import BROKEN, load
from workflows.authoring.retries import Retry, StepConfig, to_wire
from workflows.client import Client, WorkflowInstance
from workflows.client.aio import AsyncClient
from workflows.client.reading import read_standing
from workflows.client.requests import Request
from workflows.health.trouble import troubles
from workflows.insight.reason import CATALOGUE, Reason
from workflows.storage.concurrency import in_force
from workflows.storage.intake import CreateItem
from workflows.storage.keys import Instance
from workflows.storage.manifest import publish_manifest
from workflows.storage.messages import InvokeChild
from workflows.storage.processes import load_of
from workflows.storage.records import Asked, End
from workflows.storage.store import Store, call_one
from workflows.values import codec, failure

FAR = 2**45
RETRIED = to_wire(StepConfig(Retry(limit=2, delay="1 minute"), 600_000))


class LimitedApp(PublishedApp):
    """``order`` on the default queue, ``limited`` one at a time."""

    def manifest(self) -> dict[str, Any]:
        body = super().manifest()
        order = body["workflows"]["order"]
        body["workflows"]["limited"] = {**order, "concurrency": {"limit": 1}}
        return body


class Trouble:
    """An instance, and around it an orchestrator that owns its shard, and a worker, unless they are taken away."""

    def __init__(self, redis: redis_py.Redis) -> None:
        self.redis: Any = redis
        self.clock = HandClock()
        self.client = Client("shop", connection=redis, clock=self.clock, shards=1)
        self.store: Store = self.client.store
        self.keys = self.store.keys
        self.worker = HandWorker(self.store)
        publish_manifest(self.store, LimitedApp())
        self.redis.zadd(self.keys.orchestrators, {"o1": FAR})
        self.redis.hset(self.keys.shard_key(0, "owner"), mapping={"token": "o1", "expiry": FAR})
        self.redis.sadd("rq:workers:shop.default", "rq:worker:w1")
        self.redis.hset("rq:worker:w1", "state", "busy")

    def create(self, id: str = "a", workflow: str = "order") -> Instance:
        self.client.workflow(workflow).create(id)
        return self.keys.instance(workflow, id)

    def opened(self, *asked: Asked) -> Instance:
        """An instance that has asked for this and waits."""
        at = self.create()
        self.worker.turn(at, opened=list(asked))
        return at

    def handle(self, at: Instance) -> WorkflowInstance:
        return self.client.workflow(at.workflow).get(at.id)

    def why(self, id: str = "a", workflow: str = "order") -> list[Reason]:
        return self.handle(self.keys.instance(workflow, id)).why()

    def shard_key(self, name: str) -> str:
        return self.keys.shard_key(0, name)

    def without_workers(self) -> None:
        self.redis.delete("rq:worker:w1")

    def later(self, ms: int) -> None:
        self.clock.ms += ms


@pytest.fixture
def trouble(redis: redis_py.Redis) -> Trouble:
    return Trouble(redis)


def first(trouble: Trouble, code: str, words: str, way_out: str | None = None) -> Reason:
    """The first reason is this one."""
    (one, *_) = trouble.why()
    assert one.code == code, one
    assert words in one.sentence
    assert one.level == CATALOGUE[code]
    if way_out is not None:
        assert way_out in str(one.way_out)
    return one


# Not to be moved ----------------------------------------------------------------------------------------------------


def test_one_that_is_not_there_is_missing(trouble: Trouble) -> None:
    at = trouble.create()
    handle = trouble.handle(at)
    handle.delete()
    (one,) = handle.why()
    assert (one.code, one.is_problem) == ("missing", True)
    assert "workflows instances list order" in str(one.way_out)


def test_one_whose_header_is_none_is_unreadable(trouble: Trouble) -> None:
    at = trouble.create()
    handle = trouble.handle(at)
    trouble.redis.hset(trouble.keys.header(at), "st", "fast")
    (one,) = handle.why()
    assert one.code == "unreadable"
    assert "workflows doctor" in str(one.way_out)


def test_one_that_is_complete_is_done(trouble: Trouble) -> None:
    trouble.worker.complete(trouble.create())
    one = first(trouble, "done", "a ended as complete at 2027-01-15 08:00:00 UTC.")
    assert one.way_out is None


def test_one_that_has_failed_says_with_what(trouble: Trouble) -> None:
    trouble.worker.fail(trouble.create(), ValueError("no such street"))
    first(trouble, "done", "errored", "workflows instances restart order a")
    assert "ValueError: no such street." in trouble.why()[0].sentence


def test_a_handler_that_failed_is_told_before_the_end(trouble: Trouble) -> None:
    at = trouble.opened(step(1, "charge", handled=True))
    trouble.worker.settle(at, 1, "charge", trouble.worker.claim(at, "a", 1), value=1)
    trouble.worker.turn(at, end=End("errored", error=failure.capture(ValueError("no")), asked=[], rollback="begin"))
    trouble.worker.turn(at, opened=[undo(1, "charge")])
    assert [one.code for one in trouble.why()] == ["run.settling", "rollback.running"]
    assert 'The handler of step "charge"' in trouble.why()[0].sentence
    trouble.worker.settle(at, 1, "charge", trouble.worker.claim(at, "a", 1), error=ValueError("bank is closed"))
    closed, no = failure.capture(ValueError("closed")), failure.capture(ValueError("no"))
    end = End("errored", error=no, asked=[], rollback=closed)
    assert trouble.worker.turn(at, end=end) == 2
    one = first(trouble, "rollback.failed", "ValueError: closed", "workflows instances describe order a")
    assert one.is_problem
    assert trouble.why()[1].code == "done"


def test_a_paused_one_says_since_when(trouble: Trouble) -> None:
    at = trouble.opened(sleep(1, "nap", 60_000))
    trouble.handle(at).pause()
    assert [one.code for one in trouble.why()] == ["pause.user"]
    first(trouble, "pause.user", "2027-01-15 08:00:00 UTC", "workflows instances resume order a")


def test_a_pausing_one_says_which_step_it_waits_for(trouble: Trouble) -> None:
    at = trouble.opened(step(1, "charge card"))
    trouble.worker.claim(at, "a", 1)
    trouble.handle(at).pause()
    first(trouble, "pause.draining", '"charge card" to end')


@pytest.mark.parametrize(
    ("fault", "words", "way_out"),
    [
        ("mismatch", "code and journal disagree: run() asked for b.", "workflows instances resume order a"),
        ("params", "its params do not fit the model", "deploy a model"),
        ("corrupt", "something of it cannot be read", "workflows doctor"),
        ("other", "it cannot be replayed", "workflows instances resume order a"),
    ],
)
def test_a_parked_one_says_what_kind_of_thing_is_wrong(trouble: Trouble, fault: str, words: str, way_out: str) -> None:
    trouble.worker.park(trouble.create(), "run() asked for b", fault)
    first(trouble, f"park.{fault}", words, way_out)


# To be moved by a worker --------------------------------------------------------------------------------------------


def test_one_that_was_just_created_is_about_to_be_taken(trouble: Trouble) -> None:
    trouble.create()
    assert [one.code for one in trouble.why()] == ["run.settling"]


def test_work_on_a_queue_without_workers_names_the_queue(trouble: Trouble) -> None:
    trouble.opened(step(1, "train", queue="gpu"))
    one = first(trouble, "queue.no-worker", "No worker serves queue gpu", "workflows worker APP -q gpu")
    assert one.facts["queue"] == "gpu"


def test_a_worker_whose_record_is_gone_serves_nobody(trouble: Trouble) -> None:
    trouble.create()
    trouble.without_workers()
    first(trouble, "queue.no-worker", "No worker serves queue default")


def test_work_that_waits_behind_others_says_so_and_after_a_minute_asks_for_workers(trouble: Trouble) -> None:
    trouble.create()
    trouble.redis.rpush("rq:queue:shop.default", *range(7))
    trouble.later(20_000)
    first(trouble, "queue.busy", "7 doorbells ring there", "workflows worker APP -q default")
    trouble.redis.hset("rq:worker:w1", mapping=load_of(64, 2))
    first(trouble, "queue.busy", "2 of 64 slots are free, and yet")
    trouble.later(60_000)
    assert first(trouble, "queue.overdue", "(1m20s)").is_problem


def test_work_that_workers_put_back_says_that_they_do_not_know_the_workflow(trouble: Trouble) -> None:
    at = trouble.create()
    trouble.redis.hset(trouble.keys.header(at), "declined", 3)
    trouble.later(10_001)
    one = first(trouble, "queue.declined", "put a back 3 times", "its code")
    assert one.facts["code"] == "v1"


def test_doorbells_that_nobody_rings_are_told(trouble: Trouble) -> None:
    trouble.create()
    (member, score) = trouble.redis.zrange(trouble.shard_key("intents"), 0, 0, withscores=True)[0]
    trouble.redis.zadd(trouble.shard_key("intents"), {member: score - 15_000})
    trouble.later(15_000)
    first(trouble, "queue.unreachable", "doorbells cannot be rung", "workflows doctor")


def test_a_step_that_runs_says_where_and_until_when(trouble: Trouble) -> None:
    at = trouble.opened(step(1, "charge card", config=RETRIED))
    trouble.worker.claim(at, "a", 1)
    trouble.later(60_000)
    one = first(trouble, "run.step", 'Step "charge card" of a runs on worker hand since 2027-01-15 08:00:00 UTC (1m; ')
    assert "attempt 1 of 3), and times out at 2027-01-15 08:10:00 UTC." in one.sentence


def test_a_step_that_says_how_far_it_is_was_heard_of_in_this_attempt(trouble: Trouble) -> None:
    at = trouble.opened(step(1, "copy"))
    token = trouble.worker.claim(at, "a", 1)
    trouble.later(60_000)
    assert "heartbeat" not in trouble.why()[0].sentence
    assert trouble.worker.beat(at, 1, token, "half of it") == 1
    trouble.later(5_000)
    one = first(trouble, "run.step", "times out at 2027-01-15 08:10:00 UTC; its last heartbeat was 5s ago.")
    assert one.facts["heard_at"] == "2027-01-15T08:01:00.000+00:00"
    trouble.worker.settle(at, 1, "copy", token, retry=(0, OSError("down")))
    trouble.worker.claim(at, "a", 1)
    assert "heartbeat" not in first(trouble, "run.step", "attempt 2").sentence


def test_a_turn_that_is_taken_says_by_whom(trouble: Trouble) -> None:
    trouble.worker.claim(trouble.create())
    first(trouble, "run.turn", "Worker hand decides what a does next.")


@pytest.mark.parametrize("kind", ["t", "a"])
def test_what_a_dead_worker_held_is_told(trouble: Trouble, kind: str) -> None:
    at = trouble.opened(step(1, "charge")) if kind == "a" else trouble.create()
    trouble.worker.claim(at, kind, 1 if kind == "a" else 0)
    trouble.redis.zadd(trouble.shard_key("workers"), {"hand": 3})
    first(trouble, "lease.lost", "Worker hand")


def test_a_suspect_says_how_many_workers_have_died_of_it(trouble: Trouble) -> None:
    at = trouble.opened(step(1, "charge"))
    token = trouble.worker.claim(at, "a", 1)
    trouble.redis.zadd(trouble.shard_key("workers"), {"hand": 1})
    item = {"i": 1, "m": trouble.redis.zrange(trouble.shard_key("held"), 0, -1)[0], "k": "a"}
    item |= {"g": trouble.worker.header(at, "gen"), "s": 1, "t": token}
    blobs = {"poison": BROKEN, "lost": BROKEN, "stalled": BROKEN}
    trouble.store.call(call_one(trouble.keys, load("reap"), at, {"w": "hand", "items": [item], **blobs}))
    assert {one.code for one in trouble.why()} == {"run.settling", "step.suspect"}
    (suspect,) = [one for one in trouble.why() if one.code == "step.suspect"]
    assert "may be what ended 1 workers" in suspect.sentence


def test_a_run_that_stalls_says_how_often(trouble: Trouble) -> None:
    at = trouble.create()
    trouble.redis.hset(trouble.keys.header(at), mapping={"strikes": 2, "reason": "run() blocked its worker"})
    first(trouble, "stall", "stalled 2 of 3 times: run() blocked its worker.", "into a step")


# To be moved by an orchestrator -------------------------------------------------------------------------------------


def test_without_an_orchestrator_nothing_moves_but_what_runs(trouble: Trouble) -> None:
    at = trouble.opened(step(1, "charge"))
    trouble.redis.delete(trouble.keys.orchestrators)
    first(trouble, "orchestrator.none", "No orchestrator is running", "workflows orchestrator")
    trouble.worker.claim(at, "a", 1)
    assert [one.code for one in trouble.why()] == ["run.step"]


def test_a_shard_without_an_owner_is_named_after_ten_seconds(trouble: Trouble) -> None:
    trouble.opened(sleep(1, "nap", 10**9))
    trouble.redis.hdel(trouble.shard_key("owner"), "token", "expiry")
    assert [one.code for one in trouble.why()] == ["wait.sleep"]
    trouble.later(10_001)
    one = first(trouble, "shard.unowned", "shard 0", "workflows doctor")
    assert one.facts["orchestrators"] == 1


def test_a_timer_that_has_not_fired_is_late(trouble: Trouble) -> None:
    trouble.opened(sleep(1, "nap", 60_000))
    trouble.later(75_000)
    first(trouble, "timer.late", "15s ago", "workflows doctor")


def test_one_with_more_to_do_than_at_once_says_so(trouble: Trouble) -> None:
    trouble.opened(*[step(seq, f"s{seq}") for seq in range(1, 260)])
    codes = [one.code for one in trouble.why()]
    assert codes[:2] == ["run.settling", "run.unfinished"]


def test_a_full_redis_is_told_first(trouble: Trouble) -> None:
    trouble.opened(sleep(1, "nap", 60_000))
    trouble.redis.config_set("maxmemory", 1)
    try:
        first(trouble, "redis.memory", "Redis is full", "maxmemory")
    finally:
        trouble.redis.config_set("maxmemory", 0)


def test_an_intent_or_timer_that_is_lost_is_told_to_whoever_can_mend_it(trouble: Trouble) -> None:
    trouble.opened(sleep(1, "nap", 60_000))
    trouble.redis.delete(trouble.shard_key("timers"))
    one = first(trouble, "stuck", "no timer is armed", "workflows instances describe order a --json")
    assert one.is_problem


# Waits --------------------------------------------------------------------------------------------------------------


def test_a_sleep_says_until_when(trouble: Trouble) -> None:
    trouble.opened(sleep(1, "nap", 60_000))
    (one,) = trouble.why()
    assert one.sentence == 'a sleeps in "nap" until 2027-01-15 08:01:00 UTC.'
    assert (one.code, one.facts["until"]) == ("wait.sleep", "2027-01-15T08:01:00.000+00:00")


def test_a_pause_puts_off_what_is_waited_for(trouble: Trouble) -> None:
    at = trouble.opened(sleep(1, "nap", 60_000))
    trouble.handle(at).pause()
    trouble.later(3_600_000)
    trouble.handle(at).resume()
    (one,) = trouble.why()
    assert "until 2027-01-15 09:01:00 UTC" in one.sentence


def test_a_wait_names_the_event_and_one_that_nothing_waits_for(trouble: Trouble) -> None:
    at = trouble.opened(wait(1, "wait for packing", "packed"))
    trouble.later(3 * 3_600_000)
    trouble.handle(at).send_event("pakced")
    one = first(
        trouble,
        "wait.event",
        'a waits for an event of type "packed" (step "wait for packing", asked 3h ago), until 2027-01-16 08:00:00 UTC.',
        "workflows publish order a packed '{…}'",
    )
    (hint,) = one.hints
    assert hint.code == "hint.event-type"
    assert hint.sentence == 'The mailbox holds 1 event of type "pakced", which nothing waits for.'


def test_a_wait_whose_answerer_may_not_be_silent_says_since_when_they_are(trouble: Trouble) -> None:
    opened = Asked([*wait(1, "ask", "paid~1").values, 7_200_000])
    at = trouble.opened(opened)
    trouble.later(600_000)
    (one,) = trouble.why()
    assert "; no heartbeat yet, since 2027-01-15 08:00:00 UTC (10m ago), and without one or" in one.sentence
    life = trouble.worker.header(at, "gen")
    trouble.client.heartbeat(f"order.a.{life}.1.paid")
    trouble.later(60_000)
    (one,) = trouble.why()
    assert one.sentence.endswith(
        "; no heartbeat since 2027-01-15 08:10:00 UTC (1m ago), and without one or the answer it ends at "
        "2027-01-15 10:10:00 UTC."
    )
    assert one.facts["silent_since"] == "2027-01-15T08:10:00.000+00:00"


def test_a_wait_for_another_instance_says_what_that_one_waits_for(trouble: Trouble) -> None:
    asked = Asked(["child", 1, "pay", 1, False, "order", "b"], {"op": "watch", "wf": "order", "id": "b"})
    trouble.create("b")
    trouble.worker.turn(trouble.keys.instance("order", "b"), opened=[wait(1, "money", "paid")])
    trouble.opened(asked)
    assert "the message to its shard is on its way" in trouble.why()[0].sentence
    deliver(trouble.store, 0)
    one = first(trouble, "wait.child", "a waits for order/b. order/b: b waits for an event", "workflows why order b")
    assert one.facts["child"]["code"] == "wait.event"
    assert not one.hints
    trouble.handle(trouble.keys.instance("order", "b")).pause()
    assert "order/b: b was paused" in trouble.why()[0].sentence


@pytest.mark.parametrize(
    ("policy", "words"), [("terminate", "(terminated with it)"), ("cancel", "(asked to end with it)")]
)
def test_a_child_that_is_to_end_with_its_parent_says_so(trouble: Trouble, policy: str, words: str) -> None:
    item = CreateItem("order", "b", "gb", codec.encode({}, what="params"), "default", 1, 1)
    trouble.opened(Asked(["child", 1, "pay", 1, False, "order", "b", policy], InvokeChild(item).wire()))
    assert first(trouble, "wait.child", f"a waits for order/b {words}").facts["on_parent_end"] == policy
    deliver(trouble.store, 0)
    trouble.handle(trouble.keys.instance("order", "a")).terminate()
    deliver(trouble.store, 0)
    assert trouble.handle(trouble.keys.instance("order", "b")).status().status == "terminated"


def test_a_problem_of_the_other_instance_is_a_hint(trouble: Trouble) -> None:
    asked = Asked(["child", 1, "pay", 1, False, "order", "b"], {"op": "watch", "wf": "order", "id": "b"})
    trouble.worker.park(trouble.create("b"), "run() asked for x")
    trouble.opened(asked)
    deliver(trouble.store, 0)
    (hint,) = first(trouble, "wait.child", "is parked").hints
    assert (hint.code, hint.is_problem) == ("park.mismatch", True)


def test_a_retry_says_what_failed_and_that_it_is_the_last(trouble: Trouble) -> None:
    at = trouble.opened(step(1, "charge", config=RETRIED))
    trouble.worker.settle(at, 1, "charge", trouble.worker.claim(at, "a", 1), retry=(60_000, ValueError("busy")))
    one = first(trouble, "wait.retry", 'Attempt 1 of step "charge" of a failed at 2027-01-15 08:00:00 UTC with')
    assert one.sentence.endswith("ValueError: busy; it is tried again at 2027-01-15 08:01:00 UTC (2 of 3).")
    assert not one.hints


def test_a_last_attempt_is_told(trouble: Trouble) -> None:
    config = to_wire(StepConfig(Retry(limit=1, delay="1 minute"), 600_000))
    at = trouble.opened(step(1, "charge", config=config))
    trouble.worker.settle(at, 1, "charge", trouble.worker.claim(at, "a", 1), retry=(60_000, ValueError("busy")))
    (hint,) = first(trouble, "wait.retry", "(2 of 2)").hints
    assert (hint.code, hint.sentence) == ("hint.retries-over", "It is its last attempt: 1 of 2 have failed.")


def test_one_without_a_slot_says_how_many_run(trouble: Trouble) -> None:
    limits = in_force(trouble.store).limits
    for id in "ab":
        trouble.create(id, "limited")
        for _ in range(3):
            deliver(trouble.store, 0, limits)
            grant(trouble.store, 0, limits)
    one = trouble.why("b", "limited")[0]
    assert one.code == "limit.concurrency", one
    assert "1 of 1 instances of workflow limited run, and 1 wait." in one.sentence
    assert one.way_out == "workflows limits set limited LIMIT"


def test_one_whose_limit_nobody_has_published_says_so(trouble: Trouble) -> None:
    trouble.create("a", "limited")
    for id in "ab":
        if id == "b":
            trouble.create("b", "limited")
        deliver(trouble.store, 0, in_force(trouble.store).limits)
    trouble.redis.delete(trouble.keys.manifest)
    one = trouble.why("b", "limited")[0]
    assert one.code == "limit.unpublished"
    assert "workflows register APP" in str(one.way_out)


# Faces --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(trouble: Trouble, redis_url: str) -> Run:
    return run_in(redis_url, "shop")


def test_the_command_line_says_it_with_its_code_and_exits_with_1_on_a_problem(trouble: Trouble, run: Run) -> None:
    trouble.opened(step(1, "train", queue="gpu"))
    lines = run("why", "order", "a", code=1).output.splitlines()
    assert lines[0].endswith("waits.   queue.no-worker")
    assert lines[1] == "  → workflows worker APP -q gpu"
    told = json.loads(run("why", "order", "latest", "--json", code=1).output)
    assert (told["workflow"], told["id"], told["reasons"][0]["code"]) == ("order", "a", "queue.no-worker")


def test_an_ordinary_wait_exits_with_0(trouble: Trouble, run: Run) -> None:
    trouble.opened(wait(1, "wait for packing", "packed"))
    trouble.handle(trouble.keys.instance("order", "a")).send_event("pakced")
    lines = run("why", "order", "a").output.splitlines()
    assert lines[1].endswith("hint.event-type")
    assert lines[2].startswith("  → workflows publish order a packed")


def test_who_asks_after_one_that_is_not_there_is_told(run: Run) -> None:
    assert "missing" in run("why", "order", "nobody", code=1).output


@pytest.mark.parametrize("line", [[], ["order"], ["order", "a", "--all"], ["--workflow", "order"], ["order", "a b"]])
def test_a_wrong_command_exits_with_2(run: Run, line: list[str]) -> None:
    run("why", *line, code=2)


def test_a_redis_that_does_not_answer_exits_with_3(tmp_path: Path) -> None:
    assert "workflows.sock" in run_in(f"unix://{tmp_path}/workflows.sock", "shop")("why", "order", "a", code=3).stderr


def test_all_that_have_a_problem_are_counted_by_what_it_is(trouble: Trouble, run: Run) -> None:
    trouble.opened(sleep(1, "nap", 60_000))
    for id in ("b", "c"):
        trouble.worker.park(trouble.create(id), "run() asked for x")
    trouble.redis.hset(trouble.keys.header(trouble.create("d")), "declined", "many")
    lines = run("why", "--all", "--workflow", "order", code=1).output.splitlines()
    assert lines[0] == "order: 3 with a problem, of 4"
    assert sorted(line.split()[0] for line in lines[1:]) == ["park.mismatch", "unreadable"]
    told = json.loads(run("why", "--all", "--json", code=1).output)
    assert {one["workflow"]: one["by_code"] for one in told} == {
        "limited": {},
        "order": {"park.mismatch": 2, "unreadable": 1},
    }
    assert "c" in {one["id"] for one in told[1]["instances"]}


def test_of_more_than_are_looked_at_it_says_so(trouble: Trouble) -> None:
    for id in "abc":
        trouble.worker.park(trouble.create(id), "run() asked for x")
        trouble.later(1)
    found = troubles(trouble.client, "order", 2)
    assert (found.looked_at, found.is_whole, [one.id for one in found.found]) == (2, False, ["c", "b"])


def test_status_has_the_first_sentence_where_something_is_wrong(trouble: Trouble) -> None:
    at = trouble.opened(sleep(1, "nap", 60_000))
    assert trouble.handle(at).status().reason is None
    trouble.later(75_000)
    assert trouble.handle(at).status().reason == trouble.why()[0].sentence


def test_an_ordinary_status_reads_the_instance_and_nothing_else(trouble: Trouble) -> None:
    at = trouble.opened(sleep(1, "nap", 60_000), wait(2, "packing", "packed"))
    handle = trouble.handle(at)
    handle.status()
    before = trouble.redis.info("commandstats")
    handle.status()
    after = trouble.redis.info("commandstats")
    calls = {name: after[name]["calls"] - before.get(name, {"calls": 0})["calls"] for name in after}
    assert calls["cmdstat_evalsha"] == 1
    assert calls.get("cmdstat_smembers", 0) == calls["cmdstat_hgetall"] == 0


def test_both_clients_say_the_same(trouble: Trouble, redis_url: str) -> None:
    trouble.opened(step(1, "train", queue="gpu"))

    async def asked() -> list[Reason]:
        async with AsyncClient("shop", redis_url, clock=trouble.clock) as client:
            return await (await client.workflow("order").get("a")).why()

    assert asyncio.run(asked()) == trouble.why()


# The mailbox --------------------------------------------------------------------------------------------------------


def mail(trouble: Trouble, at: Instance) -> Any:
    request: Request[Any] = read_standing(trouble.keys, at)
    return request.parse(trouble.store.call(request.call)).mail


def test_kept_events_are_counted_by_type(trouble: Trouble) -> None:
    at = trouble.opened(sleep(1, "nap", 60_000))
    for type, count in (("ab", 3), ("a", 1), ("a-b", 12)):
        for number in range(count):
            trouble.handle(at).send_event(type, id=f"{type}{number}")
    assert mail(trouble, at) == {"a": 1, "ab": 3, "a-b": 12}


def test_a_full_mailbox_is_counted_without_being_read(trouble: Trouble) -> None:
    """However many events there are, a type costs two look-ups; and of types there are only the first."""
    at = trouble.opened(sleep(1, "nap", 60_000))
    queues = trouble.keys.of_instance(at)[5]
    trouble.redis.zadd(queues, {f"m|t{number % 40:02}|E{number:05}": 0 for number in range(10_000)})
    found = mail(trouble, at)
    assert len(found) == 20
    assert set(found.values()) == {250}


def test_what_strangers_have_named_is_one_printable_line(trouble: Trouble) -> None:
    trouble.opened(sleep(1, "nap\x1b[2J\n\u202egnp" + "x" * 1_000, 60_000))
    (one,) = trouble.why()
    assert one.sentence.isprintable()
    assert len(one.sentence) < 300

"""What the contract says about events, races, retries, failures, children and strangers, on real processes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import rq
from rq.serializers import JSONSerializer

from tests.acceptance.processes import Cluster, Process
from workflows.client import WorkflowInstance
from workflows.errors import InstanceNotFound, InstanceTerminated

# How late a retry may be on a busy machine with two cores.
LATE_MS = 900


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two orchestrators, a worker on the default queue and one on the queue ``gpu``. Every test has ids of its own."""
    with Cluster(tmp_path_factory.mktemp("shared")) as started:
        started.orchestrator()
        started.orchestrator()
        started.ready(started.worker())
        started.ready(started.worker("-q", "gpu"))
        yield started
        started.check_logs()


def _open_step(cluster: Cluster, instance: WorkflowInstance, name: str, status: str = "waiting") -> None:
    cluster.wait_until(
        lambda: any((step.name, step.status) == (name, status) for step in instance.status().steps),
        what=f"{name} {status}",
    )


def _begun(cluster: Cluster, key: str, times: int = 1) -> None:
    cluster.wait_until(lambda: cluster.ledger.count(key) == times, what=f"{key} begun {times} times")


def _prefix(cluster: Cluster, instance: WorkflowInstance) -> str:
    return f"{{{cluster.namespace}/{instance._instance.shard:02d}}}:i:{instance.workflow}:{instance.id}:"


# Events


def test_one_event_satisfies_one_of_two_waits(shared: Cluster) -> None:
    """The wait that asked first, and the other goes on waiting."""
    instance = shared.create("two-waiters", "tw")
    _open_step(shared, instance, "two")
    assert instance.send_event("reply", 1) == "delivered"
    _open_step(shared, instance, "one", "complete")
    _open_step(shared, instance, "two")
    assert instance.send_event("reply", 2) == "delivered"
    assert shared.result(instance) == [1, 2]


@pytest.mark.parametrize("cancel", [False, True], ids=["left behind", "cancelled"])
def test_a_wait_that_lost_a_race_does_not_swallow_the_next_event(shared: Cluster, cancel: bool) -> None:
    instance = shared.create("left-waiter", f"lw-{cancel}", {"cancel": cancel})
    _open_step(shared, instance, "second")
    _open_step(shared, instance, "first", "withdrawn")
    assert instance.send_event("reply", "for the second") == "delivered"
    assert shared.result(instance) == [1, "for the second"]


def test_events_that_came_early_are_taken_in_their_order(shared: Cluster) -> None:
    """More than ten of them, which as text would sort differently."""
    instance = shared.create("collector", "early", {"gate": "early", "events": 25})
    for number in range(25):
        assert instance.send_event("reply", number) == "buffered"
    shared.ledger.open_gate("early")
    assert shared.result(instance) == list(range(25))


def test_an_event_with_a_known_id_is_accepted_once(shared: Cluster) -> None:
    instance = shared.create("collector", "same", {"gate": "same", "events": 2})
    for id, payload in (("a", 1), ("a", 1), ("b", 2), ("a", 3)):
        instance.send_event("reply", payload, id=id)
    shared.ledger.open_gate("same")
    assert shared.result(instance) == [1, 2]


def test_a_wait_that_gets_nothing_times_out_with_an_error_that_run_can_catch(shared: Cluster) -> None:
    instance = shared.create("patient", "wt", {"timeout": 1_000})
    assert shared.result(instance).startswith("Execution timed out after 1000ms (")


# Steps that fail


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [("constant", [100, 100, 100]), ("linear", [100, 200, 300]), ("exponential", [100, 200, 400])],
)
def test_retries_wait_as_long_as_their_backoff_says(shared: Cluster, backoff: str, waits: list[int]) -> None:
    """Never less, and not much more."""
    instance = shared.create("retrying", f"re-{backoff}", {"times": 3, "delay": 100, "backoff": backoff})
    assert shared.result(instance) == 4
    starts = [line.at * 1000 for line in shared.ledger.of(f"re-{backoff}/work")]
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert len(gaps) == 3
    assert all(wait - 2 <= gap < wait + LATE_MS for wait, gap in zip(waits, gaps, strict=True)), gaps


def test_a_step_without_retries_left_fails_the_instance_with_its_error(shared: Cluster) -> None:
    instance = shared.create("retrying", "re-out", {"times": 9, "limit": 2, "delay": 10})
    # The worker knows the class under the same name as this process.
    with pytest.raises(Exception, match="attempt 3") as raised:
        shared.result(instance)
    assert type(raised.value).__name__ == "Broken"
    status = instance.status()
    assert (status.status, status.error and status.error.name) == ("errored", "Broken")
    (work,) = status.steps
    assert [failure.attempt for failure in work.failures] == [1, 2, 3]


@pytest.mark.parametrize("sync", [True, False], ids=["plain", "async"])
def test_each_attempt_has_its_own_timeout(shared: Cluster, sync: bool) -> None:
    """The first attempt is too slow and is told so; the second one is in time."""
    instance = shared.create("slow", f"sl-{sync}", {"sync": sync, "slow": 1, "limit": 1})
    assert shared.result(instance) == "in time"
    assert [line.attempt for line in shared.ledger.of(f"sl-{sync}/slow")] == [1, 2]
    shared.wait_until(lambda: shared.ledger.count(f"sl-{sync}/slow", "cancelled") == 1)


@pytest.mark.parametrize("sync", [True, False], ids=["plain", "async"])
def test_a_step_that_is_always_too_slow_fails_with_a_timeout(shared: Cluster, sync: bool) -> None:
    instance = shared.create("slow", f"to-{sync}", {"sync": sync, "slow": 9, "limit": 1})
    assert shared.result(instance).startswith("Execution timed out after 300ms (")
    assert shared.ledger.count(f"to-{sync}/slow") == 2


def test_run_catches_what_a_step_raised_as_what_it_is(shared: Cluster) -> None:
    """The user's own class with its attributes, a built-in one, and the one that forbids retries."""
    instance = shared.create("strict", "st")
    caught = shared.result(instance)
    # A class with an __init__ of its own is rebuilt without calling it, so only args are certain.
    assert caught[0][0] == "Broken"
    assert list(caught[0][2]) == [1, "attempt 1"]
    assert caught[1][0] == "KeyError"
    assert list(caught[1][1]) == ["MISSING HERE"]
    assert caught[2] == ["NonRetryableError", "never"]
    assert shared.ledger.count("st/final") == 1


# Steering


def test_terminating_tells_the_running_step_and_ignores_its_late_result(shared: Cluster) -> None:
    instance = shared.create("gated", "term", {"gate": "term"})
    _begun(shared, "term/work")
    instance.terminate()
    assert instance.status().status == "terminated"
    before = shared.dump(_prefix(shared, instance))
    shared.wait_until(lambda: shared.ledger.count("term/work", "cancelled") == 1, 6, what="ctx.cancelled")
    shared.ledger.open_gate("term")
    shared.wait_until(lambda: shared.ledger.count("term/work", "end") == 1)
    # Whatever the worker does with the result, it does before what comes afterwards.
    shared.result(shared.create("chain", "after-term"))
    assert shared.dump(_prefix(shared, instance)) == before
    assert shared.ledger.count("term/after") == 0
    with pytest.raises(InstanceTerminated):
        shared.result(instance)


def test_a_pause_lets_the_running_step_finish_and_begins_nothing(shared: Cluster) -> None:
    instance = shared.create("gated", "pause", {"gate": "pause"})
    _begun(shared, "pause/work")
    instance.pause()
    assert instance.status().status == "waitingForPause"
    shared.ledger.open_gate("pause")
    shared.wait_for_status(instance, "paused")
    assert shared.ledger.count("pause/after") == 0
    instance.resume()
    shared.result(instance)
    assert shared.ledger.counts("pause/") == {"pause/work": 1, "pause/after": 1}


def test_a_restarted_instance_ignores_what_its_former_life_still_does(shared: Cluster) -> None:
    instance = shared.create("gated", "again", {"gate": "again-{attempt}"})
    _begun(shared, "again/work")
    instance.restart()
    _begun(shared, "again/work", 2)
    shared.ledger.open_gate("again-1")
    shared.result(instance)
    assert shared.ledger.count("again/after") == 1


# Other instances and queues


def test_a_parent_gets_results_and_errors_of_its_children(shared: Cluster) -> None:
    """Of one it invokes, one it waits for, and one that breaks."""
    instance = shared.create("parent", "fam")
    found = shared.result(instance)
    assert found[:2] == [2, 4]
    assert len(found) == 3
    assert shared.client.workflow("child").get("fam-child").status().output == 4


def test_a_step_on_another_queue_runs_on_a_worker_of_that_queue_only(shared: Cluster) -> None:
    default, gpu = (process for process in shared.processes if process.name.startswith("worker"))
    for number in range(5):
        pids = shared.result(shared.create("on-the-gpu", f"gpu-{number}"))
        assert [pid in gpu.children for pid in pids] == [False, True, False]
        assert [pid in default.children for pid in pids] == [True, False, True]


# Ends


def test_deleting_leaves_no_key_and_no_member_with_the_id(shared: Cluster) -> None:
    """Neither of an ended instance nor of one that waits, nor of one with work in the queue."""
    ended = shared.create("chain", "del-ended-31415")
    shared.result(ended)
    waiting = shared.create("patient", "del-waiting-31415")
    _open_step(shared, waiting, "reply")
    waiting.send_event("other", "nobody wants it")
    running = shared.create("politely", "del-running-31415", {"gate": "del"})
    _begun(shared, "del-running-31415/work")
    for instance in (ended, waiting, running):
        instance.delete()
        with pytest.raises(InstanceNotFound):
            instance.status()
    shared.ledger.open_gate("del")
    shared.wait_until(lambda: not shared.members("31415"), what="nothing left")
    assert shared.key_names("31415") == []


def test_after_its_retention_nothing_of_an_instance_is_left(shared: Cluster) -> None:
    instance = shared.create("patient", "keep-27182", {"timeout": 1_000}, retention=200)
    instance.send_event("reply", "soon")
    assert shared.result(instance) == "soon"
    shared.wait_until(lambda: not shared.key_names("27182"), 5, what="retention")
    assert shared.members("27182") == []


# Strangers


def test_a_redis_cli_alone_can_create_an_instance_and_send_it_an_event(shared: Cluster) -> None:
    inbox, who = "acceptance:inbox", ["workflow", "patient", "id", "in1"]
    shared.cli("XADD", inbox, "*", "op", "create", *who, "params", '{"timeout": "1 hour"}')
    handle = shared.client.workflow("patient")
    shared.wait_until(lambda: "in1" in [one.id for one in handle.list()])
    shared.cli("XADD", inbox, "*", "op", "event", *who, "type", "reply", "payload", '{"n": 7}')
    assert shared.result(handle.get("in1")) == {"n": 7}
    shared.wait_until(lambda: shared.cli("EXISTS", inbox) == "0", what="inbox emptied")


def test_requests_that_cannot_be_applied_are_kept_with_the_reason(shared: Cluster) -> None:
    """In their order, with what was asked."""
    refused = {
        "create workflow nobody": "There is no workflow 'nobody'",
        "create workflow patient id bad:id": "invalid id",
        "create workflow patient params {": "params is not JSON",
        "event workflow patient id in-missing type reply": "unknown",
        "drop workflow patient": "op is 'drop'",
    }
    for fields in refused:
        shared.cli("XADD", "acceptance:inbox", "*", "op", *fields.split())

    def kept() -> list[dict[str, str]]:
        entries: Any = shared.redis.xrange("acceptance:inbox:refused")
        return [{key.decode(): value.decode() for key, value in stored.items()} for _, stored in entries]

    found = shared.wait_until(lambda: kept() if len(kept()) == len(refused) else [], what="the refused entries")
    assert [entry["op"] for entry in found] == [fields.split()[0] for fields in refused]
    for entry, reason in zip(found, refused.values(), strict=True):
        assert reason in entry["reason"]


def test_a_plain_publish_is_delivered_once_with_two_orchestrators(shared: Cluster) -> None:
    """For instances of both orchestrators; what would be doubled would come as the second event."""

    def settled() -> bool:
        now = shared.redis.time()[0] * 1000
        owners: list[Any] = [shared.redis.hmget(f"{{acceptance/{n:02d}}}:owner", "token", "since") for n in range(16)]
        tokens = [token for token, _ in owners]
        return sorted(tokens.count(one) for one in {*tokens}) == [8, 8] and all(
            int(since) + 1_100 < now for _, since in owners
        )

    shared.wait_until(settled, what="shards shared by both for a second")
    handles = [shared.create("collector", f"pub{n}", {"gate": "pub", "events": 2}) for n in range(12)]
    assert len({handle._instance.shard for handle in handles}) > 6
    shared.ledger.open_gate("pub")
    for payload in ("first", "second"):
        for handle in handles:
            message = {"workflow": "collector", "instance": handle.id, "type": "reply", "payload": payload}
            assert shared.cli("PUBLISH", "workflows:acceptance:0:events", json.dumps(message)) == "2"
    for handle in handles:
        assert shared.result(handle) == ["first", "second"]


def test_a_forged_job_is_refused_and_kept_where_rq_info_shows_it(shared: Cluster, tmp_path: Path) -> None:
    """Its function is never called; and RQ's own tool may look at our queues without changing any of our keys."""
    loot = tmp_path / "loot"
    queue = rq.Queue("acceptance.default", connection=shared.redis, serializer=JSONSerializer)
    forged = [
        queue.enqueue("os.system", f"touch {loot}"),
        queue.enqueue("worker.entry.ring", f"touch {loot}"),
        queue.enqueue("subprocess.run", ["touch", str(loot)], on_success=rq.Callback("os.system")),
    ]
    ids = {job.id for job in forged}
    failed = "rq:failed:acceptance.default"
    shared.wait_until(lambda: all(shared.redis.zscore(failed, id) for id in ids), what="quarantine")
    assert shared.result(shared.create("chain", "after-forged")) == 3
    assert not loot.exists()
    assert len(shared.logged("forged job refused")) >= len(ids)

    processes = [process for process in shared.processes if process.alive]
    for process in processes:
        process.freeze()
    try:
        before = shared.dump("{acceptance/", "acceptance:")
        shown = _rq_info(shared)
        assert shared.dump("{acceptance/", "acceptance:") == before
    finally:
        for process in processes:
            process.thaw()
    assert "acceptance.default" in shown
    assert f"{len(ids)} failed" in shown
    assert re.search(r"(idle|busy) acceptance\.default", shown), shown


def _rq_info(cluster: Cluster) -> str:
    command = [str(Path(sys.executable).with_name("rq")), "info", "--url", cluster.redis_server.url]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    return shown.stdout


# With everything killed or exchanged in between


def test_a_race_has_the_same_winner_after_everything_was_killed(cluster: Cluster) -> None:
    """Although at the replay the loser has ended as well."""
    cluster.orchestrator()
    cluster.worker()
    instance = cluster.create("race", "ra")
    _begun(cluster, "ra/left")
    _begun(cluster, "ra/right")
    cluster.ledger.open_gate("ra-right")
    _open_step(cluster, instance, "go")
    cluster.kill_all()
    cluster.ledger.open_gate("ra-left")
    cluster.orchestrator()
    cluster.worker()
    _open_step(cluster, instance, "left", "complete")
    instance.send_event("go")
    assert cluster.result(instance) == [["right"], "left", "right"]
    assert cluster.ledger.counts("ra/") == {"ra/left": 2, "ra/right": 1, "ra/tell": 1}


def test_a_finished_sleep_until_is_passed_by_at_once_after_a_restart(cluster: Cluster) -> None:
    """A replay does not ask whether its moment has passed."""
    cluster.orchestrator()
    worker = cluster.worker()
    instance = cluster.create("until-then", "un", {"ms": 300})
    _open_step(cluster, instance, "go")
    worker.kill()
    cluster.ready(cluster.worker())
    instance.send_event("go")
    then = cluster.result(instance)
    assert then.startswith("20")
    assert cluster.ledger.counts("un/") == {"un/between": 1, "un/after": 1}


def test_a_run_that_loops_for_ever_errors_after_three_strikes_and_others_go_on(cluster: Cluster) -> None:
    cluster.orchestrator()
    workers = [cluster.ready(cluster.worker()) for _ in range(2)]
    blocking = cluster.create("blocking", "bl")
    cluster.wait_for_status(blocking, "running")
    others = [cluster.create("chain", f"o{number}") for number in range(20)]
    assert {cluster.result(other, 10) for other in others} == {3}
    cluster.wait_for_status(blocking, "errored")
    error = blocking.status().error
    assert error is not None
    assert error.name == "StalledError"
    assert set(cluster.ledger.counts("o").values()) == {1}
    assert all(worker.alive for worker in workers)


def test_a_run_that_blocks_in_c_costs_its_process_and_others_go_on(cluster: Cluster) -> None:
    """Nothing can interrupt it, so its process gives itself up, its parent starts another, the rest is handed on."""
    cluster.orchestrator()
    workers = [cluster.ready(cluster.worker()) for _ in range(2)]
    blocking = cluster.create("blocking", "bc", {"in_c": True})
    cluster.wait_for_status(blocking, "running")
    others = [cluster.create("chain", f"o{number}") for number in range(20)]
    assert {cluster.result(other) for other in others} == {3}
    assert set(cluster.ledger.counts("o").values()) == {1}
    cluster.wait_for_status(blocking, "errored")
    error = blocking.status().error
    assert error is not None
    assert error.name == "StalledError"
    assert len(cluster.logged("worker gives up")) == 3
    assert all(worker.alive for worker in workers)


def test_a_step_whose_process_gave_itself_up_is_tried_again_under_the_next_number(cluster: Cluster) -> None:
    """It did run: a step that asks for its attempt must not be told twice that it is the first."""
    cluster.orchestrator()
    cluster.ready(cluster.worker())
    beside = cluster.create("gated", "gn", {"gate": "gn"})
    _begun(cluster, "gn/work")
    cluster.create("blocking", "bn", {"in_c": True})
    _begun(cluster, "gn/work", 2)
    cluster.ledger.open_gate("gn")
    cluster.result(beside)
    assert [begun.attempt for begun in cluster.ledger.of("gn/work")] == [1, 2]


def test_a_run_that_holds_the_interpreter_costs_its_process_only(cluster: Cluster) -> None:
    """The process cannot even give itself up; its parent kills it, and the same code may be repaired meanwhile."""
    cluster.orchestrator()
    worker = cluster.ready(cluster.worker())
    blocking = cluster.create("blocking", "bi", {"with_the_interpreter": True})
    cluster.wait_for_status(blocking, "running")
    cluster.wait_until(lambda: "silent process killed" in worker.text())
    cluster.ledger.open_gate("bi")
    assert cluster.result(blocking) is None
    assert cluster.result(cluster.create("chain", "after")) == 3


def test_work_of_an_unknown_workflow_is_put_back_for_a_worker_that_knows_it(cluster: Cluster) -> None:
    """The old code neither fails it nor keeps it."""
    cluster.orchestrator()
    cluster.ready(cluster.worker(target="partial"))
    instance = cluster.create("retrying", "new-code", {"times": 0})
    cluster.wait_until(lambda: cluster.logged("unknown workflow put back"))
    assert instance.status().status == "queued"
    cluster.worker()
    assert cluster.result(instance) == 1
    assert cluster.ledger.counts() == {"new-code/work": 1}


def test_a_schedule_creates_one_instance_per_firing_with_two_orchestrators(tmp_path: Path) -> None:
    with Cluster(tmp_path, "ticking") as cluster:
        cluster.orchestrator()
        cluster.orchestrator()
        cluster.ready(cluster.worker())
        handle = cluster.client.workflow("every-second")
        cluster.wait_until(lambda: len(cluster.ledger.lines("tick/")) >= 2)
        doomed: Process = cluster.processes[0]
        doomed.kill()
        have = len(cluster.ledger.lines("tick/"))
        cluster.wait_until(lambda: len(cluster.ledger.lines("tick/")) >= have + 6)
        counts = cluster.ledger.counts("tick/")
        moments = sorted(int(key.split("/")[1]) for key in counts)
        assert set(counts.values()) == {1}
        assert {later - earlier for earlier, later in pairwise(moments)} == {1_000}
        assert {one.id.split("-")[0] for one in handle.list()} == {"cron"}
        cluster.check_logs()

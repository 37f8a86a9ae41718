"""Kill anything: is nothing lost, does no finished step run again, and how soon do others take over?"""

from __future__ import annotations

import os
import re
import signal
import time
from functools import partial

import pytest

from tests.acceptance.entity import play_entity
from tests.acceptance.items import play_items
from tests.acceptance.processes import Cluster, Process, alive
from workflows.client import WorkflowInstance

# What is allowed beyond a lease: the reaper looks once a second, and the machine has two cores.
REAP_SECONDS = 3.0


def _journal(cluster: Cluster, instance: WorkflowInstance) -> dict[str, bytes | None]:
    return cluster.dump(f"{{{cluster.namespace}/{instance._instance.shard:02d}}}:i:{instance.workflow}:{instance.id}:")


def _begun(cluster: Cluster, key: str, times: int = 1, seconds: float = 20.0) -> None:
    cluster.wait_until(lambda: cluster.ledger.count(key) == times, seconds, what=f"{key} begun {times} times")


def _has_lines(cluster: Cluster, count: int) -> bool:
    return len(cluster.ledger.lines()) > count


def _two_workers_one_busy(cluster: Cluster, *options: str) -> tuple[Process, Process, WorkflowInstance]:
    """An instance whose step stands before the gate of its attempt at one worker; and another, idle worker."""
    cluster.orchestrator()
    workers = [cluster.worker(*options) for _ in range(2)]
    instance = cluster.create("gated", "a1", {"gate": "a1-{attempt}"})
    _begun(cluster, "a1/work")
    for worker in workers:
        cluster.ready(worker)
    (begun,) = cluster.ledger.of("a1/work")
    busy, idle = sorted(workers, key=lambda worker: begun.pid not in worker.children)
    return busy, idle, instance


# Workers


@pytest.mark.parametrize("workers", [1, 2], ids=["at the same worker", "at another worker"])
def test_an_async_step_that_lost_or_was_terminated_is_cancelled_at_once(cluster: Cluster, workers: int) -> None:
    """And not when its worker renews its lease, which is after nine seconds here."""
    cluster.orchestrator()
    for _ in range(workers):
        cluster.ready(cluster.worker("--lease", "30", "-c", str(2 // workers)))
    race = cluster.create("drop-loser", "r1")
    for key in ("r1/left", "r1/right"):
        _begun(cluster, key)
    cluster.ledger.open_gate("r1-left")
    assert cluster.result(race) == "left"
    cluster.wait_until(lambda: cluster.ledger.count("r1/right", "cancelled") == 1, 2, what="the loser is cancelled")
    ended = cluster.create("politely", "p1", {"gate": "never"})
    _begun(cluster, "p1/work")
    ended.terminate()
    cluster.wait_until(lambda: cluster.ledger.count("p1/work", "cancelled") == 1, 2, what="the step is cancelled")


def test_a_stream_that_a_killed_worker_has_begun_is_written_anew_elsewhere(cluster: Cluster) -> None:
    """No reader sees two attempts, and what the first has written is gone."""
    cluster.orchestrator()
    first = cluster.worker()
    instance = cluster.create("streamed", "b1", {"gate": "b1-{attempt}"})
    cluster.wait_until(lambda: cluster.ledger.count("b1/work", "half") == 1, 20, what="half of the stream is there")
    begun = set(cluster.key_names(":b1:b:"))
    first.kill()
    cluster.worker()
    cluster.ledger.open_gate("b1-2")
    whole = {"size": 1_200_000, "values": [2]}
    assert cluster.result(instance) == [whole, whole]
    left = cluster.key_names(":b1:b:")
    assert len(begun) == len(left) == 1
    assert begun.isdisjoint(left)
    assert cluster.cli("TTL", *left) == "-1"


def test_a_killed_workers_step_runs_again_elsewhere(cluster: Cluster) -> None:
    """And the journal has one result, that of the worker which lived."""
    busy, idle, instance = _two_workers_one_busy(cluster)
    (first,) = cluster.ledger.of("a1/work")
    busy.kill()
    killed = time.time()
    _begun(cluster, "a1/work", 2)
    _, second = cluster.ledger.of("a1/work")
    cluster.ledger.open_gate("a1-2")
    assert cluster.result(instance) == second.pid != first.pid
    assert second.pid in idle.children
    assert second.attempt == 2
    assert second.at - killed < 3 + REAP_SECONDS
    work, after = instance.status().steps
    assert (work.attempts, work.status, after.attempts) == (2, "complete", 1)
    assert cluster.ledger.count("a1/after") == 1


def test_what_runs_at_most_once_is_not_repeated_by_itself_when_its_worker_is_killed(cluster: Cluster) -> None:
    """And where its retries allow another attempt, there is that one and no more."""
    cluster.orchestrator()
    cluster.worker()
    instance = cluster.create("at-most-once", "m1")
    (said, attempts), second = cluster.result(instance)
    assert "what it does may have happened" in said and attempts == 1
    assert second == "done"
    assert [line.attempt for line in cluster.ledger.of("m1/never again")] == [1]
    assert [line.attempt for line in cluster.ledger.of("m1/once more")] == [1, 2]
    never, more = instance.status().steps
    assert (never.status, never.attempts, [one.error.name for one in never.failures]) == (
        "failed",
        1,
        ["StepInterrupted"],
    )
    assert (more.status, more.attempts, [one.error.name for one in more.failures]) == (
        "complete",
        2,
        ["StepInterrupted"],
    )


def test_what_runs_at_most_once_begins_nowhere_until_the_process_for_it_is_there(cluster: Cluster) -> None:
    """It may have killed its worker. While nobody can start that process, another worker gives it back again and again:
    whoever came late would begin it beside that one."""
    cluster.orchestrator()
    worker = cluster.worker(target="tests.acceptance.hasty:app")
    instance = cluster.create("at-most-once", "m1")
    _begun(cluster, "m1/once more")
    instance.pause()
    cluster.wait_for_status(instance, "paused")
    cluster.wait_until(lambda: worker.text().count("worker ready") == 3, what="there is a worker after two deaths")
    os.kill(worker.pid, signal.SIGSTOP)
    instance.resume()
    cluster.wait_until(lambda: len(cluster.logged("nobody took over")) >= 2, what="it is given back twice")
    assert cluster.ledger.count("m1/once more") == 1
    os.kill(worker.pid, signal.SIGCONT)
    assert cluster.result(instance)[1] == "done"
    assert [line.attempt for line in cluster.ledger.of("m1/once more")] == [1, 2]
    assert instance.status().steps[1].attempts == 2


def test_a_subscriber_hears_of_each_step_once_although_the_worker_is_killed(cluster: Cluster) -> None:
    busy, _, instance = _two_workers_one_busy(cluster)
    told = []
    for event in instance.subscribe():
        told.append((event.type, event.step_name, event.attempt))
        if told[-1] == ("attempt_started", "work", 1):
            busy.kill()
        elif told[-1] == ("attempt_started", "work", 2):
            cluster.ledger.open_gate("a1-2")
    assert [one for one in told if one[1] is not None] == [
        ("step_started", "work", None),
        ("attempt_started", "work", 1),
        ("attempt_started", "work", 2),
        ("attempt_completed", "work", 2),
        ("step_completed", "work", None),
        ("step_started", "after", None),
        ("attempt_started", "after", 1),
        ("attempt_completed", "after", 1),
        ("step_completed", "after", None),
    ]
    assert told[-1] == ("workflow_completed", None, None)


def test_with_the_default_lease_a_killed_workers_step_runs_again_within_12_seconds(cluster: Cluster) -> None:
    busy, _, instance = _two_workers_one_busy(cluster, "--lease", "10")
    busy.kill()
    killed = time.time()
    _begun(cluster, "a1/work", 2)
    cluster.ledger.open_gate("a1-2")
    cluster.result(instance)
    assert cluster.ledger.of("a1/work")[1].at - killed < 12


def test_items_of_which_some_fail_have_their_outcomes_although_a_worker_is_killed(cluster: Cluster) -> None:
    play_items(cluster, 1_000, 40.0)


def test_an_instance_that_never_ends_handles_each_event_once_although_a_worker_is_killed(cluster: Cluster) -> None:
    play_entity(cluster, 600, 1, 40.0)


def test_the_late_result_of_a_frozen_worker_is_refused(cluster: Cluster) -> None:
    """It comes back after its lease, is told that it lost the step, and its result changes nothing."""
    frozen, idle, instance = _two_workers_one_busy(cluster)
    frozen.freeze()
    _begun(cluster, "a1/work", 2)
    frozen.thaw()
    cluster.wait_until(lambda: cluster.ledger.count("a1/work", "cancelled") == 1, what="ctx.cancelled at the zombie")
    before = _journal(cluster, instance)
    cluster.ledger.open_gate("a1-1")
    cluster.wait_until(lambda: cluster.ledger.count("a1/work", "end") == 1)
    assert frozen.terminate() == 0
    assert _journal(cluster, instance) == before
    cluster.ledger.open_gate("a1-2")
    _, second = cluster.ledger.of("a1/work")
    assert cluster.result(instance) == second.pid
    assert second.pid in idle.children


def test_a_frozen_worker_that_comes_back_goes_on_working(cluster: Cluster) -> None:
    """Under a new lease: the old one stays dead."""
    cluster.orchestrator()
    worker = cluster.ready(cluster.worker())
    cluster.result(cluster.create("chain", "c1"))
    worker.freeze()
    cluster.wait_until(lambda: cluster.logged("worker lost"))
    worker.thaw()
    assert cluster.result(cluster.create("chain", "c2")) == 3
    assert set(cluster.ledger.counts().values()) == {1}


def test_a_killed_worker_process_is_started_again_by_its_parent(cluster: Cluster) -> None:
    cluster.orchestrator()
    worker = cluster.ready(cluster.worker())
    (child,) = worker.children
    os.kill(child, signal.SIGKILL)
    cluster.wait_until(lambda: worker.text().count("worker ready") == 2)
    assert cluster.result(cluster.create("chain", "c1")) == 3


@pytest.mark.parametrize("thread", ["engine", "fetch-default", "lease", "guardian", "callbacks"])
def test_a_worker_that_loses_a_thread_ends_loudly_and_another_takes_its_place(cluster: Cluster, thread: str) -> None:
    """With its lease renewed and one thread gone it would look alive for ever, and serve nothing."""
    cluster.orchestrator()
    worker = cluster.ready(cluster.worker())
    # Alone: a thread that another one is just starting goes by the id of its starter, and would be hit in its place.
    cluster.create("deadly", "d1", {"thread": thread})
    cluster.wait_until(lambda: f"thread_name='{thread}'" in worker.text(), what="a word about the thread")
    after = cluster.create("chain", "c1")
    cluster.wait_until(
        lambda: re.search(r"worker process ended pid=\d+ status=70", worker.text()), what="the end of the process"
    )
    cluster.wait_until(lambda: worker.text().count("worker ready") == 2)
    assert cluster.result(after) == 3
    worker.log.write_text("")  # it tells of the thread's end with a traceback, as it should


def test_worker_processes_end_when_their_parent_is_killed(cluster: Cluster) -> None:
    """Nobody would start them again, so they drain and leave."""
    worker = cluster.ready(cluster.worker("-p", "2"))
    # A library asks `file` about the interpreter as it is imported, so for a moment there are more.
    children = cluster.wait_until(lambda: found if len(found := worker.children) == 2 else None)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    cluster.wait_until(lambda: not any(alive(child) for child in children))


# Deaths that somebody knows of. Leases are long here, so that nothing can come from waiting for one.


def _many_gated(cluster: Cluster, count: int = 30) -> list[WorkflowInstance]:
    """Instances whose steps stand before the gates of their attempts, all begun."""
    handles = [cluster.create("gated", f"g{number}", {"gate": "many-{attempt}"}) for number in range(count)]
    cluster.wait_until(lambda: len(cluster.ledger.counts("g")) == count, what=f"{count} steps begun")
    return handles


def _all_begun_again(cluster: Cluster, count: int, died: float) -> list[float]:
    """Waits until all have. Returns: after how many seconds each did."""
    cluster.wait_until(lambda: set(cluster.ledger.counts("g").values()) == {2}, what="all steps begun again")
    assert len(cluster.ledger.counts("g")) == count
    return sorted(line.at - died for line in cluster.ledger.lines("g") if line.attempt == 2 and line.what == "start")


def _several_looks(cluster: Cluster) -> None:
    """The orchestrator looks for closed connections once a second."""
    until = cluster.redis.time()[0] + 4
    cluster.wait_until(lambda: cluster.redis.time()[0] >= until)


def test_all_steps_of_a_killed_process_begin_elsewhere_at_once(cluster: Cluster) -> None:
    """Its parent has seen it, and every one of them has a process of its own; none is blamed."""
    cluster.orchestrator()
    worker = cluster.ready(cluster.worker("--lease", "60"))
    (child,) = worker.children
    handles = _many_gated(cluster)
    cluster.ready(cluster.worker("--lease", "60"))
    os.kill(child, signal.SIGKILL)
    took = _all_begun_again(cluster, 30, time.time())
    assert took[-1] < 20, took
    cluster.ledger.open_gate("many-2")
    assert len({cluster.result(handle) for handle in handles}) == 30
    assert set(cluster.ledger.counts("g").values()) == {2, 1}


def test_a_new_worker_takes_over_at_once_from_one_that_died_with_its_parent_on_the_same_machine(
    cluster: Cluster,
) -> None:
    cluster.orchestrator()
    worker = cluster.ready(cluster.worker("--lease", "60"))
    handles = _many_gated(cluster, 10)
    worker.kill()
    died = time.time()
    cluster.worker("--lease", "60")
    took = _all_begun_again(cluster, 10, died)
    assert took[-1] < 15, took
    cluster.ledger.open_gate("many-2")
    # Nobody saw how it died, so they run side by side, as before.
    assert len({cluster.result(handle) for handle in handles}) == 1


def test_a_worker_that_died_with_its_parent_is_known_by_its_connections(cluster: Cluster) -> None:
    """The other one runs already, and sees nothing of it."""
    busy, _, instance = _two_workers_one_busy(cluster, "--lease", "60")
    busy.kill()
    killed = time.time()
    _begun(cluster, "a1/work", 2)
    assert time.time() - killed < 15
    cluster.ledger.open_gate("a1-2")
    cluster.result(instance)
    assert cluster.logged("workers gone")


def test_cut_connections_that_come_back_are_no_death(cluster: Cluster) -> None:
    """All at once, with steps in flight, and again while more is going on."""
    cluster.orchestrator()
    cluster.ready(cluster.worker("--lease", "60"))
    handles = _many_gated(cluster, 5)
    cluster.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    chains = [cluster.create("chain", f"c{number}", {"steps": 20, "seconds": 0.1}) for number in range(5)]
    cluster.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    _several_looks(cluster)
    assert {cluster.result(chain) for chain in chains} == {190}
    cluster.ledger.open_gate("many-1")
    assert len({cluster.result(handle) for handle in handles}) == 1
    assert set(cluster.ledger.counts().values()) == {1}
    assert not cluster.logged("workers gone")


def test_a_frozen_worker_is_not_taken_for_dead_before_its_lease_is_over(cluster: Cluster) -> None:
    cluster.orchestrator()
    worker = cluster.ready(cluster.worker("--lease", "60"))
    handles = _many_gated(cluster, 5)
    worker.freeze()
    _several_looks(cluster)
    worker.thaw()
    cluster.ledger.open_gate("many-1")
    assert len({cluster.result(handle) for handle in handles}) == 1
    assert set(cluster.ledger.counts().values()) == {1}


def test_two_killers_beside_long_healthy_steps_are_the_only_ones_blamed(cluster: Cluster) -> None:
    cluster.orchestrator()
    cluster.worker()
    handles = _many_gated(cluster, 5)
    killers = [cluster.create("poison", f"p{number}") for number in range(2)]
    assert {cluster.result(killer, 60) for killer in killers} == {"PoisonError"}
    # The second need not have begun when the first one took its process along.
    assert {cluster.ledger.count(f"p{number}/poison") for number in range(2)} <= {2, 3}
    attempts = max(line.attempt for line in cluster.ledger.lines("g"))
    for attempt in range(1, attempts + 1):
        cluster.ledger.open_gate(f"many-{attempt}")
    for handle in handles:
        cluster.result(handle)


def test_a_step_that_kills_its_worker_each_time_fails_after_three_deaths(cluster: Cluster) -> None:
    """A poison step ends as a catchable error instead of going round for ever (F22); what came with it goes on."""
    cluster.orchestrator()
    instance = cluster.create("poison", "p1")
    others = [cluster.create("chain", f"i{number}", {"steps": 2, "seconds": 0}) for number in range(30)]
    cluster.worker()
    assert cluster.result(instance, 40) == "PoisonError"
    assert cluster.ledger.count("p1/poison") == 3
    assert {cluster.result(other, 20) for other in others} == {1}


def test_a_drained_worker_hands_its_work_over_without_loss_or_repeat(cluster: Cluster) -> None:
    """SIGTERM under load: what runs may finish, the rest is done by the other one, and no lease has to expire."""
    cluster.orchestrator()
    leaving = cluster.ready(cluster.worker("--lease", "30"))
    cluster.ready(cluster.worker("--lease", "30"))
    handles = [cluster.create("chain", f"c{number}", {"steps": 8, "seconds": 0.1}) for number in range(60)]
    cluster.wait_until(lambda: len(cluster.ledger.lines()) > 100)
    assert leaving.terminate() == 0
    assert {cluster.result(handle) for handle in handles} == {28}
    assert cluster.ledger.counts() == {f"c{number}/{n}": 1 for number in range(60) for n in range(8)}
    assert not cluster.logged("worker lost")


def test_a_step_that_outlives_the_grace_is_handed_over_at_once(cluster: Cluster) -> None:
    """The process is gone soon after the grace, although the callback ignores everything; attempt 1 did run."""
    busy, idle, instance = _two_workers_one_busy(cluster, "--lease", "30", "--grace", "0.5")
    asked = time.time()
    assert busy.terminate() == 0
    assert time.time() - asked < 5
    _begun(cluster, "a1/work", 2)
    cluster.ledger.open_gate("a1-2")
    assert cluster.result(instance) in idle.children
    assert not cluster.logged("worker lost")


# Orchestrators


def test_a_killed_orchestrator_is_replaced_within_7_seconds(cluster: Cluster) -> None:
    """All instances move on, whichever orchestrator looked after them."""
    doomed, _ = cluster.orchestrator(), cluster.orchestrator()
    cluster.ready(cluster.worker())
    owners = [f"{{{cluster.namespace}/{shard:02d}}}:owner" for shard in range(16)]

    def shared() -> bool:
        tokens = [cluster.redis.hget(owner, "token") for owner in owners]
        return sorted(tokens.count(token) for token in {*tokens} if token) == [8, 8]

    cluster.wait_until(shared, what="shards shared by both")
    handles = [cluster.create("sleeper", f"n{number}", {"pause": 200}) for number in range(64)]
    doomed.kill()
    killed = time.time()
    for handle in handles:
        assert cluster.result(handle) == "rested"
    assert time.time() - killed < 8
    assert set(cluster.ledger.counts().values()) == {1}


def test_an_orchestrator_that_stops_politely_leaves_no_gap(cluster: Cluster) -> None:
    """It gives its shards up, so that the other one need not wait for the leases."""
    leaving, _ = cluster.orchestrator(), cluster.orchestrator()
    cluster.ready(cluster.worker())
    cluster.result(cluster.create("chain", "c1"))
    assert leaving.terminate() == 0
    left = time.time()
    handles = [cluster.create("sleeper", f"n{number}", {"pause": 200}) for number in range(64)]
    for handle in handles:
        assert cluster.result(handle) == "rested"
    assert time.time() - left < 4


# Redis


def test_everything_goes_on_by_itself_after_redis_was_killed_and_started_again(cluster: Cluster) -> None:
    """No process ends, nothing runs twice, and the first result is committed soon after the server is back."""
    for _ in range(2):
        cluster.orchestrator()
        cluster.ready(cluster.worker("--lease", "10"))
    chains = [cluster.create("chain", f"c{number}", {"steps": 20, "seconds": 0.1}) for number in range(40)]
    waiting = [cluster.create("patient", f"p{number}") for number in range(5)]
    napping = [cluster.create("sleeper", f"n{number}", {"pause": 1_000}) for number in range(5)]
    cluster.wait_until(lambda: len(cluster.ledger.lines()) > 200)
    cluster.redis_server.kill()
    killed_with = len(cluster.ledger.lines())
    cluster.redis_server.start()
    back = time.time()
    cluster.wait_until(lambda: len(cluster.ledger.lines()) > killed_with + 100, 5)
    assert time.time() - back < 3
    for handle in waiting:
        handle.send_event("reply", "hello")
    assert {cluster.result(handle) for handle in chains} == {190}
    assert {cluster.result(handle) for handle in waiting} == {"hello"}
    assert {cluster.result(handle) for handle in napping} == {"rested"}
    assert {key: count for key, count in cluster.ledger.counts().items() if count > 1} == {}
    assert all(process.alive for process in cluster.processes)


def test_a_redis_that_is_killed_again_and_again_costs_time_only(cluster: Cluster) -> None:
    """Where it writes before it answers: with ``everysec``, a disk that is busy holds back what a kill then loses."""

    def write_before_answering() -> None:
        cluster.redis.config_set("appendfsync", "always")

    write_before_answering()
    cluster.orchestrator()
    for _ in range(2):
        cluster.ready(cluster.worker("--lease", "10"))
    handles = [cluster.create("chain", f"c{number}", {"steps": 20, "seconds": 0.05}) for number in range(30)]
    for crash in range(1, 4):
        cluster.wait_until(partial(_has_lines, cluster, crash * 150))
        cluster.crash_redis()
        write_before_answering()
    assert {cluster.result(handle) for handle in handles} == {190}
    assert {key: count for key, count in cluster.ledger.counts().items() if count > 1} == {}


# Everything


@pytest.mark.parametrize("politely", [True, False], ids=["stopped", "killed"])
def test_timers_that_fell_due_while_nothing_ran_fire_at_once(cluster: Cluster, politely: bool) -> None:
    """Sleeps, timeouts and back-offs, with everything stopped and Redis restarted in between; nothing runs twice."""
    cluster.orchestrator()
    cluster.worker()
    sleeper = cluster.create("sleeper", "n1", {"pause": 1_000})
    patient = cluster.create("patient", "p1", {"timeout": 1_000})
    hopeful = cluster.create("patient", "p2")
    retrying = cluster.create("retrying", "r1", {"times": 1, "delay": 1_000})
    every = (sleeper, patient, hopeful, retrying)
    for instance in every:
        cluster.wait_for_status(instance, "waiting")
    if politely:
        cluster.stop_all()
    else:
        cluster.kill_all()
    due = cluster.redis.time()[0] + 2
    cluster.redis_server.restart()
    cluster.wait_until(lambda: cluster.redis.time()[0] >= due)
    assert {instance.status().status for instance in every} == {"waiting"}
    hopeful.send_event("reply", "at last")
    cluster.orchestrator()
    cluster.ready(cluster.worker())
    started = time.time()
    assert cluster.result(sleeper) == "rested"
    assert cluster.result(patient).startswith("Execution timed out after 1000ms (")
    assert cluster.result(hopeful) == "at last"
    assert cluster.result(retrying) == 2
    assert time.time() - started < (2 if politely else 7)
    counts = cluster.ledger.counts()
    assert counts.pop("r1/work") == 2
    assert set(counts.values()) == {1}

"""Limits on running instances, with real processes: never too many, each in its turn, and all of them in the end."""

from __future__ import annotations

from collections.abc import Mapping

from tests.acceptance.processes import Cluster
from workflows.storage.concurrency import clear_limit, set_limit
from workflows.storage.status import Status
from workflows.values.concurrency import Concurrency


def most_at_a_time(cluster: Cluster, prefix: str) -> int:
    """Of the instances whose step has this prefix. From the first beginning of a step to its last end it has a slot."""
    lines = cluster.ledger.lines(prefix)
    begins: dict[str, float] = {}
    ends: dict[str, float] = {}
    for line in lines:
        if line.what == "start":
            begins.setdefault(line.key, line.at)
        elif line.what == "end":
            ends[line.key] = line.at
    moments = sorted([*((at, 1) for at in begins.values()), *((at, -1) for at in ends.values())])
    most = now = 0
    for _, change in moments:
        now += change
        most = max(most, now)
    return most


def counts(cluster: Cluster, workflow: str) -> Mapping[Status, int]:
    found = dict.fromkeys(Status, 0)
    for one in cluster.client.workflow(workflow).list(limit=1000):
        found[one.status] += 1
    return found


def slots(cluster: Cluster) -> list[str]:
    keys = cluster.client.store.keys
    found = [cluster.redis.zrange(keys.slots(shard)[0], 0, -1) for shard in range(keys.shards)]
    return [member.decode() for members in found for member in members]


def test_fifty_of_two_tenants_run_three_at_a_time_each_although_processes_die(cluster: Cluster) -> None:
    workers = [cluster.worker() for _ in range(2)]
    orchestrators = [cluster.orchestrator() for _ in range(2)]
    tenants = {f"i{n:02d}": "ab"[n % 2] for n in range(50)}
    for id, tenant in tenants.items():
        cluster.create("limited", id, {"customer": {"tenant": tenant}})
    cluster.wait_until(lambda: len(cluster.ledger.counts()) == 6 and len(slots(cluster)) == 6, what="six run")
    cluster.wait_until(lambda: waiting(cluster) == 44, what="all others wait for a slot")
    assert counts(cluster, "limited") == {**dict.fromkeys(Status, 0), Status.RUNNING: 6, Status.QUEUED: 44}
    cluster.ledger.open_gate("go")
    cluster.wait_until(lambda: len(cluster.ledger.counts()) > 15)
    workers[0].kill()
    orchestrators[0].kill()
    cluster.orchestrator()
    cluster.worker()
    cluster.wait_until(lambda: counts(cluster, "limited")[Status.COMPLETE] == 50, 50, what="all are complete")
    for tenant in "ab":
        assert most_at_a_time(cluster, f"{tenant}/") == 3
    cluster.wait_until(lambda: not slots(cluster), what="no slot is kept")


def test_who_was_created_first_is_next(cluster: Cluster) -> None:
    cluster.orchestrator()
    cluster.worker()
    cluster.create("limited", "first", {"customer": {"tenant": "a"}})
    cluster.wait_until(lambda: len(slots(cluster)) == 1 and len(cluster.ledger.counts()) == 1, what="one runs")
    # Only now: a limit without the key that the app declares is moved to it once the app is known, and so are they all.
    set_limit(cluster.client.store, "limited", Concurrency(1))
    cluster.wait_until(lambda: cluster.logged("limit=1"), what="the limit is known")
    for n in range(15):
        cluster.create("limited", f"i{n:02d}", {"customer": {"tenant": "a"}})
    cluster.wait_until(lambda: waiting(cluster) == 15, what="all others wait for a slot")
    cluster.ledger.open_gate("go")
    cluster.wait_until(lambda: counts(cluster, "limited")[Status.COMPLETE] == 16)
    assert [line.key for line in cluster.ledger.lines() if line.what == "start"] == [
        "a/first",
        *(f"a/i{n:02d}" for n in range(15)),
    ]


def waiting(cluster: Cluster) -> int:
    keys = cluster.client.store.keys
    return sum(cluster.redis.zcard(keys.slots(shard)[1]) for shard in range(keys.shards))


def test_a_pile_of_sleeping_ones_holds_no_slot(cluster: Cluster) -> None:
    cluster.orchestrator()
    cluster.worker()
    sleeping = [cluster.create("limited", f"s{n}", {"customer": {"tenant": "a"}, "nap": "1 day"}) for n in range(20)]
    for instance in sleeping:
        cluster.wait_for_status(instance, "waiting")
    cluster.wait_until(lambda: not slots(cluster), what="no slot is kept")
    cluster.ledger.open_gate("go")
    cluster.result(cluster.create("limited", "w", {"customer": {"tenant": "a"}}))


def test_a_limit_is_raised_and_lowered_while_they_run(cluster: Cluster) -> None:
    cluster.orchestrator()
    cluster.worker()
    store = cluster.client.store
    for n in range(12):
        cluster.create("limited", f"i{n:02d}", {"customer": {"tenant": "a"}, "gate": f"g{n}"})
    cluster.wait_until(lambda: len(cluster.ledger.counts()) == 3)
    set_limit(store, "limited", Concurrency(5))
    cluster.wait_until(lambda: len(cluster.ledger.counts()) == 5, what="two more begin")
    set_limit(store, "limited", Concurrency(1))
    cluster.wait_until(lambda: cluster.logged("limit=1"), what="the lower limit is known")
    for n in range(5):
        cluster.ledger.open_gate(f"g{n}")
    cluster.wait_until(lambda: len(cluster.ledger.counts()) == 6, what="one goes on")
    cluster.wait_until(lambda: counts(cluster, "limited")[Status.COMPLETE] == 5)
    assert len(slots(cluster)) == 1
    clear_limit(store, "limited")
    cluster.wait_until(lambda: len(cluster.ledger.counts()) == 8, what="three run again")
    assert len(slots(cluster)) == 3


def test_a_workflow_without_a_limit_is_given_one_and_loses_it_again(cluster: Cluster) -> None:
    """Those that run are counted, none is lost and none runs twice."""
    cluster.orchestrator()
    cluster.worker()
    store = cluster.client.store
    for n in range(4):
        cluster.create("unlimited", f"r{n}", {"gate": "first"})
    cluster.wait_until(lambda: len(cluster.ledger.counts()) == 4)
    set_limit(store, "unlimited", Concurrency(2))
    cluster.wait_until(lambda: len(slots(cluster)) == 4, what="those that run are counted")
    for n in range(6):
        cluster.create("unlimited", f"s{n}", {"gate": "second"})
    cluster.wait_until(lambda: waiting(cluster) == 6, what="new ones wait")
    cluster.ledger.open_gate("first")
    cluster.wait_until(lambda: len(cluster.ledger.counts()) == 6, what="two of them begin")
    assert sorted(cluster.ledger.counts()) == [*(f"all/r{n}" for n in range(4)), "all/s0", "all/s1"]
    clear_limit(store, "unlimited")
    cluster.wait_until(lambda: len(cluster.ledger.counts()) == 10, what="the others begin")
    cluster.ledger.open_gate("second")
    cluster.wait_until(lambda: counts(cluster, "unlimited")[Status.COMPLETE] == 10)
    assert set(cluster.ledger.counts().values()) == {1}
    cluster.wait_until(lambda: not slots(cluster), what="no slot is kept")

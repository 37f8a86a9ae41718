"""Without faults, does every callback run exactly once (I9)? Counted by the callbacks themselves, outside of Redis."""

from __future__ import annotations

import pytest

from tests.acceptance.processes import Cluster


def _spread(cluster: Cluster, instances: int) -> None:
    """Run that many instances of ten steps, created while the processes start."""
    ids = [f"s{number}" for number in range(instances)]
    workflow = cluster.client.workflow("spread")
    handles = [
        handle
        for at in range(0, instances, 100)
        for handle in workflow.create_batch([{"id": id} for id in ids[at : at + 100]])
    ]
    assert len(handles) == instances
    assert {cluster.result(handle, 50) for handle in handles} == {17}
    names = ["first", "second", *(f"middle-{n}" for n in range(6)), "sum", "last"]
    assert cluster.ledger.counts() == {f"{id}/{name}": 1 for id in ids for name in names}
    assert not cluster.logged("worker lost")
    assert not cluster.logged("repaired")


def test_two_hundred_instances_of_ten_steps_run_each_step_once(cluster: Cluster) -> None:
    """Two workers, two orchestrators."""
    for _ in range(2):
        cluster.orchestrator()
        cluster.worker()
    _spread(cluster, 200)


def test_the_same_holds_when_every_turn_replays_from_scratch(cluster: Cluster) -> None:
    """No suspended replay is ever kept: memory is a cache and nothing more."""
    for _ in range(2):
        cluster.orchestrator()
        cluster.worker("--warm", "0")
    _spread(cluster, 40)


@pytest.mark.parametrize("queues", [("default",), ("default", "gpu")], ids=["one queue", "two queues"])
def test_a_drained_cluster_leaves_no_work_behind(cluster: Cluster, queues: tuple[str, ...]) -> None:
    """No doorbell, intent, claim or lease is left when everything has ended and stopped."""
    cluster.orchestrator()
    cluster.worker(*(option for queue in queues for option in ("-q", queue)))
    handles = [cluster.create("chain", f"c{number}") for number in range(20)]
    for handle in handles:
        assert cluster.result(handle) == 3
    cluster.stop_all()
    left = [key for key in cluster.key_names() if key.endswith((":intents", ":held", ":workers", ":timers", ":relay"))]
    assert left == []
    assert cluster.key_names("rq:job") == []
    assert cluster.cli("LLEN", "rq:queue:acceptance.default") == "0"

"""Rollbacks go on whoever dies: on real processes, in their order, and each handler to its end once."""

from __future__ import annotations

from tests.acceptance.processes import Cluster


def ended(cluster: Cluster, id: str) -> list[str]:
    """The handlers that have come to their end, in that order."""
    prefix = f"{id}/undo "
    return [line.key.removeprefix(prefix) for line in cluster.ledger.lines(prefix) if line.what == "end"]


def test_a_rollback_goes_on_when_its_worker_and_its_orchestrator_are_killed(cluster: Cluster) -> None:
    orchestrator, worker = cluster.orchestrator(), cluster.worker()
    instance = cluster.create("undone", "trip", {"gate": "c"})
    cluster.ledger.open_gate("c")
    cluster.wait_until(lambda: cluster.ledger.count("trip/undo c") == 1, what="the first handler runs")
    worker.kill()
    cluster.worker()
    cluster.wait_until(lambda: cluster.ledger.count("trip/undo c") == 2, what="it runs once more")
    orchestrator.kill()
    cluster.ledger.open_gate("undo-c")
    cluster.orchestrator()
    cluster.wait_until(lambda: cluster.ledger.count("trip/undo b") == 1, what="the next handler runs")
    assert instance.status().is_rolling_back
    for name in "ba":
        cluster.ledger.open_gate(f"undo-{name}")
    cluster.wait_for_status(instance, "errored")
    assert ended(cluster, "trip") == ["c", "b", "a"]
    status = instance.status()
    assert status.error is not None and status.error.message == "(7, 'after c')"
    assert status.rollback is not None and status.rollback.outcome == "complete"


def test_a_step_whose_worker_died_under_it_is_undone_like_the_others(cluster: Cluster) -> None:
    cluster.orchestrator()
    worker = cluster.worker()
    instance = cluster.create("undone", "trip", {"gate": "never"})
    cluster.wait_until(lambda: cluster.ledger.count("trip/c") == 1, what="c runs")
    worker.kill()
    instance.terminate(rollback=True)
    for name in "cba":
        cluster.ledger.open_gate(f"undo-{name}")
    cluster.worker()
    cluster.wait_for_status(instance, "terminated")
    assert ended(cluster, "trip") == ["c", "b", "a"]
    assert cluster.ledger.count("trip/c") == 1
    status = instance.status()
    assert status.rollback is not None and status.rollback.outcome == "complete"

"""Many items side by side, of which one in a hundred fails, while a worker is killed."""

from __future__ import annotations

import time

from tests.acceptance.processes import Cluster


def play_items(cluster: Cluster, items: int, seconds: float) -> float:
    """Check the outcomes. Returns: how many seconds it took."""
    cluster.orchestrator()
    busy, _ = [cluster.ready(cluster.worker()) for _ in range(2)]
    begun = time.monotonic()
    instance = cluster.create("many-items", f"items-{items}", {"items": items, "may_fail": items // 50})
    cluster.wait_until(lambda: cluster.ledger.count("items") > items // 4, seconds, what="a quarter of the items")
    busy.kill()
    failed = [number for number in range(items) if number % 100 == 7]
    rest = sum(number for number in range(items) if number % 100 != 7)
    assert cluster.result(instance, seconds) == ["all_completed", failed, rest]
    return time.monotonic() - begun

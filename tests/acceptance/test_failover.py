"""Does everything go on when another server becomes the primary, and what is lost with the former one?

Redis copies to its replicas after it has answered, so a failover may lose what was acknowledged last, with Sentinels or
without. What the new primary has must end as if nothing had happened.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.acceptance.processes import Cluster
from tests.sentinels import PASSWORD, Group
from workflows.errors import InstanceAlreadyExists, InstanceNotFound, ServerUnavailable

pytestmark = pytest.mark.outage

# From the election on, until calls are answered and steps run again. Every process hears of it within a second, tries
# again within another; the rest is for a machine that has other things to do.
BACK_SECONDS = 10.0
START_SECONDS = 50.0
# Longer than the change takes: whoever cannot renew a lease in time loses what was held under it, and it runs again.
LEASE = ("--lease", "15")
# What a replica on the same machine may lack.
LAG_SECONDS = 0.5
PAUSE_MS = 15_000
PACE_SECONDS = 0.005


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    folder = tmp_path / "group"
    folder.mkdir()
    with Group(folder, replicas=2) as started:
        yield started


@dataclass
class Load:
    """Creates instances one after the other, from its own thread, until told to stop."""

    cluster: Cluster
    acknowledged: dict[str, float] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    errors: list[Exception] = field(default_factory=list)

    def run(self) -> None:
        number = 0
        while not self.stop.is_set():
            try:
                self.cluster.create("chain", f"c{number}", {})
            except InstanceAlreadyExists:
                pass  # A former call was executed, and its reply lost.
            except ServerUnavailable as error:
                if not error.passing:
                    self.errors.append(error)
                    return
                time.sleep(0.02)
                continue
            self.acknowledged[f"c{number}"] = time.time()
            number += 1
            self.stop.wait(PACE_SECONDS)


def kill(group: Group) -> None:
    former = group.primary
    former.kill()
    group.wait_for_failover(former)


def hand_over(group: Group) -> None:
    """As docs/operations.md tells operators: without the pause, what is acknowledged until the Sentinels see the new
    primary is lost."""
    with group.primary.client(PASSWORD) as client:
        client.client_pause(PAUSE_MS, all=False)
    group.fail_over()


@pytest.mark.parametrize("change", [kill, hand_over], ids=["killed", "handed over"])
def test_everything_goes_on_when_the_primary_changes_under_load(
    change: Callable[[Group], None], group: Group, tmp_path: Path
) -> None:
    with Cluster(tmp_path, url=group.url) as cluster:
        for _ in range(2):
            cluster.orchestrator()
        workers = [cluster.worker(*LEASE) for _ in range(2)]
        # One that is only being born when its Redis goes ends, and its parent starts another.
        ready = "worker ready"
        cluster.wait_until(lambda: all(ready in one.text() for one in workers), START_SECONDS, what=ready)
        load = Load(cluster)
        thread = threading.Thread(target=load.run)
        thread.start()
        try:
            cluster.wait_until(lambda: cluster.ledger.counts()["c50/2"], START_SECONDS, what="instances run")
            began = time.time()
            change(group)
            over = time.time()
            cluster.wait_until(lambda: first_after(load, over), what="calls go on")
            cluster.wait_until(lambda: cluster.ledger.count(f"{first_after(load, over)}/2"), what="steps go on")
            back = time.time()
            count = len(load.acknowledged)
            cluster.wait_until(lambda: len(load.acknowledged) > count + 50, what="more of them")
        finally:
            load.stop.set()
            thread.join()
        assert not load.errors
        assert back - over < BACK_SECONDS
        lost = [at for id, at in load.acknowledged.items() if not ended(cluster, id)]
        repeated = [key for key, runs in cluster.ledger.counts().items() if runs > 1]
        if change is hand_over:
            assert (lost, repeated) == ([], [])
        # Of the killed one's last moments, some may be lost: what was acknowledged, and that steps had ended.
        assert all(began - LAG_SECONDS < at < over for at in lost), [at - began for at in lost]
        for key in repeated:
            first, _ = cluster.ledger.of(key)
            assert began - LAG_SECONDS < first.at < over
        cluster.stop_all()
        cluster.check_logs()


def first_after(load: Load, moment: float) -> str | None:
    return next((id for id, at in list(load.acknowledged.items()) if at > moment), None)


def ended(cluster: Cluster, id: str) -> bool:
    """Whether it is there; if so, it ends, and has kept exactly one result of each step."""
    try:
        instance = cluster.client.workflow("chain").get(id)
    except InstanceNotFound:
        return False
    assert cluster.result(instance) == 3
    assert [step.status for step in instance.status().steps] == ["complete"] * 3
    return True

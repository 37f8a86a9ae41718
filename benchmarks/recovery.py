"""How soon the work of dead workers goes on: ``python -m benchmarks.recovery``.

Each case has steps in flight at one worker, ends it in one way, and says after how long those steps had begun again;
the last one also counts callbacks that ran twice. The lease is the yardstick: what nobody knows of takes that long.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.acceptance.processes import Cluster, Process

LEASE_SECONDS = 10
STEPS = 30
INSTANCES, STEPS_EACH = 200, 10


def _child_killed(cluster: Cluster, worker: Process) -> None:
    """The other worker is there already; the parent sees it."""
    os.kill(worker.children[0], signal.SIGKILL)


def _killed_with_parent_and_started_anew(cluster: Cluster, worker: Process) -> None:
    for process in cluster.processes:
        if process.name.startswith("worker"):
            process.kill()
    cluster.worker("--lease", str(LEASE_SECONDS))


def _killed_with_parent(cluster: Cluster, worker: Process) -> None:
    worker.kill()


def _gone_without_a_word(cluster: Cluster, worker: Process) -> None:
    worker.freeze()


CASES: dict[str, Callable[[Cluster, Process], None]] = {
    "process killed, parent alive": _child_killed,
    "all killed with their parents, one started at once": _killed_with_parent_and_started_anew,
    "killed with its parent, another one elsewhere": _killed_with_parent,
    "machine gone without a word": _gone_without_a_word,
}


def steps_in_flight(end: Callable[[Cluster, Process], None]) -> list[float]:
    """Seconds from the death to the second beginning of each step that was in flight."""
    with tempfile.TemporaryDirectory() as folder, Cluster(Path(folder)) as cluster:
        cluster.orchestrator()
        worker = cluster.ready(cluster.worker("--lease", str(LEASE_SECONDS)))
        for number in range(STEPS):
            cluster.create("gated", f"g{number}", {"gate": "again-{attempt}"})
        cluster.wait_until(lambda: len(cluster.ledger.counts("g")) == STEPS)
        if end is not _killed_with_parent_and_started_anew:
            cluster.ready(cluster.worker("--lease", str(LEASE_SECONDS)))
        died = time.time()
        end(cluster, worker)
        cluster.wait_until(lambda: min(cluster.ledger.counts("g").values()) > 1, LEASE_SECONDS + 20)
        return sorted(line.at - died for line in cluster.ledger.lines("g") if line.what == "start" and line.attempt > 1)


def chains() -> tuple[float, int]:
    """Everything that works killed in the middle of many short steps, and started at once.

    Returns: seconds until all had ended, and how many callbacks ran twice.
    """
    with tempfile.TemporaryDirectory() as folder, Cluster(Path(folder)) as cluster:
        cluster.orchestrator()
        options = ("--lease", str(LEASE_SECONDS), "-p", "2")
        workers = [cluster.ready(cluster.worker(*options))]
        handles = [
            cluster.create("chain", f"c{number}", {"steps": STEPS_EACH, "seconds": 0.02}) for number in range(INSTANCES)
        ]
        cluster.wait_until(lambda: len(cluster.ledger.lines()) > INSTANCES * STEPS_EACH)  # two lines a step
        died = time.time()
        for worker in workers:
            worker.kill()
        cluster.worker(*options)
        for handle in handles:
            cluster.result(handle, LEASE_SECONDS + 50)
        return time.time() - died, sum(count - 1 for count in cluster.ledger.counts().values())


def main() -> None:
    """Measure and print."""
    print(f"lease {LEASE_SECONDS} s; {STEPS} steps in flight at a worker that ends; begun again after")
    for title, end in CASES.items():
        took = steps_in_flight(end)
        ratio = statistics.median(took) / LEASE_SECONDS
        print(f"  {title:52} median {statistics.median(took):5.2f} s  all {took[-1]:5.2f} s  {ratio:.2f} × lease")
        sys.stdout.flush()
    seconds, repeated = chains()
    print(f"{INSTANCES} × {STEPS_EACH} steps, all killed in the middle and started at once:")
    print(f"  done after {seconds:.1f} s ({seconds / LEASE_SECONDS:.2f} × lease), {repeated} callbacks ran twice")


if __name__ == "__main__":
    main()

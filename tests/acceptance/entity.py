"""An instance that never ends is sent numbers, while workers are killed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from random import Random

from tests.acceptance.processes import Cluster

ENTRIES_OF_A_LIFE = 250
UNREAD = 5_000
LOOKS = 20
GROWTH_BYTES = 256 * 1024
"""What Redis may hold more of at one look than at the first: 100,000 events that left three bytes each would show."""
GROWTH_OF_A_PROCESS_KIB = 8 * 1024


@dataclass(frozen=True, slots=True)
class Played:
    """How long it took, and the least and the most that Redis held, in bytes, when all mail had been read."""

    seconds: float
    least: int
    most: int


def play_entity(cluster: Cluster, events: int, kills: int, seconds: float, seed: int = 0) -> Played:
    """Check that each number is handled once and in order, that the journal stays short, and nothing grows."""
    rng = Random(seed)
    orchestrator = cluster.orchestrator()
    workers = [cluster.ready(cluster.worker()) for _ in range(2)]
    begun = time.monotonic()
    instance = cluster.create("counter", f"counter-{events}", {"next": 0, "upto": events})
    keys = cluster.client.store.keys.of_instance(instance._instance)
    moments = sorted(rng.sample(range(events // 4, events), kills))
    held: list[int] = []
    resident: dict[int, int] = {}
    for number in range(events):
        instance.send_event("number", number)
        if number in moments:
            workers.pop(rng.randrange(2)).kill()
            workers.append(cluster.worker())
        if number % 500 == 0:
            assert cluster.redis.llen(keys[1]) <= ENTRIES_OF_A_LIFE
            cluster.wait_until(lambda: cluster.redis.hlen(keys[3]) < UNREAD, seconds, what="mail is read")
        if (number + 1) % (events // LOOKS) == 0 and number + 1 < events:
            cluster.wait_until(lambda: cluster.redis.hlen(keys[3]) <= 1, seconds, what="all mail is read")
            held.append(cluster.redis.info("memory")["used_memory_dataset"])
            assert held[-1] <= held[0] + GROWTH_BYTES, f"Redis grows: {held}"
            for pid, kib in {**orchestrator.resident(), **workers[0].resident()}.items():
                assert kib <= resident.setdefault(pid, kib) + GROWTH_OF_A_PROCESS_KIB, f"process {pid} grows: {kib} KiB"
    assert cluster.result(instance, seconds) == events
    assert cluster.redis.llen(keys[1]) <= ENTRIES_OF_A_LIFE
    return Played(time.monotonic() - begun, min(held), max(held))

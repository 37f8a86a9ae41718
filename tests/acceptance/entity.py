"""An instance that never ends is sent numbers, while workers are killed."""

from __future__ import annotations

import time
from random import Random

from tests.acceptance.processes import Cluster

ENTRIES_OF_A_LIFE = 250
UNREAD = 5_000


def play_entity(cluster: Cluster, events: int, kills: int, seconds: float, seed: int = 0) -> float:
    """Check that each number is handled once and in order, and that the journal stays short. Returns: the seconds."""
    rng = Random(seed)
    cluster.orchestrator()
    workers = [cluster.ready(cluster.worker()) for _ in range(2)]
    begun = time.monotonic()
    instance = cluster.create("counter", f"counter-{events}", {"next": 0, "upto": events})
    keys = cluster.client.store.keys.of_instance(instance._instance)
    moments = sorted(rng.sample(range(events // 4, events), kills))
    for number in range(events):
        instance.send_event("number", number)
        if number in moments:
            workers.pop(rng.randrange(2)).kill()
            workers.append(cluster.worker())
        if number % 500 == 0:
            assert cluster.redis.llen(keys[1]) <= ENTRIES_OF_A_LIFE
            cluster.wait_until(lambda: cluster.redis.hlen(keys[3]) < UNREAD, seconds, what="mail is read")
    assert cluster.result(instance, seconds) == events
    assert cluster.redis.llen(keys[1]) <= ENTRIES_OF_A_LIFE
    return time.monotonic() - begun

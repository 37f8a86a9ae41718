"""What stands in Redis, as metrics: nobody counts it, it is read when somebody asks.

Every orchestrator and every dashboard of a namespace says the same, so take the ``max`` of several, not their sum.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Final
from weakref import WeakKeyDictionary

import redis

from workflows.clock import monotonic
from workflows.errors import WorkflowError
from workflows.health import namespace
from workflows.health.counts import count_by_workflow, count_retrying, timers_late_ms
from workflows.health.queues import service
from workflows.storage.manifest import load_manifest
from workflows.storage.store import Store
from workflows.telemetry import metrics
from workflows.telemetry.figures import Series, Value
from workflows.telemetry.metrics import Labels, Metric
from workflows.telemetry.text import rendered

# Whoever asks more often is told the same again.
KEPT_SECONDS: Final = 5.0


def state(store: Store) -> dict[Series, Value]:
    """Everything there is to say of the namespace.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    found: dict[Series, Value] = {}
    name = store.keys.namespace

    def put(metric: Metric, value: float, *labels: str) -> None:
        found[metric.name, (name, *labels)] = value

    manifest = load_manifest(store)
    seen = service(store, manifest.queues())
    for workflow, counts in count_by_workflow(store, sorted(manifest.workflows)).items():
        for status, count in counts.items():
            put(metrics.INSTANCES, count, workflow, status)
    for metric, by_workflow in (
        (metrics.PARKED, Counter(one.workflow for one in namespace.parked(store))),
        (metrics.RETRYING, count_retrying(store)),
    ):
        for workflow in manifest.workflows:
            put(metric, by_workflow[workflow], workflow)
    for queue, one in seen.queues.items():
        put(metrics.UNCLAIMED, one.unclaimed, queue)
        put(metrics.UNCLAIMED_AGE, one.oldest_ms / 1000, queue)
        put(metrics.WORKERS, len(one.workers), queue)
        put(metrics.SLOTS_FREE, one.slots_free, queue)
    put(metrics.TIMERS_LATE, timers_late_ms(store, seen.around.now_ms) / 1000)
    put(metrics.SHARDS_UNOWNED, store.keys.shards - seen.around.owned_shards)
    put(metrics.ORCHESTRATORS, len(seen.around.orchestrators))
    put(metrics.REDIS_UP, 1)
    return found


class _Kept:
    """The last answer for one store. One reads at a time, the others wait for what it finds."""

    def __init__(self) -> None:
        self._reading = threading.Lock()
        self._until = 0.0
        self._values: Mapping[Series, Value] = {}

    def values(self, store: Store) -> Mapping[Series, Value]:
        with self._reading:
            if monotonic() >= self._until:
                try:
                    self._values = state(store)
                except (redis.RedisError, WorkflowError):
                    labels: Labels = (store.keys.namespace,)
                    self._values = {(metrics.REDIS_UP.name, labels): 0}
                self._until = monotonic() + KEPT_SECONDS
            return self._values


_kept: WeakKeyDictionary[Store, _Kept] = WeakKeyDictionary()


def state_values(store: Store) -> Mapping[Series, Value]:
    """The same, at most five seconds old; where Redis does not answer, that alone. Any thread may ask."""
    return _kept.setdefault(store, _Kept()).values(store)


def exposition(store: Store) -> str:
    """The state of the namespace as text for Prometheus; its type is ``text.CONTENT_TYPE``."""
    return rendered(metrics.of("state"), state_values(store))

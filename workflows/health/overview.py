"""A namespace at a glance: what a terminal shows of it, and machines that ask once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from workflows.health import namespace
from workflows.health.counts import count_by_workflow
from workflows.health.queues import QueueState
from workflows.health.server import Finding, check_server
from workflows.storage.manifest import load_manifest
from workflows.storage.status import FINAL, Status
from workflows.storage.store import Store


@dataclass(frozen=True, slots=True)
class Overview:
    """A namespace at one moment.

    Attributes:
        at: by the server's clock, in UTC.
        instances: by workflow, how many there are in each status; also of workflows that no registered app has.
        queues: see ``service``.
        orchestrators: names of those alive.
        attention: what ``workflows doctor`` finds that is not as it should be, errors first.
    """

    namespace: str
    at: datetime
    instances: Mapping[str, Mapping[str, int]]
    queues: Mapping[str, QueueState]
    orchestrators: tuple[str, ...]
    attention: tuple[Finding, ...]

    @property
    def totals(self) -> dict[str, int]:
        """How many instances there are in each status."""
        return {str(status): sum(counts[status] for counts in self.instances.values()) for status in Status}

    @property
    def workers(self) -> tuple[str, ...]:
        """Names of the worker processes that serve a queue."""
        return tuple(sorted({name for state in self.queues.values() for name in state.workers}))

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "namespace": self.namespace,
            "at": self.at.isoformat(),
            "instances": {name: dict(counts) for name, counts in self.instances.items()},
            "totals": self.totals,
            "queues": {name: state.as_dict() for name, state in self.queues.items()},
            "orchestrators": list(self.orchestrators),
            "workers": list(self.workers),
            "attention": [{"level": one.level, "message": one.message} for one in self.attention],
        }


def overview(store: Store) -> Overview:
    """Look at a namespace and its server. What that costs depends on the number of workflows, queues and shards, and
    hardly on that of instances.

    Raises:
        ServerUnavailable, redis.RedisError: Redis does not answer.
    """
    report = namespace.report(store)
    manifest = load_manifest(store)
    now_ms = namespace.server_ms(store)
    # While a key is of the wrong type nothing can be counted on.
    counts = {**count_by_workflow(store, manifest.names()), **report.orphans} if report.whole else {}
    attention = [one for one in (*check_server(store.redis), *report.findings()) if one.level != "ok"]
    return Overview(
        namespace=store.keys.namespace,
        at=datetime.fromtimestamp(now_ms / 1000, UTC),
        instances=counts,
        queues=report.queues,
        orchestrators=report.orchestrators,
        attention=tuple(sorted(attention, key=lambda one: one.level != "error")),
    )


class EndedRate:
    """How many instances have ended in a second, since the first look.

    Counted from one look to the next: those that were removed or restarted between two looks are missing, so it is a
    little low where retention is short.
    """

    def __init__(self) -> None:
        self._first: datetime | None = None
        self._last: Overview | None = None
        self._ended = 0

    def add(self, seen: Overview) -> None:
        """Take the next look in."""
        if self._first is None:
            self._first = seen.at
        if self._last is not None:
            before = self._last.instances
            self._ended += sum(
                max(0, counts[status] - before[name][status])
                for name, counts in seen.instances.items()
                if name in before
                for status in FINAL
            )
        self._last = seen

    @property
    def seconds(self) -> float:
        """How long it has been counting."""
        return (self._last.at - self._first).total_seconds() if self._last and self._first else 0.0

    @property
    def per_second(self) -> float:
        return self._ended / self.seconds if self.seconds > 0 else 0.0

"""The processes that move instances: orchestrators and workers, as they say of themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from workflows.client.history import iso
from workflows.health.queues import Service
from workflows.storage.keys import rq_worker
from workflows.storage.outage import server_errors
from workflows.storage.store import Store

_FIELDS: Final = ("hostname", "pid", "birth", "last_heartbeat", "slots", "slots_free")
_SHOWN: Final = 1_000
# In the year 9999; a lease that is longer was written by somebody else.
_LATEST_MS: Final = 253_370_764_800_000


@dataclass(frozen=True, slots=True)
class FleetWorker:
    """A worker process.

    Attributes:
        queues: without the namespace.
        born_at, seen_at: when it began, and when it last gave a sign of life.
        slots: how many attempts it may run at once; None: it does not say.
    """

    name: str
    queues: tuple[str, ...]
    host: str
    pid: str
    born_at: datetime | None
    seen_at: datetime | None
    slots: int | None
    slots_free: int | None

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "name": self.name,
            "queues": list(self.queues),
            "host": self.host,
            "pid": self.pid,
            "born_at": iso(self.born_at),
            "seen_at": iso(self.seen_at),
            "slots": self.slots,
            "slots_free": self.slots_free,
        }


@dataclass(frozen=True, slots=True)
class FleetOrchestrator:
    """An orchestrator, and until when it counts as alive unless it says more."""

    name: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Fleet:
    orchestrators: tuple[FleetOrchestrator, ...]
    workers: tuple[FleetWorker, ...]


def fleet(store: Store, service: Service) -> Fleet:
    """Who is at work, in one round trip.

    Args:
        service: it knows the names of the workers.
    Raises: ServerUnavailable.
    """
    serves: dict[str, list[str]] = {}
    for queue, state in service.queues.items():
        for name in state.workers:
            serves.setdefault(name, []).append(queue)
    names = sorted(serves)[:_SHOWN]
    with server_errors(store.redis):
        records = store.answers([["HMGET", rq_worker(name), *_FIELDS] for name in names])
    workers = []
    for name, record in zip(names, records, strict=True):
        if isinstance(record, Exception):
            continue  # something else stands there
        texts = [b"" if one is None else one for one in record]
        host, pid, birth, seen, slots, free = (text.decode(errors="backslashreplace") for text in texts)
        found = (_moment(birth), _moment(seen), _number(slots), _number(free))
        workers.append(FleetWorker(name, tuple(sorted(serves[name])), host, pid, *found))
    orchestrators = (
        FleetOrchestrator(name, datetime.fromtimestamp(min(until, _LATEST_MS) / 1000, UTC))
        for name, until in service.around.orchestrators.items()
    )
    return Fleet(tuple(orchestrators), tuple(workers))


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 10 else None

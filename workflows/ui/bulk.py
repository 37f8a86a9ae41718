"""One action for many instances, carried out by a thread of this process while whoever asked looks at how far it is.

A job works with the client's own verbs for many, a hundred at a time and the newest first. Each of them may be done
again without harm, so a job that was stopped, or whose process has ended, is started again and does the rest.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from workflows import limits
from workflows.client import Client, bulk
from workflows.client.batches import Plan
from workflows.client.blocking import carry_out
from workflows.client.history import iso
from workflows.clock import here
from workflows.health.error_groups import troubles
from workflows.storage.keys import Instance, Keyspace
from workflows.ui.bulk_orders import Order, how_many, selected
from workflows.ui.refusals import Refusal, RequestRefused

RUNNING_MAX: Final = 3
"""Jobs at a time in one process; each has a thread and keeps Redis busy."""
KEPT: Final = 50
"""Jobs of which this process still knows how they ended."""
_LOG = logging.getLogger("workflows.ui")

State = Literal["running", "stopping", "stopped", "done", "failed"]


class _Over(Exception):
    """Nothing more is to be done."""


@dataclass(slots=True)
class NotTaken:
    """Instances that did not take it, for one reason.

    Attributes:
        code: the name of the error.
        message, id: of the first.
    """

    code: str
    count: int
    message: str
    id: str

    def as_dict(self) -> dict[str, Any]:
        return {"code": self.code, "count": self.count, "message": self.message, "id": self.id}


class Job:
    """One order, and how far it is. Its thread writes, everybody reads.

    Attributes:
        total: how many there were when it began, as far as one can know; None: not known.
        done: how many took it; of a dry run, how many are meant.
        error: why it failed.
    """

    def __init__(self, order: Order, user: str) -> None:
        self.id = secrets.token_urlsafe(9)
        self.order = order
        self.user = user
        self.state: State = "running"
        self.total: int | None = None
        self.done = 0
        self.error: str | None = None
        self.created_at = here().astimezone(UTC)
        self.ended_at: datetime | None = None
        self._refused: dict[str, NotTaken] = {}
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self.thread: threading.Thread | None = None

    @property
    def refused(self) -> list[NotTaken]:
        """Why instances did not take it, the most frequent reason first. They had gone or ended by themselves, say."""
        with self._lock:
            return sorted((replace(one) for one in self._refused.values()), key=lambda one: (-one.count, one.code))

    @property
    def met(self) -> int:
        """How many instances it has come by."""
        return self.done + sum(one.count for one in self.refused)

    @property
    def is_over(self) -> bool:
        return self.ended_at is not None

    def stop(self) -> None:
        """Go on with nothing; what is under way, a hundred at most, is done."""
        with self._lock:
            if self.state == "running":
                self.state = "stopping"
        self._stop.set()

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it, all of one moment."""
        with self._lock:
            return {
                "id": self.id,
                "action": self.order.action,
                "filter": self.order.filter.as_dict(),
                "dry_run": self.order.dry_run,
                "limit": self.order.limit,
                "state": self.state,
                "total": self.total,
                "met": self.met,
                "done": self.done,
                "refused": [one.as_dict() for one in self.refused],
                "error": self.error,
                "created_at": iso(self.created_at),
                "ended_at": iso(self.ended_at),
            }

    def run(self, client: Client) -> None:
        """Do it; never raises."""
        ending: State = "done"
        try:
            self.total = how_many(client, self.order)
            carry_out(client.store, self._plan(client))
        except _Over:
            ending = "stopped" if self._stop.is_set() else "done"
        except Exception as error:
            ending = "failed"
            refusal = Refusal.of(error)
            self.error = f"{type(error).__name__}: {error}" if refusal is None else refusal.message
            if refusal is None:
                _LOG.exception("ui_error", extra={"job": self.id})
        with self._lock:
            self.state, self.ended_at = ending, here().astimezone(UTC)
        about: dict[str, Any] = {"user": self.user, "action": self.order.action, "job": self.id, "outcome": ending}
        about |= {"instance": self.order.filter.workflow, "done": self.done, "refused": self.met - self.done}
        _LOG.info("ui_action", extra=about)

    def _plan(self, client: Client) -> Plan[None]:
        keys, filter = client.store.keys, self.order.filter
        verb = replace(self.order.kind.verb, each=self._each)
        if filter.ids is not None:
            for some in _batches(filter.ids):
                yield from self._each(keys, [keys.instance(filter.workflow, id) for id in some])
        elif self.order.dry_run and filter.error is None and not selected(client, self.order).needs_headers:
            # The index has said it.
            self.done = self.total or 0
        else:
            declared = client.workflow(filter.workflow)._declared(filter.where)
            yield from bulk.for_all(keys, filter.workflow, verb, filter.status, filter.where, None, declared)

    def _each(self, keys: Keyspace, instances: Sequence[Instance]) -> Plan[list[Any]]:
        if self._stop.is_set():
            raise _Over
        chosen = list(instances)
        if self.order.filter.error is not None:
            found = yield from troubles(keys, chosen)
            chosen = [one for one, it in zip(chosen, found, strict=True) if self.order.filter.holds(it)]
        left = None if self.order.limit is None else self.order.limit - self.met
        chosen = chosen[:left]
        if self.order.dry_run:
            self.done += len(chosen)
        elif chosen:
            answers = yield from self.order.kind.verb.each(keys, chosen)
            for one, answer in zip(chosen, answers, strict=True):
                self._count(one, answer)
        if left is not None and left <= len(chosen):
            raise _Over
        # What came of them is counted here; the walk need not know.
        return [None] * len(instances)

    def _count(self, instance: Instance, answer: object) -> None:
        code = type(answer).__name__
        with self._lock:
            if not isinstance(answer, Exception):
                self.done += 1
                return
            one = self._refused.setdefault(code, NotTaken(code, 0, str(answer), instance.id))
            one.count += 1


class Jobs:
    """The jobs of this process."""

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()

    def start(self, order: Order, user: str) -> Job:
        """Begin with an order.

        Raises:
            ConfigError: the action is not possible in that status, or a condition makes no sense. Nothing has begun.
            RequestRefused: there are as many as there may be.
        """
        client = self._client()
        selected(client, order)
        job = Job(order, user)
        with self._lock:
            running = [one for one in self._jobs.values() if not one.is_over]
            if len(running) >= RUNNING_MAX:
                raise RequestRefused(
                    429, "TooManyJobs", f"{RUNNING_MAX} such jobs are under way here; wait for one of them, or stop it"
                )
            for one in [one for one in self._jobs.values() if one.is_over][: -KEPT or None]:
                del self._jobs[one.id]
            self._jobs[job.id] = job
        job.thread = threading.Thread(target=job.run, args=(client,), name=f"workflows-bulk-{job.id}", daemon=True)
        job.thread.start()
        return job

    def get(self, id: str) -> Job:
        """Raises: RequestRefused: this process knows of none with this id."""
        job = self._jobs.get(id)
        if job is None:
            raise RequestRefused(404, "NoSuchJob", f"There is no job {id!r:.100} here, or not any more")
        return job

    def all(self) -> list[Job]:
        """The newest first."""
        with self._lock:
            return list(reversed(self._jobs.values()))

    def close(self) -> None:
        """Stop them, and wait until they have."""
        for job in self.all():
            job.stop()
        for job in self.all():
            if job.thread is not None:
                job.thread.join()


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), limits.BATCH):
        yield ids[start : start + limits.BATCH]

"""One verb for all instances of a workflow that are meant, as a plan that both clients carry out.

A walk goes from the newest instance to the oldest, 100 at a time, and comes by each once: what is created meanwhile, or
moves into another status behind it, is not met. A verb is offered only for statuses that it leads out of, so walking
again after an interruption finds what is left and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from workflows import limits
from workflows.client import listing, requests
from workflows.client.batches import BatchError, Plan, delete_each
from workflows.client.requests import Request
from workflows.client.restarting import FromStep, Wanted, restart_each
from workflows.client.selection import Selection, Where, selection
from workflows.errors import ConfigError, InstanceNotFound, InvalidTransition, WorkflowError
from workflows.storage.keys import Instance, Keyspace
from workflows.storage.status import FINAL, LIVE, Status
from workflows.values.durations import Duration


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What a verb for many instances did, or has done so far.

    Attributes:
        done: how many instances took it.
        skipped: how many had gone or ended by themselves before their turn came.
        errors: those that refused it; ``index`` counts the instances met before.
    """

    done: int = 0
    skipped: int = 0
    errors: tuple[BatchError, ...] = ()

    @property
    def met(self) -> int:
        """How many instances there were."""
        return self.done + self.skipped + len(self.errors)


Progress = Callable[[BulkResult], None]


@dataclass(frozen=True, slots=True)
class BulkVerb:
    """A verb, the statuses that it leads out of, and how up to a hundred instances are given it: what came of each."""

    name: str
    statuses: tuple[Status, ...]
    each: Callable[[Keyspace, Sequence[Instance]], Plan[list[Any]]]

    def chosen(self, status: str | Iterable[str] | None) -> list[str]:
        """The statuses meant by ``status``. Raises ConfigError: the verb has nothing to do in one of them."""
        if status is None:
            return [str(one) for one in self.statuses]
        wanted = [status] if isinstance(status, str) else list(status)
        for one in wanted:
            if one not in self.statuses:
                raise ConfigError(
                    f"{self.name} of all instances in status {one!r:.100} is not possible; "
                    f"there are: {', '.join(self.statuses)}"
                )
        return [str(one) for one in wanted]


def _all_at_once(
    request: Callable[[Keyspace, Instance], Request[Any]],
) -> Callable[[Keyspace, Sequence[Instance]], Plan[list[Any]]]:
    def each(keys: Keyspace, instances: Sequence[Instance]) -> Plan[list[Any]]:
        return (yield [request(keys, one) for one in instances])

    return each


PAUSE: Final = BulkVerb("pause", (Status.QUEUED, Status.RUNNING, Status.WAITING), _all_at_once(requests.pause))
RESUME: Final = BulkVerb("resume", (Status.PAUSED, Status.WAITING_FOR_PAUSE), _all_at_once(requests.resume))
TERMINATE: Final = BulkVerb("terminate", LIVE, _all_at_once(requests.terminate))
ROLL_BACK: Final = BulkVerb("terminate", LIVE, _all_at_once(partial(requests.terminate, rollback=True)))
# Not those that are on their way: a second walk could not tell them from the ones that the first has restarted.
RESTART: Final = BulkVerb(
    "restart", (Status.PAUSED, *(status for status in Status if status in FINAL)), _all_at_once(requests.restart)
)
DELETE: Final = BulkVerb("delete", tuple(Status), delete_each)


CANCEL: Final = BulkVerb("cancel", LIVE, _all_at_once(requests.cancel))


def cancel(reason: str | None, grace: Duration | None) -> BulkVerb:
    """The verb that asks to end, for a reason. Raises ConfigError, BadDuration: see ``requests.cancel``."""
    requests.checked_reason(reason)
    requests.grace_ms(grace)
    return replace(CANCEL, each=_all_at_once(partial(requests.cancel, reason=reason, grace=grace)))


def restart(from_: FromStep | None) -> BulkVerb:
    """The verb that restarts, from a step if there is one. Raises ConfigError: see ``Wanted.of``."""
    return RESTART if from_ is None else replace(RESTART, each=partial(restart_each, step=Wanted.of(from_)))


def for_all(
    keys: Keyspace,
    workflow: str,
    verb: BulkVerb,
    status: str | Iterable[str] | None,
    where: Where,
    progress: Progress | None,
    declared: Collection[str] | None = None,
) -> Plan[BulkResult]:
    """Give every instance that is meant the verb.

    Args:
        status: as each is when it is listed; None: all that the verb leads out of.
        progress: told after every hundred.
        declared: see ``selection``.
    Raises, before anything is sent:
        ConfigError: see ``BulkVerb.chosen`` and ``selection``.
    """
    return _walk(keys, workflow, verb, selection(verb.chosen(status), where, declared), progress or (lambda _: None))


def _walk(keys: Keyspace, workflow: str, verb: BulkVerb, selected: Selection, progress: Progress) -> Plan[BulkResult]:
    result = BulkResult()
    cursor: str | None = None
    while True:
        page = yield from listing.list_instances(keys, workflow, selected, limit=limits.BATCH, cursor=cursor)
        instances = [keys.instance(workflow, one.id) for one in page]
        answers = yield from verb.each(keys, instances)
        for one, answer in zip(instances, answers, strict=True):
            result = _counted(result, one, answer)
        progress(result)
        cursor = page.cursor
        if cursor is None:
            return result


def _counted(result: BulkResult, instance: Instance, answer: object) -> BulkResult:
    match answer:
        case InstanceNotFound() | InvalidTransition():
            return replace(result, skipped=result.skipped + 1)
        case WorkflowError():
            return replace(result, errors=(*result.errors, BatchError.of(result.met, instance.id, answer)))
    return replace(result, done=result.done + 1)

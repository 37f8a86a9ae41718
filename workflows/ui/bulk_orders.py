"""What can be done to many instances, and to which: an order as it is given in JSON or made by a form, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from workflows.client import Client, bulk, listing
from workflows.client.batches import Plan
from workflows.client.blocking import carry_out
from workflows.client.bulk import BulkVerb
from workflows.client.history import iso
from workflows.client.restarting import Wanted, restart_from
from workflows.client.selection import Selection, Where, read_moment, selection
from workflows.errors import InstanceError, WorkflowError
from workflows.health.error_groups import Trouble, error_groups, troubles
from workflows.storage.keys import Instance, Keyspace
from workflows.storage.status import Status
from workflows.ui.refusals import RequestRefused
from workflows.values import names

IDS_MAX: Final = 1_000

Moment = Literal["created_from", "created_before", "ended_from", "ended_before"]
MOMENTS: Final[Mapping[str, tuple[Moment, bool]]] = {
    "date_start": ("created_from", False),
    "date_end": ("created_before", True),
    "ended_start": ("ended_from", False),
    "ended_end": ("ended_before", True),
}
"""What programs call moments, the condition that stands for, and whether a date alone means its end."""


class NoFailedStep(InstanceError):
    """There is no step whose error the instance failed with."""


def _from_failed_step(keys: Keyspace, instances: Sequence[Instance]) -> Plan[list[Any]]:
    answers: list[Any] = []
    for one, trouble in zip(instances, (yield from troubles(keys, instances)), strict=True):
        try:
            if trouble is None or trouble.step is None:
                raise NoFailedStep(f'instance "{one.id}" did not fail with the error of a step: restart it as a whole')
            step = trouble.step
            yield from restart_from(keys, one, Wanted(step.name, step.count, step.kind))
            answers.append(None)
        except WorkflowError as refused:
            answers.append(refused)
    return answers


@dataclass(frozen=True, slots=True)
class Action:
    """What can be done to many.

    Attributes:
        permission: what its sender must be allowed to do to one; see ``access.ACTIONS``.
        destroys: it cannot be taken back.
    """

    verb: BulkVerb
    permission: str
    destroys: bool = False


ACTIONS: Final[Mapping[str, Action]] = {
    "pause": Action(bulk.PAUSE, "pause"),
    "resume": Action(bulk.RESUME, "resume"),
    "cancel": Action(bulk.CANCEL, "cancel", destroys=True),
    "terminate": Action(bulk.TERMINATE, "terminate", destroys=True),
    "roll_back": Action(bulk.ROLL_BACK, "terminate", destroys=True),
    "restart": Action(bulk.RESTART, "restart"),
    "restart_failed_step": Action(
        BulkVerb("restart from the failed step", (Status.ERRORED,), _from_failed_step), "restart"
    ),
    "delete": Action(bulk.DELETE, "delete", destroys=True),
}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which instances are meant.

    Attributes:
        status: None: all that the action leads out of.
        ids: these, and none else; None: all of which the rest holds.
        error, step: those of one group of failed ones; see ``ErrorGroup``. No ``error``: whatever is wrong with them.
    """

    workflow: str
    status: tuple[str, ...] | None = None
    where: Where = field(default_factory=Where)
    ids: tuple[str, ...] | None = None
    error: str | None = None
    step: str | None = None

    def holds(self, trouble: Trouble | None) -> bool:
        """Whether one is of the group."""
        return trouble is not None and (trouble.error, trouble.group[2]) == (self.error, self.step)

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it; ``of`` reads it."""
        given: dict[str, Any] = {"status": self.status, "ids": self.ids, "error": self.error}
        given |= {name: iso(self.where.get(condition)) for name, (condition, _) in MOMENTS.items()}
        given |= {"metadata": self.where.get("metadata")}
        found = {"workflow": self.workflow} | {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in given.items()
            if value is not None
        }
        return found | ({"step": self.step} if self.error is not None else {})

    @classmethod
    def of(cls, given: Any) -> Filter:
        """What was asked for in JSON. Raises: RequestRefused, BadName."""
        if not isinstance(given, Mapping) or not isinstance(given.get("workflow"), str):
            raise _bad('the filter is an object with "workflow", the name of one')
        known = ("workflow", "status", "ids", "error", "step", "metadata", *MOMENTS)
        if unknown := sorted(given.keys() - {*known}):
            raise _bad(f"the filter has no {', '.join(unknown)}; there are: {', '.join(known)}")
        status = given.get("status")
        where = Where(metadata=given.get("metadata"))
        for name, (condition, end) in MOMENTS.items():
            if (text := _text(name, given.get(name))) is not None:
                where[condition] = read_moment(text, end=end)
        return cls(
            names.check_workflow_name(given["workflow"]),
            _texts("status", [status] if isinstance(status, str) else status),
            where,
            _ids(given.get("ids")),
            _text("error", given.get("error")),
            _text("step", given.get("step")),
        )


def _bad(message: str) -> RequestRefused:
    return RequestRefused(422, "BadFilter", message[0].upper() + message[1:])


def _text(name: str, given: Any) -> str | None:
    if given is None or isinstance(given, str):
        return given
    raise _bad(f"{name} is {given!r:.100}, no text")


def _texts(name: str, given: Any) -> tuple[str, ...] | None:
    if given is None:
        return None
    if isinstance(given, list) and all(isinstance(one, str) for one in given):
        return tuple(given)
    raise _bad(f"{name} is {given!r:.100}, no list of texts")


def _ids(given: Any) -> tuple[str, ...] | None:
    ids = _texts("ids", given)
    if ids is not None and not 1 <= len(ids) <= IDS_MAX:
        raise _bad(f"there may be 1 to {IDS_MAX:,} ids, not {len(ids):,}")
    return None if ids is None else tuple(dict.fromkeys(names.check_instance_id(id) for id in ids))


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody wants to have done.

    Attributes:
        dry_run: only count.
        limit: to how many at most; the newest.
    """

    action: str
    filter: Filter
    dry_run: bool = False
    limit: int | None = None

    @property
    def kind(self) -> Action:
        return ACTIONS[self.action]

    @classmethod
    def of(cls, given: Any) -> Order:
        """What was asked for in JSON. Raises: RequestRefused, BadName."""
        if not isinstance(given, Mapping):
            raise RequestRefused(422, "BadRequest", 'The body is {"action": …, "filter": {…}}')
        if unknown := sorted(given.keys() - {"action", "filter", "dry_run", "limit"}):
            raise RequestRefused(422, "BadRequest", f"There is no {', '.join(unknown)} here")
        action, dry_run, limit = given.get("action"), given.get("dry_run", False), given.get("limit")
        if not isinstance(action, str) or action not in ACTIONS:
            raise RequestRefused(
                422, "BadAction", f"There is no action {action!r:.100}; there are: {', '.join(ACTIONS)}"
            )
        if not isinstance(dry_run, bool):
            raise RequestRefused(422, "BadRequest", f"dry_run is {dry_run!r:.100}, neither true nor false")
        if limit is not None and (type(limit) is not int or limit < 1):
            raise RequestRefused(422, "BadRequest", f"limit is {limit!r:.100}, no number from 1 on")
        return cls(action, Filter.of(given.get("filter")), dry_run, limit)


def selected(client: Client, order: Order) -> Selection:
    """What the index is asked for. Raises: ConfigError: the action or a condition is not possible."""
    filter = order.filter
    declared = client.workflow(filter.workflow)._declared(filter.where)
    return selection(order.kind.verb.chosen(filter.status), filter.where, declared)


def how_many(client: Client, order: Order) -> int:
    """How many instances are meant, as far as a look can tell: of a group those among the newest; where their headers
    have a say, as many at most.

    Raises: ConfigError: the action or a condition is not possible. ServerUnavailable.
    """
    filter = order.filter
    wanted = selected(client, order)
    if filter.ids is not None:
        number = len(filter.ids)
    elif filter.error is not None:
        groups = error_groups(client.store, workflow=filter.workflow).groups
        number = sum(
            group.count
            for group in groups
            if (group.error, group.step) == (filter.error, filter.step)
            and (Status.PAUSED if group.is_parked else Status.ERRORED) in wanted.statuses
        )
    else:
        number = carry_out(client.store, listing.count(client.store.keys, filter.workflow, wanted))
    return number if order.limit is None else min(number, order.limit)

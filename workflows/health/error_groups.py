"""What has failed or is parked, grouped by where and why: for whoever has to look after it.

Looks at the newest instances only, by when they were created, and says how many those were. The index leads to them, so
what it costs does not grow with the instances that there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from workflows import limits
from workflows.client import history
from workflows.client.batches import Plan
from workflows.client.blocking import carry_out
from workflows.client.requests import Request
from workflows.insight.stopped import park_code
from workflows.storage.batches import portions
from workflows.storage.keys import Instance, Keyspace, Listed
from workflows.storage.status import Status
from workflows.storage.store import Store, call_on, script
from workflows.values.failure import Failure

LOOKED_AT: Final = 1_000
"""Instances that have failed, and as many that are paused."""

_NEWEST = script(Path(__file__).with_name("newest.lua"))
_FAILURES = script(Path(__file__).with_name("failures.lua"))
_WORKFLOWS: Final = 200
# A share of a shard that is fuller than others by chance; what it has beyond is older than anything counted.
_SPARE: Final = 50
_ENTRIES: Final = 20
_HEAD_BYTES: Final = 1_024
_CHARACTERS: Final = 200
_KINDS: Final[Mapping[bytes, str]] = {b"S": "do", b"C": "child", b"X": "wait"}


@dataclass(frozen=True, slots=True)
class FailedStep:
    """The step whose error an instance failed with: the ``count``-th of this kind and name."""

    kind: str
    name: str
    count: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """One instance that failed or is parked.

    Attributes:
        is_parked: it waits for a person, and can be resumed; else it has failed for good.
        step: the step whose error it failed with; None: ``run`` itself, or no step that can be named.
        error: the name of the error; of one that is parked the code of ``why``, ``park.mismatch`` say.
        at: when it failed or was parked.
    """

    workflow: str
    id: str
    is_parked: bool
    step: FailedStep | None
    error: str
    message: str
    at: datetime | None

    @property
    def group(self) -> tuple[str, bool, str | None, str]:
        """What it has in common with others of its group."""
        return self.workflow, self.is_parked, None if self.step is None else self.step.name, self.error


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Instances of a workflow that failed, or are parked, with an error of one name in a step of one name.

    Attributes:
        first, last: when the first and the last of them did.
        message, id: of the last.
    """

    workflow: str
    is_parked: bool
    step: str | None
    error: str
    count: int
    first: datetime | None
    last: datetime | None
    message: str
    id: str

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "workflow": self.workflow,
            "is_parked": self.is_parked,
            "step": self.step,
            "error": self.error,
            "count": self.count,
            "first": history.iso(self.first),
            "last": history.iso(self.last),
            "message": self.message,
            "id": self.id,
        }


@dataclass(frozen=True, slots=True)
class ErrorGroups:
    """All groups, the one that something was added to last first.

    Attributes:
        looked_at: how many instances are counted in them.
        more: there are older ones, which are not.
    """

    groups: tuple[ErrorGroup, ...]
    looked_at: int
    more: bool

    @property
    def scope(self) -> str:
        """For people: which instances this is about."""
        if self.more:
            return f"the newest {self.looked_at:,} that failed or are parked; there are older ones"
        return f"all {self.looked_at:,} that failed or are parked"

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "groups": [group.as_dict() for group in self.groups],
            "looked_at": self.looked_at,
            "more": self.more,
        }


def error_groups(store: Store, *, workflow: str | None = None, since: datetime | None = None) -> ErrorGroups:
    """Group what has failed or is parked, of the newest.

    Args:
        workflow: of this one only.
        since: only what happened at this moment or later.
    Raises:
        ServerUnavailable.
    """
    return carry_out(store, _error_groups(store.keys, workflow, since))


def _error_groups(keys: Keyspace, workflow: str | None, since: datetime | None) -> Plan[ErrorGroups]:
    failed, more_failed = yield from _newest(keys, Status.ERRORED, workflow)
    paused, more_paused = yield from _newest(keys, Status.PAUSED, workflow)
    found = yield from troubles(keys, failed + paused)
    met = [one for one in found if one is not None and (since is None or (one.at is not None and one.at >= since))]
    return ErrorGroups(_grouped(met), len(met), more_failed or more_paused)


def _grouped(troubles: Iterable[Trouble]) -> tuple[ErrorGroup, ...]:
    groups: dict[tuple[str, bool, str | None, str], list[Trouble]] = {}
    for one in troubles:
        groups.setdefault(one.group, []).append(one)
    made = []
    for (workflow, is_parked, step, error), members in groups.items():
        members.sort(key=_moment)
        last = members[-1]
        first_at, count = members[0].at, len(members)
        made.append(
            ErrorGroup(workflow, is_parked, step, error, count, first_at, last.at, last.message, last.id),
        )
    return tuple(sorted(made, key=lambda group: (-_seconds(group.last), group.workflow, group.step or "", group.error)))


def _moment(trouble: Trouble) -> tuple[float, str]:
    return _seconds(trouble.at), trouble.id


def _seconds(at: datetime | None) -> float:
    return 0.0 if at is None else at.timestamp()


def _newest(keys: Keyspace, status: Status, workflow: str | None) -> Plan[tuple[list[Instance], bool]]:
    """The newest in a status, and whether there are more: as far back as every shard has told all it has."""
    share = 2 * LOOKED_AT // keys.shards + _SPARE
    arguments: dict[str, Any] = {"status": str(status), "n": share, "workflows": _WORKFLOWS}
    if workflow is not None:
        arguments["workflow"] = workflow
    answers = yield [
        Request(call_on(keys, _NEWEST, shard, [], arguments), lambda answer: answer) for shard in range(keys.shards)
    ]
    lines = sorted((tuple(line) for lines, _ in answers for line in lines), reverse=True)
    horizon = max((tuple(lines[-1]) for lines, more in answers if more and lines), default=())
    known = [line for line in lines if line >= horizon]
    instances = [one for line in known[:LOOKED_AT] if (one := _instance(keys, status, *line)) is not None]
    return instances, len(lines) > len(known[:LOOKED_AT]) or any(more for _, more in answers)


def _instance(keys: Keyspace, status: Status, place: bytes, workflow: bytes) -> Instance | None:
    """None: somebody else has written that line."""
    try:
        listed = Listed.parse(b"|".join((status.encode(), workflow, place)))
    except ValueError:
        return None
    return keys.instance(listed.workflow, listed.id)


def troubles(keys: Keyspace, instances: Sequence[Instance]) -> Plan[list[Trouble | None]]:
    """What is wrong with each; None: nothing, it is gone, or it cannot be read."""
    by_shard: dict[int, list[Instance]] = {}
    for one in dict.fromkeys(instances):
        by_shard.setdefault(one.shard, []).append(one)
    asked = [some for all_ in by_shard.values() for some in portions(all_, lambda _: 1, lambda _: 0)]
    arguments = {"entries": _ENTRIES, "bytes": limits.SCRIPT_BYTES, "head": _HEAD_BYTES}
    answers = yield [
        Request(call_on(keys, _FAILURES, some[0].shard, some, arguments), lambda answer: answer) for some in asked
    ]
    found = {
        one: _trouble(one, told)
        for some, answer in zip(asked, answers, strict=True)
        for one, told in zip(some, answer, strict=True)
    }
    return [found[one] for one in instances]


def _trouble(instance: Instance, told: Any) -> Trouble | None:
    if not told:
        return None
    status, want, reason, ended, paused_at, fault, head, steps = told
    if status == Status.ERRORED.encode():
        error, text = _error(head)
        step = _failed_step(error, text, steps)
        return Trouble(instance.workflow, instance.id, False, step, error, text, _at(ended))
    if status == Status.PAUSED.encode() and want == b"park":
        error, text = park_code(_text(fault)), _text(reason)[:_CHARACTERS]
        return Trouble(instance.workflow, instance.id, True, None, error, text, _at(paused_at))
    return None


def _failed_step(error: str, message: str, steps: Sequence[Any]) -> FailedStep | None:
    """The last of the steps that failed as the instance did: what ``run`` raised may be about something else."""
    for kind, name, count, head in steps:
        name_of_error, its_message = (_text(head), "") if kind == b"X" else _error(head)
        if name_of_error == error and message.startswith(its_message):
            return FailedStep(_KINDS[kind], _text(name), int(count))
    return None


def _error(head: bytes) -> tuple[str, str]:
    name, message = Failure.name_and_message(head)
    return name or "CorruptPayload", message[:_CHARACTERS]


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def _at(stored: bytes | None) -> datetime | None:
    try:
        return history.moment(stored or None)
    except (ValueError, OverflowError, OSError):
        return None

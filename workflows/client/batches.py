"""What becomes of each entry of a batch; and deleting one, as a plan that both clients carry out.

A plan is a generator: it yields requests, is sent what came of each, and returns the result. What one entry asks for is
refused for that entry alone, so an answer may be the error it meant; a server that fails fails the plan.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar

from workflows import limits
from workflows.client import requests
from workflows.client.requests import Request
from workflows.errors import (
    BadName,
    BadParams,
    ConfigError,
    InstanceAlreadyExists,
    InstanceNotFound,
    PayloadError,
    WorkflowError,
)
from workflows.storage.keys import Instance, Keyspace
from workflows.storage.removal import unring_calls
from workflows.values import names

Result = TypeVar("Result")
Handle = TypeVar("Handle", covariant=True)

Plan: TypeAlias = Generator[list[Request[Any]], list[Any], Result]

_CODES: Final[tuple[tuple[type[WorkflowError], str], ...]] = (
    (InstanceAlreadyExists, "instance.already_exists"),
    (InstanceNotFound, "instance.not_found"),
    (BadName, "instance.invalid_id"),
    (BadParams, "instance.invalid_params"),
    (PayloadError, "instance.invalid_params"),
)


@dataclass(frozen=True, slots=True)
class BatchError:
    """An entry of a batch that came to nothing.

    Attributes:
        index: its place among the entries, from 0.
        id: the id it asked for; None where it named none, or nothing that could be one.
        code: a word for programs: ``instance.already_exists``, ``instance.not_found``, ``instance.invalid_id``,
            ``instance.invalid_params``, or ``instance.invalid`` for anything else.
        message: the same for people.
    """

    index: int
    id: str | None
    code: str
    message: str

    @classmethod
    def of(cls, index: int, id: object, error: WorkflowError) -> BatchError:
        code = next((code for kind, code in _CODES if isinstance(error, kind)), "instance.invalid")
        return cls(index, id if isinstance(id, str) else None, code, str(error))


@dataclass(frozen=True, slots=True)
class CreatedBatch(Generic[Handle]):
    """What ``create_batch`` with ``{"instances": …}`` or ``{"count": …}`` did.

    Attributes:
        created: handles of what is new, in the order of the entries.
        errors: the other entries, in order; ids that existed are among them.
    """

    created: list[Handle]
    errors: list[BatchError]


@dataclass(frozen=True, slots=True)
class DeletedBatch:
    """What ``delete_batch`` did.

    Attributes:
        deleted: the ids of what is gone now, in the order asked for; an id given twice is here twice.
        errors: the others, in order: instances that were not there.
    """

    deleted: list[str]
    errors: list[BatchError]


def delete_batch(keys: Keyspace, workflow: str, ids: Iterable[str]) -> Plan[DeletedBatch]:
    """Remove 1 to 100 instances.

    Raises, before anything is sent:
        ConfigError: too few or too many.
        BadName: one of them can be no id; nothing is deleted.
    """
    given = [ids] if isinstance(ids, str) else list(ids)
    if not given:
        raise ConfigError("(body) batchDeleteInstances should have at least 1 instance")
    if len(given) > limits.BATCH:
        raise ConfigError(
            f"(body) batchDeleteInstances only supports {limits.BATCH} instances at a time; {len(given)} were given"
        )
    asked = [keys.instance(workflow, names.check_instance_id(id)) for id in given]
    return _delete_batch(keys, asked)


def _delete_batch(keys: Keyspace, asked: list[Instance]) -> Plan[DeletedBatch]:
    distinct = list(dict.fromkeys(asked))
    # Who is there is asked beforehand: an answer "unknown" of a deletion may be that of one sent again.
    looks = yield [requests.exists(keys, one) for one in distinct]
    missing = {one: look for one, look in zip(distinct, looks, strict=True) if isinstance(look, WorkflowError)}
    yield from delete_each(keys, [one for one in distinct if one not in missing])
    return DeletedBatch(
        [one.id for one in asked if one not in missing],
        [BatchError.of(place, one.id, missing[one]) for place, one in enumerate(asked) if one in missing],
    )


def delete_each(keys: Keyspace, instances: Iterable[Instance]) -> Plan[list[Any]]:
    """Remove instances, and their doorbells from the queues. Returns: what came of each."""
    doomed = list(instances)
    answers = yield [requests.delete(keys, one) for one in doomed]
    yield [
        Request(call, lambda answer: answer)
        for one, doorbells in zip(doomed, answers, strict=True)
        if not isinstance(doorbells, WorkflowError)
        for call in unring_calls(keys, one.shard, doorbells)
    ]
    return answers

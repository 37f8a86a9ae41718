"""Creating instances: what is wrong with a request for one is found here, before Redis is touched.

Params are checked against the workflow and encoded; ids and command ids are made where none were given, once per
request, so that a request whose reply was lost can be sent again (M2).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from workflows import limits
from workflows.client.batches import BatchError
from workflows.client.requests import Request
from workflows.errors import BadParams, ConfigError, InstanceAlreadyExists, WorkflowError
from workflows.storage import nonces
from workflows.storage.batches import portions
from workflows.storage.intake import CreateItem, Target, create_batch_call, create_call, new_instance
from workflows.storage.keys import Instance, Keyspace
from workflows.values import codec
from workflows.values.durations import Duration
from workflows.values.retention import deadline_ms, retention_ms

_ENTRY: Final = ("id", "params", "retention", "metadata", "deadline")


@dataclass(frozen=True, slots=True)
class CreateOptions:
    """One entry of ``create_batch``.

    Attributes:
        id: 1 to 100 letters, digits, ``-`` and ``_``; None: a random UUID.
        params: what ``run`` gets as ``event.payload``; None: ``{}``.
        retention: how long the instance stays readable after its end; see ``WorkflowHandle.create``.
        metadata: a few short texts; see ``WorkflowHandle.create``.
        deadline: how long it may take; see ``WorkflowHandle.create``.
        command_id: creating again under the same one is answered like the first time; None: a random one.
    """

    id: str | None = None
    params: Any = None
    retention: object = None
    command_id: str | None = None
    metadata: Mapping[str, str] | None = None
    deadline: Duration | None = None


def create(
    keys: Keyspace,
    target: Target,
    *,
    id: str | None = None,
    params: Any = None,
    retention: object = None,
    command_id: str | None = None,
    metadata: Mapping[str, str] | None = None,
    deadline: Duration | None = None,
) -> tuple[str, Request[None]]:
    """Create one instance. Returns: its id, and the request.

    Raises:
        BadName, BadParams, BadDuration, PayloadTooLarge, PayloadNotSerializable: nothing has been sent.
        InstanceAlreadyExists: from the answer.
    """
    item = item_of(target, CreateOptions(id, params, retention, command_id, metadata, deadline))

    def parse(answers: list[bytes]) -> None:
        if answers[0] != b"created":
            raise _taken(item.id)

    return item.id, Request(create_call(keys, item), parse)


def create_batch(
    keys: Keyspace, target: Target, entries: Iterable[CreateOptions | Mapping[str, Any]]
) -> tuple[list[str], list[Request[list[str]]]]:
    """Create 1 to 100 instances. Returns: the ids asked for, each once, and a request or more per shard.

    Each request answers with the ids it created; ids that were there already are left out.

    Raises:
        ConfigError, BadName, BadParams, BadDuration, PayloadError: one entry is wrong; nothing has been sent for any.
    """
    options = list(entries)
    _check_number(len(options))
    items: dict[Instance, CreateItem] = {}
    for place, option in enumerate(options):
        try:
            item = item_of(target, _options(option))
        except WorkflowError as error:
            raise type(error)(f"entry {place} of the batch: {error}") from error
        items.setdefault(keys.instance(item.workflow, item.id), item)
    return [instance.id for instance in items], batches_of(keys, items)


def create_each(
    keys: Keyspace, target: Target, form: Mapping[str, Any]
) -> tuple[list[Request[list[str]]], Callable[[list[list[str]]], tuple[list[str], list[BatchError]]]]:
    """Create 1 to 100 instances, each for itself.

    Args:
        form: ``{"instances": entries}``, or ``{"count": number}`` with ``params``, ``retention``, ``metadata`` and
            ``deadline`` for all of them.
    Returns: a request or more per shard, and what makes of their answers the ids created and what came to nothing.
    Raises:
        ConfigError, BadParams: the form itself is wrong; nothing has been sent.
    """
    items, errors = sorted_out(keys, target, entries_of(form))

    def outcome(answers: list[list[str]]) -> tuple[list[str], list[BatchError]]:
        created = {id for answer in answers for id in answer}
        existed = [
            BatchError.of(place, item.id, _taken(item.id)) for place, item in items.values() if item.id not in created
        ]
        failed = sorted([*errors, *existed], key=lambda error: error.index)
        return [item.id for _, item in items.values() if item.id in created], failed

    return batches_of(keys, {instance: item for instance, (_, item) in items.items()}), outcome


def entries_of(form: Mapping[str, Any]) -> list[Any]:
    """The entries that a form stands for. Raises: see ``create_each``."""
    known = {"instances"} if "instances" in form else {"count", *_ENTRY[1:]}
    unknown = sorted(str(key) for key in form if key not in known)
    if unknown or not form.keys() & {"instances", "count"}:
        raise BadParams(
            'a batch is a list of entries, {"instances": [entry, …]}, or {"count": number} with params, retention, '
            "metadata and deadline" + (f"; {', '.join(unknown)} does not belong there" if unknown else "")
        )
    if "instances" in form:
        if isinstance(form["instances"], str | Mapping) or not isinstance(form["instances"], Iterable):
            raise BadParams(f"instances is {form['instances']!r:.100}; it must be a list of entries of the batch")
        entries = list(form["instances"])
    else:
        count = form["count"]
        if not isinstance(count, int) or isinstance(count, bool):
            raise BadParams(f"count is {count!r:.100}; it must be a number from 1 to {limits.BATCH}")
        _check_number(count)
        alike = {key: value for key, value in form.items() if key != "count"}
        entries = [alike] * count
    _check_number(len(entries))
    return entries


def sorted_out(
    keys: Keyspace, target: Target, entries: Iterable[Any]
) -> tuple[dict[Instance, tuple[int, CreateItem]], list[BatchError]]:
    """Entries that can be created, each with its place, and those that cannot: wrong, or given before."""
    items: dict[Instance, tuple[int, CreateItem]] = {}
    errors: list[BatchError] = []
    for place, entry in enumerate(entries):
        try:
            item = item_of(target, _options(entry))
        except WorkflowError as error:
            errors.append(BatchError.of(place, _id_in(entry), error))
            continue
        instance = keys.instance(item.workflow, item.id)
        if instance in items:
            errors.append(BatchError.of(place, item.id, _taken(item.id)))
        else:
            items[instance] = (place, item)
    return items, errors


def _check_number(number: int) -> None:
    if number < 1:
        raise ConfigError("batchCreate should have at least 1 instance")
    if number > limits.BATCH:
        raise ConfigError(f"batchCreate only supports {limits.BATCH} instances at a time; {number} were given")


def _taken(id: str) -> InstanceAlreadyExists:
    return InstanceAlreadyExists(f'(instance.already_exists) Workflow instance with id "{id}" already exists')


def _id_in(entry: object) -> object:
    if isinstance(entry, CreateOptions):
        return entry.id
    return entry.get("id") if isinstance(entry, Mapping) else None


def batches_of(keys: Keyspace, items: Mapping[Instance, CreateItem]) -> list[Request[list[str]]]:
    """A request or more per shard; each answers with the ids it created."""
    by_shard: dict[int, list[Instance]] = {}
    for instance in items:
        by_shard.setdefault(instance.shard, []).append(instance)
    return [
        _batch_of(keys, some, items)
        for all_ in by_shard.values()
        for some in portions(all_, lambda _: 1, lambda instance: len(items[instance].params))
    ]


def _batch_of(keys: Keyspace, some: list[Instance], items: Mapping[Instance, CreateItem]) -> Request[list[str]]:
    def parse(answers: list[bytes]) -> list[str]:
        return [instance.id for instance, answer in zip(some, answers, strict=True) if answer == b"created"]

    return Request(create_batch_call(keys, some, [items[instance] for instance in some]), parse)


def item_of(target: Target, options: CreateOptions) -> CreateItem:
    """An instance to create.

    Raises: BadName, BadParams, BadDuration, PayloadTooLarge, PayloadNotSerializable.
    """
    params = target.validate_params(options.params)
    blob = codec.encode(params, what=f'the params of workflow "{target.name}"')
    if target.concurrency is not None:
        target.concurrency.check(blob, target.name)
    return new_instance(
        target,
        str(uuid.uuid4()) if options.id is None else options.id,
        blob,
        retention=retention_ms(options.retention, target.retention_success_ms, target.retention_error_ms),
        command=nonces.token() if options.command_id is None else options.command_id,
        metadata=options.metadata,
        deadline_ms=deadline_ms(options.deadline, None),
    )


def _options(entry: object) -> CreateOptions:
    if isinstance(entry, CreateOptions):
        return entry
    if not isinstance(entry, Mapping):
        raise BadParams(f"it is {entry!r:.100}; a dict with any of {', '.join(_ENTRY)} is needed, or CreateOptions")
    unknown = sorted(str(key) for key in entry if key not in _ENTRY)
    if unknown:
        raise BadParams(f"{', '.join(unknown)} is unknown; an entry has any of {', '.join(_ENTRY)}")
    return CreateOptions(**entry)

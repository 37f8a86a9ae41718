"""Creating instances: what is wrong with a request for one is found here, before Redis is touched.

Params are checked against the workflow and encoded; ids and command ids are made where none were given, once per
request, so that a request whose reply was lost can be sent again (M2).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from workflows import limits
from workflows.client.requests import Request
from workflows.errors import BadParams, ConfigError, InstanceAlreadyExists, WorkflowError
from workflows.storage import nonces
from workflows.storage.batches import portions
from workflows.storage.intake import CreateItem, Target, create_batch_call, create_call, new_instance
from workflows.storage.keys import Instance, Keyspace
from workflows.values import codec
from workflows.values.retention import retention_ms


@dataclass(frozen=True, slots=True)
class CreateOptions:
    """One entry of ``create_batch``.

    Attributes:
        id: 1 to 100 letters, digits, ``-`` and ``_``; None: a random UUID.
        params: what ``run`` gets as ``event.payload``; None: ``{}``.
        retention: how long the instance stays readable after its end; see ``WorkflowHandle.create``.
        command_id: creating again under the same one is answered like the first time; None: a random one.
    """

    id: str | None = None
    params: Any = None
    retention: object = None
    command_id: str | None = None


def create(
    keys: Keyspace,
    target: Target,
    *,
    id: str | None = None,
    params: Any = None,
    retention: object = None,
    command_id: str | None = None,
) -> tuple[str, Request[None]]:
    """Create one instance. Returns: its id, and the request.

    Raises:
        BadName, BadParams, BadDuration, PayloadTooLarge, PayloadNotSerializable: nothing has been sent.
        InstanceAlreadyExists: from the answer.
    """
    item = _item(target, CreateOptions(id, params, retention, command_id))

    def parse(answers: list[bytes]) -> None:
        if answers[0] != b"created":
            raise InstanceAlreadyExists(
                f'(instance.already_exists) Workflow instance with id "{item.id}" already exists'
            )

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
    if not options:
        raise ConfigError("batchCreate should have at least 1 instance")
    if len(options) > limits.BATCH:
        raise ConfigError(f"batchCreate only supports {limits.BATCH} instances at a time; {len(options)} were given")
    items: dict[Instance, CreateItem] = {}
    for place, option in enumerate(options):
        try:
            item = _item(target, _options(option))
        except WorkflowError as error:
            raise type(error)(f"entry {place} of the batch: {error}") from error
        items.setdefault(keys.instance(item.workflow, item.id), item)
    by_shard: dict[int, list[Instance]] = {}
    for instance in items:
        by_shard.setdefault(instance.shard, []).append(instance)
    requests = [
        _batch_of(keys, some, items)
        for all_ in by_shard.values()
        for some in portions(all_, lambda _: 1, lambda instance: len(items[instance].params))
    ]
    return [instance.id for instance in items], requests


def _batch_of(keys: Keyspace, some: list[Instance], items: Mapping[Instance, CreateItem]) -> Request[list[str]]:
    def parse(answers: list[bytes]) -> list[str]:
        return [instance.id for instance, answer in zip(some, answers, strict=True) if answer == b"created"]

    return Request(create_batch_call(keys, some, [items[instance] for instance in some]), parse)


def _item(target: Target, options: CreateOptions) -> CreateItem:
    params = target.validate_params(options.params)
    return new_instance(
        target,
        str(uuid.uuid4()) if options.id is None else options.id,
        codec.encode(params, what=f'the params of workflow "{target.name}"'),
        retention=retention_ms(options.retention, target.retention_success_ms, target.retention_error_ms),
        command=nonces.token() if options.command_id is None else options.command_id,
    )


def _options(entry: object) -> CreateOptions:
    if isinstance(entry, CreateOptions):
        return entry
    if not isinstance(entry, Mapping):
        raise BadParams(f"it is {entry!r:.100}; a dict with id, params and retention is needed, or CreateOptions")
    unknown = sorted(str(key) for key in entry if key not in ("id", "params", "retention"))
    if unknown:
        raise BadParams(f"{', '.join(unknown)} is unknown; an entry has id, params and retention")
    return CreateOptions(entry.get("id"), entry.get("params"), entry.get("retention"))

"""What comes in: an instance to create, an event to accept. Described and checked here, whoever asks.

Clients, the inbox, published events, schedules, instances that start others and tests all make these items. Names, ids
and sizes are checked whenever one is made, because whoever asks may pass on what a stranger has written. The scripts
read them; the same fields stand at the head of ``create.lua`` and ``send_event.lua``, which a test compares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from workflows import limits
from workflows.storage import nonces
from workflows.storage.batches import numbered
from workflows.storage.keys import Instance, Keyspace
from workflows.storage.records import Firing, ParentStep, Slot
from workflows.storage.store import Call, call_on, call_one, script
from workflows.values import codec, names, rejection
from workflows.values.concurrency import Concurrency
from workflows.values.listening import AnswerToken, answered
from workflows.values.metadata import metadata_of
from workflows.values.rejection import Rejection

_CREATE = script(Path(__file__).with_name("create.lua"))
_SEND_EVENT = script(Path(__file__).with_name("send_event.lua"))
_HEARTBEAT = script(Path(__file__).with_name("heartbeat.lua"))


class Target(Protocol):
    """What creating an instance needs to know of its workflow: a definition of an app, or a published one."""

    @property
    def name(self) -> str: ...

    @property
    def queue(self) -> str: ...

    @property
    def retention_success_ms(self) -> int: ...

    @property
    def retention_error_ms(self) -> int: ...

    @property
    def deadline_ms(self) -> int | None: ...

    @property
    def concurrency(self) -> Concurrency | None: ...

    @property
    def metadata_keys(self) -> tuple[str, ...]: ...

    @property
    def told_version(self) -> str: ...

    def validate_params(self, params: Any, /) -> Any: ...


@dataclass(slots=True)
class CreateItem:
    """An instance to create.

    Attributes:
        params: a codec blob.
        keep_ok_ms, keep_err_ms: how long it stays readable after success, and after an error or termination.
        slot: what it has of the limit of its workflow; None: there is no limit.
        command: creating again under the same id is answered like the first time; None: only a parent is known again.
        firing: the cron line that asks for it.
        parent: who waits for its end.
        taken: the failure blob that a parent gets when somebody else has the id.
        metadata: packed; see ``Metadata.wire``.
        told_version: of the code, for an app that wants to hear how its instances move; '': it does not.
        deadline_ms: how long it may take; None: as long as it takes.

    Raises:
        BadName, PayloadTooLarge: it cannot be one.
    """

    workflow: str
    id: str
    generation: str
    params: bytes
    queue: str
    keep_ok_ms: int
    keep_err_ms: int
    slot: Slot | None = None
    command: str | None = None
    firing: Firing | None = None
    parent: ParentStep | None = None
    taken: bytes | None = None
    metadata: bytes | None = None
    told_version: str = ""
    deadline_ms: int | None = None

    def __post_init__(self) -> None:
        _check_target(self.workflow, self.queue)
        names.check_instance_id(self.id)
        if self.command is not None:
            names.check_command_id(self.command)
        if len(self.params) > limits.PAYLOAD_BYTES:
            codec.check_size(self.params, what=f'the params of workflow "{self.workflow}"')
        if self.told_version:
            # A value of more than 64 bytes would make Redis take three times the memory for all of a header.
            self.told_version = self.told_version.encode()[:64].decode(errors="ignore")

    def wire(self) -> dict[str, Any]:
        """As ``create.lua`` reads it, without its place ``i`` among the call's instances."""
        wire: dict[str, Any] = {
            "wf": self.workflow,
            "id": self.id,
            "gen": self.generation,
            "p": self.params,
            "qu": self.queue,
            "ok": self.keep_ok_ms,
            "err": self.keep_err_ms,
        }
        if self.slot is not None:
            wire["slot"] = self.slot.text
        if self.command is not None:
            wire["cid"] = self.command
        if self.firing is not None:
            wire["sched"] = self.firing.wire()
        if self.parent is not None:
            wire["parent"] = self.parent.wire()
        if self.taken is not None:
            wire["taken"] = self.taken
        if self.metadata is not None:
            wire["meta"] = self.metadata
        if self.told_version:
            wire["tell"] = self.told_version
        if self.deadline_ms is not None:
            wire["dl"] = self.deadline_ms
        return wire


@dataclass(slots=True)
class EventItem:
    """An event for one instance.

    Attributes:
        id: the same one is accepted once.
        payload: a codec blob.
        error: a failure blob, with which the wait raises; None: it returns.
        new: what the instance is created as if it is not there; None: then the event is refused.
        name: what waits listen to that it is sent to (``listening.py``); '': the type.
        line: of the shard: it says that somebody waits for the key in the name; where that is so no more, the event is
            refused.
        life: the generation in a token, which the name is of; refused unless that wait is open and has no answer yet.

    Raises:
        BadName, PayloadTooLarge: it cannot be one.
    """

    id: str
    type: str
    payload: bytes
    error: bytes | None = None
    new: CreateItem | None = None
    name: str = ""
    line: str = ""
    life: str = ""

    def __post_init__(self) -> None:
        names.check_event_type(self.type)
        names.check_command_id(self.id, "An event id")
        if len(self.payload) > limits.PAYLOAD_BYTES:
            codec.check_size(self.payload, what=f'the payload of event "{self.type}"')

    def wire(self) -> dict[str, Any]:
        """As ``send_event.lua`` reads it, without its place."""
        wire: dict[str, Any] = {"ev": self.id, "ty": self.name or self.type, "p": self.payload}
        if self.error is not None:
            wire["x"] = self.error
        if self.new is not None:
            wire["new"] = self.new.wire()
        if self.line:
            wire["at"] = self.line
        if self.life:
            wire["of"] = self.life
        return wire


@lru_cache(maxsize=1024)
def _check_target(workflow: str, queue: str) -> None:
    """Remembered, because a process creates many instances of a few workflows."""
    names.check_workflow_name(workflow)
    names.check_queue_name(queue)


def new_instance(
    target: Target,
    id: str,
    params: bytes,
    *,
    retention: tuple[int, int] | None = None,
    deadline_ms: int | None = None,
    command: str | None = None,
    firing: Firing | None = None,
    metadata: object = None,
) -> CreateItem:
    """An instance of a workflow, with a generation of its own.

    Args:
        retention: in ms, after success and after an error or termination; None: the workflow's.
        deadline_ms: how long it may take; None: as the workflow says.
        metadata: a mapping of a few short texts; None: none.

    Raises: see ``CreateItem``; and BadParams: it cannot be metadata.
    """
    keep_ok_ms, keep_err_ms = retention or (target.retention_success_ms, target.retention_error_ms)
    generation = nonces.generation()
    limited = target.concurrency
    item = CreateItem(
        *(target.name, id, generation, params, target.queue, keep_ok_ms, keep_err_ms),
        slot=None if limited is None else new_slot(limited, params),
        command=command,
        firing=firing,
        told_version=target.told_version,
        deadline_ms=target.deadline_ms if deadline_ms is None else deadline_ms,
    )
    if (about := metadata_of(metadata, target.metadata_keys)) is not None:
        item.metadata = about.wire()
    return item


def new_slot(limit: Concurrency, params: bytes) -> Slot:
    """What an instance with these params has of the limit at first."""
    return Slot("-", 0, "", limit.tag, limit.key_of(params))


def new_event(
    type: str,
    payload: Any,
    *,
    id: str | None = None,
    error: Rejection | None = None,
    encode: Callable[[str, Any], bytes] | None = None,
    new: CreateItem | None = None,
) -> EventItem:
    """An event that carries a value.

    Args:
        id: None: a random one.
        encode: checks a payload of this type and encodes it, unless it comes with an error; None: any value is right.
        new: see ``EventItem``.
        error: with which the wait raises, see ``rejection.encode``; None: it returns.

    Raises:
        BadName, BadEvent, PayloadError: it cannot be one.
    """
    names.check_event_type(type)
    if encode is None or error is not None:
        blob = codec.encode(payload, what=f'the payload of event "{type}"')
    else:
        blob = encode(type, payload)
    failed = None if error is None else rejection.encode(error)
    return EventItem(nonces.token() if id is None else id, type, blob, failed, new)


def address(keys: Keyspace, workflow: object, id: object) -> Instance:
    """Where the instance of these names is, as a stranger has given them.

    Raises: BadName.
    """
    return keys.instance(names.check_workflow_name(workflow), names.check_instance_id(id))


def create_call(keys: Keyspace, item: CreateItem) -> Call:
    """A call of ``create.lua``; it answers with a list of one word, ``created`` or ``exists``."""
    wire = item.wire()
    wire["i"] = 1
    return call_one(keys, _CREATE, keys.instance(item.workflow, item.id), {"items": [wire]})


def create_batch_call(keys: Keyspace, instances: Sequence[Instance], items: Sequence[CreateItem]) -> Call:
    """The same for several, with a word for each.

    Args:
        instances: those of the items, in the same order, all of one shard.
    """
    distinct, places = numbered(instances)
    wires = [item.wire() for item in items]
    for wire, place in zip(wires, places, strict=True):
        wire["i"] = place
    return call_on(keys, _CREATE, distinct[0].shard, distinct, {"items": wires})


def created(call: Call, answers: Sequence[bytes]) -> list[tuple[str, str]]:
    """The workflow and id of each instance that a call has created; none if it is a call of another script."""
    if call.script is not _CREATE:
        return []
    asked: Sequence[Mapping[str, Any]] = call.arguments["items"]
    return [(one["wf"], one["id"]) for one, answer in zip(asked, answers, strict=True) if answer == b"created"]


def event_batch_call(keys: Keyspace, instances: Sequence[Instance], items: Sequence[EventItem]) -> Call:
    """A call of ``send_event.lua`` for several, with a word for each.

    Args:
        instances: those of the items, in the same order, all of one shard.
    """
    distinct, places = numbered(instances)
    wires = [item.wire() | {"i": place} for item, place in zip(items, places, strict=True)]
    arguments = {"items": wires, "max": limits.MAILBOX_EVENTS}
    return call_on(keys, _SEND_EVENT, distinct[0].shard, distinct, arguments)


def event_call(keys: Keyspace, instance: Instance, item: EventItem, *, owner: str | None = None) -> Call:
    """A call of ``send_event.lua``; it answers with a list of one word.

    Args:
        owner: act only while this orchestrator holds the shard.
    """
    wire = item.wire()
    wire["i"] = 1
    arguments: dict[str, Any] = {"items": [wire], "max": limits.MAILBOX_EVENTS}
    if owner is not None:
        arguments["owner"] = owner
    return call_one(keys, _SEND_EVENT, instance, arguments)


def heartbeat_call(keys: Keyspace, wait: AnswerToken) -> Call:
    """A call of ``heartbeat.lua``; it answers with a word."""
    arguments = {"i": 1, "ty": answered(wait.type, wait.seq), "of": wait.life}
    return call_one(keys, _HEARTBEAT, keys.instance(wait.workflow, wait.id), arguments)

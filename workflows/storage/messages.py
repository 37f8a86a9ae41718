"""Messages between shards: another instance is asked for, or tells its end; slots are asked for and given
(``orchestrator/relay.py``).

Who asks is written into a message by the script that stores it. The same fields stand at the head of
``parts/ending.lua`` and ``parts/slot.lua``, which a test compares. Fields of a later version are passed over, so that
its messages still arrive; one without a field it needs, or with a value that cannot be one, is refused as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from workflows.errors import CorruptPayload, WorkflowError
from workflows.storage.intake import CreateItem
from workflows.storage.keys import Holder
from workflows.storage.records import Fields, ParentStep, Slot, blob_of, name_of, number_of
from workflows.storage.store import unpackb
from workflows.values import names


@dataclass(frozen=True, slots=True)
class InvokeChild:
    """Create an instance, and tell its end.

    Attributes:
        parent: who asks; None until it is stored.
        stop: it does not wait any more, and this is to become of the instance; see ``StopChild``. '': it does.
    """

    op: ClassVar[str] = "invoke"
    item: CreateItem
    parent: ParentStep | None = None
    stop: str = ""

    def wire(self) -> dict[str, Any]:
        """As ``decision.open`` takes it."""
        return {"op": self.op, **self.item.wire()}

    @classmethod
    def of(cls, fields: Fields) -> InvokeChild:
        item = CreateItem(
            workflow=name_of(fields, b"wf"),
            id=name_of(fields, b"id"),
            generation=name_of(fields, b"gen"),
            params=blob_of(fields, b"p"),
            queue=name_of(fields, b"qu"),
            keep_ok_ms=number_of(fields, b"ok"),
            keep_err_ms=number_of(fields, b"err"),
            slot=Slot.parse(blob_of(fields, b"slot")) if b"slot" in fields else None,
            told_version=blob_of(fields, b"tell").decode() if b"tell" in fields else "",
            deadline_ms=number_of(fields, b"dl") if b"dl" in fields else None,
        )
        return cls(item, _asker(fields), _policy(fields) if b"stop" in fields else "")


@dataclass(frozen=True, slots=True)
class StopChild:
    """End an instance that was created for a step which nobody waits for any more, or ask it to end.

    Attributes:
        parent: who created it.
        stop: ``terminate`` or ``cancel``.
    """

    op: ClassVar[str] = "stop"
    workflow: str
    id: str
    parent: ParentStep
    stop: str

    @classmethod
    def after(cls, invoked: InvokeChild) -> StopChild:
        """What remains of a message once its instance is there."""
        assert invoked.parent is not None
        return cls(invoked.item.workflow, invoked.item.id, invoked.parent, invoked.stop)

    @classmethod
    def of(cls, fields: Fields) -> StopChild:
        return cls(name_of(fields, b"wf"), name_of(fields, b"id"), _asker(fields), _policy(fields))


@dataclass(frozen=True, slots=True)
class WatchChild:
    """Tell the end of an instance that is there already.

    Attributes:
        parent: who asks; None until it is stored.
    """

    op: ClassVar[str] = "watch"
    workflow: str
    id: str
    parent: ParentStep | None = None

    def wire(self) -> dict[str, Any]:
        """As ``decision.open`` takes it."""
        return {"op": self.op, "wf": self.workflow, "id": self.id}

    @classmethod
    def of(cls, fields: Fields) -> WatchChild:
        workflow, id = (
            names.check_workflow_name(name_of(fields, b"wf")),
            names.check_instance_id(name_of(fields, b"id")),
        )
        return cls(workflow, id, _asker(fields))


@dataclass(frozen=True, slots=True)
class ChildOutcome:
    """An instance has ended, or there is none.

    Attributes:
        parent: who is told.
        workflow, id: which instance has ended.
        value, error: codec or failure blob; a termination has an error.
    """

    op: ClassVar[str] = "outcome"
    parent: ParentStep
    workflow: str
    id: str
    value: bytes | None = None
    error: bytes | None = None

    @classmethod
    def of(cls, fields: Fields) -> ChildOutcome:
        return cls(
            ParentStep.of(fields),
            name_of(fields, b"cwf"),
            name_of(fields, b"cid"),
            blob_of(fields, b"v") if b"v" in fields else None,
            blob_of(fields, b"x") if b"x" in fields else None,
        )


@dataclass(frozen=True, slots=True)
class SlotMessage:
    """What an instance tells the shard of its slots: it asks for one, has one all the same, or needs none.

    Attributes:
        holder: who tells, under which asking, of whose slots.
        order: among those that wait.
        state: as in ``Slot``.
    """

    op: ClassVar[str] = "slot"
    holder: Holder
    order: str
    state: str

    def wire(self) -> dict[str, Any]:
        """As ``slots.lua`` reads it."""
        return {**_holder_fields(self.holder), "ord": self.order, "st": self.state}

    @classmethod
    def of(cls, fields: Fields) -> SlotMessage:
        state = blob_of(fields, b"st").decode()
        if state not in ("-", "a", "h"):
            raise ValueError(f"it says {state!r:.100} of its slot")
        return cls(_holder(fields), _order(fields), state)


@dataclass(frozen=True, slots=True)
class SlotGranted:
    """What is told to an instance: the slot it asked for is its own."""

    op: ClassVar[str] = "grant"
    holder: Holder
    order: str

    @classmethod
    def of(cls, fields: Fields) -> SlotGranted:
        return cls(_holder(fields), _order(fields))

    def refused(self) -> SlotMessage:
        """What is answered for an instance that does not want it any more."""
        return SlotMessage(self.holder, self.order, "-")


def _holder(fields: Fields) -> Holder:
    parts = (blob_of(fields, name).decode() for name in (b"wf", b"key", b"id", b"gen"))
    return Holder.parse("|".join((*parts, str(number_of(fields, b"n")))))


def _holder_fields(holder: Holder) -> dict[str, Any]:
    return {"wf": holder.workflow, "id": holder.id, "gen": holder.generation, "n": holder.n, "key": holder.key}


def _order(fields: Fields) -> str:
    order = blob_of(fields, b"ord").decode()
    if order and not (order.isascii() and order.isdigit() and len(order) <= 16):
        raise ValueError(f"its order is {order!r:.100}")
    return order


Message = InvokeChild | StopChild | WatchChild | ChildOutcome | SlotMessage | SlotGranted
_OF: Mapping[bytes, Any] = {
    one.op.encode(): one.of for one in (InvokeChild, StopChild, WatchChild, ChildOutcome, SlotMessage, SlotGranted)
}


def message(blob: bytes) -> Message:
    """A stored message.

    Raises:
        CorruptPayload: it is none.
    """
    try:
        fields = unpackb(blob)
        found: Message = _OF[fields[b"op"]](fields)
    except WorkflowError as error:
        raise CorruptPayload(str(error)) from error
    except Exception as error:  # msgpack has no common root of what it raises
        raise CorruptPayload(f"{type(error).__name__}: {error}") from error
    return found


def _policy(fields: Fields) -> str:
    policy = blob_of(fields, b"stop").decode()
    if policy not in ("terminate", "cancel"):
        raise ValueError(f"a child is to be {policy!r:.100}")
    return policy


def _asker(fields: Fields) -> ParentStep:
    return ParentStep(
        name_of(fields, b"pwf"), name_of(fields, b"pid"), name_of(fields, b"pgen"), number_of(fields, b"pseq")
    )

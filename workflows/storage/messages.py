"""Messages between shards: another instance is asked for, or tells its end (``orchestrator/relay.py``).

Who asks is written into a message by the script that stores it. The same fields stand at the head of
``parts/ending.lua``, which a test compares. Fields of a later version are passed over, so that its messages still
arrive; a message without a field it needs, or with a value that cannot be one, is refused as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from workflows.errors import CorruptPayload, WorkflowError
from workflows.storage.intake import CreateItem
from workflows.storage.records import Fields, ParentStep, blob_of, name_of, number_of
from workflows.storage.store import unpackb
from workflows.values import names


@dataclass(frozen=True, slots=True)
class InvokeChild:
    """Create an instance, and tell its end.

    Attributes:
        parent: who asks; None until it is stored.
    """

    op: ClassVar[str] = "invoke"
    item: CreateItem
    parent: ParentStep | None = None

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
        )
        return cls(item, _asker(fields))


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


Message = InvokeChild | WatchChild | ChildOutcome
_OF: Mapping[bytes, Any] = {one.op.encode(): one.of for one in (InvokeChild, WatchChild, ChildOutcome)}


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


def _asker(fields: Fields) -> ParentStep:
    return ParentStep(
        name_of(fields, b"pwf"), name_of(fields, b"pid"), name_of(fields, b"pgen"), number_of(fields, b"pseq")
    )

"""Events that an instance has been sent and nothing has waited for yet: what is in its mailbox."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import redis

from workflows.client import history
from workflows.client.history import ErrorInfo
from workflows.storage.keys import Instance
from workflows.storage.outage import server_errors
from workflows.storage.store import Store, unpackb
from workflows.values import codec

SHOWN: Final = 100
_MAIL: Final = re.compile(rb"m\|([A-Za-z0-9_-]{1,100})(?:[=~][A-Za-z0-9_.~-]{0,100})?\|[@-Z]([0-9]{1,16})")


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """An event that is kept for a later wait.

    Attributes:
        stored: its payload as bytes; of one that a sensitive wait has given back, what stands for it.
        error: what the wait raises that gets it; None: it returns the payload.
    """

    type: str
    id: str
    sent_at: datetime | None
    stored: bytes
    error: ErrorInfo | None = None

    def payload(self) -> Any:
        """Raises: CorruptPayload."""
        return codec.decode(self.stored)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """What is kept.

    Attributes:
        events: the first ``SHOWN`` by type, each type in the order of acceptance.
        more: there are others.
    """

    events: Sequence[KeptEvent]
    more: bool


def mailbox(store: Store, instance: Instance) -> Mailbox:
    """Look into it: one look for the list, one for the events. What cannot be read is left out, be it all of it.

    Raises: ServerUnavailable.
    """
    keys = dict(zip("hjomcq", store.keys.of_instance(instance), strict=True))
    with server_errors(store.redis):
        try:
            members = store.members(keys["q"], "m|", most=SHOWN + 1)
            found = [match for member in members[:SHOWN] if (match := _MAIL.fullmatch(member)) is not None]
            numbers = [f"e:{int(match[2])}" for match in found]
            blobs: Any = store.redis.hmget(keys["m"], numbers) if numbers else []
        except redis.ResponseError:
            return Mailbox((), False)  # of another type; the doctor says so
    read = (_event(match[1].decode(), blob) for match, blob in zip(found, blobs, strict=True))
    return Mailbox([event for event in read if event is not None], len(members) > SHOWN)


def _event(type: str, blob: bytes | None) -> KeptEvent | None:
    try:
        event = unpackb(blob or b"")
        error = ErrorInfo.from_blob(event[b"x"]) if event.get(b"x") else None
        shown = history.shown_payload(event[b"p"], bool(event.get(b"se")))
        return KeptEvent(type, event[b"ev"].decode(), history.moment(event[b"et"]), shown, error)
    except Exception:  # msgpack has no common root of what it raises
        return None

"""Who waits for the end of an instance."""

from __future__ import annotations

from workflows.storage.journal import HEADER_BYTES
from workflows.storage.keys import Instance
from workflows.storage.outage import server_errors
from workflows.storage.records import ParentStep
from workflows.storage.store import Store, unpackb
from workflows.values.codec import unpack_plain

SHOWN = 100
_CREATOR = b"creator"


def parents_of(store: Store, instance: Instance) -> list[ParentStep]:
    """The steps that wait, or have waited, for its end: that of the one that created it, and of those that watch it.

    The first ``SHOWN``; none where that cannot be read. Raises: ServerUnavailable.
    """
    with server_errors(store.redis):
        stored = store.header_fields(instance, "parents")[0]
        if not stored:
            return []
        first = store.entries(instance, 0, 1) if stored == _CREATOR else []
    try:
        if stored == _CREATOR:
            return [ParentStep.of(unpack_plain(first[0][HEADER_BYTES:], raw=True)[b"pa"])]
        return [ParentStep.of(one) for one in unpackb(stored)[:SHOWN]]
    except Exception:  # msgpack has no common root of what it raises
        return []

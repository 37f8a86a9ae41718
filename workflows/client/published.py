"""What ``run`` has published, as those who look at an instance get it. Pure, but for the making of a request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from workflows.client import history
from workflows.client.requests import READ, Request, check_known
from workflows.storage.keys import Instance, Keyspace
from workflows.storage.records import Value
from workflows.storage.store import call_one, unpackb
from workflows.values import codec, names


@dataclass(frozen=True, slots=True)
class PublishedValue:
    """One value.

    Attributes:
        stored: with its place among others, and the value as bytes.
    """

    name: str
    stored: Value

    @property
    def at(self) -> datetime:
        """The moment of what ``run`` had seen last when it published it, in UTC."""
        at = history.moment(self.stored.at_ms)
        assert at is not None
        return at

    def read(self) -> Any:
        """The value. Raises: CorruptPayload."""
        return codec.decode(self.stored.blob)


def published_values(packed: bytes | None) -> list[PublishedValue]:
    """What stands in a header, by name. What cannot be read is as good as absent."""
    if not packed:
        return []
    try:
        found = [PublishedValue(name.decode(), Value.of(fields)) for name, fields in unpackb(packed).items()]
    except Exception:  # msgpack has no common root of what it raises
        return []
    return sorted(found, key=lambda one: one.name)


def value(keys: Keyspace, instance: Instance, name: str, default: Any) -> Request[Any]:
    """What ``run`` has published last under a name, else ``default``.

    Raises:
        BadName: nothing can be published under it.
        InstanceNotFound, InstanceError, CorruptPayload: from the answer.
    """
    names.check_value_name(name)

    def parse(answer: Any) -> Any:
        check_known(instance, answer)
        (packed,) = answer[1]
        return next((one.read() for one in published_values(packed or None) if one.name == name), default)

    return Request(call_one(keys, READ, instance, {"fields": ["vals"]}), parse)

"""What somebody has said about an instance when it was created: a few short texts, by which it can be found again.

They stand in the header, packed, and never change. Under which of them it is found is settled when it is created: for
each of these the shard's index has a line with a *tag*, a digest of key and value, so that no text of a user's is part
of a member. Two values with one tag do no harm, because whoever looks a tag up compares the values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from workflows import limits
from workflows.errors import BadParams
from workflows.values import names
from workflows.values.codec import unpack_plain

_TAG_CHARACTERS: Final = 16


@dataclass(frozen=True, slots=True)
class Metadata:
    """
    Attributes:
        tags: under which it is found.
    """

    values: Mapping[str, str]
    tags: tuple[str, ...] = ()

    def wire(self) -> bytes:
        """As the header has it; ``instance.lua`` reads the tags."""
        packed: bytes = msgpack.packb([dict(self.values), list(self.tags)], use_bin_type=False)
        return packed

    @classmethod
    def of(cls, blob: bytes | None) -> Metadata:
        """What stands in a header. What cannot be read is as good as absent."""
        if not blob:
            return _NONE
        try:
            values, tags = unpack_plain(blob, raw=False)
            return cls({str(key): str(value) for key, value in values.items()}, tuple(map(str, tags)))
        except Exception:  # msgpack has no common root of what it raises
            return _NONE


_NONE: Final = Metadata({})


def tag(key: str, value: str) -> str:
    """Under which an instance with this value is found."""
    return hashlib.sha1(f"{key}\0{value}".encode(), usedforsecurity=False).hexdigest()[:_TAG_CHARACTERS]


def metadata_of(given: Any, keys: Collection[str]) -> Metadata | None:
    """Metadata as it was given, checked; None where there is none.

    Args:
        keys: those by which instances of the workflow are found.
    Raises:
        BadParams: it is no mapping of a few short texts.
    """
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise BadParams(f"metadata is {given!r:.100}; it must be a mapping of texts, such as {{'customer': 'acme'}}")
    values = {check_key(key): _checked_value(key, value) for key, value in given.items()}
    if len(values) > limits.METADATA_KEYS:
        raise BadParams(f"metadata has {len(values)} keys; the most is {limits.METADATA_KEYS}")
    return Metadata(values, tuple(tag(key, values[key]) for key in sorted(values) if key in keys)) if values else None


def check_key(key: object) -> str:
    """A key of metadata. Raises: BadParams."""
    if names.is_identifier(key, limits.METADATA_KEY_CHARACTERS):
        return str(key)
    raise BadParams(
        f"{key!r:.100} cannot be a key of metadata; use 1 to {limits.METADATA_KEY_CHARACTERS} letters, digits, '-' and "
        "'_', beginning with a letter, a digit or '_'"
    )


def _checked_value(key: str, value: object) -> str:
    if isinstance(value, str) and 0 < len(value) <= limits.METADATA_VALUE_CHARACTERS and value.isprintable():
        return value
    raise BadParams(
        f"metadata {key!r:.100} is {value!r:.100}; it must be text of 1 to {limits.METADATA_VALUE_CHARACTERS} "
        "printable characters"
    )

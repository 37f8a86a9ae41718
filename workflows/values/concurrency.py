"""How many instances of a workflow run at a time: of all, or of those with one value under a key of their params.

Whoever creates instances, and an orchestrator that has none of the app's code, find the same value in the same params.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from workflows import limits
from workflows.errors import BadParams, ConfigError
from workflows.values import codec

NO_KEY: Final = "-"
"""Whose slots those are that no key divides, and those of instances that have none."""

_PATH: Final = re.compile(r"[^.\s|]+(?:\.[^.\s|]+)*")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True, slots=True)
class Concurrency:
    """A limit on running instances. Others stay queued: the oldest is next, and one that was woken is before new ones.

    Attributes:
        limit: how many run at a time, 1 to 1,000,000. One that waits or is paused does not count.
        key: where in the params the value stands by which they are counted, each value for itself: ``"tenant"``, or
            ``"customer.id"`` for what is further inside. None: all together.

    Raises: ConfigError.
    """

    limit: int
    key: str | None = None

    def __post_init__(self) -> None:
        known: Any = self.limit
        if isinstance(known, bool) or not isinstance(known, int) or not 1 <= known <= limits.CONCURRENT_MAX:
            raise ConfigError(f"The limit of a concurrency is {known!r}; use 1 to {limits.CONCURRENT_MAX}.")
        path: Any = self.key
        if path is not None and not (
            isinstance(path, str) and len(path) <= limits.SLOT_PATH_CHARACTERS and _PATH.fullmatch(path)
        ):
            raise ConfigError(
                f"The key of a concurrency is {path!r:.100}; it is a name in the params, or several with dots between "
                'them: "tenant", "customer.id".'
            )

    @property
    def tag(self) -> str:
        """By which it is seen that another key counts than before."""
        return "0" if self.key is None else f"{zlib.crc32(self.key.encode()):x}"

    def key_of(self, params: bytes) -> str:
        """Whose slots an instance with these params, a codec blob, takes: as text that can be part of a member. Without
        the key it is one with all others that have none.
        """
        if self.key is None:
            return NO_KEY
        try:
            value = self._value(codec.decode(params))
        except Exception:  # whatever cannot be read has no key either
            value = None
        return NO_KEY if value is None else key_text(value)

    def check(self, params: bytes, workflow: str) -> None:
        """Raises BadParams: these params, a codec blob, have no value by which they can be counted."""
        if self.key is not None and self.key_of(params) == NO_KEY:
            raise BadParams(
                f'The params of workflow "{workflow}" need {self.key!r}, a text or a whole number: its instances are '
                "limited for each value of it."
            )

    def _value(self, params: Any) -> str | None:
        found = params
        for name in (self.key or "").split("."):
            if not isinstance(found, Mapping):
                return None
            found = found.get(name)
        if isinstance(found, bool) or not isinstance(found, str | int):
            return None
        return str(found)

    def __str__(self) -> str:
        return f"{self.limit} at a time" + (f" for each {self.key!r}" if self.key is not None else "")

    def as_dict(self) -> dict[str, Any]:
        """As manifests have it."""
        return {"limit": self.limit} if self.key is None else {"limit": self.limit, "key": self.key}

    @classmethod
    def of(cls, found: Any) -> Concurrency | None:
        """The same back; None where there is none.

        Raises: KeyError, TypeError, ConfigError.
        """
        return None if found is None else cls(found["limit"], found.get("key"))


def key_text(value: str) -> str:
    """A value of a key as members have it: one that is long or has other characters than names is changed so that no
    two are alike, and what is plain is still to be read.
    """
    escaped = _UNSAFE.sub(
        lambda one: "".join(f"~{byte:02x}" for byte in one[0].encode("utf-8", "surrogatepass")), value
    )
    if len(escaped) > limits.SLOT_KEY_CHARACTERS:
        digest = hashlib.sha1(value.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()[:20]
        escaped = f"{escaped[: limits.SLOT_KEY_CHARACTERS]}~~{digest}"
    return f"={escaped}"


def shown_key(text: str) -> str | None:
    """The value for a person, as far as the text has it; None: no key."""
    if text == NO_KEY:
        return None
    plain, cut, _ = text[1:].partition("~~")
    try:
        found = re.sub(rb"~([0-9a-f]{2})", lambda one: bytes.fromhex(one[1].decode()), plain.encode()).decode()
    except UnicodeDecodeError:
        found = plain
    return found + "…" if cut else found

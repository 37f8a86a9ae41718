"""What the sender of an event says has failed, as bytes, and as the error that the wait raises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workflows.errors import EventError, PayloadNotSerializable
from workflows.values import failure
from workflows.values.failure import Failure

Rejection = str | BaseException | Mapping[str, str]
"""A text, an exception, or a mapping with ``message`` and perhaps ``name``."""

_FIELDS = {"message", "name"}


def encode(error: object) -> bytes:
    """Store an error that somebody sends.

    Args:
        error: a ``Rejection``. Of an exception the name of its class and its text are kept: whoever receives it may
            know neither the class nor the language.
    Raises:
        PayloadNotSerializable: it is none of these.
    """
    if isinstance(error, BaseException):
        shown = Failure.from_blob(failure.capture(error))
        return _made(shown.message, shown.name)
    if isinstance(error, str):
        return _made(error)
    if isinstance(error, Mapping) and "message" in error and set(error) <= _FIELDS:
        message, name = error["message"], error.get("name") or EventError.__name__
        if isinstance(message, str) and isinstance(name, str):
            return _made(message, name)
    raise PayloadNotSerializable(
        "The error of an event is a text, an exception, or a mapping with the texts message and, if you like, name, "
        f"not {error!r:.100}"
    )


def _made(message: str, name: str = EventError.__name__) -> bytes:
    return failure.make(EventError.__name__, message, shown_name=name)


def decode(blob: bytes, type: str, payload: Any) -> EventError:
    """The error to raise.

    Args:
        type, payload: of the event it came with.
    Raises:
        CorruptPayload: the bytes are something else.
    """
    stored = Failure.from_blob(blob)
    return EventError(stored.message, name=stored.name, payload=payload, type=type)

"""What a wait listens to: names, each a type of event, with more behind it where it is for less than all of a type.

    packed             whatever event of this type its instance is sent
    packed=order-7     those that are sent to a key

Open records have them with bars between, and an event is kept under the one that it was sent to.
"""

from __future__ import annotations

from workflows import limits
from workflows.errors import BadName
from workflows.values.concurrency import key_text


def check_key(key: object) -> str:
    """The text of a key to wait for, or to send to: 1 to 500 characters, or a whole number.

    Raises:
        BadName: it cannot be one.
    """
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    if isinstance(key, str) and 0 < len(key) <= limits.EVENT_KEY_CHARACTERS:
        return key
    most = limits.EVENT_KEY_CHARACTERS
    raise BadName(f"The key of an event is a text of 1 to {most} characters or a whole number, not {key!r:.100}.")


def keyed(type: str, key: str) -> str:
    """For events of a type that are sent to a key."""
    return type + key_text(key)


def type_of(name: str) -> str:
    """The type in a name."""
    return name.partition("=")[0]

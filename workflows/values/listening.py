"""What a wait listens to: names, each a type of event, with more behind it where it is for less than all of a type.

    packed             whatever event of this type its instance is sent
    packed=order-7     those that are sent to a key
    packed~12          the one answer to the wait that was asked for as the twelfth step, by its token

Open records have them with bars between, and an event is kept under the one that it was sent to.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from workflows import limits
from workflows.errors import BadName
from workflows.values import names
from workflows.values.concurrency import key_text

_MORE: Final = re.compile("[=~]")


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


def answered(type: str, seq: int) -> str:
    """For the answer to one wait by its token."""
    return f"{type}~{seq}"


def type_of(name: str) -> str:
    """The type in a name."""
    return _MORE.split(name, 1)[0]


class AnswerToken(NamedTuple):
    """What an answer to one wait is sent with: text that fits into a URL.

    Attributes:
        life: the generation that asked for the wait.
        seq: of the wait.
    """

    workflow: str
    id: str
    life: str
    seq: int
    type: str

    @classmethod
    def parse(cls, text: object) -> AnswerToken:
        """Raises BadName: it is none."""
        parts = text.split(".") if isinstance(text, str) else []
        try:
            workflow, id, life, seq, type = parts
            if not re.fullmatch("[1-9][0-9]{0,8}", seq):
                raise ValueError
            names.check_workflow_name(workflow)
            names.check_instance_id(life)
            return cls(workflow, names.check_instance_id(id), life, int(seq), names.check_event_type(type))
        except (ValueError, BadName):
            raise BadName(f"This is no token of a wait: {text!r:.200}. Send it as it was handed out.") from None

    @property
    def text(self) -> str:
        """As it is handed out."""
        return ".".join(map(str, self))

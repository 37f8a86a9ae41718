"""Names that other systems give, as ids of instances, and back."""

from __future__ import annotations

import re
from typing import Any, Final

from workflows import limits
from workflows.errors import BadName

_ESCAPED: Final = re.compile(rb"[^A-Za-z0-9-]|\A-")
_ESCAPE: Final = re.compile(rb"_([0-9A-F]{2})")


def workflow_id(name: str) -> str:
    """The id of an instance that stands for what another system calls ``name``: ``order:7`` becomes ``order_3A7``.

    The rule, the same in every language: of the UTF-8 bytes, letters, digits and ``-`` stay; every other byte, and a
    ``-`` in front, becomes ``_`` and its two hexadecimal digits in capitals. It is percent-encoding with ``_`` for
    ``%``. Two names never have one id, and ``external_name`` finds the name again. Text is taken as it is: ``Ann`` and
    ``ann``, or a letter composed in two ways, are different names.

    Raises:
        BadName: it is no text, empty, half of a surrogate pair is in it, or the id would have more than 100 characters.
    """
    given: Any = name
    if not isinstance(given, str) or not given:
        raise BadName(f"An id is made of text that is not empty, not of {name!r:.100}.")
    try:
        data = name.encode()
    except UnicodeEncodeError as error:
        raise BadName(
            f"No id can be made of this name: U+{ord(name[error.start]):04X} at position {error.start} is half of a "
            "surrogate pair."
        ) from None
    id = _ESCAPED.sub(lambda one: b"_%02X" % one[0][0], data).decode()
    if len(id) > limits.INSTANCE_ID_CHARACTERS:
        raise BadName(
            f"The id of {name!r:.100} would have {len(id):,} characters, and {limits.INSTANCE_ID_CHARACTERS} is the "
            "most: letters, digits and '-' take one each, every other byte three. Use a shorter name, or let the id be "
            "made for you and find the instance by its metadata."
        )
    return id


def external_name(id: str) -> str:
    """The name that ``workflow_id`` made this id of.

    Raises:
        BadName: it made no such id.
    """
    try:
        name = _ESCAPE.sub(lambda one: bytes.fromhex(one[1].decode()), id.encode()).decode()
        if workflow_id(name) == id:
            return name
    except (AttributeError, UnicodeError, BadName):
        pass
    raise BadName(f"{id!r:.100} is not an id that workflow_id makes of a name.")

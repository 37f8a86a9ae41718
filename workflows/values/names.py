"""The rules for names, and the messages for names that break them.

Where Cloudflare (https://developers.cloudflare.com/workflows/) fixes a text, ours begins with that text and goes on
with what is wrong and what would be accepted.
"""

from __future__ import annotations

import re

from workflows import limits
from workflows.errors import BadName

_IDENTIFIER = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_-]*")
_NAMESPACE = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]*")
_CONTROL = re.compile(r"[\x00-\x1f]")
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SHOWN_CHARACTERS = 300


def check_workflow_name(name: object) -> str:
    """Return ``name`` if it can name a workflow: up to 64 letters, digits, ``-`` and ``_``, no ``-`` in front.

    Raises:
        BadName: it cannot.
    """
    return _check_identifier(name, "Workflow name is invalid", limits.WORKFLOW_NAME_CHARACTERS)


def check_instance_id(id: object) -> str:
    """Return ``id`` if it can name an instance: up to 100 letters, digits, ``-`` and ``_``, no ``-`` in front.

    Raises:
        BadName: it cannot.
    """
    return _check_identifier(id, "Workflow instance has invalid id", limits.INSTANCE_ID_CHARACTERS)


def check_event_type(type: object) -> str:
    """Return ``type`` if it can name a type of event: up to 100 letters, digits, ``-`` and ``_``, no ``-`` in front.

    Raises:
        BadName: it cannot.
    """
    text = "(workflow.invalid_event_type) Provided event type is invalid"
    return _check_identifier(type, text, limits.EVENT_TYPE_CHARACTERS)


def check_namespace(name: object) -> str:
    """Return ``name`` if it can name an app: up to 64 letters, digits, ``-``, ``_``, ``.``, none of ``-.`` in front.

    Raises:
        BadName: it cannot.
    """
    if isinstance(name, str) and len(name) <= limits.NAMESPACE_CHARACTERS and _NAMESPACE.fullmatch(name):
        return name
    raise BadName(
        f"An app's name cannot be {_shortened(repr(name))}. Use 1 to {limits.NAMESPACE_CHARACTERS} letters, digits, "
        "'-', '_' and '.', beginning with a letter, a digit or '_': it is the namespace of its keys in Redis."
    )


def check_queue_name(name: object) -> str:
    """Return ``name`` if it can name a queue: up to 64 letters, digits, ``-`` and ``_``, no ``-`` in front.

    Raises:
        BadName: it cannot.
    """
    return _check_identifier(name, "A queue cannot be named so", limits.QUEUE_NAME_CHARACTERS)


def check_producer_name(name: object) -> str:
    """Return ``name`` if it can name a producer: up to 48 letters, digits, ``-`` and ``_``, no ``-`` in front.

    Raises:
        BadName: it cannot.
    """
    return _check_identifier(name, "A producer cannot be named so", limits.PRODUCER_NAME_CHARACTERS)


def check_value_name(name: object) -> str:
    """Return ``name`` if a value can be published under it: up to 64 letters, digits, ``-``, ``_``, no ``-`` in front.

    Raises:
        BadName: it cannot.
    """
    return _check_identifier(name, "A value cannot be published under this name", limits.VALUE_NAME_CHARACTERS)


def check_command_id(id: object, what: str = "command_id") -> str:
    """Return ``id`` if repeated commands or events can be known by it: 1 to 200 printable characters.

    Raises:
        BadName: they cannot.
    """
    if isinstance(id, str) and 0 < len(id) <= limits.COMMAND_ID_CHARACTERS and id.isprintable():
        return id
    raise BadName(
        f"{what} is text of 1 to {limits.COMMAND_ID_CHARACTERS} printable characters, not {_shortened(repr(id))}."
    )


def check_step_name(name: object) -> str:
    """Return ``name`` if it can name a step: 1 to 256 characters, no control characters, any other text.

    Raises:
        BadName: it cannot.
    """
    if not isinstance(name, str):
        raise BadName(f"A step name must be a string, not {_shown(name)}. Pass the name as the first argument.")
    reason = _step_name_problem(name)
    if reason is None:
        return name
    raise BadName(
        f'Step name "{_shortened(name)}" exceeds max length ({limits.STEP_NAME_CHARACTERS} chars) or invalid '
        f"characters found: {reason}. Use 1 to {limits.STEP_NAME_CHARACTERS} characters of printable text."
    )


def workflow_name_of(class_name: str) -> str:
    """The name a workflow class gets when it is given none: ``ApprovalWorkflow`` becomes ``approval-workflow``.

    Raises:
        BadName: the class's name cannot be turned into one; pass ``name=`` to ``@app.workflow``.
    """
    words = [word for part in class_name.split("_") for word in _WORD_START.split(part) if word]
    return check_workflow_name("-".join(words).lower())


def binding_name_of(workflow_name: str) -> str:
    """The name a workflow has in ``self.env`` when it is given none: ``approval-workflow``, ``APPROVAL_WORKFLOW``."""
    return workflow_name.replace("-", "_").upper()


def is_identifier(value: object, characters: int) -> bool:
    """Whether it is text of letters, digits, ``-`` and ``_``, no ``-`` in front, and no longer than that."""
    # fullmatch, because `$` would let a trailing newline through.
    return isinstance(value, str) and len(value) <= characters and _IDENTIFIER.fullmatch(value) is not None


def _check_identifier(value: object, text: str, characters: int) -> str:
    if not isinstance(value, str):
        raise BadName(f"{text}: {_shown(value)} is not a string.")
    if is_identifier(value, characters):
        return value
    if not value:
        reason = "it is empty"
    elif len(value) > characters:
        reason = f"it has {len(value):,} characters"
    else:
        reason = "it begins with '-'" if _IDENTIFIER.fullmatch("_" + value) else "it has other characters"
    raise BadName(
        f"{text}: {_shortened(value)!r}: {reason}. "
        f"Use 1 to {characters} letters, digits, '-' and '_', beginning with a letter, a digit or '_'."
    )


def _step_name_problem(name: str) -> str | None:
    if not name:
        return "it is empty"
    if len(name) > limits.STEP_NAME_CHARACTERS:
        return f"it has {len(name):,} characters"
    control = _CONTROL.search(name)
    if control:
        return f"U+{ord(control.group()):04X} at position {control.start()} is a control character"
    try:
        name.encode()
    except UnicodeEncodeError as error:
        return f"U+{ord(name[error.start]):04X} at position {error.start} is half of a surrogate pair"
    return None


def _shown(value: object) -> str:
    return f"{_shortened(repr(value))} ({type(value).__name__})"


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"

"""Filling in a form, as fields or as JSON, and changing from one to the other on the way. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workflows.ui.forms import Form, Unshowable, read_json
from workflows.ui.showing import json_text


@dataclass(frozen=True, slots=True)
class Filled:
    """A form as somebody has left it.

    Attributes:
        value: what it says, where there are no ``errors``.
        text: as it was written in JSON; None: in fields.
        texts: what stands in the fields, by their names.
        errors: what is wrong, by the name of the field; ``json`` for all of it.
        is_sent: it is to be done; else it is to be shown again, in another form.
    """

    value: Any = None
    text: str | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    is_sent: bool = False


def empty(form: Form) -> Filled:
    """Nothing has been filled in."""
    return Filled(texts=form.defaults()) if form.fields else Filled(text="")


def filled(form: Form, posted: Mapping[str, str], nothing: Any = None) -> Filled:
    """What was posted.

    Args:
        posted: ``json``, the text, or the fields by their names; ``as``: ``json`` or ``fields``, what it is to become.
        nothing: what an empty text means.
    """
    text, wanted = posted.get("json"), posted.get("as")
    errors: dict[str, str] = {}
    value: Any = nothing
    if text is None:
        value, errors = form.read(posted)
        if wanted == "json":
            # What could not be read is left out.
            return Filled(text=json_text(value))
        return Filled(value, None, dict(posted), errors, is_sent=True)
    if text.strip():
        try:
            value = read_json(text)
        except ValueError as error:
            errors = {"json": str(error)}
    if wanted != "fields":
        return Filled(value, text, {}, errors, is_sent=True)
    if not errors:
        try:
            return Filled(texts=form.shown(value))
        except Unshowable:
            errors = {"json": "The fields cannot show all of this; it can only be written as JSON."}
    return Filled(text=text, errors=errors)

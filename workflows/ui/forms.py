"""Forms made from a JSON schema, as pydantic writes them, and values made from what was posted. Pure.

Fields are what people can fill in without knowing JSON: texts, numbers, yes or no, choices, moments, lists of those one
a line, and one level of objects of them. Anything else is a field of JSON. What is left empty is left out, so that the
model's own default holds. A field's name in the form is its JSON pointer.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, Final

SCALARS: Final = frozenset({"text", "integer", "number", "boolean", "choice", "moment", "date"})
_INTEGER: Final = re.compile(r"-?[0-9]{1,400}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?([eE][-+]?[0-9]{1,3})?")
_LONG: Final = 120
_MISSING: Final = object()
_TRUE, _FALSE = "true", "false"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form.

    Attributes:
        kind: one of ``SCALARS``, ``list`` (of ``item``, one a line), ``group`` (of ``fields``) or ``json``.
        name: in the form, its JSON pointer: ``/customer/name``.
        key: in the object it belongs to.
        can_be_null: None is a value of it.
        default: what the model takes when it is left out; ``has_default``: whether that is known.
        choices: of a ``choice``, each as JSON.
        bounds: keywords of the schema that limit its values.
    """

    kind: str
    name: str
    key: str
    label: str
    description: str = ""
    required: bool = False
    can_be_null: bool = False
    default: Any = None
    has_default: bool = False
    choices: tuple[str, ...] = ()
    bounds: tuple[tuple[str, Any], ...] = ()
    item: Field | None = None
    fields: tuple[Field, ...] = ()

    @property
    def id(self) -> str:
        """For the page: no other element has it."""
        return "field" + re.sub(r"[^A-Za-z0-9-]", lambda found: f"_{ord(found[0]):x}_", self.name)

    @property
    def is_long(self) -> bool:
        """Whether it wants more than one line."""
        return self.kind in ("list", "json") or any(
            keyword == "maxLength" and bound > _LONG for keyword, bound in self.bounds
        )

    @property
    def is_ticked(self) -> bool:
        """A yes or no that cannot be left open: one box."""
        return self.kind == "boolean" and (self.required or isinstance(self.default, bool))


class Unshowable(Exception):
    """A value that the fields cannot show as it is."""


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of an object; none when the value is to be written as JSON."""

    fields: tuple[Field, ...]

    @classmethod
    def of(cls, schema: Mapping[str, Any] | None) -> Form:
        """From a JSON schema; whatever in it is not understood becomes JSON."""
        if not isinstance(schema, Mapping):
            return cls(())
        definitions = schema.get("$defs")
        return cls(_fields(_resolved(schema, definitions), definitions, "", 0))

    def every(self) -> Iterator[Field]:
        """All that can be filled in, those of groups as well."""
        for field in self.fields:
            yield from field.fields if field.kind == "group" else (field,)

    def defaults(self) -> dict[str, str]:
        """What stands in the fields to begin with."""
        texts: dict[str, str] = {}
        for field in self.every():
            if field.has_default and field.default is not None:
                try:
                    texts[field.name] = _text(field, field.default)
                except Unshowable:
                    continue
        return texts

    def shown(self, value: Any) -> dict[str, str]:
        """A value as the texts of the fields.

        Raises:
            Unshowable: not all of it has its place there; then it is shown as JSON.
        """
        if not self.fields:
            raise Unshowable
        texts = _shown(self.fields, value)
        again, errors = self.read(texts)
        if errors or not _same(_filled(self.fields, again), _filled(self.fields, value)):
            raise Unshowable
        return texts

    def read(self, posted: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
        """The value that was filled in, and what is wrong with it by the name of the field."""
        errors: dict[str, str] = {}
        return _read(self.fields, posted, errors), errors


def read_json(text: str) -> Any:
    """A value that was written as JSON.

    Raises:
        ValueError: it is none; the message says where.
    """

    def refuse(word: str) -> Any:
        raise ValueError(f"{word} is not JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _resolved(schema: Any, definitions: Any) -> Mapping[str, Any]:
    """What a reference means; of a circle of them, nothing."""
    for _ in range(8):
        if not isinstance(schema, Mapping):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        name = reference.removeprefix("#/$defs/")
        found = definitions.get(name) if isinstance(definitions, Mapping) else None
        if not isinstance(found, Mapping):
            return {}
        schema = {**found, **{key: value for key, value in schema.items() if key != "$ref"}}
    return {}


def _fields(schema: Mapping[str, Any], definitions: Any, pointer: str, depth: int) -> tuple[Field, ...]:
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or schema.get("type") != "object":
        return ()
    required = schema.get("required")
    needed = set(required) if isinstance(required, list) else set()
    return tuple(_field(str(key), one, definitions, pointer, key in needed, depth) for key, one in properties.items())


def _field(key: str, schema: Any, definitions: Any, pointer: str, required: bool, depth: int) -> Field:
    name = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
    outer = _resolved(schema, definitions)
    inner, can_be_null = _without_null(outer, definitions)
    words = {**inner, **{word: outer[word] for word in ("title", "description", "default") if word in outer}}
    title, description = words.get("title"), words.get("description")
    field = Field(
        *("json", name, key, title if isinstance(title, str) and title else key),
        description=description if isinstance(description, str) else "",
        required=required,
        can_be_null=can_be_null,
        default=words.get("default"),
        has_default="default" in words,
    )
    kind, more = _kind(inner, definitions)
    if kind == "group":
        fields = _fields(inner, definitions, name, depth + 1)
        if depth or can_be_null or not required or not fields:
            return field
        return replace(field, kind=kind, fields=fields)
    if kind == "list":
        items = inner.get("items")
        item, item_can_be_null = _without_null(_resolved(items, definitions), definitions)
        of, more_of_item = _kind(item, definitions)
        if of not in SCALARS or item_can_be_null:
            return field
        return replace(field, kind=kind, item=Field(of, name, key, field.label, **more_of_item), **more)
    return replace(field, kind=kind, **more)


def _without_null(schema: Mapping[str, Any], definitions: Any) -> tuple[Mapping[str, Any], bool]:
    """What a value is when it is not null, and whether it may be."""
    either = schema.get("anyOf")
    if not isinstance(either, list):
        return schema, False
    others = [_resolved(one, definitions) for one in either]
    kept = [one for one in others if one.get("type") != "null"]
    can_be_null = len(kept) < len(others)
    if len(kept) == 1:
        return kept[0], can_be_null
    return {}, can_be_null


_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength")


def _kind(schema: Mapping[str, Any], definitions: Any) -> tuple[str, dict[str, Any]]:
    bounds = tuple((word, schema[word]) for word in _BOUNDS if isinstance(schema.get(word), (int, float)))
    choices = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(choices, list) and choices and not any(isinstance(one, (list, dict)) for one in choices):
        return "choice", {"choices": tuple(json.dumps(one, ensure_ascii=False) for one in choices)}
    match schema.get("type"):
        case "string":
            kind = {"date-time": "moment", "date": "date"}.get(str(schema.get("format")), "text")
            return kind, {"bounds": bounds}
        case "integer" | "number" | "boolean" as kind:
            return kind, {"bounds": bounds}
        case "array" if "prefixItems" not in schema:
            counts = ("minItems", "maxItems")
            return "list", {
                "bounds": tuple((word, schema[word]) for word in counts if isinstance(schema.get(word), int))
            }
        case "object" if "properties" in schema:
            return "group", {}
    return "json", {}


def _read(fields: Sequence[Field], posted: Mapping[str, str], errors: dict[str, str]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for field in fields:
        if field.kind == "group":
            value[field.key] = _read(field.fields, posted, errors)
            continue
        try:
            found = _value(field, posted.get(field.name, "").replace("\r\n", "\n"))
        except ValueError as error:
            errors[field.name] = str(error)
        else:
            if found is not _MISSING:
                value[field.key] = found
    return value


def _value(field: Field, text: str) -> Any:
    """What a text means for a field. Raises ValueError: nothing that the field can take."""
    if field.is_ticked:
        return text == _TRUE
    if not text.strip() and not (field.kind == "text" and text):
        if field.kind == "list" and (field.required or isinstance(field.default, list)):
            return _checked(field, [])
        if field.required and not field.can_be_null:
            raise ValueError("is required")
        # Left out, it would be what the model takes by default; a default that somebody has emptied was taken away.
        if field.can_be_null and (field.required or field.default is not None):
            return None
        return _MISSING
    match field.kind:
        case "list":
            assert field.item is not None
            items = []
            for number, line in enumerate(text.split("\n"), 1):
                if line.strip():
                    try:
                        items.append(_scalar(field.item, line))
                    except ValueError as error:
                        raise ValueError(f"line {number}: {error}") from None
            return _checked(field, items)
        case "json":
            return read_json(text)
    return _scalar(field, text)


def _scalar(field: Field, text: str) -> Any:
    bare = text.strip()
    match field.kind:
        case "integer":
            if _INTEGER.fullmatch(bare) is None:
                raise ValueError("must be a whole number")
            return _checked(field, int(bare))
        case "number":
            if _NUMBER.fullmatch(bare) is None or not math.isfinite(float(bare)):
                raise ValueError("must be a number")
            return _checked(field, int(bare) if _INTEGER.fullmatch(bare) else float(bare))
        case "boolean":
            if bare not in (_TRUE, _FALSE):
                raise ValueError("must be true or false")
            return bare == _TRUE
        case "choice":
            # In a list they are written as text is, without its quotes.
            for choice in field.choices:
                if bare in (choice, str(json.loads(choice))):
                    return json.loads(choice)
            raise ValueError(f"must be one of {', '.join(field.choices)}")
        case "moment":
            return _moment(bare)
        case "date":
            try:
                return date.fromisoformat(bare).isoformat()
            except ValueError:
                raise ValueError("must be a date, such as 2026-11-27") from None
    return _checked(field, text)


def _moment(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("must be a moment, such as 2026-11-27T09:30:00") from None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")


_SAY: Final = {
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be more than {}",
    "exclusiveMaximum": "must be less than {}",
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "minItems": "must have at least {} lines",
    "maxItems": "must have at most {} lines",
}


def _checked(field: Field, value: Any) -> Any:
    for word, bound in field.bounds:
        size = len(value) if word.endswith(("Length", "Items")) else value
        is_kept = {
            "minimum": size >= bound,
            "exclusiveMinimum": size > bound,
            "exclusiveMaximum": size < bound,
        }.get(word, size >= bound if word.startswith("min") else size <= bound)
        if not is_kept:
            raise ValueError(_SAY[word].format(f"{bound:,}"))
    return value


def _shown(fields: Sequence[Field], value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping) or value.keys() - {field.key for field in fields}:
        raise Unshowable
    texts: dict[str, str] = {}
    for field in fields:
        if field.kind == "group":
            texts |= _shown(field.fields, value.get(field.key))
        elif field.key in value:
            texts[field.name] = _text(field, value[field.key])
        elif field.default is not None:
            texts[field.name] = _text(field, field.default)
    return texts


def _filled(fields: Sequence[Field], value: Mapping[str, Any]) -> dict[str, Any]:
    """With what the model takes where something was left out."""
    filled = dict(value)
    for field in fields:
        if field.kind == "group":
            filled[field.key] = _filled(field.fields, value[field.key])
        elif field.has_default:
            filled.setdefault(field.key, field.default)
    return filled


def _text(field: Field, value: Any) -> str:
    """A value as what somebody would have filled in. Raises Unshowable."""
    if value is None and field.can_be_null and field.kind != "json":
        return ""
    if field.kind == "json":
        return json.dumps(value, indent=2, ensure_ascii=False)
    if field.kind == "list":
        if not isinstance(value, list) or field.item is None:
            raise Unshowable
        lines = [_text_of_item(field.item, one) for one in value]
        if any("\n" in line or not line.strip() for line in lines):
            raise Unshowable
        return "\n".join(lines)
    if field.kind == "choice":
        return json.dumps(value, ensure_ascii=False)
    return _text_of_item(field, value)


def _text_of_item(field: Field, value: Any) -> str:
    if isinstance(value, bool):
        return _TRUE if value else _FALSE
    if not isinstance(value, (str, int, float)):
        raise Unshowable
    if field.kind == "moment":
        try:
            return _moment(str(value)).removesuffix("Z")
        except ValueError:
            raise Unshowable from None
    return str(value)


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same as JSON: 1 is not true there."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)

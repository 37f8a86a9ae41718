"""Models, dataclasses, enums and the like: how they are stored as plain data, and made again from it.

A record travels as a mapping of its fields by name. What comes back is what the annotation makes of that mapping, with
names and aliases both understood and without ``strict``, which would refuse a stored enum's value. Whether that works
cannot be told from the annotation alone: a validator may change what it is given a second time, a union may take
something else for it. So ``Record.encode`` makes the value again there and then and compares. What does not come back
is refused at that moment, and not in every replay after it.

Three forms are tried, the first that comes back is stored: the fields as they are; what pydantic writes when it is
asked for something it can read (a ``Json`` field wants its text back); the same as for JSON (a ``HttpUrl`` is no type
of ours). Aliases that are also names of other fields would make the stored mapping mean two things, so a result is
then read by name alone, and such params are refused when the workflow is registered.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import reprlib
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Final

from workflows.errors import ConfigError, PayloadNotSerializable, PayloadTooLarge
from workflows.values import codec

_KEPT: Final = 1024  # records remembered; more can only come from annotations made anew at every call
_AWAITABLES: Final = (collections.abc.Awaitable, collections.abc.Coroutine)
_WAY_OUT: Final = "Let it accept what it has made itself, or return plain data and make the object in run()."

_records: dict[Any, tuple[Any, Record | None]] = {}


class Record:
    """An annotation that mentions records, and how its values are stored.

    Attributes:
        annotation: as given.
        ambiguous: a field whose alias is the name of another field; None where there is none.
        initial: a value that the constructor needs and the object does not keep (an ``InitVar``); None likewise.
    """

    def __init__(self, annotation: Any, adapter: Any) -> None:
        self.annotation = annotation
        self._adapter = adapter
        self.ambiguous: str | None = None
        self.initial: str | None = None
        for kind, fields in _fields_of(adapter.core_schema):
            self.ambiguous = self.ambiguous or _ambiguous(kind, fields)
            self.initial = self.initial or _initial(kind, fields)

    def validate(self, value: Any) -> Any:
        """What the annotation makes of a value given from outside, by its own rules.

        Raises: pydantic.ValidationError.
        """
        return self._adapter.validate_python(value)

    def rebuild(self, stored: Any) -> Any:
        """The record of its stored form.

        Raises:
            pydantic.ValidationError: what is stored does not fit the annotation as it is now.
        """
        from pydantic import ValidationError

        try:
            return self._adapter.validate_python(stored, strict=False, by_alias=self.ambiguous is None, by_name=True)
        except ValidationError as error:
            try:
                return self._adapter.validate_python(stored)
            except ValidationError as other:
                raise (other if other.error_count() < error.error_count() else error) from None

    def json_schema(self) -> dict[str, Any]:
        """The JSON schema of what ``validate`` takes."""
        schema: dict[str, Any] = self._adapter.json_schema()
        return schema

    def encode(self, value: Any, *, what: str) -> bytes:
        """Store a value, once it is certain that it comes back.

        Args:
            value: a record, or plain data that the annotation makes into one.
            what: names the value in errors.
        Raises:
            PayloadNotSerializable: it cannot be stored, does not fit the annotation, or would come back as something
                else; the message says where in the value.
            PayloadTooLarge: it is larger than values may be.
        """
        refusals: list[PayloadNotSerializable] = []
        try:
            value = self.validate(value)
        except Exception:
            # An object of another class with the same fields, say: what counts is what the stored form makes of it.
            value = self._made(codec.encode(value, what=what, state=True), what)
        for form in (self._state, self._dumped, self._dumped_as_json):
            try:
                blob = codec.encode(form(value), what=what, state=True)
                found = difference(value, self._made(blob, what))
            except PayloadTooLarge:
                raise
            except PayloadNotSerializable as error:
                refusals.append(error)
            except Exception as error:  # a serializer of the user's own, or a type that has none
                refusals.append(self._refusal(what, _described(error)))
            else:
                if found is None:
                    return blob
                place, reason = found
                refusals.insert(0, self._refusal(what, f"{f'at {place}, ' if place else ''}{reason}"))
        raise refusals[0]

    def _made(self, blob: bytes, what: str) -> Any:
        from pydantic import ValidationError

        try:
            return self.rebuild(codec.decode(blob))
        except ValidationError as error:
            raise self._refusal(what, problems(error)) from error
        except Exception as error:  # a validator of the user's own
            raise self._refusal(what, _described(error)) from error

    def _refusal(self, what: str, reason: str) -> PayloadNotSerializable:
        text = f"{what[:1].upper()}{what[1:]} does not come back as {named(self.annotation)}: {reason}. {_WAY_OUT}"
        return PayloadNotSerializable(text.encode(errors="backslashreplace").decode())

    def _state(self, value: Any) -> Any:
        return value

    def _dumped(self, value: Any) -> Any:
        return self._adapter.dump_python(value, by_alias=True, round_trip=True, warnings=False)

    def _dumped_as_json(self, value: Any) -> Any:
        return self._adapter.dump_python(value, mode="json", by_alias=True, round_trip=True, warnings=False)


def record_of(annotation: Any) -> Record | None:
    """The record for an annotation that mentions one; None for any other, and where no schema can be made of it."""
    if annotation is None:
        return None
    try:
        key: Any = annotation
        known = _records.get(key)
    except TypeError:  # an unhashable annotation, Annotated[Model, Field(…)] say
        key = id(annotation)
        known = _records.get(key)
    if known is None:
        if len(_records) >= _KEPT:
            _records.clear()
        # With the annotation itself, so that an id stays its own.
        awaited = _awaited(annotation)
        known = _records[key] = (annotation, _make(awaited) if _mentions(awaited, set()) else None)
    return known[1]


def declared_record(model: Any) -> Record:
    """The record for the declared params or payloads of a workflow, whatever type they are.

    Raises:
        pydantic.errors.PydanticUserError: no schema can be made of it, or not yet.
    """
    try:
        key: Any = ("declared", model)
        known = _records.get(key)
    except TypeError:
        key = ("declared", id(model))
        known = _records.get(key)
    if known is None:
        if len(_records) >= _KEPT:
            _records.clear()
        known = _records[key] = (model, Record(model, _adapter(model)))
    record = known[1]
    assert record is not None
    return record


def check_model(model: Any, what: str) -> None:
    """Refuse a model of params or payloads whose values could not come back, as far as the model alone tells.

    Args:
        what: they are, in errors: ``The params of workflow "order"``.
    Raises: ConfigError.
    """
    from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError

    try:
        record = declared_record(model)
    except PydanticUndefinedAnnotation:
        return  # a class further down in the module: found out at the first create()
    except PydanticUserError as error:
        if error.code == "class-not-fully-defined":
            return
        raise ConfigError(f"{what} are {named(model)}, of which no schema can be made: {error}") from error
    except Exception as error:
        raise ConfigError(f"{what} are {named(model)}, of which no schema can be made: {error}") from error
    if record.ambiguous is not None:
        raise ConfigError(
            f"{what} are {named(model)}, where {record.ambiguous}. What is stored is read by alias and by name, so "
            "that could be taken for either: give one of them another name."
        )
    if record.initial is not None:
        raise ConfigError(f"{what} are {named(model)}, which cannot be made again from its fields: {record.initial}")


def problems(error: Any) -> str:
    """The problems of a ``pydantic.ValidationError`` in one line, each with its place."""
    return "; ".join(f"at {place(one['loc'])}, {one['msg']}" for one in error.errors(include_url=False)[:5])


def place(location: tuple[int | str, ...], otherwise: str = "the top") -> str:
    """Where in a value, ``"items.0.price"``."""
    return ".".join(map(str, location)) or otherwise


def named(annotation: Any) -> str:
    """An annotation as people write it."""
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


# --- what an annotation mentions


def _awaited(annotation: Any) -> Any:
    """What awaiting gives, for a plain function that returns an awaitable."""
    while typing.get_origin(annotation) in _AWAITABLES:
        annotation = typing.get_args(annotation)[-1]
    return annotation


def _make(annotation: Any) -> Record | None:
    try:
        return Record(annotation, _adapter(annotation))
    except Exception:
        return None  # no schema, because of a type that pydantic does not know: run() gets the plain value


def _adapter(annotation: Any) -> Any:
    from pydantic import TypeAdapter  # imported here, because most workflows need none and it takes a while

    return TypeAdapter(_readable(annotation) if sys.version_info < (3, 12) else annotation)


def _readable(annotation: Any) -> Any:
    """The annotation with typed dicts that pydantic can read: before Python 3.12 it refuses those of ``typing``."""
    import typing_extensions

    if typing.is_typeddict(annotation):
        hints = typing.get_type_hints(annotation, include_extras=True)
        fields = {
            name: _readable(hint) if name in annotation.__required_keys__ else typing.NotRequired[_readable(hint)]
            for name, hint in hints.items()
        }
        return typing_extensions.TypedDict(annotation.__name__, fields)  # type: ignore[operator]
    arguments = typing.get_args(annotation)
    members = tuple([_readable(argument) for argument in arguments])
    if all(member is argument for member, argument in zip(members, arguments, strict=True)):
        return annotation
    if hasattr(annotation, "__metadata__"):
        return typing.Annotated[(members[0], *annotation.__metadata__)]
    if isinstance(annotation, types.UnionType):
        return typing.Union[members]  # noqa: UP007
    return annotation.copy_with(members) if hasattr(annotation, "copy_with") else typing.get_origin(annotation)[members]


def _mentions(annotation: Any, seen: set[int]) -> bool:
    """Whether a model, dataclass, enum or named tuple is in it, directly or as the type of a member."""
    if id(annotation) in seen:
        return False
    seen.add(id(annotation))
    if hasattr(annotation, "__supertype__"):  # NewType
        return _mentions(annotation.__supertype__, seen)
    if type(annotation).__name__ == "TypeAliasType":
        return _mentions(annotation.__value__, seen)
    if isinstance(annotation, type) and not typing.get_args(annotation):
        if typing.is_typeddict(annotation):
            return any(_mentions(member, seen) for member in _hints(annotation))
        return _is_record_class(annotation)
    origin = typing.get_origin(annotation)
    if isinstance(origin, type) and not isinstance(annotation, types.UnionType) and _mentions(origin, seen):
        return True
    return any(_mentions(argument, seen) for argument in typing.get_args(annotation))


def _is_record_class(kind: type) -> bool:
    pydantic = sys.modules.get("pydantic")
    return (
        dataclasses.is_dataclass(kind)
        or issubclass(kind, enum.Enum)
        or (issubclass(kind, tuple) and hasattr(kind, "_fields"))
        or (pydantic is not None and issubclass(kind, pydantic.BaseModel))
    )


def _hints(kind: type) -> list[Any]:
    try:
        return list(typing.get_type_hints(kind).values())
    except Exception:
        return []  # a name that exists for the type checker only


# --- what a schema of pydantic says about fields


def _fields_of(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The fields, by name, of every record in a schema."""
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list | tuple):
            waiting.extend(node)
        elif isinstance(node, dict):
            kind = node.get("type")
            fields = node.get("fields")
            if kind in ("model-fields", "typed-dict") and isinstance(fields, dict):
                yield kind, fields
            elif kind == "dataclass-args" and isinstance(fields, list):
                yield kind, {field["name"]: field for field in fields}
            # Not what a schema says besides its structure: metadata may refer to anything.
            waiting.extend(child for key, child in node.items() if key not in ("metadata", "cls", "serialization"))


def _ambiguous(kind: str, fields: dict[str, Any]) -> str | None:
    for name, field in fields.items():
        for alias in _aliases(field.get("validation_alias")):
            if alias != name and alias in fields:
                return f'"{alias}" is the alias of the field "{name}" and the name of another'
    return None


def _aliases(given: Any) -> list[Any]:
    """The keys of the mapping that an alias may stand for: a text, a path, or a list of paths."""
    if given is None or isinstance(given, str):
        return [given] if given else []
    return [path[0] if isinstance(path, list) else path for path in given if path]


def _initial(kind: str, fields: dict[str, Any]) -> str | None:
    for name, field in fields.items():
        if kind == "dataclass-args" and field.get("init_only") and field["schema"]["type"] != "default":
            return (
                f'its constructor needs "{name}" (an InitVar), which the object does not keep. Make it a field, or '
                "give it a default."
            )
    return None


# --- whether two values are the same


def difference(value: Any, back: Any, place: str = "") -> tuple[str, str] | None:
    """Where, and how, a value that was stored and made again is not what it was; None where it is.

    Where the annotation leaves open what a member is (``Any``), records come back as plain data, which is no
    difference. Neither is a record that comes back as the class it inherits from, as far as that has fields.
    """
    kind, other = type(value), type(back)
    if kind is other:
        try:
            if bool(value == back):
                return None
        except Exception:  # an array, say, whose comparison is no yes or no
            if not _is_record(value):
                return None
    if isinstance(value, enum.Enum) and not isinstance(back, enum.Enum):
        return difference(value.value, back, place)
    if _is_record(value):
        if isinstance(back, Mapping):
            return None
        if not issubclass(kind, other):
            return place, f"a {kind.__qualname__} would come back as a {other.__qualname__}"
        was, now = codec.state_of(value), codec.state_of(back)
        if not isinstance(was, dict) or not isinstance(now, dict):  # a root model
            return difference(was, now, place)
        return _of_members({name: was[name] for name in now if name in was}, now, f"{place}.", "")
    if isinstance(value, Mapping) and isinstance(back, Mapping):
        if value.keys() != back.keys():
            return place, f"its keys {reprlib.repr(list(value))} would come back as {reprlib.repr(list(back))}"
        return _of_members(value, back, f"{place}[", "]")
    if isinstance(value, list | tuple) and isinstance(back, list | tuple):
        if len(value) != len(back):
            return place, f"its {len(value)} members would come back as {len(back)}"
        return _of_members(dict(enumerate(value)), dict(enumerate(back)), f"{place}[", "]")
    return None if _is_same(value, back) else (place, f"{reprlib.repr(value)} would come back as {reprlib.repr(back)}")


def _of_members(value: Mapping[Any, Any], back: Mapping[Any, Any], before: str, after: str) -> tuple[str, str] | None:
    for name, member in value.items():
        shown = name if before.endswith(".") else repr(name)
        found = difference(member, back[name], f"{before}{shown}{after}")
        if found is not None:
            return found
    return None


def _is_same(value: Any, back: Any) -> bool:
    try:
        if bool(value == back) or (value != value and back != back):  # NaN
            return True
    except Exception:
        return True  # it cannot be compared
    # Of a class that does not say when two of it are the same.
    plainest: Any = object.__eq__
    return type(value) is type(back) and type(value).__eq__ is plainest


def _is_record(value: Any) -> bool:
    return codec.is_model(value) or (dataclasses.is_dataclass(value) and not isinstance(value, type))


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {reprlib.repr(str(error))[1:-1]}"

"""Values as bytes: everything users hand over is stored in this form, and nothing else is ever read back.

A blob is one byte of format version and then msgpack, with one extension type for each of ours. No pickle, and no
module, class or function is ever looked up by what a blob says. Both directions hold to the same rules, because
``encode`` reads back what it wrote whenever the bytes cannot rule out a problem: what can be written can be read (F52).

Surprises: the packer accepts msgpack's own ``ExtType`` and ``Timestamp`` without asking us, and the unpacker builds
``Timestamp`` without asking us; both are refused here. An array header may claim a million members in five bytes, and
the unpacker believes it, so long blobs are checked for completeness before anything is built.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from itertools import chain
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack

from workflows import limits
from workflows.errors import CorruptPayload, PayloadNotSerializable, PayloadTooLarge
from workflows.values.byte_stream import ByteStream

FORMAT: Final = b"\x01"

# Extension types. The numbers are part of the stored format: never reuse one.
_TUPLE, _SET, _FROZENSET, _INT, _DATETIME, _DATE, _TIME, _TIMEDELTA, _UUID, _DECIMAL, _INSTANCE = range(1, 12)
_STREAM: Final = 12
_FORGEABLE = frozenset({_TUPLE, _FROZENSET, _INT, _TIMEDELTA, _UUID, _DECIMAL})
# msgpack's own timestamps, which the unpacker makes without asking, and whose hash is no secret either.
_TIMESTAMP = re.compile(rb"\xff(?:(?<=[\xd4-\xd8]\xff)|(?<=\xc7.\xff)|(?<=\xc8..\xff)|(?<=\xc9....\xff))", re.DOTALL)

_CONTAINER_BYTES = bytes([*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF])
_EXTENSION_BYTES = bytes([0xC7, 0xC8, 0xC9, *range(0xD4, 0xD9)])
_PLAIN_BYTES = bytes(set(range(256)) - set(_CONTAINER_BYTES) - set(_EXTENSION_BYTES))
_CONTAINERS = frozenset({list, dict, tuple, set, frozenset})
_FOREIGN = frozenset({msgpack.ExtType, msgpack.Timestamp})
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1
_COMPLETENESS_BYTES = 2048  # below, headers that lie can claim 1,024 levels of 2,048 pointers: 16 MB at the very most
_HASH_BYTES = 2048  # below, not even members that all have one hash take a millisecond
# Of what can be a key or a member of a set: numbers of any size and what is made of numbers has a hash that anybody can
# compute, so that thousands with the same one can be made up, and each would be compared with all the others. The hash
# of texts and bytes depends on a secret of the process.
_HASHES_ALIKE = 64
_LONG_BYTES = 256  # an int and a Decimal with one hash are compared in quadratic time of their digits
_ZONES = 1000  # there are about 600
_PACKER_BYTES = 512  # msgpack's own first buffer of 256 KiB costs more than most values
_PACKER: Any = msgpack.Packer  # the published annotations lack buf_size
_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,40}(?:/[A-Za-z0-9_+-]{1,40}){0,2}")
_SHOWN_CHARACTERS = 60
_MICROSECOND = timedelta(microseconds=1)

_WAY_OUT = (
    "Use plain data: None, bool, int, float, str, bytes, list, dict, tuple, set, datetime, date, time, timedelta, "
    "UUID, Decimal, an Enum, a dataclass or a pydantic model. Store anything else, and anything large, in your bucket "
    "and return its key."
)


@dataclass(frozen=True, slots=True)
class InstanceRef:
    """What is stored of a workflow instance: which one it is, and nothing of its state."""

    workflow: str
    id: str


def encode(value: Any, *, what: str, limit: int = limits.PAYLOAD_BYTES, state: bool = False) -> bytes:
    """Turn a value into bytes.

    Subclasses come back as the plain type: a ``str`` subclass as ``str``, a named tuple as ``tuple``, an ``Enum``
    member as its value, a dataclass or pydantic model as a dict. ``bytearray`` and ``memoryview`` come back as
    ``bytes``.

    Args:
        value: any of the types in the error below; an object with ``__workflow_reference__()`` is stored as the
            ``InstanceRef`` that this returns.
        what: names the value in errors, for example ``'the result of step "fetch"'``.
        limit: most bytes the result may have.
        state: store of a pydantic model what it holds, each field under its own name, and not what it shows: without
            computed fields and serializers, with excluded fields (see ``state_of``).
    Raises:
        PayloadNotSerializable: a type that cannot be stored, a cycle, more than ``limits.CODEC_DEPTH`` levels or
            ``limits.CODEC_ITEMS`` members; the message says where in the value.
        PayloadTooLarge: more than ``limit`` bytes.
    """
    writer = _Writer(state)
    try:
        blob = FORMAT + writer.pack(value)
        if len(blob) <= limit and (writer.extensions or writer.converted or _may_break_rules(blob)):
            reader = _Reader(blob, unique_keys=writer.converted)
            reader.read()
            if reader.extensions != writer.extensions:
                raise CorruptPayload("it holds a msgpack extension type")
    except (MemoryError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a value's own methods may raise anything, SystemExit too
        raise _not_serializable(value, what, error, state) from error
    check_size(blob, what=what, limit=limit)
    return blob


def encode_stream(stream: ByteStream) -> bytes:
    """Turn a stream into bytes: the only way to store one, so that it is a whole value and never a part of one."""
    packed: bytes = msgpack.packb(msgpack.ExtType(_STREAM, stream.pack()))
    return FORMAT + packed


def check_size(blob: bytes, *, what: str, limit: int = limits.PAYLOAD_BYTES) -> None:
    """Whether a value that is encoded already may be stored.

    Raises:
        PayloadTooLarge: it has more than ``limit`` bytes.
    """
    if len(blob) > limit:
        raise PayloadTooLarge(
            f"{_capitalised(what)} is too large. Maximum allowed size is {_size(limit)}, and this is {len(blob):,} "
            "bytes once encoded. Store the data in your bucket and return its key."
        )


def decode(blob: bytes) -> Any:
    """Turn bytes written by ``encode`` back into an equal value; each call builds a new one.

    A repeated key in a map, which ``encode`` never writes, means its last value.

    Raises:
        CorruptPayload: the bytes are something else, of a newer format, or beyond the limits on depth and members.
            Never another error and never more memory than the blob's size calls for, whatever the bytes are.
    """
    try:
        if blob[:1] != FORMAT:
            raise CorruptPayload(
                f"Stored value has format {bytes(blob[:1])!r}; this version reads {FORMAT!r}. "
                "If a newer version wrote it, upgrade this process."
            )
        if len(blob) <= _COMPLETENESS_BYTES and not _may_break_rules(blob):
            return msgpack.unpackb(blob[1:], strict_map_key=False)  # what a reader would do, which has nothing to watch
        return _Reader(blob).read()
    except (CorruptPayload, MemoryError):
        raise
    except Exception as error:
        raise CorruptPayload(f"Stored value cannot be read: {_described(error)}") from error


class _Writer:
    """Packs one value. msgpack asks ``convert`` about everything that is not exactly a plain type."""

    __slots__ = ("converted", "extensions", "nesting", "state")

    def __init__(self, state: bool) -> None:
        self.state = state
        self.extensions = 0
        self.converted = False
        self.nesting = 0

    def pack(self, value: Any) -> bytes:
        packer = _PACKER(default=self.convert, strict_types=True, buf_size=_PACKER_BYTES)
        packed: bytes = packer.pack(value)
        return packed

    def convert(self, value: Any) -> Any:
        exact = _EXTENSIONS.get(type(value))
        if exact is not None:
            return self._extension(exact, value)
        self.converted = True  # a converted key may now equal another, or be unhashable: encode has to look
        plain = _plain(value, self.state)
        if type(plain) is int and not _INT_MIN <= plain <= _INT_MAX:
            return self._extension(_EXTENSIONS[int], plain)
        exact = _EXTENSIONS.get(type(plain)) if type(plain) is not int else None
        return plain if exact is None else self._extension(exact, plain)

    def _extension(self, exact: tuple[int, Callable[[Any], bytes] | None], value: Any) -> msgpack.ExtType:
        code, body = exact
        self.extensions += 1
        if body is not None:
            return msgpack.ExtType(code, body(value))
        # Members are packed by a packer of their own, and msgpack's guard against cycles begins anew in each.
        if self.nesting >= limits.CODEC_DEPTH:
            raise ValueError("nested too deeply")
        self.nesting += 1
        members = self.pack(list(value))
        self.nesting -= 1
        return msgpack.ExtType(code, members)


class _Reader:
    """Unpacks one blob within the limits."""

    __slots__ = (
        "alike",
        "blob",
        "careful",
        "containers",
        "decimals",
        "extensions",
        "hashing",
        "long",
        "members",
        "nesting",
        "seen",
        "unique_keys",
        "zones",
    )

    def __init__(self, blob: bytes, *, unique_keys: bool = False) -> None:
        self.blob = blob
        self.hashing = len(blob) > _HASH_BYTES
        self.seen: set[bytes] = set()
        self.decimals: set[int] = set()
        self.alike: dict[int, int] = {}
        self.long: set[int] = set()
        self.zones: dict[str, tzinfo | None] = {}
        self.unique_keys = unique_keys
        self.extensions = 0
        self.nesting = 0
        self.members = 0
        self.containers = 0
        # A member takes at least a byte, so that a shorter blob cannot hold too many.
        counting = len(blob) > limits.CODEC_ITEMS
        self.careful = counting or unique_keys or (self.hashing and _TIMESTAMP.search(blob) is not None)

    def read(self) -> Any:
        value = self._unpack(self.blob[1:])
        if _may_break_rules(self.blob):
            _check_shape(value)
        return value

    def _unpack(self, packed: bytes) -> Any:
        if len(packed) > _COMPLETENESS_BYTES:
            unpacker = msgpack.Unpacker(max_buffer_size=len(packed), read_size=len(packed))
            unpacker.feed(packed)
            unpacker.skip()
        if self.careful:
            return msgpack.unpackb(
                packed,
                ext_hook=self._extension,
                strict_map_key=False,
                list_hook=self._count,
                object_pairs_hook=self._map,
                max_array_len=limits.CODEC_ITEMS,
                max_map_len=limits.CODEC_ITEMS,
            )
        return msgpack.unpackb(packed, ext_hook=self._extension, strict_map_key=False)

    def _count(self, container: Any) -> Any:
        self.containers += 1
        self.members += len(container)
        if self.members > limits.CODEC_ITEMS or self.containers > limits.CODEC_ITEMS:
            raise CorruptPayload(f"Stored value holds more than {limits.CODEC_ITEMS:,} members")
        return container

    def _map(self, pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
        self._count(pairs)
        for key, _ in pairs:
            if type(key) in _FOREIGN:
                raise CorruptPayload("Stored value holds a msgpack timestamp")
        result = dict(pairs)
        if self.unique_keys and len(result) != len(pairs):
            raise CorruptPayload("it holds a dict whose keys become equal")
        return result

    def _extension(self, code: int, data: bytes) -> Any:
        self.extensions += 1
        read = _READERS.get(code)
        value = self._read_members(code, data) if read is None else read(data)
        if self.hashing and code in _FORGEABLE and data not in self.seen:
            self.seen.add(data)
            self._note_hash(value, code, data)
        return value

    def _note_hash(self, value: Any, code: int, data: bytes) -> None:
        try:
            found = hash(value)
        except TypeError:
            return  # it holds what can be no key: neither can it
        alike = self.alike[found] = self.alike.get(found, 0) + 1
        if alike > _HASHES_ALIKE:
            raise CorruptPayload(f"Stored value holds more than {_HASHES_ALIKE} different members with the same hash")
        if code == _DECIMAL:
            self.decimals.add(found)
        elif code == _INT and len(data) > _LONG_BYTES:
            self.long.add(found)
        if self.long and found in self.long and found in self.decimals:
            raise CorruptPayload("Stored value holds a long number and a Decimal with the same hash")

    def _read_members(self, code: int, data: bytes) -> Any:
        if code not in (_TUPLE, _SET, _FROZENSET, _DATETIME, _TIME, _TIMEDELTA, _INSTANCE):
            raise CorruptPayload(f"Stored value holds the unknown extension type {code}")
        if self.nesting > limits.CODEC_DEPTH:  # one more, so that a datetime fits into the innermost tuple
            raise CorruptPayload(f"Stored value is nested more than {limits.CODEC_DEPTH} levels deep")
        self.nesting += 1
        members = self._unpack(data)
        self.nesting -= 1
        if type(members) is not list:
            raise CorruptPayload(f"Stored value holds a malformed extension of type {code}")
        return self._from_members(code, members)

    def _from_members(self, code: int, members: list[Any]) -> Any:
        if code == _TUPLE:
            return tuple(members)
        if code in (_SET, _FROZENSET):
            if not _FOREIGN.isdisjoint(map(type, members)):
                raise CorruptPayload("Stored value holds a msgpack timestamp")
            unique = set(members) if code == _SET else frozenset(members)
            if len(unique) != len(members):
                raise CorruptPayload("Stored value holds a set whose members are equal")
            return unique
        if code in (_DATETIME, _TIME):
            text, fold, microseconds, name = members
            moment = datetime.fromisoformat(text) if code == _DATETIME else time.fromisoformat(text)
            if moment.tzinfo is not None:
                raise CorruptPayload("Stored value holds a malformed date")
            return moment.replace(tzinfo=self._zone(microseconds, name), fold=fold)
        if code == _TIMEDELTA:
            days, seconds, microseconds = members
            return timedelta(days, seconds, microseconds)
        workflow, instance = members
        if type(workflow) is not str or type(instance) is not str:
            raise CorruptPayload("Stored value holds a malformed instance reference")
        return InstanceRef(workflow, instance)

    def _zone(self, microseconds: int | None, name: str | None) -> tzinfo | None:
        zone = None if name is None else self._named_zone(name)
        if zone is not None:
            return zone
        if microseconds is None:
            if name is not None:
                raise CorruptPayload(f"Stored value holds the unknown time zone {name}")
            return None
        return timezone(timedelta(microseconds=microseconds)) if microseconds else UTC

    def _named_zone(self, name: str) -> tzinfo | None:
        """The zone of that name; None where this machine lacks it, which takes long to find out."""
        if name not in self.zones:
            if not _ZONE.fullmatch(name):
                raise CorruptPayload("Stored value holds a malformed time zone")
            if len(self.zones) >= _ZONES:
                raise CorruptPayload(f"Stored value holds more than {_ZONES} time zones")
            try:
                self.zones[name] = ZoneInfo(name)
            except (KeyError, ValueError, OSError):
                self.zones[name] = None
        return self.zones[name]


def unpack_plain(packed: bytes, *, raw: bool = False) -> Any:
    """Unpack a structure of our own, without extension types and with texts for keys, however hostile the bytes are.

    Raises: Exception, of whatever kind.
    """
    if len(packed) > _COMPLETENESS_BYTES:
        unpacker = msgpack.Unpacker(max_buffer_size=len(packed), read_size=len(packed))
        unpacker.feed(packed)
        unpacker.skip()
    return msgpack.unpackb(packed, raw=raw)


def _may_break_rules(blob: bytes) -> bool:
    """Whether a look at the bytes alone cannot rule out too much depth, too many members or foreign types."""
    if len(blob) > limits.CODEC_ITEMS:
        return True
    telling = blob.translate(None, _PLAIN_BYTES)
    return len(telling) > limits.CODEC_DEPTH or bool(telling.translate(None, _CONTAINER_BYTES))


def _check_shape(value: Any) -> None:
    """Refuse what is nested too deeply and msgpack's timestamps, level by level so that depth costs no stack."""
    level = [value] if type(value) in _CONTAINERS or type(value) in _FOREIGN else []
    depth = 0
    while level:
        depth += 1
        if depth > limits.CODEC_DEPTH:
            raise CorruptPayload(f"Stored value is nested more than {limits.CODEC_DEPTH} levels deep")
        if not _FOREIGN.isdisjoint(map(type, level)):
            raise CorruptPayload("Stored value holds a msgpack timestamp")
        level = [
            member
            for container in level
            for member in (chain(container, container.values()) if type(container) is dict else container)
            if type(member) in _CONTAINERS or type(member) in _FOREIGN
        ]


# --- values to bytes


def _int_body(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _datetime_body(value: datetime) -> bytes:
    return _moment_body(datetime.isoformat(value.replace(tzinfo=None)), value.fold, value.tzinfo, value.utcoffset())


def _time_body(value: time) -> bytes:
    return _moment_body(time.isoformat(value.replace(tzinfo=None)), value.fold, value.tzinfo, value.utcoffset())


def _moment_body(text: str, fold: int, zone: tzinfo | None, offset: timedelta | None) -> bytes:
    """A zone travels by its name and its offset at that moment, for readers whose machine lacks that zone."""
    microseconds = None if offset is None else offset // _MICROSECOND
    name = zone.key if isinstance(zone, ZoneInfo) else None
    if zone is not None and microseconds is None and name is None:
        raise ValueError("its time zone has neither a name nor an offset")
    return _packed(text, fold, microseconds, name)


def _timedelta_body(value: timedelta) -> bytes:
    return _packed(value.days, value.seconds, value.microseconds)


def _packed(*members: Any) -> bytes:
    body: bytes = msgpack.packb(members)
    return body


_EXTENSIONS: Final[dict[type, tuple[int, Callable[[Any], bytes] | None]]] = {
    tuple: (_TUPLE, None),
    set: (_SET, None),
    frozenset: (_FROZENSET, None),
    int: (_INT, _int_body),  # msgpack asks only about integers beyond 64 bits
    datetime: (_DATETIME, _datetime_body),
    date: (_DATE, lambda value: date.isoformat(value).encode()),
    time: (_TIME, _time_body),
    timedelta: (_TIMEDELTA, _timedelta_body),
    UUID: (_UUID, lambda value: value.bytes),
    Decimal: (_DECIMAL, lambda value: str(value).encode()),
    InstanceRef: (_INSTANCE, lambda value: _packed(value.workflow, value.id)),
}


class _Unsupported(TypeError):
    """A type that cannot be stored."""


def _plain(value: Any, state: bool) -> Any:
    """The value as a plain type or one of ``_EXTENSIONS``, one level deep."""
    kind = type(value)
    reference = getattr(kind, "__workflow_reference__", None)
    if reference is not None:
        named = reference(value)
        if type(named) is InstanceRef:
            return named
    if isinstance(value, Enum):
        return _as_is(value.value, state)
    if is_model(value):
        return _as_is(state_of(value) if state else value.model_dump(mode="python"), state)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return state_of(value)
    for base, convert in _BASES:
        if isinstance(value, base):
            return convert(value)
    raise _Unsupported(f"{kind.__module__}.{kind.__qualname__}")


def _as_is(value: Any, state: bool) -> Any:
    return value if type(value) in _AS_IS else _plain(value, state)


def state_of(record: Any) -> Any:
    """What a dataclass or pydantic model holds: a dict of its fields by name, or what a root model is about.

    Private attributes are not part of it.
    """
    if not is_model(record):
        return {
            member.name: getattr(record, member.name)
            for member in dataclasses.fields(record)
            if hasattr(record, member.name)
        }
    held = record.__dict__
    if record.__pydantic_root_model__:
        return held["root"]
    state = {name: held[name] for name in type(record).__pydantic_fields__ if name in held}
    extra = record.__pydantic_extra__
    if extra:
        if not state.keys().isdisjoint(extra):
            raise ValueError("it has an extra value with the name of a field")
        state |= extra
    return state


_AS_IS: Final = frozenset({type(None), bool, int, float, str, bytes, list, dict, *_CONTAINERS, *_EXTENSIONS})

# Subclasses lose only their class. datetime stands before date, which is its base; unbound methods, because a subclass
# may have changed what str() or float() give.
_BASES: Final[tuple[tuple[type, Callable[[Any], Any]], ...]] = (
    (str, str.__str__),
    (int, int.__pos__),
    (float, float.__pos__),
    (bytes, lambda value: bytes(memoryview(value))),
    (bytearray, lambda value: bytes(memoryview(value))),
    (memoryview, bytes),
    (Mapping, dict),
    (list, list),
    (tuple, tuple),
    (set, set),
    (frozenset, frozenset),
    (
        datetime,
        lambda value: datetime.combine(date(value.year, value.month, value.day), value.timetz()),
    ),
    (date, lambda value: date(value.year, value.month, value.day)),
    (
        time,
        lambda value: time(value.hour, value.minute, value.second, value.microsecond, value.tzinfo, fold=value.fold),
    ),
    (timedelta, lambda value: timedelta(value.days, value.seconds, value.microseconds)),
    (UUID, lambda value: UUID(bytes=value.bytes)),
    (Decimal, lambda value: Decimal(Decimal.__str__(value))),
)


def is_model(value: Any) -> bool:
    """Whether it is an instance of a pydantic model."""
    # An instance can only exist where pydantic is loaded, so this never imports it.
    base = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return base is not None and isinstance(value, base)


# --- bytes to values


def _read_date(data: bytes) -> date:
    return date.fromisoformat(data.decode("ascii"))


def _read_uuid(data: bytes) -> UUID:
    return UUID(bytes=data)


def _read_decimal(data: bytes) -> Decimal:
    return Decimal(data.decode("ascii"))


def _read_int(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


_READERS: Final[dict[int, Callable[[bytes], Any]]] = {
    _INT: _read_int,
    _STREAM: ByteStream.unpack,
    _DATE: _read_date,
    _UUID: _read_uuid,
    _DECIMAL: _read_decimal,
}


# --- errors


def _not_serializable(value: Any, what: str, error: BaseException, state: bool) -> PayloadNotSerializable:
    try:
        found = _first_problem(value, "", (), [0], state)
    except (MemoryError, KeyboardInterrupt):
        raise
    except BaseException:  # whatever the user's own classes do while being looked at; the first error still tells
        found = None
    if found is None:
        found = ("", str(error) if isinstance(error, CorruptPayload) else _described(error))
    path, reason = found
    where = f"at {path}, " if path else ""
    text = f"{_capitalised(what)} is not serialisable: {where}{reason}. {_WAY_OUT}"
    return PayloadNotSerializable(text.encode(errors="backslashreplace").decode())


def _first_problem(
    value: Any, path: str, above: tuple[int, ...], members: list[int], state: bool
) -> tuple[str, str] | None:
    """Where in the value the first thing is that cannot be stored, and why. Slow; only for the message."""
    if id(value) in above:
        return path, "it contains itself"
    kind = type(value)
    if kind in _FOREIGN:
        return path, f"it is a {kind.__module__}.{kind.__qualname__}"
    if kind is str:
        return _text_problem(value, path)
    children: Iterable[tuple[str, Any]]
    try:
        plain = value if kind in _AS_IS else _plain(value, state)
        if type(plain) not in _CONTAINERS:
            _Writer(state).pack(plain)
            return None
        children = _children(plain, attributes=kind not in _AS_IS and not isinstance(value, Mapping))
    except _Unsupported as error:
        return path, f"it is a {error}"
    except (Exception, SystemExit) as error:
        return path, f"it is a {kind.__module__}.{kind.__qualname__} that cannot be converted: {_described(error)}"
    members[0] += len(plain)
    if members[0] > limits.CODEC_ITEMS:
        return "", f"it holds more than {limits.CODEC_ITEMS:,} members"
    if len(above) >= limits.CODEC_DEPTH:
        return _shortened(path), f"it is nested more than {limits.CODEC_DEPTH} levels deep"
    for step, child in children:
        problem = _first_problem(child, path + step, (*above, id(value)), members, state)
        if problem is not None:
            return problem
    return None


def _text_problem(text: str, path: str) -> tuple[str, str] | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"U+{ord(text[error.start]):04X} at position {error.start}"
        return path, f"it is a string with half of a surrogate pair ({half}), which has no UTF-8 form"
    return None


def _children(plain: Any, *, attributes: bool) -> Iterable[tuple[str, Any]]:
    if type(plain) is dict:
        for key, value in plain.items():
            shown = _shortened(json.dumps(key, ensure_ascii=False) if isinstance(key, str) else _safe_repr(key))
            yield f"(key {shown})", key
            yield f".{key}" if attributes else f"[{shown}]", value
    elif type(plain) in (list, tuple):
        yield from ((f"[{index}]", member) for index, member in enumerate(plain))
    else:
        yield from ((f"{{{_shortened(_safe_repr(member))}}}", member) for member in plain)


def _safe_repr(value: Any) -> str:
    try:
        return repr(value)
    except (Exception, SystemExit):  # the user's own __repr__
        return f"a {type(value).__qualname__}"


def _described(error: BaseException) -> str:
    try:
        text = str(error)
    except (Exception, SystemExit):  # the user's own __str__
        text = ""
    return f"{type(error).__name__}: {_shortened(text)}" if text else type(error).__name__


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _capitalised(what: str) -> str:
    return what[:1].upper() + what[1:]


def _size(limit: int) -> str:
    mebibytes, rest = divmod(limit, 1024 * 1024)
    return f"{limit:,} bytes" if rest or not mebibytes else f"{mebibytes}MiB"

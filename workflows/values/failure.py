"""Errors as bytes: what is stored when a step or a run fails, and what is raised again on replay.

``capture`` copes with any exception (F53): it never raises and its result has a bound. ``Failure.to_exception`` gives
back an exception of the class that was raised, so that ``except PaymentError`` in ``run`` works, but only if this
process has loaded that class already: a blob can neither import a module nor run any code of the class, be it
``__init__``, ``__new__`` or a property. What user code would see is therefore ``args`` and those attributes that could
be stored. What could not is named in a note, and where it had numbers or flags a ``NotStored`` with these stands in its
place.
"""

from __future__ import annotations

import builtins
import sys
import traceback as tracebacks
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import GetSetDescriptorType, MemberDescriptorType, ModuleType, SimpleNamespace
from typing import Any, Final, NoReturn, cast

import msgpack

from workflows import errors, limits
from workflows.errors import (
    CorruptPayload,
    EventError,
    EventTimeout,
    HeartbeatTimeout,
    NonRetryableError,
    PayloadNotSerializable,
    PoisonError,
    PollTimeout,
    StepFailed,
    StepInterrupted,
    StepTimeout,
    WorkflowTimeoutError,
)
from workflows.values import codec
from workflows.values.durations import note_of

FORMAT: Final = b"\x01"
_NAME_CHARACTERS = 200
_ROOT: Final = Path(__file__).parents[2]
ENGINE: Final = tuple(f"{_ROOT / package}/" for package in ("workflows", "worker", "orchestrator"))
"""Where files of the engine lie, as the beginnings of their paths."""
_FRAMES = 40  # the innermost calls; a RecursionError has a thousand that say the same
_EMPTY_BYTES = 256  # the map's own bytes: keys, headers, the flag
_FINAL = (NonRetryableError, PayloadNotSerializable)
_PLACED = (
    *(StepFailed, StepInterrupted, PoisonError, PollTimeout, StepTimeout, EventTimeout, HeartbeatTimeout),
    EventError,
)
_NESTED = 8  # groups within groups
_LEAVES = 1000  # members of all groups of one error that are looked at
_MEMBER_BYTES = 512
_CONTEXT_BYTES = 2048
_NAMED = 3
_FACTS = 20  # of a value that cannot be stored itself
_TEXT_BYTES = 200
_LOST = " could not be stored with the error:"
_TASK_GROUP = "unhandled errors in a TaskGroup"  # asyncio/taskgroups.py
# What these keep beside their args, in slots that __dict__ does not show.
_NATIVE_ATTRIBUTES: Final[tuple[tuple[type[BaseException], tuple[str, ...]], ...]] = (
    (OSError, ("filename", "filename2")),
    (ImportError, ("name", "path")),
    (NameError, ("name",)),
    (AttributeError, ("name",)),
)
_NATIVE: Final = {
    id(kind): kind for kind in vars(builtins).values() if isinstance(kind, type) and issubclass(kind, BaseException)
}
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Place:
    """Where an error comes from.

    Attributes:
        step: what ``run`` asked for, as messages call it: ``'step "charge-1"'``. None for an error of ``run`` itself.
        attempts: how many attempts the step had.
        timeout_ms: what an attempt or a wait may take.
    """

    workflow: str
    instance_id: str
    step: str | None = None
    attempts: int | None = None
    timeout_ms: int = 0

    def __str__(self) -> str:
        parts = [] if self.step is None else [self.step]
        if self.attempts is not None:
            parts.append("1 attempt" if self.attempts == 1 else f"{self.attempts} attempts")
        return ", ".join([*parts, f'instance "{self.instance_id}" of workflow "{self.workflow}"'])


class NotStored:
    """Stands where an exception had a value that could not be stored with it, the response of an HTTP error say.

    Its numbers and flags are kept: ``error.response.status_code``. Everything else that is done with it raises, and
    says what to do about it.
    """

    __slots__ = ("_facts", "_kind", "_text", "_what")

    _kind: str
    _facts: Mapping[str, Any]
    _text: str
    _what: str

    def __init__(self, what: str, kind: str, facts: Mapping[str, Any], text: str = "") -> None:
        self._what = what
        self._kind = kind
        self._facts = facts
        self._text = text

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in self._facts:
            return self._facts[name]
        raise AttributeError(self._explained(f" has no {name} here"))

    def _explained(self, so: str) -> str:
        kept = f" except for {', '.join(self._facts)}" if self._facts else ""
        return (
            f"{self._what}{so}: it was a {self._kind}, which could not be stored with the error{kept}. Take what "
            "run() needs while the step runs, and raise it in an error of your own."
        )

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError(self._explained(" cannot be used"))

    __bool__ = __len__ = __iter__ = __getitem__ = __contains__ = __call__ = _refuse

    def __str__(self) -> str:
        return self._text or repr(self)

    def __repr__(self) -> str:
        return f"<{self._kind}, not stored>"


@dataclass(frozen=True, slots=True)
class Failure:
    """A stored error.

    Attributes:
        name: the name to show: the class's, or the one given to ``NonRetryableError``; of a task group's error that of
            the error within.
        module: where the class was defined; empty if there was no class.
        qualname: the class's name within that module.
        message: ``str()`` of the exception, trimmed to fit.
        traceback: the formatted traceback with its causes, trimmed to fit.
        retryable: False if no further attempt may be made, whatever the retry settings say.
    """

    name: str
    module: str
    qualname: str
    message: str
    traceback: str
    retryable: bool
    _args: bytes | None = field(default=None, repr=False)
    _attributes: bytes | None = field(default=None, repr=False)
    _left_out: bytes | None = field(default=None, repr=False)
    _problems: bytes | None = field(default=None, repr=False)
    _members: tuple[bytes, ...] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.name}: {self.message}" if self.message else self.name

    @classmethod
    def from_blob(cls, blob: bytes) -> Failure:
        """Read what ``capture`` or ``make`` wrote.

        Raises:
            CorruptPayload: the bytes are something else or of a newer format.
        """
        try:
            if blob[:1] != FORMAT:
                raise CorruptPayload(f"Stored error has format {bytes(blob[:1])!r}; this version reads {FORMAT!r}")
            body = codec.unpack_plain(blob[1:])
            members = body.get("g")
            failure = cls(
                *(body["n"], body["m"], body["q"], body["s"], body["t"], body["r"]),
                *(body.get("a"), body.get("d"), body.get("l"), body.get("v")),
                members if members is None else tuple(members),
            )
        except (CorruptPayload, MemoryError):
            raise
        except Exception as error:
            raise CorruptPayload(f"Stored error cannot be read: {error}") from error
        texts = (failure.name, failure.module, failure.qualname, failure.message, failure.traceback)
        blobs = (failure._args, failure._attributes, failure._left_out, failure._problems, *(failure._members or ()))
        if not all(type(text) is str for text in texts) or type(failure.retryable) is not bool:
            raise CorruptPayload("Stored error has fields of a wrong type")
        if not all(part is None or type(part) is bytes for part in blobs):
            raise CorruptPayload("Stored error has fields of a wrong type")
        return failure

    @staticmethod
    def name_and_message(head: bytes) -> tuple[str, str]:
        """What a stored error begins with, for lists of many: its first bytes are enough, and the message is cut where
        they end. Two empty texts where they are something else.
        """
        unpacker = msgpack.Unpacker(raw=True, max_str_len=len(head), max_map_len=len(head))
        unpacker.feed(head[1:])
        found: dict[bytes, bytes] = {}
        try:
            if head[:1] != FORMAT:
                return "", ""
            for _ in range(unpacker.read_map_header()):
                key, at = unpacker.unpack(), unpacker.tell()
                found[key] = _rest_of_text(head[1 + at :]) if key == b"s" else unpacker.unpack()
                if key == b"s":
                    break
            return found[b"n"].decode(errors="ignore"), found[b"s"].decode(errors="ignore")
        except Exception:  # msgpack has no common root of what it raises
            return "", ""

    def to_exception(self, place: Place | None = None) -> Exception:
        """The exception to raise: of the original class if it is loaded here, else ``StepFailed``. Never raises.

        It carries ``remote_traceback``, and the same text as a note, so that a traceback printed here also shows where
        the step failed. Another note names what could not be stored with it.

        Args:
            place: where it comes from, for errors that name it in their text and attributes: ``StepFailed``,
                ``PoisonError``, ``StepTimeout``, ``EventTimeout`` and ``EventError``.
        """
        return self._made(place, 0)

    def _made(self, place: Place | None, depth: int) -> Exception:
        left_out = self._read_left_out()
        exception = self._rebuilt(place, depth, left_out)
        if exception is None:
            exception = StepFailed(self.message, remote_name=self.name, remote_traceback=self.traceback)
        kind = type(exception)
        if issubclass(kind, NonRetryableError):
            _set(exception, "name", self.name)
        if place is not None and issubclass(kind, _PLACED):
            locate(exception, place)
        _set(exception, "remote_traceback", self.traceback)
        notes = [f"{one._what}{_LOST} it was a {one._kind}" for one in left_out.values()]
        if self.traceback:
            notes.append(f"Raised in {'a step' if place is None else place}:\n{self.traceback.rstrip()}")
        if notes:
            _set(exception, "__notes__", notes)
        return exception

    def _rebuilt(self, place: Place | None, depth: int, left_out: Mapping[Any, NotStored]) -> Exception | None:
        if self._problems is not None:
            return _validation_error(_decoded(self._problems))
        loaded = _loaded_class(self.module, self.qualname)
        if loaded is None:
            return None
        if issubclass(loaded, BaseExceptionGroup):
            exception = self._group(loaded, place, depth)
        else:
            args = _decoded(self._args)
            if type(args) is tuple:
                args = tuple([left_out.get(index, value) for index, value in enumerate(args)])
            exception = _built(loaded, args if type(args) is tuple else (self.message,))
        if exception is None:
            return None
        attributes = _decoded(self._attributes)
        for name, value in attributes.items() if type(attributes) is dict else ():
            if _is_attribute(name):
                _set(exception, name, value)
        for name, stand_in in left_out.items():
            if _is_attribute(name) and stand_in._facts:
                _set(exception, name, stand_in)
        return exception

    def _group(self, kind: Any, place: Place | None, depth: int) -> Exception | None:
        if not self._members or depth >= _NESTED:
            return None
        members = []
        for blob in self._members:
            try:
                members.append(Failure.from_blob(blob)._made(place, depth + 1))
            except CorruptPayload:
                return None
        args = _decoded(self._args)
        message = args[0] if type(args) is tuple and args and type(args[0]) is str else self.message
        if not issubclass(kind, ExceptionGroup):
            kind = ExceptionGroup  # what is raised in run() is an Exception; so are its members
        exception: Exception = cast(Any, ExceptionGroup).__new__(kind, message, members)
        return exception

    def _read_left_out(self) -> dict[Any, NotStored]:
        """By index of the argument, or name of the attribute."""
        found = _decoded(self._left_out)
        result: dict[Any, NotStored] = {}
        for key, value in found.items() if type(found) is dict else ():
            if type(value) is not tuple or len(value) != 3 or type(value[1]) is not dict:
                continue
            kind, facts, text = value
            if type(kind) is str and type(text) is str and (type(key) is int or _is_attribute(key)):
                what = f"{self.qualname}.{key if type(key) is str else f'args[{key}]'}"
                result[key] = NotStored(what, kind, facts, text)
        return result


def _rest_of_text(packed: bytes) -> bytes:
    """The text that begins here, as much of it as there is."""
    first = packed[0]
    wide = {0xD9: 1, 0xDA: 2, 0xDB: 4}.get(first, 0)
    length = int.from_bytes(packed[1 : 1 + wide]) if wide else first & 0x1F
    return packed[1 + wide :][:length]


def locate(exception: Exception, place: Place) -> None:
    """Let an error say where it comes from, unless it does already."""
    held = _dict_of(exception)
    if held.get("instance_id") is not None:
        return
    args = exception.args
    if len(args) == 1 and type(args[0]) is str:
        named = f"{held['remote_name']}: " if issubclass(type(exception), StepFailed) and "remote_name" in held else ""
        note = note_of(place.timeout_ms) if issubclass(type(exception), WorkflowTimeoutError) else ""
        _set(exception, "args", (f"{args[0]}{note} ({named}{place})",))
    for name in ("workflow", "instance_id", "step", "attempts"):
        _set(exception, name, getattr(place, name))


def capture(exc: BaseException, *, limit_bytes: int = limits.FAILURE_BYTES) -> bytes:
    """Store an exception: its class, message, traceback, and its ``args`` and attributes as far as they can be stored.

    Never raises, whatever the exception's own methods do. Of the traceback the frames of the engine are left out, which
    lie around the user's code; an error of the engine itself keeps all.

    Args:
        exc: what was raised.
        limit_bytes: most bytes of the result, at least 2,048. Message and traceback are shortened in the middle; what
            does not fit of ``args``, attributes and members of a group is left out.
    """
    return _captured(exc, limit_bytes, 0)


def _captured(exc: BaseException, limit_bytes: int, depth: int) -> bytes:
    kind = type(exc)
    is_group = issubclass(kind, BaseExceptionGroup)
    name, message = _shown_of_group(exc) if is_group else (_shown_name(exc), _message(exc))
    room = limit_bytes - _EMPTY_BYTES
    body: dict[str, Any] = {
        "n": _shortened(name, _NAME_CHARACTERS),
        "m": _shortened(_text_of(kind, "__module__"), _NAME_CHARACTERS),
        "q": _shortened(_text_of(kind, "__qualname__"), _NAME_CHARACTERS),
        "s": _shortened(message, room // 4),
        "r": not _is_final(exc),
    }
    room -= sum(len(body[key].encode()) for key in "nmqs")
    left_out: dict[Any, tuple[str, dict[str, Any], str]] = {}
    if is_group:
        if depth < _NESTED:
            body["g"] = _members_of(exc, room * 2 // 3, depth)
            room -= sum(map(len, body["g"]))
        args: Any = (_group_message(exc),)
    else:
        args = _args_of(exc, room // 4, left_out)
    found = {"a": args, "d": _attributes_of(exc, room // 4, left_out), "v": _problems_of(exc, room // 3)}
    found["l"] = left_out or None
    for key, value in found.items():
        blob = None if value is None else _encoded(value, room // 3)
        if blob is not None:
            body[key] = blob
            room -= len(blob)
    body["t"] = _shortened(_traceback(exc), room)
    return FORMAT + bytes(msgpack.packb(body))


def make(name: str, message: str, *, shown_name: str | None = None) -> bytes:
    """Store an error that nobody raised, such as the ``PoisonError`` of a step whose workers died.

    Args:
        name: a class of ``workflows.errors``; any other name comes back as ``StepFailed``.
        message: what happened and what to do about it.
        shown_name: the name to show where it is not the class's.
    """
    kind = _loaded_class(errors.__name__, name)
    body = {
        "n": _shortened(shown_name or name, _NAME_CHARACTERS),
        "m": errors.__name__ if kind else "",
        "q": name if kind else "",
        "s": _shortened(message, limits.FAILURE_BYTES // 2),
        "t": "",
        "r": kind is None or not issubclass(kind, _FINAL),
    }
    return FORMAT + bytes(msgpack.packb(body))


# --- taking an exception apart: everything here may run the user's own code, which may do anything. What it raises, be
# it SystemExit, must not hide the error it belongs to, and not leave capture().


def _shown_name(exc: BaseException) -> str:
    try:
        name: Any = None
        if issubclass(type(exc), NonRetryableError):
            name = exc.name  # type: ignore[attr-defined]
        elif issubclass(type(exc), StepFailed):  # raised on from an earlier step: keep the first name
            name = exc.remote_name  # type: ignore[attr-defined]
        if isinstance(name, str) and name:
            return str.__str__(name)
    except BaseException:  # an attribute may be missing or hostile
        pass
    return _text_of(type(exc), "__name__")


def _text_of(kind: type, attribute: str) -> str:
    try:
        text = vars(type)[attribute].__get__(kind)  # past a metaclass that defines these
        return str.__str__(text) if isinstance(text, str) else ""
    except BaseException:
        return ""


def _message(exc: BaseException) -> str:
    try:
        return str.__str__(str(exc)) + _lost_attribute(exc)
    except BaseException:
        return f"<{_text_of(type(exc), '__name__')}: its __str__ raised an error>"


def _lost_attribute(exc: BaseException) -> str:
    """Why a rebuilt error lacks an attribute that it had, where that is what went wrong after it."""
    if type(exc) is not AttributeError or not issubclass(type(exc.obj), BaseException):
        return ""
    mark = f".{exc.name}{_LOST}"
    notes = [note for note in _ERROR_DICT(exc.obj).get("__notes__", ()) if isinstance(note, str) and mark in note]
    return f" ({notes[0]})" if notes else ""


def _traceback(exc: BaseException) -> str:
    try:
        whole = tracebacks.TracebackException.from_exception(exc, limit=-_FRAMES)
        _leave_out_engine(whole, exc)
        return "".join(whole.format())
    except BaseException:  # __cause__, __notes__ and others may be the user's own properties
        return ""


def _leave_out_engine(whole: tracebacks.TracebackException, exc: BaseException) -> None:
    """In the traceback, and in those of causes and of members of groups."""
    waiting = [(whole, exc)]
    while waiting:
        shown, error = waiting.pop()
        users = [frame for frame in shown.stack if not frame.filename.startswith(ENGINE)]
        if users and (shown.stack[-1] is users[-1] or is_explained(error)):
            shown.stack[:] = users
        if shown.__cause__ is not None and error.__cause__ is not None:
            waiting.append((shown.__cause__, error.__cause__))
        if shown.__context__ is not None and error.__context__ is not None:
            waiting.append((shown.__context__, error.__context__))
        if shown.exceptions is not None:
            waiting.extend(zip(shown.exceptions, _exceptions(error), strict=False))


def is_explained(error: BaseException) -> bool:
    """Whether the engine raised it to tell the user something, so that its way through the engine is no news; anything
    else that it raises may be a fault of its own."""
    return isinstance(error, errors.WorkflowError) or hasattr(error, "remote_traceback")


def _is_final(exc: BaseException) -> bool:
    """A group is final where one of its members is: trying again would repeat what must not be repeated."""
    waiting, looked_at = [exc], 0
    while waiting and looked_at < _LEAVES:
        looked_at += 1
        one = waiting.pop()
        if issubclass(type(one), _FINAL):
            return True
        if issubclass(type(one), BaseExceptionGroup):
            waiting.extend(_exceptions(one))
    return False


def _args_of(exc: BaseException, limit: int, left_out: dict[Any, Any]) -> tuple[Any, ...] | None:
    try:
        args = exc.args
        if type(args) is not tuple or len(args) > _FACTS or _encoded(args, limit) is not None:
            return args if type(args) is tuple else None
        stored = tuple([value if _encoded(value, limit) is not None else None for value in args])
    except BaseException:  # `args` may be the user's own property
        return None
    lost = [
        index
        for index, value in enumerate(args)
        if stored[index] is None and value is not None and not isinstance(value, str | bytes)
    ]
    left_out |= {index: _description(args[index], with_text=True) for index in lost}
    return stored if lost else None  # nothing but too long: the message has the start of it


def _attributes_of(exc: BaseException, limit: int, left_out: dict[Any, Any]) -> dict[str, Any] | None:
    """Those instance attributes that can be stored, each by itself: one open socket must not cost the status code."""
    kind = type(exc)
    try:
        attributes = dict(exc.__dict__)
        for base, names in _NATIVE_ATTRIBUTES:
            if issubclass(kind, base):
                found = {name: getattr(exc, name) for name in names}
                attributes |= {name: value for name, value in found.items() if value is not None}
        attributes |= _slots_of(exc)
    except BaseException:
        return None
    kept = {}
    for name, value in attributes.items():
        if not _is_attribute(name):
            continue
        if _encoded(value, limit) is not None:
            kept[name] = value
        elif len(left_out) < _FACTS:
            left_out[name] = _description(value, with_text=False)
    return kept or None


def _slots_of(exc: BaseException) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base in _bases(type(exc)):
        for name, member in () if id(base) in _NATIVE or base is object else _vars(base).items():
            if type(member) is MemberDescriptorType:
                try:
                    found[name] = member.__get__(exc)
                except AttributeError:  # not set
                    continue
    return found


def _description(value: Any, *, with_text: bool) -> tuple[str, dict[str, Any], str]:
    """What is kept of a value that cannot be stored: what it was, its numbers and flags, and how it is shown."""
    if type(value) is NotStored:
        return value._kind, dict(value._facts), value._text
    kind = type(value)
    name = f"{_text_of(kind, '__module__')}.{_text_of(kind, '__qualname__')}".removeprefix("builtins.")
    facts: dict[str, Any] = {}
    try:
        for key, fact in dict(object.__getattribute__(value, "__dict__")).items():
            # No texts: a request holds passwords.
            plain = type(fact) in (bool, float) or (type(fact) is int and abs(fact) < 2**63)
            if plain and _is_attribute(key) and not key.startswith("_") and len(facts) < _FACTS:
                facts[key] = fact
    except BaseException:  # it has no attributes, or only hostile ones
        pass
    text = ""
    if with_text:
        try:
            text = _shortened(str.__str__(str(value)), _TEXT_BYTES)
        except BaseException:
            pass
    return _shortened(name, _NAME_CHARACTERS), facts, text


def _is_attribute(name: object) -> bool:
    return type(name) is str and name.isidentifier() and not name.startswith("__") and name != "remote_traceback"


def _encoded(value: object, limit: int) -> bytes | None:
    try:
        return codec.encode(value, what="an attribute", limit=limit)
    except BaseException:  # what cannot be stored is left out; the message has its text
        return None


# groups


def _group_message(group: BaseException) -> str:
    return str.__str__(BaseExceptionGroup.message.__get__(group))


def _exceptions(group: BaseException) -> tuple[BaseException, ...]:
    try:
        found = BaseExceptionGroup.exceptions.__get__(group)
    except BaseException:
        return ()
    return found if type(found) is tuple else ()


def _shown_of_group(group: BaseException, depth: int = 0) -> tuple[str, str]:
    """The name and message to show. Of a task group that is the error within: that one is what happened."""
    members = _exceptions(group)
    shown = [
        _shown_of_group(one, depth + 1)
        if issubclass(type(one), BaseExceptionGroup) and depth < _NESTED
        else (_shown_name(one), _message(one))
        for one in members[: _NAMED + 1]
    ]
    if shown and _group_message(group) == _TASK_GROUP:
        name, message = shown[0]
        others = _listed(shown[1:], len(members) - 1)
        return name, f"{message} (and in the same task group {others})" if others else message
    return _shown_name(group), f"{_message(group)}: {_listed(shown, len(members))}"


def _listed(shown: list[tuple[str, str]], count: int) -> str:
    texts = [f"{name}: {message}" if message else name for name, message in shown[:_NAMED]]
    more = count - len(texts)
    return "; ".join([*texts, f"{more} more"] if more > 0 else texts)


def _members_of(group: BaseException, room: int, depth: int) -> list[bytes]:
    """As many members as there is room for, each a failure of its own."""
    members = _exceptions(group)
    blobs: list[bytes] = []
    share = max(_MEMBER_BYTES, room // max(len(members), 1))
    for member in members[: room // _MEMBER_BYTES]:
        blob = _captured(member, share, depth + 1)
        room -= len(blob)
        if room < _MEMBER_BYTES:
            break
        blobs.append(blob)
    lost = len(members) - len(blobs)
    if lost:
        # So that nobody takes the rest for everything.
        blobs.append(make("StepFailed", f"{lost} more errors of this group could not be stored with it"))
    return blobs


# pydantic's errors, whose class has a constructor of its own


def _problems_of(exc: BaseException, limit: int) -> list[Any] | None:
    """The title and the lines of a ``pydantic.ValidationError``, with as much of the inputs as fits."""
    if type(exc) is not _validation_class():
        return None
    try:
        error: Any = exc
        hidden = "input_value=" not in str(error)
        lines = [
            [line["type"], line["loc"], line["msg"], None if hidden else line["input"], _plain_context(line.get("ctx"))]
            for line in error.errors(include_url=False)[:_LEAVES]
        ]
        share = limit // (2 * len(lines) + 1)
        for line in lines:
            if _encoded(line[3], share) is None:
                line[3] = f"<{type(line[3]).__qualname__}, not stored>"
        while lines and _encoded([error.title, hidden, lines], limit) is None:
            lines = lines[: len(lines) // 2]
        return [error.title, hidden, lines]
    except BaseException:
        return None


def _plain_context(context: dict[str, Any] | None) -> dict[str, Any] | None:
    if context is None:
        return None
    return {
        key: value if _encoded(value, _CONTEXT_BYTES) is not None else _message(value) for key, value in context.items()
    }


def _validation_class() -> Any:
    core = sys.modules.get("pydantic_core")
    return _vars(core).get("ValidationError") if type(core) is ModuleType else None


# --- putting one together again: nothing here may run the user's own code, so that classes and instances are looked
# into past whatever they define themselves


def _validation_error(parts: Any) -> Exception | None:
    kind = _validation_class()
    if kind is None:
        return None
    try:
        title, hidden, lines = parts
        problems = [_validation_line(kind, *line) for line in lines]
        error: Exception = kind.from_exception_data(title, problems, hide_input=hidden)
        return error
    except Exception:  # a later version of pydantic wants something else
        return None


def _validation_line(kind: Any, code: str, location: Any, message: str, input: Any, context: Any) -> dict[str, Any]:
    line: dict[str, Any] = {"type": code, "loc": tuple(location), "input": input}
    known = {**line, "ctx": context} if context else line
    try:
        if kind.from_exception_data("", [known]).errors(include_url=False)[0]["msg"] == message:
            return known
    except Exception:  # a type that the user's own code made up
        pass
    return {**line, "type": sys.modules["pydantic_core"].PydanticCustomError(code, message)}


_MODULE_DICT: Final[Callable[[Any], dict[str, Any]]] = vars(ModuleType)["__dict__"].__get__
_CLASS_DICT: Final[Callable[[Any], Mapping[str, Any]]] = vars(type)["__dict__"].__get__
_ERROR_DICT: Final[Callable[[Any], dict[str, Any]]] = vars(BaseException)["__dict__"].__get__
_BASES: Final[Callable[[Any], tuple[type, ...]]] = vars(type)["__mro__"].__get__


def _vars(found: Any) -> Mapping[str, Any]:
    """The attributes of a module or class; none of anything else."""
    kind = type(found)
    if issubclass(kind, ModuleType):
        # Past a __getattribute__ that imports the module at first use.
        return _MODULE_DICT(found)
    if issubclass(kind, type):
        return _CLASS_DICT(found)
    return vars(found) if kind is SimpleNamespace else {}


def _bases(kind: type) -> tuple[type, ...]:
    return _BASES(kind)


def _dict_of(exception: BaseException) -> dict[str, Any]:
    return _ERROR_DICT(exception)


def _loaded_class(module: str, qualname: str) -> type[BaseException] | None:
    found: object = sys.modules.get(module)
    for part in qualname.split("."):
        found = _vars(found).get(part)
    if not issubclass(type(found), type) or not issubclass(found, BaseException):  # type: ignore[arg-type]
        return None
    is_raisable = issubclass(found, Exception | BaseExceptionGroup)  # type: ignore[arg-type]
    return found if is_raisable else None  # type: ignore[return-value]


def _built(kind: type[BaseException], args: tuple[Any, ...]) -> Exception | None:
    # The nearest built-in base sets up what str() shows, as the errno of an OSError, and is nobody's code.
    native: Any = next(base for base in _bases(kind) if id(base) in _NATIVE)
    exception: Any
    try:
        exception = native.__new__(kind, *args)
    except Exception:  # arguments that the base refuses, or a class written in C that guards its construction
        try:
            exception = native.__new__(kind)
        except Exception:
            return None
    try:
        native.__init__(exception, *args)
    except Exception:  # UnicodeDecodeError and a few others want exactly their own arguments
        pass
    if type(exception) is not kind:
        return None
    _set(exception, "args", args)
    return cast(Exception, exception)


def _set(exception: BaseException, name: str, value: object) -> None:
    for base in _bases(type(exception)):
        found = _vars(base).get(name, _MISSING)
        if found is _MISSING:
            continue
        if type(found) in (MemberDescriptorType, GetSetDescriptorType):
            try:
                found.__set__(exception, value)
            except Exception:  # read-only, or of a type that it does not take
                pass
            return
        if any("__set__" in _vars(one) for one in _bases(type(found))):
            return  # a property, say: its own business
        break  # a default or a method, which an attribute hides
    _dict_of(exception)[name] = value


def _decoded(blob: bytes | None) -> Any:
    try:
        return None if blob is None else codec.decode(blob)
    except CorruptPayload:
        return None


# --- texts


def _shortened(text: str, limit_bytes: int) -> str:
    """The text in at most that many bytes of UTF-8, cut in the middle: the start says what, the end says where."""
    head, tail = limit_bytes // 2, limit_bytes // 2 - 40
    if tail <= 0:
        return _valid(text[: max(limit_bytes, 0)]).encode()[: max(limit_bytes, 0)].decode(errors="ignore")
    if len(text) <= limit_bytes:
        data = _valid(text).encode()
        if len(data) <= limit_bytes:
            return data.decode()
    start = _valid(text[:head]).encode()[:head].decode(errors="ignore")
    end = _valid(text[-tail:]).encode()[-tail:].decode(errors="ignore")
    return f"{start}\n[… {len(text):,} characters …]\n{end}"


def _valid(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()

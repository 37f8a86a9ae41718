"""Errors as bytes: what is stored when a step or a run fails, and what is raised again on replay.

``capture`` copes with any exception (F53): it never raises and its result has a bound. ``Failure.to_exception`` gives
back an exception of the class that was raised, so that ``except PaymentError`` in ``run`` works, but only if this
process has loaded that class already: a blob can neither import a module nor call anybody's ``__init__`` or
``__new__``. What user code would see is therefore ``args`` and those attributes that could be stored.
"""

from __future__ import annotations

import sys
import traceback as tracebacks
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack

from workflows import codec, errors, limits
from workflows.errors import CorruptPayload, NonRetryableError, PayloadNotSerializable, StepFailed

FORMAT: Final = b"\x01"
_NAME_CHARACTERS = 200
_FRAMES = 40  # the innermost calls; a RecursionError has a thousand that say the same
_EMPTY_BYTES = 256  # the map's own bytes: keys, headers, the flag
_FINAL = (NonRetryableError, PayloadNotSerializable)
# What these keep beside their args, in slots that __dict__ does not show.
_NATIVE_ATTRIBUTES: Final[tuple[tuple[type[BaseException], tuple[str, ...]], ...]] = (
    (OSError, ("filename", "filename2")),
    (ImportError, ("name", "path")),
    (NameError, ("name",)),
    (AttributeError, ("name",)),
)


@dataclass(frozen=True, slots=True)
class Failure:
    """A stored error.

    Attributes:
        name: the name to show: the class's, or the one given to ``NonRetryableError``.
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

    @classmethod
    def from_blob(cls, blob: bytes) -> Failure:
        """Read what ``capture`` or ``make`` wrote.

        Raises:
            CorruptPayload: the bytes are something else or of a newer format.
        """
        try:
            if blob[:1] != FORMAT:
                raise CorruptPayload(f"Stored error has format {bytes(blob[:1])!r}; this version reads {FORMAT!r}")
            body = msgpack.unpackb(blob[1:])
            failure = cls(
                body["n"], body["m"], body["q"], body["s"], body["t"], body["r"], body.get("a"), body.get("d")
            )
        except (CorruptPayload, MemoryError):
            raise
        except Exception as error:
            raise CorruptPayload(f"Stored error cannot be read: {error}") from error
        texts = (failure.name, failure.module, failure.qualname, failure.message, failure.traceback)
        blobs = (failure._args, failure._attributes)
        if not all(type(text) is str for text in texts) or type(failure.retryable) is not bool:
            raise CorruptPayload("Stored error has fields of a wrong type")
        if not all(part is None or type(part) is bytes for part in blobs):
            raise CorruptPayload("Stored error has fields of a wrong type")
        return failure

    def to_exception(self) -> Exception:
        """The exception to raise: of the original class if it is loaded here, else ``StepFailed``. Never raises.

        It carries ``remote_traceback``, and the same text as a note, so that a traceback printed here also shows where
        the step failed.
        """
        exception = self._rebuilt()
        if exception is None:
            exception = StepFailed(self.message, remote_name=self.name, remote_traceback=self.traceback)
        if issubclass(type(exception), NonRetryableError):
            _set(exception, "name", self.name)
        _set(exception, "remote_traceback", self.traceback)
        if self.traceback:
            _set(exception, "__notes__", [f"Raised in a step:\n{self.traceback.rstrip()}"])
        return exception

    def _rebuilt(self) -> Exception | None:
        loaded = _loaded_class(self.module, self.qualname)
        if loaded is None or issubclass(loaded, BaseExceptionGroup):
            return None
        args = _decoded(self._args)
        exception = _built(loaded, args if type(args) is tuple else (self.message,))
        attributes = _decoded(self._attributes)
        if exception is not None and type(attributes) is dict:
            for name, value in attributes.items():
                if _is_attribute(name):
                    _set(exception, name, value)
        return exception


def capture(exc: BaseException, *, limit_bytes: int = limits.FAILURE_BYTES) -> bytes:
    """Store an exception: its class, message, traceback, and its ``args`` and attributes as far as they can be stored.

    Never raises, whatever the exception's own methods do.

    Args:
        exc: what was raised.
        limit_bytes: most bytes of the result, at least 2,048. Message and traceback are shortened in the middle; what
            does not fit of ``args`` and attributes is left out.
    """
    kind = type(exc)
    name, message = _shown_name(exc), _message(exc)
    room = limit_bytes - _EMPTY_BYTES
    body: dict[str, Any] = {
        "n": _shortened(name, _NAME_CHARACTERS),
        "m": _shortened(_text_of(kind, "__module__"), _NAME_CHARACTERS),
        "q": _shortened(_text_of(kind, "__qualname__"), _NAME_CHARACTERS),
        "s": _shortened(message, room // 4),
        "r": not issubclass(kind, _FINAL),
    }
    room -= sum(len(body[key].encode()) for key in "nmqs")
    for key, value in (("a", _args_of(exc)), ("d", _attributes_of(exc, room // 4))):
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


# --- taking an exception apart: everything here may run the user's own code, which may do anything


def _shown_name(exc: BaseException) -> str:
    try:
        if issubclass(type(exc), NonRetryableError):
            return str(exc.name)  # type: ignore[attr-defined]
        if issubclass(type(exc), StepFailed):  # raised on from an earlier step: keep the first name
            return str(exc.remote_name)  # type: ignore[attr-defined]
    except Exception:  # an attribute may be missing or hostile
        pass
    return _text_of(type(exc), "__name__")


def _text_of(kind: type, attribute: str) -> str:
    try:
        text = getattr(kind, attribute)
        return text if isinstance(text, str) else ""
    except Exception:  # a metaclass may define these
        return ""


def _message(exc: BaseException) -> str:
    try:
        return str.__str__(str(exc))
    except BaseException:  # even a __str__ that raises KeyboardInterrupt must not hide the error it belongs to
        return f"<{_text_of(type(exc), '__name__')}: its __str__ raised an error>"


def _traceback(exc: BaseException) -> str:
    try:
        return "".join(tracebacks.format_exception(exc, limit=-_FRAMES))
    except BaseException:  # as above: __cause__, __notes__ and others may be the user's own properties
        return ""


def _args_of(exc: BaseException) -> tuple[Any, ...] | None:
    try:
        args = exc.args
        return args if type(args) is tuple else None
    except Exception:  # `args` may be the user's own property
        return None


def _attributes_of(exc: BaseException, limit: int) -> dict[str, Any] | None:
    """Those instance attributes that can be stored, each by itself: one open socket must not cost the status code."""
    try:
        attributes = dict(exc.__dict__)
        for base, names in _NATIVE_ATTRIBUTES:
            if issubclass(type(exc), base):
                attributes |= {name: getattr(exc, name) for name in names}
    except Exception:  # as above
        return None
    kept = {
        name: value
        for name, value in attributes.items()
        if value is not None and _is_attribute(name) and _encoded(value, limit) is not None
    }
    return kept or None


def _is_attribute(name: object) -> bool:
    return type(name) is str and name.isidentifier() and not name.startswith("__") and name != "remote_traceback"


def _encoded(value: object, limit: int) -> bytes | None:
    try:
        return codec.encode(value, what="an attribute", limit=limit)
    except Exception:  # what cannot be stored is left out; the message has its text
        return None


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


# --- putting one together again: nothing here may run the user's own code


def _loaded_class(module: str, qualname: str) -> type[Exception] | None:
    found: object = sys.modules.get(module)
    for part in qualname.split("."):
        # vars() and not getattr(): a module's own __getattr__ could import something.
        try:
            found = vars(found).get(part)
        except TypeError:
            return None
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def _built(kind: type[Exception], args: tuple[Any, ...]) -> Exception | None:
    # The nearest built-in base sets up what str() shows, as the errno of an OSError, and is nobody's code.
    native: Any = next(base for base in kind.__mro__ if base.__module__ == "builtins")
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
    _set(exception, "args", args)
    return exception if isinstance(exception, kind) else None


def _set(exception: Exception, name: str, value: object) -> None:
    try:
        BaseException.__setattr__(exception, name, value)
    except Exception:  # a read-only property of the class: its own business
        pass


def _decoded(blob: bytes | None) -> Any:
    try:
        return None if blob is None else codec.decode(blob)
    except CorruptPayload:
        return None

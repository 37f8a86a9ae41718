"""Any exception can be stored, and comes back as what it was (F53)."""

from __future__ import annotations

import json
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any

import msgpack
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows import errors, limits
from workflows.errors import (
    CorruptPayload,
    EventTimeout,
    NonRetryableError,
    PayloadNotSerializable,
    PoisonError,
    StepFailed,
    StepTimeout,
)
from workflows.failure import Failure, capture, make


class PaymentError(Exception):
    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


class Described(Exception):
    def __str__(self) -> str:
        return f"{self.args[0]} of {self.args[1]}"


class CardDeclined(NonRetryableError):
    pass


class Outer:
    class Inner(ValueError):
        pass


def raised(exc: BaseException) -> BaseException:
    try:
        raise exc
    except BaseException as caught:
        return caught


def back(exc: BaseException) -> Exception:
    return Failure.from_blob(capture(raised(exc))).to_exception()


@pytest.fixture(autouse=True)
def _loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test module is not in sys.modules under every way of importing it."""
    monkeypatch.setitem(sys.modules, __name__, types.SimpleNamespace(**globals()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "exc",
    [
        ValueError("no"),
        ValueError(),
        ValueError("a", 1, (2, b"x")),
        KeyError("x"),
        KeyError(("a", 1)),
        FileNotFoundError(2, "No such file or directory", "report.txt"),
        OSError(28, "No space left on device"),
        ConnectionResetError("gone"),
        ZeroDivisionError("division by zero"),
        StopIteration(5),
        TimeoutError(),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        SyntaxError("bad", ("f.py", 1, 2, "x")),
        json.JSONDecodeError("Expecting value", "nonsense", 0),
        PaymentError("declined", code=402),
        Described(3, 4),
        Outer.Inner("x"),
        NonRetryableError("stop"),
        CardDeclined("stop", "Declined"),
        EventTimeout("Execution timed out after 200ms"),
        errors.InstanceNotFound(),
    ],
    ids=repr,
)
def test_loaded_class_comes_back_as_itself(exc: Exception) -> None:
    exception = back(exc)
    assert type(exception) is type(exc)
    assert exception.args == exc.args
    assert str(exception) == str(exc)


def test_attributes_that_can_be_stored_come_back() -> None:
    error = PaymentError("declined", code=402)
    error.response = object()  # type: ignore[attr-defined]
    exception = back(error)
    assert isinstance(exception, PaymentError) and exception.code == 402
    assert not hasattr(exception, "response")


def test_file_error_keeps_its_errno_and_file_name() -> None:
    exception = back(FileNotFoundError(2, "No such file or directory", "report.txt"))
    assert isinstance(exception, FileNotFoundError)
    assert (exception.errno, exception.filename) == (2, "report.txt")


def test_class_that_is_not_loaded_becomes_step_failed() -> None:
    class Local(Exception):
        pass

    exception = back(Local("here"))
    assert isinstance(exception, StepFailed)
    assert (exception.remote_name, str(exception)) == ("Local", "here")
    assert "Local: here" in exception.remote_traceback


def test_step_failed_raised_on_keeps_the_first_name() -> None:
    first = Failure("Remote", "gone.module", "Remote", "why", "", True).to_exception()
    assert Failure.from_blob(capture(raised(first))).name == "Remote"


def test_remote_traceback_is_shown_where_the_error_is_raised_again() -> None:
    exception = back(ValueError("no"))
    assert "in raised\n" in exception.remote_traceback  # type: ignore[attr-defined]
    assert "Raised in a step:\nTraceback" in "".join(traceback.format_exception(raised(exception)))


def test_name_of_a_non_retryable_error_is_the_one_it_was_given() -> None:
    failure = Failure.from_blob(capture(NonRetryableError("stop", "CardDeclined")))
    assert (failure.name, failure.qualname, failure.message) == ("CardDeclined", "NonRetryableError", "stop")
    assert failure.to_exception().name == "CardDeclined"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("exc", "retryable"),
    [
        (ValueError("x"), True),
        (StepTimeout("x"), True),
        (errors.PayloadTooLarge("x"), True),
        (NonRetryableError("x"), False),
        (NonRetryableError(), False),
        (CardDeclined("x"), False),
        (PayloadNotSerializable("x"), False),
    ],
    ids=repr,
)
def test_only_final_errors_are_not_retryable(exc: Exception, retryable: bool) -> None:
    assert Failure.from_blob(capture(exc)).retryable is retryable


def test_class_is_never_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "this", raising=False)
    exception = Failure("Error", "this", "Error", "", "", True).to_exception()
    assert isinstance(exception, StepFailed) and "this" not in sys.modules


def test_lazy_attributes_of_a_module_are_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    lazy = types.ModuleType("lazy")
    lazy.__getattr__ = lambda name: pytest.fail("ran code of the module")  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "lazy", lazy)
    assert isinstance(Failure("Error", "lazy", "Error", "", "", True).to_exception(), StepFailed)


@pytest.mark.parametrize(
    ("module", "qualname"),
    [
        ("os", "system"),
        ("os", "path.join"),
        ("builtins", "KeyboardInterrupt"),
        ("builtins", "SystemExit"),
        ("builtins", "ExceptionGroup"),
        ("builtins", "dict"),
        ("workflows.errors", "Suspended"),
        ("builtins", ""),
        ("", ""),
        ("builtins", "ValueError.__class__"),
    ],
)
def test_only_exceptions_are_built(module: str, qualname: str) -> None:
    assert type(Failure("x", module, qualname, "why", "", True).to_exception()) is StepFailed


def test_no_code_of_the_class_runs() -> None:
    ran = []

    class Tracking(Exception):
        def __new__(cls, *args: object) -> Any:
            ran.append("new")
            return super().__new__(cls)

        def __init__(self, *args: object) -> None:
            ran.append("init")

        def __setattr__(self, name: str, value: object) -> None:
            ran.append("setattr")

    Tracking.__qualname__ = "Tracking"
    sys.modules[__name__].Tracking = Tracking  # type: ignore[attr-defined]
    exception = Failure("Tracking", __name__, "Tracking", "why", "trace", True).to_exception()
    assert type(exception) is Tracking and exception.args == ("why",) and ran == []


class BrokenText(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt

    __repr__ = __str__


class BrokenEverything(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __str__(self) -> str:
        raise self


class Endless(Exception):
    def __str__(self) -> str:
        return str(self)


class SubclassText(str):
    def encode(self, *_: object) -> bytes:  # type: ignore[override]
        raise RuntimeError


def in_a_circle() -> Exception:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def very_deep() -> Exception:
    def down() -> None:
        down()

    try:
        down()
    except RecursionError as error:
        return error
    raise AssertionError


def with_notes(notes: Any) -> Exception:
    error = ValueError("x")
    error.__notes__ = notes
    return error


ODD: dict[str, Callable[[], BaseException]] = {
    "str raises": BrokenText,
    "everything raises": BrokenEverything,
    "endless str": Endless,
    "circle of causes": in_a_circle,
    "deep": very_deep,
    "huge message": lambda: ValueError("x" * 10_000_000),
    "huge wide message": lambda: ValueError("\U0001f600" * 2_000_000),
    "surrogates": lambda: ValueError("a\ud800b"),
    "odd args": lambda: ValueError(object(), lambda: None, BrokenText()),
    "cyclic args": lambda: ValueError([[]] * 3, sys.modules),
    "odd text": lambda: ValueError(SubclassText("x")),
    "group": lambda: ExceptionGroup("many", [ValueError("a"), KeyError("b")]),
    "huge notes": lambda: with_notes(["y" * 5_000_000]),
    "odd notes": lambda: with_notes(5),
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
    "suspended": errors.Suspended,
    "long name": lambda: type("N" * 100_000, (Exception,), {"__module__": "m" * 100_000})("x"),
    "no module": lambda: type("N", (Exception,), {"__module__": None})("x"),
    "bare non-retryable": lambda: NonRetryableError.__new__(NonRetryableError),
    "many attributes": lambda: PaymentError("x" * 9_000, code=10**9_000),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_exception_is_stored_within_its_limit_and_raised_again(kind: str) -> None:
    blob = capture(raised(ODD[kind]()))
    assert len(blob) <= limits.FAILURE_BYTES
    failure = Failure.from_blob(blob)
    exception = failure.to_exception()
    assert isinstance(exception, Exception) and failure.name


def test_pydantic_error_is_told_as_text() -> None:
    with pytest.raises(pydantic.ValidationError) as invalid:
        pydantic.TypeAdapter(int).validate_python("x")
    exception = back(invalid.value)
    assert isinstance(exception, StepFailed) and "valid integer" in str(exception)


@given(st.text(), st.text(), st.integers(2_048, 40_000), st.integers(0, 50_000))
@settings(max_examples=50)
def test_any_message_is_stored_within_any_limit(text: str, argument: str, limit: int, times: int) -> None:
    assert len(capture(ValueError(text * times, argument), limit_bytes=limit)) <= limit


def test_long_message_keeps_its_start_and_end() -> None:
    message = Failure.from_blob(capture(ValueError("start" + "x" * 100_000 + "end"))).message
    assert message.startswith("start") and message.endswith("end") and "100,008 characters" in message


@pytest.mark.parametrize("name", ["PoisonError", "StalledError", "StepTimeout", "EventTimeout"])
def test_made_failure_comes_back_as_the_named_class(name: str) -> None:
    exception = Failure.from_blob(make(name, "three workers died")).to_exception()
    assert type(exception) is getattr(errors, name) and str(exception) == "three workers died"


def test_made_failure_may_show_another_name() -> None:
    failure = Failure.from_blob(make("StepTimeout", "Execution timed out after 5ms", shown_name="WorkflowTimeoutError"))
    assert failure.name == "WorkflowTimeoutError" and type(failure.to_exception()) is StepTimeout


def test_made_failure_of_an_unknown_class_is_step_failed() -> None:
    assert type(Failure.from_blob(make("Suspended", "x")).to_exception()) is StepFailed
    assert type(PoisonError("x")) is type(Failure.from_blob(make("PoisonError", "x")).to_exception())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x02\x80",
        b"\x01",
        b"\x01\x80",
        b"\x01\x90",
        b"\x01" + msgpack.packb({"n": 1, "m": "", "q": "", "s": "", "t": "", "r": True}),
        b"\x01" + msgpack.packb({"n": "", "m": "", "q": "", "s": "", "t": "", "r": 1}),
        b"\x01" + msgpack.packb({"n": "", "m": "", "q": "", "s": "", "t": "", "r": True, "a": [1]}),
    ],
)
def test_other_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(CorruptPayload):
        Failure.from_blob(body)


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body: bytes, args: bytes) -> None:
    stored = {"n": "E", "m": "builtins", "q": "OSError", "s": "x", "t": "", "r": True, "a": b"\x01" + args, "d": args}
    Failure.from_blob(b"\x01" + msgpack.packb(stored)).to_exception()
    with pytest.raises(CorruptPayload):
        Failure.from_blob(b"\x01" + body)

"""Any exception can be stored, and comes back as what it was (F53)."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
import traceback
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import msgpack
import pydantic
import pydantic_core
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows import errors, limits
from workflows.authoring.callback import Callback
from workflows.errors import (
    CorruptPayload,
    EventTimeout,
    NonRetryableError,
    PayloadNotSerializable,
    PoisonError,
    StepFailed,
    StepTimeout,
)
from workflows.values import codec
from workflows.values.durations import parse_ms
from workflows.values.failure import Failure, Place, capture, make


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


def shown_frames(exc: BaseException) -> list[str]:
    return re.findall(r"File .*, in (\w+)$", Failure.from_blob(capture(exc)).traceback, re.MULTILINE)


def called_by_the_engine(function: Callable[[], Any]) -> BaseException:
    try:
        Callback(function).call(None)
    except Exception as error:
        return error
    raise AssertionError("did not raise")


def test_frames_of_the_engine_are_left_out_of_a_stored_traceback() -> None:
    def fail() -> None:
        raise ValueError("no")

    def fail_for_a_reason() -> None:
        raise KeyError("why") from called_by_the_engine(fail)

    def fail_together() -> None:
        raise ExceptionGroup("both", [called_by_the_engine(fail_for_a_reason), ValueError("never raised")])

    def ask_wrongly() -> None:
        parse_ms("tomorrow", what="the pause")

    assert shown_frames(called_by_the_engine(fail)) == ["called_by_the_engine", "fail"]
    together = ["called_by_the_engine", "fail_together"]
    together += ["called_by_the_engine", "fail", "called_by_the_engine", "fail_for_a_reason"]
    assert shown_frames(called_by_the_engine(fail_together)) == together
    assert shown_frames(called_by_the_engine(ask_wrongly)) == ["called_by_the_engine", "ask_wrongly"]


def test_an_error_of_the_engine_itself_is_stored_with_all_frames() -> None:
    def call_with_too_few() -> None:
        Callback(called_by_the_engine).call(None)

    whole = ["called_by_the_engine", "call", "call_with_too_few", "call"]
    assert shown_frames(called_by_the_engine(call_with_too_few)) == whole


def test_a_traceback_of_nothing_but_the_engine_is_stored_as_it_is() -> None:
    error: Exception | None = None
    try:
        parse_ms("tomorrow", what="the pause")
    except errors.BadDuration as caught:
        assert caught.__traceback__ is not None
        error = caught.with_traceback(caught.__traceback__.tb_next)
    assert error is not None and "parse_ms" in shown_frames(error)


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


class Exiting(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


class ExitingAttributes(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise SystemExit(name)


class ExitingMapping(Mapping[str, Any]):
    def __getitem__(self, name: str) -> Any:
        raise SystemExit(3)

    def __iter__(self) -> Any:
        raise SystemExit(3)

    def __len__(self) -> int:
        raise SystemExit(3)


class ExitingMeta(type):
    def __getattribute__(cls, name: str) -> Any:
        raise SystemExit(3)


class ExitingName(NonRetryableError):
    @property
    def name(self) -> str:
        raise SystemExit(3)

    @name.setter
    def name(self, value: str) -> None: ...


def holding(value: Any) -> Exception:
    error = ValueError("x")
    error.held = value  # type: ignore[attr-defined]
    return error


def nested_groups(levels: int) -> Exception:
    error: Exception = ValueError("innermost")
    for _ in range(levels):
        error = ExceptionGroup("outer", [error])
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
    "str exits": Exiting,
    "attributes exit": ExitingAttributes,
    "args exit": lambda: ValueError(Exiting(), {"a": ExitingMapping()}),
    "attribute exits": lambda: holding(ExitingMapping()),
    "metaclass exits": lambda: ExitingMeta("Local", (Exception,), {})("x"),
    "name exits": lambda: ExitingName("x"),
    "notes exit": lambda: with_notes([Exiting()]),
    "group of odd ones": lambda: ExceptionGroup("many", [BrokenText(), Exiting(), ExitingAttributes()]),
    "nested groups": lambda: nested_groups(200),
    "wide group": lambda: ExceptionGroup("many", [ValueError(str(n) * 500) for n in range(5000)]),
    "group of base exceptions": lambda: BaseExceptionGroup("many", [SystemExit(1), KeyboardInterrupt()]),
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


class Even(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(title="Even")
    number: int
    small: typing.Annotated[int, pydantic.Field(lt=5)] = 0

    @pydantic.field_validator("number")
    @classmethod
    def even(cls, number: int) -> int:
        if number == 7:
            raise pydantic_core.PydanticCustomError("seven", "{number} is not even", {"number": number})
        assert number % 2 == 0, "odd {number}"
        return number


class Hidden(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(hide_input_in_errors=True)
    password: int


def invalid(model: Any, data: Any) -> pydantic.ValidationError:
    with pytest.raises(pydantic.ValidationError) as caught:
        model.model_validate(data)
    return caught.value


@pytest.mark.parametrize("data", [{}, 5, {"number": "x"}, {"number": 3}, {"number": 7}, {"number": 2, "small": 9}])
def test_validation_error_comes_back_as_itself(data: Any) -> None:
    error = invalid(Even, data)
    exception = back(error)
    assert type(exception) is pydantic.ValidationError
    assert str(exception) == str(error) and exception.title == "Even"
    assert [(one["type"], one["loc"], one["msg"], one["input"]) for one in exception.errors()] == [
        (one["type"], one["loc"], one["msg"], one["input"]) for one in error.errors()
    ]


def test_validation_error_with_inputs_that_cannot_be_stored_comes_back_with_the_rest() -> None:
    exception = back(invalid(Even, {"number": object(), "small": 9}))
    assert isinstance(exception, pydantic.ValidationError)
    assert [one["loc"] for one in exception.errors()] == [("number",), ("small",)]
    assert exception.errors()[0]["input"] == "<object, not stored>"


def test_validation_error_of_many_lines_keeps_the_first() -> None:
    class Numbers(pydantic.RootModel[list[int]]):
        pass

    exception = back(invalid(Numbers, ["x" * 500] * 3000))
    assert isinstance(exception, pydantic.ValidationError) and 5 < exception.error_count() < 3000


def test_input_that_a_model_hides_is_not_stored() -> None:
    blob = capture(raised(invalid(Hidden, {"password": "s3cret"})))
    assert b"s3cret" not in blob
    assert str(Failure.from_blob(blob).to_exception()) == str(invalid(Hidden, {"password": "s3cret"}))


def test_group_comes_back_with_its_members() -> None:
    exception = back(
        ExceptionGroup("many", [PaymentError("declined", code=402), ExceptionGroup("in", [KeyError("k")])])
    )
    assert isinstance(exception, ExceptionGroup) and str(exception) == "many (2 sub-exceptions)"
    caught = []
    try:
        raise exception
    except* PaymentError as group:
        caught += [error.code for error in group.exceptions if isinstance(error, PaymentError)]
    except* KeyError as group:
        caught.append(type(group.exceptions[0]).__name__)
    assert caught == [402, "ExceptionGroup"]


class OwnGroup(ExceptionGroup[Exception]):
    code = 0


def test_group_of_an_own_class_comes_back_as_that() -> None:
    error = OwnGroup("many", [ValueError("a")])
    error.code = 5
    exception = back(error)
    assert type(exception) is OwnGroup and exception.code == 5 and exception.exceptions[0].args == ("a",)


def test_members_that_do_not_fit_are_counted_by_one_that_nobody_catches_by_chance() -> None:
    exception = back(ExceptionGroup("many", [ValueError(str(number)) for number in range(1000)]))
    assert isinstance(exception, ExceptionGroup)
    *kept, last = exception.exceptions
    assert len(kept) > 20 and all(type(error) is ValueError for error in kept)
    assert (
        type(last) is StepFailed
        and str(last) == f"{1000 - len(kept)} more errors of this group could not be stored with it"
    )


def test_base_exceptions_of_a_group_come_back_as_step_failed() -> None:
    exception = back(BaseExceptionGroup("many", [SystemExit(3), ValueError("x")]))
    assert type(exception) is ExceptionGroup
    assert [type(error) for error in exception.exceptions] == [StepFailed, ValueError]


def test_the_error_within_a_task_group_is_the_one_shown() -> None:
    async def main() -> None:
        async def fail(error: Exception) -> None:
            raise error

        async with asyncio.TaskGroup() as group:
            group.create_task(fail(PaymentError("declined", code=402)))
            group.create_task(fail(KeyError("k")))

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(main())
    failure = Failure.from_blob(capture(caught.value))
    assert failure.name == "PaymentError"
    assert failure.message == "declined (and in the same task group KeyError: 'k')"
    assert isinstance(failure.to_exception(), ExceptionGroup)


def test_other_groups_are_shown_with_their_members() -> None:
    failure = Failure.from_blob(capture(ExceptionGroup("many", [ValueError(n) for n in range(5)])))
    assert failure.name == "ExceptionGroup"
    assert failure.message == "many (5 sub-exceptions): ValueError: 0; ValueError: 1; ValueError: 2; 2 more"


@pytest.mark.parametrize("error", [CardDeclined("x"), PayloadNotSerializable("x"), NonRetryableError()], ids=repr)
def test_group_with_a_final_member_is_final(error: Exception) -> None:
    group = ExceptionGroup("outer", [ValueError("x"), ExceptionGroup("inner", [error])])
    assert not Failure.from_blob(capture(group)).retryable


# What could not be stored with it


class Response:
    def __init__(self) -> None:
        self.status_code = 404
        self.ok = False
        self.headers = {"authorization": "s3cret"}
        self.body = "s3cret"
        self._inner = 5
        self.socket = threading.Lock()


class HttpError(Exception):
    def __init__(self, message: str, response: Any = None) -> None:
        super().__init__(message)
        self.response = response


def test_attribute_that_could_not_be_stored_keeps_its_numbers_and_says_so_otherwise() -> None:
    error = HttpError("404 Not Found", Response())
    blob = capture(raised(error))
    exception = Failure.from_blob(blob).to_exception()
    assert isinstance(exception, HttpError) and b"s3cret" not in blob
    assert exception.response is not None and exception.response.status_code == 404 and exception.response.ok is False
    for use in (lambda one: one.text, lambda one: one.json(), bool, list, lambda one: one["a"], lambda one: one()):
        with pytest.raises((AttributeError, TypeError), match=r"HttpError\.response .*Response, which could not be"):
            use(exception.response)
    assert any("HttpError.response could not be stored" in note for note in exception.__notes__)


def test_what_could_not_be_stored_stays_so_when_the_error_is_raised_on() -> None:
    exception = back(back(HttpError("404 Not Found", Response())))
    assert isinstance(exception, HttpError) and exception.response.status_code == 404


def test_failing_for_an_attribute_that_was_not_stored_says_so() -> None:
    exception = back(HttpError("404 Not Found", object()))
    with pytest.raises(AttributeError) as missing:
        _ = exception.response  # type: ignore[attr-defined]
    message = Failure.from_blob(capture(missing.value)).message
    assert "no attribute 'response' (HttpError.response could not be stored with the error: it was a object)" in message


def test_attribute_that_is_none_comes_back() -> None:
    exception = back(HttpError("no answer"))
    assert isinstance(exception, HttpError) and exception.response is None


class Slotted(Exception):
    __slots__ = ("code", "unset")

    def __init__(self, code: int) -> None:
        self.code = code


def test_attributes_in_slots_come_back() -> None:
    exception = back(Slotted(5))
    assert isinstance(exception, Slotted) and exception.code == 5 and not hasattr(exception, "unset")


def test_argument_that_could_not_be_stored_leaves_the_others() -> None:
    response = Response()
    exception = back(Described(response, 7))
    assert exception.args[1] == 7 and exception.args[0].status_code == 404
    assert str(exception) == f"{response} of 7"


# Where it comes from

PLACE = Place("shop", "order-1", 'step "charge"', 3)


@pytest.mark.parametrize("kind", [StepTimeout, EventTimeout, PoisonError])
def test_own_errors_name_step_attempts_and_instance(kind: Any) -> None:
    exception: Any = Failure.from_blob(capture(kind("Execution timed out after 5ms"))).to_exception(PLACE)
    assert str(exception) == (
        'Execution timed out after 5ms (step "charge", 3 attempts, instance "order-1" of workflow "shop")'
    )
    assert (exception.step, exception.attempts) == ('step "charge"', 3)
    assert (exception.workflow, exception.instance_id) == ("shop", "order-1")


def test_step_failed_names_the_class_step_attempts_and_instance() -> None:
    exception = Failure("Remote", "gone.module", "Remote", "why", "", True).to_exception(PLACE)
    assert isinstance(exception, StepFailed)
    assert str(exception) == 'why (Remote: step "charge", 3 attempts, instance "order-1" of workflow "shop")'
    assert (exception.remote_name, exception.step, exception.attempts) == ("Remote", 'step "charge"', 3)


def test_the_place_is_told_once_however_often_the_error_is_raised_on() -> None:
    first = Failure.from_blob(capture(StepTimeout("late"))).to_exception(PLACE)
    again = Failure.from_blob(capture(first)).to_exception(Place("parent", "p1"))
    assert str(again) == str(first)
    assert (again.instance_id, again.attempts) == ("order-1", 3)  # type: ignore[attr-defined]


def test_errors_of_others_keep_their_text() -> None:
    exception = Failure.from_blob(capture(raised(ValueError("no")))).to_exception(PLACE)
    assert str(exception) == "no"
    assert 'Raised in step "charge", 3 attempts, instance "order-1"' in exception.__notes__[0]


# Names


class Renamed(NonRetryableError):
    def __init__(self, order: int) -> None:
        super().__init__(f"order {order}", "Chosen")


class WithoutInit(NonRetryableError):
    def __init__(self, order: int) -> None:
        self.order = order


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (CardDeclined("x"), "CardDeclined"),
        (errors.NonRetryableDelayError("x"), "NonRetryableDelayError"),
        (NonRetryableError("x"), "NonRetryableError"),
        (NonRetryableError("x", "Chosen"), "Chosen"),
        (Renamed(1), "Chosen"),
        (WithoutInit(1), "WithoutInit"),
    ],
    ids=repr,
)
def test_non_retryable_errors_are_shown_under_their_own_name(error: Exception, name: str) -> None:
    failure = Failure.from_blob(capture(error))
    assert failure.name == name and failure.to_exception().name == name  # type: ignore[attr-defined]


# No code of the user's own


class Setter(Exception):
    ran: typing.ClassVar[list[str]] = []

    @property
    def code(self) -> int:
        return 1

    @code.setter
    def code(self, value: int) -> None:
        self.ran.append("setter")


class Descriptor:
    def __set__(self, instance: Any, value: Any) -> None:
        Setter.ran.append("descriptor")


class Noticing(type):
    def __getattribute__(cls, name: str) -> Any:
        if name != "__class__":
            Setter.ran.append(f"class.{name}")
        return super().__getattribute__(name)

    def __instancecheck__(cls, instance: Any) -> bool:
        Setter.ran.append("instancecheck")
        return True

    def __hash__(cls) -> int:
        Setter.ran.append("hash")
        return 1


class Watched(Setter, metaclass=Noticing):
    other = Descriptor()

    def __getattribute__(self, name: str) -> Any:
        Setter.ran.append(f"self.{name}")
        return super().__getattribute__(name)


@pytest.mark.parametrize("kind", ["Setter", "Watched", "LAZY.Error", "PROXY"])
def test_rebuilding_runs_no_code_of_the_class(kind: str) -> None:
    attributes = codec.encode({"code": 5, "other": 6, "plain": 7, "name": 8}, what="x")
    Setter.ran.clear()
    failure = Failure(kind, __name__, kind, "why", "trace", True, None, attributes)
    made = failure.to_exception(PLACE)
    assert Setter.ran == []
    assert type(made).__name__ == kind or type(made) is StepFailed


class Lazy(types.ModuleType):
    def __getattribute__(self, name: str) -> Any:
        Setter.ran.append(f"module.{name}")
        return super().__getattribute__(name)


class Proxy:
    @property
    def __class__(self) -> Any:
        Setter.ran.append("proxy")
        return type

    @property
    def __dict__(self) -> Any:
        Setter.ran.append("proxy")
        return {}


LAZY, PROXY = Lazy("lazy"), Proxy()


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


@given(st.text(max_size=300), st.integers(0, 2_000))
def test_the_first_bytes_of_an_error_tell_its_name_and_the_beginning_of_its_message(message: str, size: int) -> None:
    blob = capture(ValueError(message))
    whole = Failure.from_blob(blob)
    name, beginning = Failure.name_and_message(blob[:size])
    assert (name, beginning) == ("", "") or (name == whole.name and whole.message.startswith(beginning))
    if size >= len(blob):
        assert (name, beginning) == (whole.name, whole.message)


@pytest.mark.parametrize(
    "head", [b"", b"\x02\x81\xa1n\xa1x", b"\x01", b"\x01\xc1", b"\x01\x93\x01\x02\x03", b"\x01\x81\x01\x02"]
)
def test_what_is_no_error_has_neither_name_nor_message(head: bytes) -> None:
    assert Failure.name_and_message(head) == ("", "")

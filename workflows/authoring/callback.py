"""The callback of a step, captured by value, ready to be called later and maybe elsewhere.

A callback runs after ``run`` has moved on: in a loop, the variables it closed over hold later values by then. So
``step.do`` copies the cells of its closure at the call (same code, fresh cells), through nested functions, partials and
bound methods. Objects are shared, not copied: only the binding of a name to an object is frozen.

The other direction cannot work, warm or cold: a callback that rebinds an outer variable would do so in another process.
Where the code says ``nonlocal``, that is an error at the call.
"""

from __future__ import annotations

import difflib
import dis
import functools
import inspect
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from types import CellType, CodeType, FrameType, FunctionType, MethodType
from typing import Any, Final

from workflows.authoring.env import BindingReference
from workflows.errors import BadStepConfig, ConfigError
from workflows.sandbox.loop import ReplayLoop
from workflows.values import codec
from workflows.values.byte_stream import ByteStream
from workflows.values.models import Record, named, record_of

CONTEXT_PARAMETER: Final = "ctx"
OPTIONS: Final = ("config", "retries", "timeout", "queue", "sensitive", "semantics", "rollback", "rollback_config")

# By id, because hashing a code object walks all of its constants; the code is kept so that its id stays its own.
_rebound: dict[int, tuple[CodeType, frozenset[str]]] = {}
_evaluated: dict[int, tuple[CodeType, Any]] = {}
_CAPTURED: Final = frozenset({FunctionType, MethodType, functools.partial})
# The loop calls run: frames of this file and below are not run's any more.
_LOOP_FILE: Final = ReplayLoop.drain.__code__.co_filename


class Callback:
    """What a step runs: ``function`` with ``args`` and ``kwargs``, plus ``ctx`` where it asks for one by name."""

    __slots__ = ("args", "function", "kwargs")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...] = (), kwargs: Any = None) -> None:
        self.function = function
        self.args = args
        self.kwargs: Mapping[str, Any] = kwargs or {}

    @property
    def wants_ctx(self) -> bool:
        """Whether the function has a parameter named ``ctx`` which the given arguments leave free."""
        return self._ctx_place() is not None

    @property
    def return_annotation(self) -> Any:
        """The function's return annotation, resolved; ``None`` where there is none or it cannot be resolved."""
        function = _plain_function(self.function)
        return _return_annotation(function) if isinstance(function, FunctionType) else None

    def arguments(self, ctx: object) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What to call the function with: lazy references of ``self.env`` resolved, ``ctx`` put in its place.

        Call it outside ``run`` only, where bindings exist.
        """
        place = self._ctx_place()
        if place is None and not self.args and not self.kwargs:
            return (), {}  # the usual case
        args = [_resolved(value) for value in self.args]
        kwargs = {name: _resolved(value) for name, value in self.kwargs.items()}
        if place is not None and place < len(args):
            args.insert(place, ctx)
        elif place is not None:
            kwargs[CONTEXT_PARAMETER] = ctx
        return tuple(args), kwargs

    def call(self, ctx: object) -> Any:
        """Call the function; await the result if it is awaitable."""
        args, kwargs = self.arguments(ctx)
        return self.function(*args, **kwargs)

    @property
    def is_async(self) -> bool:
        """Whether calling the function is known to give a coroutine, so that it needs no thread.

        A plain function (a lambda, say) may return an awaitable as well; whoever calls it looks at the result.
        """
        function: Any = self.function
        if function.__class__ is FunctionType:
            return bool(function.__code__.co_flags & inspect.CO_COROUTINE)
        if isinstance(function, BindingReference):
            function = function.resolve()
        while isinstance(function, functools.partial):
            function = function.func
        if inspect.iscoroutinefunction(function):
            return True
        return inspect.iscoroutinefunction(_plain_function(function))

    def check(self, step: str) -> None:
        """Refuse, at the call of ``step.do``, what could only fail when the callback runs, or after it.

        Raises:
            BadStepConfig: the function does not take these arguments, as far as its signature is known.
            ConfigError: its results could not come back as what its return annotation says.
        """
        function: Any = self.function
        if not _fits(function, self.args, self.kwargs):
            self._bind(step)
        record = self.record
        if record is not None and record.initial is not None:
            raise ConfigError(
                f'Step "{step}" returns {named(record.annotation)}, which cannot be made again from its fields: '
                f"{record.initial}"
            )

    def _bind(self, step: str) -> None:
        function: Any = self.function
        if isinstance(function, BindingReference):
            return  # known outside of run() only
        place = self._ctx_place()
        args, kwargs = list(self.args), dict(self.kwargs)
        if place is not None and place < len(args):
            args.insert(place, None)
        elif place is not None:
            kwargs[CONTEXT_PARAMETER] = None
        try:
            # Of the function itself, because a decorator may take other arguments than what it wraps.
            signature = inspect.signature(function, follow_wrapped=False)
            whole = inspect.signature(function)
        except (TypeError, ValueError):
            return  # a callable written in C that does not say what it takes
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise _misfit(step, function, whole, str(error), self.kwargs) from None
        if whole is not signature and not _takes_any_name(whole):
            for name in kwargs:
                if name not in whole.parameters and option_like(name) is not None:
                    raise _misfit(step, function, whole, f"got an unexpected keyword argument {name!r}", self.kwargs)

    @property
    def record(self) -> Record | None:
        """What the return annotation says a result is, where that is more than plain data."""
        function = _plain_function(self.function)
        if not isinstance(function, FunctionType) or "return" not in function.__annotations__:
            return None
        return record_of(_return_annotation(function))

    def encode(self, value: Any, *, what: str) -> bytes:
        """Store a result, once it is certain that ``rebuild`` makes it again.

        Raises: PayloadNotSerializable, PayloadTooLarge.
        """
        if type(value) is ByteStream:
            return codec.encode_stream(value)
        record = self.record
        return codec.encode(value, what=what) if record is None else record.encode(value, what=what)

    def rebuild(self, value: Any) -> Any:
        """Turn a stored value back into the model, dataclass or enum that the return annotation names.

        Raises:
            pydantic.ValidationError: the value does not fit the annotation.
        """
        record = self.record
        return value if record is None or type(value) is ByteStream else record.rebuild(value)

    def _ctx_place(self) -> int | None:
        """The index at which ``ctx`` is inserted; beyond the arguments it goes by keyword."""
        if CONTEXT_PARAMETER in self.kwargs:
            return None
        function: Any = self.function
        if (
            function.__class__ is FunctionType
            and CONTEXT_PARAMETER not in function.__code__.co_varnames
            and not function.__dict__  # functools.wraps: the wrapped function's signature counts
        ):
            return None  # the usual case, without the cost of a signature
        if isinstance(function, functools.partial) and CONTEXT_PARAMETER in function.keywords:
            return None
        if isinstance(function, BindingReference):
            function = function.resolve()
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):
            return None  # a callable written in C that does not say what it takes
        parameter = parameters.get(CONTEXT_PARAMETER)
        if parameter is None or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            return None
        if parameter.kind is parameter.KEYWORD_ONLY:
            return sys.maxsize
        positional = [
            name
            for name, other in parameters.items()
            if other.kind in (other.POSITIONAL_ONLY, other.POSITIONAL_OR_KEYWORD)
        ]
        if len(self.args) >= len(positional):
            return None  # the caller filled every place, this one included
        place = positional.index(CONTEXT_PARAMETER)
        if parameter.kind is parameter.POSITIONAL_ONLY or place < len(self.args):
            return min(place, len(self.args)) if place < len(self.args) else sys.maxsize
        return sys.maxsize


def prepare(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    step: str,
    caller: FrameType,
    workflow: type,
) -> Callback:
    """Capture a callback by value.

    Args:
        step: the step's name, for the error.
        caller: the frame that called the step method; code defined in it or in what called it is ``run``'s own.
        workflow: the workflow's class; code defined in its methods is ``run``'s own too.
    Raises:
        ConfigError: the callback, or a function of ``run`` that it uses, rebinds a variable of ``run``.
    """
    if type(function) is FunctionType and not args and not kwargs:
        # Most callbacks: a function whose closure, if any, holds no other functions.
        closure = function.__closure__
        if closure is None:
            return Callback(function)
        if not rebound_names(function.__code__):
            try:
                contents = [cell.cell_contents for cell in closure]
            except ValueError:
                contents = None
            if contents is not None and _CAPTURED.isdisjoint(map(type, contents)):
                return Callback(_copied(function, tuple(map(CellType, contents))))
    capture = _Capture(step, caller, workflow)
    return Callback(
        capture.value(function),
        tuple([capture.value(value) for value in args]),
        {name: capture.value(value) for name, value in kwargs.items()} if kwargs else None,
    )


def _copied(function: FunctionType, cells: tuple[CellType, ...]) -> FunctionType:
    """The same function over other cells. What a new function takes from its code and globals is not set again."""
    copy = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, cells)
    if function.__kwdefaults__ is not None:
        copy.__kwdefaults__ = function.__kwdefaults__
    if function.__dict__:  # functools.wraps, or attributes of the user's own
        copy.__dict__.update(function.__dict__)
        copy.__qualname__ = function.__qualname__
        copy.__module__ = function.__module__
        copy.__doc__ = function.__doc__
    if sys.version_info >= (3, 14):
        copy.__annotate__ = function.__annotate__
    elif function.__annotations__:
        copy.__annotations__ = function.__annotations__
    return copy


class Poll(Callback):
    """A callback that is called again and again, until ``until`` says of what it returned that this is it."""

    __slots__ = ("until",)

    def __init__(self, callback: Callback, until: Callable[[Any], Any]) -> None:
        super().__init__(callback.function, callback.args, callback.kwargs)
        self.until = until


def option_like(name: str) -> str | None:
    """The option of ``step.do`` that a misspelt one most likely stands for."""
    close = difflib.get_close_matches(name.lower(), OPTIONS, n=1, cutoff=0.7)
    return close[0] if close else None


def _fits(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a plain function certainly takes these arguments, and ``ctx``: without the cost of a signature."""
    if type(function) is MethodType:
        function, args = function.__func__, (function.__self__, *args)
    if type(function) is not FunctionType or function.__dict__:
        return False
    code = function.__code__
    count = code.co_argcount
    if not (args or kwargs or count or code.co_kwonlyargcount):
        return True
    names = code.co_varnames[:count]
    filled = len(args)
    if CONTEXT_PARAMETER in names[:filled] and filled < count and CONTEXT_PARAMETER not in kwargs:
        filled += 1  # it is put in its place, between the others
    if filled > count and not code.co_flags & inspect.CO_VARARGS:
        return False
    only = code.co_varnames[count : count + code.co_kwonlyargcount]
    if kwargs and not code.co_flags & inspect.CO_VARKEYWORDS:
        free = names[max(filled, code.co_posonlyargcount) :]
        if not all(name in free or name in only for name in kwargs):
            return False
    elif kwargs and not kwargs.keys().isdisjoint(names[:filled]):
        return False
    needed = names[filled : count - len(function.__defaults__ or ())]
    needed += tuple([name for name in only if name not in (function.__kwdefaults__ or ())])
    return all(name in kwargs or name == CONTEXT_PARAMETER for name in needed)


def _takes_any_name(signature: inspect.Signature) -> bool:
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values())


def _misfit(
    step: str, function: Any, signature: inspect.Signature, reason: str, kwargs: Mapping[str, Any]
) -> BadStepConfig:
    name = str(getattr(function, "__qualname__", None) or type(function).__qualname__).rpartition("<locals>.")[2]
    shown = signature.replace(return_annotation=signature.empty)
    hints = [
        f" Did you mean {option_like(given)}=?"
        for given in kwargs
        if given not in signature.parameters and option_like(given) is not None
    ]
    return BadStepConfig(
        f'Step "{step}" cannot call {name}{shown}: {reason}.{"".join(hints)} What is not an option of step.do '
        f"({', '.join(OPTIONS)}) goes to the callback."
    )


class _Capture:
    """One snapshot; shared and recursive closures stay shared and recursive within it."""

    __slots__ = ("caller", "cells", "functions", "step", "workflow")

    def __init__(self, step: str, caller: FrameType, workflow: type) -> None:
        self.step = step
        self.caller = caller
        self.workflow = workflow
        self.functions: dict[int, FunctionType] = {}
        self.cells: dict[int, CellType] = {}

    def value(self, value: Any) -> Any:
        kind = type(value)
        if kind is FunctionType:
            return self.function(value)
        if kind is MethodType:
            function = self.value(value.__func__)
            return value if function is value.__func__ else MethodType(function, value.__self__)
        if kind is functools.partial:
            return functools.partial(
                self.value(value.func),
                *[self.value(argument) for argument in value.args],
                **{name: self.value(argument) for name, argument in value.keywords.items()},
            )
        return value

    def function(self, function: FunctionType) -> FunctionType:
        closure = function.__closure__
        if closure is None:
            return function
        known = self.functions.get(id(function))
        if known is not None:
            return known
        rebound = rebound_names(function.__code__)
        if rebound:
            if self._is_of_run(function):
                names = ", ".join(sorted(rebound))
                raise ConfigError(
                    f'The callback of step "{self.step}" assigns the outer variable {names} (nonlocal, in '
                    f"{function.__qualname__}), which has no effect: callbacks run later, maybe in another process. "
                    "Return the value from the callback and assign the step's result."
                )
            return function  # a decorator's private state, say; copying would cut it off from its other users
        cells = tuple([self._cell(cell) for cell in closure])
        copy = self.functions[id(function)] = _copied(function, cells)
        for old, new in zip(closure, cells, strict=True):
            if new is not old and _is_empty(new):
                new.cell_contents = self.value(old.cell_contents)
        return copy

    def _cell(self, cell: CellType) -> CellType:
        if _is_empty(cell):
            return cell  # a name not bound yet, such as a function defined further down
        copy = self.cells.get(id(cell))
        if copy is None:
            copy = self.cells[id(cell)] = CellType()
        return copy

    def _is_of_run(self, function: FunctionType) -> bool:
        code = function.__code__
        for ancestor in self.workflow.__mro__:
            if function.__module__ == ancestor.__module__ and code.co_qualname.startswith(ancestor.__qualname__ + "."):
                return True
        frame: FrameType | None = self.caller
        while frame is not None and frame.f_code.co_filename != _LOOP_FILE:
            outer = frame.f_code
            if code.co_filename == outer.co_filename and code.co_qualname.startswith(outer.co_qualname + ".<locals>."):
                return True
            frame = frame.f_back
        return False


def _is_empty(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018  # there is no other way to ask
    except ValueError:
        return True
    return False


def rebound_names(code: CodeType) -> frozenset[str]:
    """The free variables that ``code``, or a function nested in it, assigns or deletes."""
    known = _rebound.get(id(code))
    if known is not None:
        return known[1]
    free = frozenset(code.co_freevars)
    names: set[str] = set()
    if free:
        for instruction in dis.get_instructions(code):
            if instruction.opname in ("STORE_DEREF", "DELETE_DEREF") and instruction.argval in free:
                names.add(instruction.argval)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                names |= rebound_names(constant) & free
    result = frozenset(names)
    _rebound[id(code)] = (code, result)
    return result


def _resolved(value: Any) -> Any:
    return value.resolve() if isinstance(value, BindingReference) else value


def _plain_function(function: Any) -> Any:
    if function.__class__ is FunctionType:
        return function
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, MethodType):
        return function.__func__
    if isinstance(function, (FunctionType, BindingReference)) or not callable(function):
        return function
    return type(function).__call__


def _return_annotation(function: FunctionType) -> Any:
    annotation = function.__annotations__.get("return")
    if not isinstance(annotation, str) and not _has_text(annotation):
        return annotation
    code = function.__code__
    if not code.co_freevars:
        # Its module alone decides what the text means, and evaluating it at every step would cost more than the rest.
        known = _evaluated.get(id(code))
        if known is None:
            known = _evaluated[id(code)] = (code, _evaluate(annotation, function.__globals__, {}))
        return known[1]
    names: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        if not _is_empty(cell):
            names[name] = cell.cell_contents
    return _evaluate(annotation, function.__globals__, names)


def _evaluate(annotation: Any, module: dict[str, Any], names: dict[str, Any]) -> Any:
    """The annotation with every text in it resolved, ``list["Model"]`` as well as ``"list[Model]"``."""

    def returns() -> None: ...

    try:
        if isinstance(annotation, str):
            annotation = eval(annotation, module, names)  # noqa: S307  # the callback's own annotation
        if not _has_text(annotation):
            return annotation
        returns.__annotations__ = {"return": annotation}
        return typing.get_type_hints(returns, module, names, include_extras=True)["return"]
    except Exception:
        return None  # a name that exists for the type checker only


def _has_text(annotation: Any) -> bool:
    if isinstance(annotation, str | typing.ForwardRef):
        return True
    if typing.get_origin(annotation) in (typing.Literal, None):
        return False
    arguments = typing.get_args(annotation)
    # What stands behind the first argument of Annotated may be any object, a text too.
    return any(map(_has_text, arguments[:1] if hasattr(annotation, "__metadata__") else arguments))

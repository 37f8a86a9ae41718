"""What undoes a step: its handler, and what that is given.

A handler takes what it names: ``output``, ``error``, ``ctx``, or none of them. One that names a single argument of
another kind is given all three at once, as at Cloudflare.

Source: https://developers.cloudflare.com/workflows/build/workers-api/
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from workflows.authoring.callback import Callback
from workflows.authoring.env import BindingReference
from workflows.errors import BadStepConfig, RollbackMissing
from workflows.values import codec

PARAMETERS: Final = ("ctx", "error", "output")
_NOTHING: Final = codec.encode(None, what="nothing")


@dataclass(frozen=True, slots=True)
class RollbackEvent:
    """What a handler is told; attributes and keys are the same.

    Attributes:
        ctx: the handler's own ``StepContext``, with the name and count of the step it undoes; ``ctx.forward`` is that
            step's.
        error: why the instance is rolled back: what left ``run``, or InstanceTerminated.
        output: what the step returned; None where it failed, or was not finished.
    """

    ctx: Any
    error: BaseException
    output: Any

    def __getitem__(self, key: str) -> Any:
        if key in PARAMETERS:
            return getattr(self, key)
        raise KeyError(key)


class RollbackCallback(Callback):
    """A handler with what it is told. What it returns is dropped, so that nothing it returns can fail it."""

    __slots__ = ("error", "output")

    def __init__(self, handler: Callback, error: BaseException, output: Any) -> None:
        super().__init__(handler.function)
        self.error = error
        self.output = output

    def arguments(self, ctx: object) -> tuple[tuple[Any, ...], dict[str, Any]]:
        function: Any = self.function
        if isinstance(function, BindingReference):
            function = function.resolve()
        event = RollbackEvent(ctx, self.error, self.output)
        places = _places(function)
        if places is None:
            return (event,), {}
        args, kwargs = places
        return tuple([event[name] for name in args]), {name: event[name] for name in kwargs}

    def encode(self, value: Any, *, what: str) -> bytes:
        return _NOTHING


def missing() -> Callback:
    """In place of a handler that the step had when it began, and that the code has no more."""
    return Callback(_raise_missing)


def _raise_missing() -> None:
    raise RollbackMissing


def check_handler(handler: object, step: str) -> Callable[..., Any]:
    """Raises BadStepConfig: it is no function, or takes what nobody gives it."""
    if not callable(handler):
        raise BadStepConfig(f'Rollback for "{step}" must be a function')
    if not isinstance(handler, BindingReference):  # known outside of run() only
        try:
            _places(handler)
        except TypeError as error:
            raise BadStepConfig(
                f'Rollback for "{step}" must be a function of any of {", ".join(PARAMETERS)}: {error}'
            ) from None
    return handler


def _places(function: Callable[..., Any]) -> tuple[Sequence[str], Sequence[str]] | None:
    """What goes to it by place and what by name; None: all of it as one argument.

    Raises: TypeError.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None  # a callable written in C that does not say what it takes
    args: list[str] = []
    kwargs: list[str] = []
    others: list[inspect.Parameter] = []
    takes_any = False
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_any = True
        elif parameter.name in PARAMETERS and parameter.kind is parameter.POSITIONAL_ONLY:
            args.append(parameter.name)
        elif parameter.name in PARAMETERS and parameter.kind is not parameter.VAR_POSITIONAL:
            kwargs.append(parameter.name)
        elif parameter.kind is parameter.VAR_POSITIONAL or parameter.default is parameter.empty:
            others.append(parameter)
    needed = [other for other in others if other.kind is not other.VAR_POSITIONAL]
    if args or kwargs or not others:
        if needed:
            raise TypeError(f"nothing is given to {needed[0].name}")
        return args, [name for name in PARAMETERS if name not in args] if takes_any else kwargs
    if len(needed) > 1 or others[0].kind is inspect.Parameter.KEYWORD_ONLY:
        raise TypeError(f"nothing is given to {others[-1].name}")
    return None

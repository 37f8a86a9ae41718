"""Steps made by ``@step.do("name")``: called by name, with the results of other decorated steps as arguments.

Source: https://developers.cloudflare.com/workflows/python/python-workers-api/
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Coroutine, Sequence
from types import FrameType
from typing import Any, Generic, Protocol, TypeVar, overload

from workflows.authoring.asking import OwnReplay, StepFuture
from workflows.authoring.callback import CONTEXT_PARAMETER
from workflows.errors import BadStepConfig
from workflows.values import names

T = TypeVar("T")
Options = tuple[Any, Any, Any, str | None, Any, Any, Any, Any]
"""config, retries, timeout, queue, rollback, rollback_config, sensitive, semantics"""


class Steps(Protocol):
    """What a decorated step needs of the steps of its instance."""

    _replay: OwnReplay
    _decorated: dict[str, DecoratedStep[Any]]

    def _captured(self, function: Callable[..., Any], name: str, caller: FrameType) -> Callable[..., Any]:
        """The function with the values that its variables have now."""
        ...

    def _do(
        self,
        name: Any,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Options,
        caller: FrameType,
    ) -> StepFuture[Any]:
        """Ask for a step."""
        ...


class StepDecorator:
    """What ``@step.do("name")`` gives: put it over a function."""

    def __init__(
        self,
        steps: Steps,
        name: str | None,
        concurrent: bool,
        depends: Sequence[DecoratedStep[Any]] | None,
        options: Options,
    ) -> None:
        self._steps = steps
        self._name = name
        self._concurrent = concurrent
        self._depends = depends
        self._options = options

    @overload
    def __call__(self, function: Callable[..., Coroutine[Any, Any, T]], /) -> DecoratedStep[T]: ...

    @overload
    def __call__(self, function: Callable[..., T], /) -> DecoratedStep[T]: ...

    def __call__(self, function: Callable[..., Any], /) -> DecoratedStep[Any]:
        if not callable(function):
            raise no_callback(self._name)
        name = self._name
        if name is None:
            name = str(getattr(function, "__name__", type(function).__name__))
        names.check_step_name(name)
        decorated: DecoratedStep[Any] = DecoratedStep(
            self._steps, name, function, self._concurrent, self._depends, self._options
        )
        register = self._steps._decorated
        register[name] = decorated
        register[str(getattr(function, "__name__", name))] = decorated
        return decorated

    def __await__(self) -> Any:
        # await step.do("name"), with the callback forgotten.
        raise no_callback(self._name)


class DecoratedStep(Generic[T]):
    """A step made by ``@step.do("name")``: call it and await the result.

    Each call runs the step anew. A parameter named like another decorated step (its step name or its function's name)
    receives that step's result: the one it already has, the one under way, or a new one. With ``depends=[…]`` its
    parameters receive the results of these steps one by one, whatever they are named.

    Source: https://developers.cloudflare.com/workflows/python/python-workers-api/
    """

    def __init__(
        self,
        steps: Steps,
        name: str,
        function: Callable[..., Any],
        concurrent: bool,
        depends: Sequence[DecoratedStep[Any]] | None,
        options: Options,
    ) -> None:
        self.name = name
        self._steps = steps
        self._function = function
        self._concurrent = concurrent
        self._depends = depends
        self._options = options
        self._latest: asyncio.Future[T] | None = None

    def __call__(self) -> asyncio.Future[T]:
        replay = self._steps._replay
        replay.enter(self.name)
        dependencies = self._dependencies()
        function = self._steps._captured(self._function, self.name, sys._getframe(1))
        if dependencies:
            self._latest = replay.loop.create_task(self._after(dependencies, function))
        else:
            self._latest = self._ask({}, function)
        return self._latest

    def _dependencies(self) -> dict[str, DecoratedStep[Any]]:
        try:
            parameters = list(inspect.signature(self._function).parameters.values())
        except (TypeError, ValueError):
            return {}
        gathering = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        parameters = [one for one in parameters if one.name != CONTEXT_PARAMETER and one.kind not in gathering]
        if self._depends is not None:
            return self._in_turn([one.name for one in parameters], self._depends)
        found: dict[str, DecoratedStep[Any]] = {}
        for parameter in parameters:
            name = parameter.name
            other = self._steps._decorated.get(name)
            if other is not None and other is not self:
                found[name] = other
            elif parameter.default is parameter.empty:
                raise TypeError(
                    f'Received unexpected parameter {name} in step "{self.name}": it is neither ctx nor the name of a '
                    "step decorated before. Rename it after a step, give it a default, or use the form "
                    f'step.do("{self.name}", function, argument).'
                )
        return found

    def _in_turn(self, parameters: list[str], depends: Sequence[DecoratedStep[Any]]) -> dict[str, DecoratedStep[Any]]:
        if len(parameters) != len(depends) or not all(isinstance(one, DecoratedStep) for one in depends):
            raise TypeError(
                f'Step "{self.name}" depends on {len(depends)} and takes {len(parameters)} beside ctx: depends has one '
                "step made by @step.do for each parameter, in their order."
            )
        return dict(zip(parameters, depends, strict=True))

    async def _after(self, dependencies: dict[str, DecoratedStep[Any]], function: Callable[..., Any]) -> T:
        results: list[Any]
        if self._concurrent:
            results = await asyncio.gather(*[other._result() for other in dependencies.values()])
        else:
            results = [await other._result() for other in dependencies.values()]
        return await self._ask(dict(zip(dependencies, results, strict=True)), function)

    def _result(self) -> asyncio.Future[T]:
        latest = self._latest
        if latest is None or (latest.done() and (latest.cancelled() or latest.exception() is not None)):
            return self()
        return latest

    def _ask(self, results: dict[str, Any], function: Callable[..., Any]) -> StepFuture[T]:
        args: list[Any] = []
        for parameter in inspect.signature(self._function).parameters.values() if results else ():
            if parameter.kind is parameter.POSITIONAL_ONLY and parameter.name in results:
                args.append(results.pop(parameter.name))
        return self._steps._do(self.name, function, tuple(args), results, self._options, sys._getframe())


def no_callback(name: object) -> BadStepConfig:
    """What a step without anything to run is refused with."""
    return BadStepConfig(f'Step "{name}" requires a callback function')

"""The ``step`` that ``run`` is given: everything durable goes through it.

The methods are plain functions: calling one asks for the step there and then (the order of calls is the order of
asking, which is the step's identity), and returns a future. Awaiting the future is what suspends ``run``.

Source: https://developers.cloudflare.com/workflows/build/workers-api/#step
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import random as random_module
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from types import FrameType, FunctionType
from typing import Any, Final, Generic, Literal, Protocol, TypeVar, overload
from uuid import UUID

from workflows import limits
from workflows.authoring import retries
from workflows.authoring.callback import CONTEXT_PARAMETER, OPTIONS, Callback, option_like, prepare, rebound_names
from workflows.authoring.commands import Child, Command, Do, Sleep, Wait
from workflows.authoring.env import BindingReference
from workflows.authoring.event import ReceivedEvent, moment
from workflows.authoring.retries import Retry, StepConfig
from workflows.errors import BadDuration, BadStepConfig, ConfigError, UnknownQueue
from workflows.sandbox.loop import ReplayFuture, ReplayLoop, ReplayTask
from workflows.values import codec, names
from workflows.values.durations import Duration, parse_ms

T = TypeVar("T")
Item = TypeVar("Item")

_UNSET: Final[Any] = object()
_EVENT_OPTIONS: Final = ("type", "event", "timeout")


class StepFuture(ReplayFuture[T]):
    """What a step method returns: await it, hand it to ``asyncio``, or cancel it, which withdraws the step."""

    def __init__(self, host: Host, command: Command) -> None:
        self.host = host
        self.command = command
        super().__init__(loop=host.loop)

    def __hash__(self) -> int:
        return self.ordinal

    def __eq__(self, other: object) -> bool:
        return self is other

    def cancel(self, msg: Any | None = None) -> bool:
        cancelled = super().cancel(msg)
        if cancelled:
            self.host.cancelled(self.command)
        return cancelled

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelled() else "done" if self.done() else "pending"
        return f'<{self.command.kind} "{self.command.name}" {state}>'


class Directory(Protocol):
    """What a step needs to know about the app it belongs to."""

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that a step may name."""
        ...

    def workflow_name(self, target: object) -> str:
        """The name of the workflow that a class, a name or a binding's name stands for."""
        ...

    def encode_params(self, workflow: str, params: Any, *, what: str) -> bytes:
        """Check params against the workflow's model, and encode them."""
        ...


class Host(Protocol):
    """What a step needs of the replay it belongs to."""

    loop: ReplayLoop
    workflow_class: type
    defaults: StepConfig
    directory: Directory | None

    @property
    def now_ms(self) -> int:
        """The moment of the last entry that ``run`` has seen."""
        ...

    def enter(self, name: object) -> None:
        """Refuse a call that does not come from ``run``, or comes after its end."""
        ...

    def reserve(self, kind: str, name: str) -> tuple[int, int]:
        """The next ``seq``, and the next ``count`` of this kind and name."""
        ...

    def is_answered_next(self) -> bool:
        """Whether the entries being fed hold an answer to the command that is asked next."""
        ...

    def ask(self, command: Command, callback: Callback | None) -> StepFuture[Any]:
        """Open a command."""
        ...

    def cancelled(self, command: Command) -> None:
        """The future of this command was cancelled."""
        ...

    def seed(self) -> bytes:
        """Bytes that are random, new at every call, and the same in every replay."""
        ...


class WorkflowStep:
    """The steps of one instance."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._decorated: dict[str, DecoratedStep[Any]] = {}

    # do

    @overload
    def do(self, name: Callable[..., Coroutine[Any, Any, T]], /) -> DecoratedStep[T]: ...

    @overload
    def do(self, name: Callable[..., T], /) -> DecoratedStep[T]: ...

    @overload
    def do(
        self,
        name: str | None = None,
        /,
        *,
        concurrent: bool = False,
        config: Mapping[str, Any] | None = None,
        retries: Retry | Mapping[str, Any] | None = None,
        timeout: Duration | None = None,
        queue: str | None = None,
    ) -> StepDecorator: ...

    @overload
    def do(
        self,
        name: str,
        config: Mapping[str, Any],
        callback: Callable[..., Coroutine[Any, Any, T]],
        /,
        *args: Any,
        retries: Retry | Mapping[str, Any] | None = None,
        timeout: Duration | None = None,
        queue: str | None = None,
        **kwargs: Any,
    ) -> StepFuture[T]: ...

    @overload
    def do(
        self,
        name: str,
        callback: Callable[..., Coroutine[Any, Any, T]],
        /,
        *args: Any,
        config: Mapping[str, Any] | None = None,
        retries: Retry | Mapping[str, Any] | None = None,
        timeout: Duration | None = None,
        queue: str | None = None,
        **kwargs: Any,
    ) -> StepFuture[T]: ...

    @overload
    def do(
        self,
        name: str,
        config: Mapping[str, Any],
        callback: Callable[..., T],
        /,
        *args: Any,
        retries: Retry | Mapping[str, Any] | None = None,
        timeout: Duration | None = None,
        queue: str | None = None,
        **kwargs: Any,
    ) -> StepFuture[T]: ...

    @overload
    def do(
        self,
        name: str,
        callback: Callable[..., T],
        /,
        *args: Any,
        config: Mapping[str, Any] | None = None,
        retries: Retry | Mapping[str, Any] | None = None,
        timeout: Duration | None = None,
        queue: str | None = None,
        **kwargs: Any,
    ) -> StepFuture[T]: ...

    def do(
        self,
        name: Any = None,
        /,
        *args: Any,
        concurrent: bool = False,
        config: Mapping[str, Any] | None = None,
        retries: Any = None,
        timeout: Duration | None = None,
        queue: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run a callback durably: once it has succeeded, its result is kept and it never runs again.

        Two forms. ``await step.do("name", [config], callback, *args, **kwargs)`` runs it. ``@step.do("name")`` over a
        function gives a step to be called and awaited later, with the results of other decorated steps as arguments
        by parameter name. In both, a parameter named ``ctx`` receives the attempt's context.

        Args:
            name: at most 256 characters; may repeat, occurrences are counted in the order of the calls.
            config: the model's mapping, ``{"retries": {"limit", "delay", "backoff"}, "timeout": …}``.
            args, kwargs: what the callback is called with. The names of the options below are taken.
            concurrent: decorator form: resolve the results it depends on side by side.
            retries: ``Retry(limit=5, delay="10s", backoff="exponential")``, wins over ``config``.
            timeout: of one attempt; a bare number is milliseconds, as in the model.
            queue: where its attempts run, ``"gpu"``; default the workflow's own queue.
        Raises (at the call): BadName, UnknownQueue, StepLimitReached; BadStepConfig, also for arguments that the
            callback does not take, such as a misspelt option; ConfigError for a callback that rebinds a variable of
            ``run``, or whose results could not come back as its return annotation says.
        Raises (at the await): what the callback's last attempt raised, StepTimeout, PoisonError.
        """
        options = (config, retries, timeout, queue)
        is_decorator = not args or (len(args) == 1 and isinstance(args[0], Mapping))
        if is_decorator and kwargs:
            raise _unknown_options(name, kwargs)
        if not args:
            if name is None or isinstance(name, str):
                return StepDecorator(self, name, concurrent, options)
            if callable(name):
                return StepDecorator(self, None, concurrent, options)(name)
        else:
            if isinstance(args[0], Mapping):
                if config is not None:
                    raise BadStepConfig(f'Step "{name}" is given its config twice. Use one of the two.')
                if len(args) == 1:
                    return StepDecorator(self, name, concurrent, (args[0], *options[1:]))
                options = (args[0], *options[1:])
                args = args[1:]
            elif args[0] is None and len(args) > 1 and callable(args[1]):
                args = args[1:]  # an optional config that is absent
        if concurrent:
            kwargs["concurrent"] = concurrent  # an argument of the callback, in this form
        function = args[0] if args else None
        if not callable(function):
            raise _no_callback(name)
        return self._do(name, function, args[1:], kwargs, options, sys._getframe(1))

    def _do(
        self,
        name: Any,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: tuple[Any, Any, Any, str | None],
        caller: FrameType,
    ) -> StepFuture[Any]:
        host = self._host
        host.enter(name)
        names.check_step_name(name)
        config, retry, timeout, queue = options
        if config is None and retry is None and timeout is None:
            resolved = host.defaults
        else:
            resolved = retries.resolve(host.defaults, config, step=name, retries=retry, timeout=timeout)
        if queue is not None:
            self._check_queue(queue, name)
        if host.is_answered_next() and type(function) is FunctionType and not rebound_names(function.__code__):
            callback = Callback(function, args, kwargs)  # its answer is at hand, so that it will not run: no snapshot
        else:
            callback = prepare(function, args, kwargs, step=name, caller=caller, workflow=host.workflow_class)
            callback.check(name)
        seq, count = host.reserve("do", name)
        return host.ask(Do(seq, name, count, resolved, queue), callback)

    def _captured(self, function: Callable[..., Any], name: str, caller: FrameType) -> Callable[..., Any]:
        return prepare(function, (), {}, step=name, caller=caller, workflow=self._host.workflow_class).function

    def _check_queue(self, queue: object, name: str) -> None:
        directory = self._host.directory
        if directory is not None and queue not in directory.queues:
            raise UnknownQueue(
                f'Step "{name}" asks for the queue {queue!r}, which the app does not declare. Its queues are: '
                f"{', '.join(directory.queues)}. Add it: App(…, queues=(…, {queue!r}))."
            )

    # Waiting

    def sleep(self, name: str, duration: Duration) -> StepFuture[None]:
        """Wait for ``duration``, which survives everything: ``"7 days"``, a timedelta, or a number of milliseconds.

        Raises: BadName, BadDuration (negative, longer than 365 days, not a duration).
        """
        self._host.enter(name)
        names.check_step_name(name)
        duration_ms = parse_ms(duration, what=f'the duration of sleep "{name}"')
        seq, count = self._host.reserve("sleep", name)
        return self._host.ask(Sleep(seq, name, count, duration_ms=duration_ms), None)

    def sleep_until(self, name: str, moment: datetime | int | float) -> StepFuture[None]:
        """Wait until an aware datetime, or a number of milliseconds since the epoch.

        A moment that has passed returns at once (the model raises: https://github.com/cloudflare/workers-sdk/issues/12884).
        A pause does not shift it.

        Raises: BadName, BadDuration (a naive datetime, more than 365 days ahead, not a moment).
        """
        self._host.enter(name)
        names.check_step_name(name)
        until_ms = _moment_ms(moment, name)
        if until_ms - self._host.now_ms > limits.DURATION_MS_MAX:
            raise BadDuration(f'sleep_until "{name}" asks for a moment more than 365 days ahead, the most there is.')
        seq, count = self._host.reserve("sleep", name)
        return self._host.ask(Sleep(seq, name, count, until_ms=until_ms), None)

    def wait_for_event(
        self,
        name: str,
        options: str | Mapping[str, Any] | None = None,
        timeout: Duration | None = None,
        *,
        type: str | None = None,
        event: str | None = None,
    ) -> StepFuture[ReceivedEvent]:
        """Wait for an event sent to this instance: ``reply = await step.wait_for_event("approval", type="approved")``.

        An event that came earlier is waiting already; each event satisfies one wait, oldest first.

        Args:
            options: the model's form, ``{"type": …, "timeout": …}``, or just the type.
            timeout: 1 second to 365 days, default 24 hours; a bare number is milliseconds.
            type: letters, digits, ``-`` and ``_``, at most 100. ``event`` is an alias.
        Raises (at the call): BadName, BadDuration, BadStepConfig (no type, or two).
        Raises (at the await): EventTimeout.
        """
        self._host.enter(name)
        names.check_step_name(name)
        given = {"type": type, "event": event}
        if isinstance(options, Mapping):
            unknown = [str(key) for key in options if key not in _EVENT_OPTIONS]
            if unknown:
                raise BadStepConfig(
                    f'wait_for_event "{name}" does not know {", ".join(unknown)}. Its options are "type" and "timeout".'
                )
            given |= {'options["type"]': options.get("type"), 'options["event"]': options.get("event")}
            timeout = options.get("timeout") if timeout is None else timeout
        elif options is not None:
            given["second argument"] = options
        found = {where: value for where, value in given.items() if value is not None}
        types = list(dict.fromkeys(found.values()))
        if len(types) > 1:
            shown = ", ".join(f"{where}={value!r}" for where, value in found.items())
            raise BadStepConfig(f'wait_for_event "{name}" is given different types: {shown}. Give one, as type=.')
        if not types:
            raise BadStepConfig(f'wait_for_event "{name}" needs the type of event to wait for: type="approved".')
        checked = names.check_event_type(types[0])
        timeout_ms = limits.EVENT_TIMEOUT_MS
        if timeout is not None:
            timeout_ms = parse_ms(
                timeout, what=f'the timeout of wait_for_event "{name}"', minimum_ms=limits.EVENT_TIMEOUT_MS_MIN
            )
        seq, count = self._host.reserve("wait", name)
        return self._host.ask(Wait(seq, name, count, checked, timeout_ms), None)

    # Other instances

    def invoke(
        self, workflow: Any, params: Any = None, *, id: str | None = None, name: str | None = None
    ) -> StepFuture[Any]:
        """Create an instance of another workflow, wait for its end, and return its output.

        Args:
            workflow: its class, its name, or its binding (``self.env.CHILD_WORKFLOW``).
            params: as for ``create``.
            id: of the new instance; default one made of this instance's id and this step, which a retry finds again.
            name: of this step; default the workflow's name.
        Raises (at the call): BadName, UnknownWorkflow, BadParams, PayloadTooLarge.
        Raises (at the await): what the child raised; InstanceAlreadyExists where ``id`` is taken by another.
        """
        host = self._host
        host.enter(name)
        target = self._workflow_name(workflow)
        name = names.check_step_name(target if name is None else name)
        if id is not None:
            names.check_instance_id(id)
        what = f'the params of invoke "{name}"'
        if host.directory is not None:
            blob = host.directory.encode_params(target, params, what=what)
        else:
            blob = codec.encode({} if params is None else params, what=what)
        seq, count = host.reserve("child", name)
        return host.ask(Child(seq, name, count, target, id, blob, join=False), None)

    def wait_for_child(self, name: str, instance: Any) -> StepFuture[Any]:
        """Wait for the end of an instance created elsewhere, and return its output.

        Args:
            instance: what ``create`` returned, also after it went through a step's result, or a mapping with
                ``workflow`` and ``id``.
        Raises (at the await): what the child raised; InstanceNotFound; InstanceError when 500 others wait for it.
        """
        self._host.enter(name)
        names.check_step_name(name)
        reference = _reference(instance, name)
        seq, count = self._host.reserve("child", name)
        return self._host.ask(Child(seq, name, count, reference.workflow, reference.id, None, join=True), None)

    def _workflow_name(self, workflow: Any) -> str:
        directory = self._host.directory
        if directory is not None:
            return directory.workflow_name(workflow)
        if isinstance(workflow, str):
            return names.check_workflow_name(workflow)
        if isinstance(workflow, type):
            return str(getattr(workflow, "__workflow_name__", None) or names.workflow_name_of(workflow.__name__))
        if isinstance(workflow, BindingReference):
            return workflow.path[0].lower().replace("_", "-")
        raise ConfigError(f"invoke needs a workflow's class, name or binding, not {workflow!r}.")

    # Several at once

    def race(self, *awaitables: Awaitable[T]) -> ReplayTask[T]:
        """Return what ends first, as the journal has it (so every replay has the same winner), and cancel the rest.

        If the first to end raised, this raises. Cancelled steps are withdrawn: attempts nobody has begun are taken
        back, running ones see ``ctx.cancelled``, and whatever they still return changes nothing.
        """
        self._host.enter("race")
        if not awaitables:
            raise ConfigError("step.race needs at least one step, task or coroutine to wait for.")
        contenders = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
        return self._host.loop.create_task(_race(contenders))

    def map(
        self,
        name: str,
        items: Iterable[Item],
        function: Callable[..., Any],
        /,
        *,
        concurrency: int | None = None,
        config: Mapping[str, Any] | None = None,
        retries: Retry | Mapping[str, Any] | None = None,
        timeout: Duration | None = None,
        queue: str | None = None,
    ) -> ReplayTask[list[Any]]:
        """Run ``function(item)`` as a step for every item, named ``"<name> 0"``, ``"<name> 1"``, …

        Args:
            items: from the event or a step's result, so that every replay sees the same.
            concurrency: how many at a time; default all.
        Returns: the results in the order of the items. If one fails, those not finished are cancelled and it raises.
        """
        self._host.enter(name)
        listed = list(items)
        if concurrency is not None and (isinstance(concurrency, bool) or concurrency < 1):
            raise BadStepConfig(f'step.map "{name}" has a concurrency of {concurrency!r}; use 1 or more, or None.')
        options = (config, retries, timeout, queue)
        if not callable(function):
            raise _no_callback(name)
        captured = self._captured(function, name, sys._getframe(1))

        def start(index: int) -> StepFuture[Any]:
            return self._do(f"{name} {index}", captured, (listed[index],), {}, options, sys._getframe())

        return self._host.loop.create_task(_map(start, len(listed), concurrency))

    # What would differ from replay to replay, made the same

    def now(self) -> datetime:
        """The moment of what ``run`` saw last, in UTC: a replay sees the same. It does not move between awaits."""
        return moment(self._host.now_ms)

    def random(self) -> float:
        """A random number from 0 to below 1; a replay gets the same."""
        return random_module.Random(self._host.seed()).random()

    def uuid4(self) -> UUID:
        """A random UUID; a replay gets the same."""
        return UUID(bytes=self._host.seed()[:16], version=4)

    # The model's spelling

    waitForEvent = wait_for_event  # noqa: N815
    sleepUntil = sleep_until  # noqa: N815
    waitForChild = wait_for_child  # noqa: N815


class StepDecorator:
    """What ``@step.do("name")`` gives: put it over a function."""

    def __init__(
        self,
        step: WorkflowStep,
        name: str | None,
        concurrent: bool,
        options: tuple[Any, Any, Any, str | None],
    ) -> None:
        self._step = step
        self._name = name
        self._concurrent = concurrent
        self._options = options

    @overload
    def __call__(self, function: Callable[..., Coroutine[Any, Any, T]], /) -> DecoratedStep[T]: ...

    @overload
    def __call__(self, function: Callable[..., T], /) -> DecoratedStep[T]: ...

    def __call__(self, function: Callable[..., Any], /) -> DecoratedStep[Any]:
        if not callable(function):
            raise _no_callback(self._name)
        name = self._name
        if name is None:
            name = str(getattr(function, "__name__", type(function).__name__))
        names.check_step_name(name)
        decorated: DecoratedStep[Any] = DecoratedStep(self._step, name, function, self._concurrent, self._options)
        register = self._step._decorated
        register[name] = decorated
        register[str(getattr(function, "__name__", name))] = decorated
        return decorated

    def __await__(self) -> Any:
        # await step.do("name"), with the callback forgotten.
        raise _no_callback(self._name)


class DecoratedStep(Generic[T]):
    """A step made by ``@step.do("name")``: call it and await the result.

    Each call runs the step anew. A parameter named like another decorated step (its step name or its function's name)
    receives that step's result: the one it already has, the one under way, or a new one.

    Source: https://developers.cloudflare.com/workflows/python/python-workers-api/
    """

    def __init__(
        self,
        step: WorkflowStep,
        name: str,
        function: Callable[..., Any],
        concurrent: bool,
        options: tuple[Any, Any, Any, str | None],
    ) -> None:
        self.name = name
        self._step = step
        self._function = function
        self._concurrent = concurrent
        self._options = options
        self._latest: asyncio.Future[T] | None = None

    def __call__(self) -> asyncio.Future[T]:
        host = self._step._host
        host.enter(self.name)
        dependencies = self._dependencies()
        function = self._step._captured(self._function, self.name, sys._getframe(1))
        if dependencies:
            self._latest = host.loop.create_task(self._after(dependencies, function))
        else:
            self._latest = self._ask({}, function)
        return self._latest

    def _dependencies(self) -> dict[str, DecoratedStep[Any]]:
        try:
            parameters = inspect.signature(self._function).parameters.values()
        except (TypeError, ValueError):
            return {}
        found: dict[str, DecoratedStep[Any]] = {}
        for parameter in parameters:
            name = parameter.name
            if name == CONTEXT_PARAMETER or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            other = self._step._decorated.get(name)
            if other is not None and other is not self:
                found[name] = other
            elif parameter.default is parameter.empty:
                raise TypeError(
                    f'Received unexpected parameter {name} in step "{self.name}": it is neither ctx nor the name of a '
                    "step decorated before. Rename it after a step, give it a default, or use the form "
                    f'step.do("{self.name}", function, argument).'
                )
        return found

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
        return self._step._do(self.name, function, tuple(args), results, self._options, sys._getframe())


async def _race(contenders: Sequence[asyncio.Future[T]]) -> T:
    first: asyncio.Future[asyncio.Future[T]] = asyncio.get_running_loop().create_future()

    def ended(contender: asyncio.Future[T]) -> None:
        if not first.done():
            first.set_result(contender)
        elif not contender.cancelled():
            contender.exception()  # looked at, so that it is not reported as forgotten

    for contender in contenders:
        contender.add_done_callback(ended)
    try:
        winner = await first
    finally:
        for contender in contenders:
            contender.cancel()
    return winner.result()


async def _map(start: Callable[[int], StepFuture[Any]], length: int, concurrency: int | None) -> list[Any]:
    results: list[Any] = [None] * length
    indexes = iter(range(length))

    async def work() -> None:
        for index in indexes:
            results[index] = await start(index)

    started: list[asyncio.Future[Any]]
    if concurrency is None or concurrency >= length:
        started = [start(index) for index in range(length)]
    else:
        started = [asyncio.ensure_future(work()) for _ in range(concurrency)]
    try:
        ended = await asyncio.gather(*started)
    except BaseException:
        for future in started:
            future.cancel()
        raise
    return ended if len(started) == length else results


def _moment_ms(value: object, name: str) -> int:
    if isinstance(value, datetime):
        if value.tzinfo is None or value.utcoffset() is None:
            raise BadDuration(
                f'sleep_until "{name}" is given {value.isoformat()} without a time zone, which each machine would read '
                "differently. Add one: value.replace(tzinfo=datetime.UTC), or step.now() + timedelta(…)."
            )
        return round(value.timestamp() * 1000)
    if (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and value == value
        and abs(value) != float("inf")
    ):
        return round(value)
    raise BadDuration(
        f'sleep_until "{name}" needs a datetime with a time zone or milliseconds since the epoch, not {value!r}.'
    )


def _reference(instance: Any, name: str) -> codec.InstanceRef:
    if isinstance(instance, codec.InstanceRef):
        return instance
    method = getattr(type(instance), "__workflow_reference__", None)
    if method is not None:
        reference: codec.InstanceRef = method(instance)
        return reference
    if isinstance(instance, Mapping) and {"workflow", "id"} <= set(instance):
        return codec.InstanceRef(
            names.check_workflow_name(instance["workflow"]), names.check_instance_id(instance["id"])
        )
    raise ConfigError(
        f'wait_for_child "{name}" needs what create() returned, or a mapping with workflow and id, not {instance!r}. '
        "Return the handle from the step that creates the child."
    )


def _unknown_options(name: object, given: Mapping[str, Any]) -> BadStepConfig:
    unknown = next(iter(given))
    close = option_like(unknown)
    shown = f'Step "{name}"' if isinstance(name, str) else "A step"
    return BadStepConfig(
        f"{shown} is given the unknown option {unknown}={'' if close is None else f'. Did you mean {close}=?'}"
        f"{'. The' if close is None else ' The'} options are {', '.join(OPTIONS)}, and concurrent for a decorated step."
    )


def _no_callback(name: object) -> BadStepConfig:
    return BadStepConfig(f'Step "{name}" requires a callback function')


def seed(generation: str, counter: int) -> bytes:
    """32 bytes that depend on the two arguments only, on every machine and Python version."""
    return hashlib.blake2b(f"{generation}:{counter}".encode(), digest_size=32).digest()


Kind = Literal["do", "sleep", "wait", "child"]

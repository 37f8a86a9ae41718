"""The ``step`` that ``run`` is given: everything durable goes through it.

The methods are plain functions: calling one asks for the step there and then (the order of calls is the order of
asking, which is the step's identity), and returns a future. Awaiting the future is what suspends ``run``.

Source: https://developers.cloudflare.com/workflows/build/workers-api/#step
"""

from __future__ import annotations

import asyncio
import random as random_module
import sys
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import FrameType, FunctionType
from typing import Any, Final, Literal, NoReturn, TypeVar, Unpack, get_args, overload
from uuid import UUID

from workflows import limits
from workflows.authoring import retries
from workflows.authoring.asking import OwnReplay, StepFuture
from workflows.authoring.callback import OPTIONS, Callback, Poll, option_like, prepare, rebound_names
from workflows.authoring.commands import Child, Do, Sleep, Wait
from workflows.authoring.decorated import DecoratedStep, Options, StepDecorator, no_callback
from workflows.authoring.env import BindingReference
from workflows.authoring.event import ReceivedEvent, moment
from workflows.authoring.mapping import BearableOptions, EnoughOptions, MapOptions, MapResult, Policy, as_many_as_needed
from workflows.authoring.retries import Retry, Semantics, Sensitive, StepConfig, resolve
from workflows.authoring.rollback import check_handler
from workflows.authoring.together import all_ended, first_ended
from workflows.errors import BadDuration, BadStepConfig, ConfigError, UnknownQueue
from workflows.sandbox.loop import ReplayTask
from workflows.values import codec, names
from workflows.values.byte_stream import ByteStream
from workflows.values.durations import Duration, parse_ms
from workflows.values.listening import check_key

T = TypeVar("T")
Item = TypeVar("Item")
Chunks = AsyncIterable[bytes] | Iterator[bytes]
"""What a callback returns, or is, whose result is a ``ByteStream``."""

_EVENT_OPTIONS: Final = ("type", "event", "timeout", "sensitive")


OnParentEnd = Literal["abandon", "terminate", "cancel"]
ON_PARENT_END: Final[tuple[str, ...]] = get_args(OnParentEnd)


class WorkflowStep:
    """The steps of one instance."""

    def __init__(self, replay: OwnReplay) -> None:
        self._replay = replay
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
        depends: Sequence[DecoratedStep[Any]] | None = None,
        config: Mapping[str, Any] | None = None,
        retries: Retry | Mapping[str, Any] | None = None,
        timeout: Duration | None = None,
        queue: str | None = None,
        sensitive: Sensitive | None = None,
        semantics: Semantics | None = None,
        rollback: Callable[..., Any] | None = None,
        rollback_config: Mapping[str, Any] | None = None,
    ) -> StepDecorator: ...

    @overload
    def do(
        self,
        name: str,
        config: Mapping[str, Any],
        /,
        *,
        concurrent: bool = False,
        depends: Sequence[DecoratedStep[Any]] | None = None,
        retries: Retry | Mapping[str, Any] | None = None,
        timeout: Duration | None = None,
        queue: str | None = None,
        sensitive: Sensitive | None = None,
        semantics: Semantics | None = None,
        rollback: Callable[..., Any] | None = None,
        rollback_config: Mapping[str, Any] | None = None,
    ) -> StepDecorator: ...

    @overload
    def do(
        self,
        name: str,
        config: Mapping[str, Any],
        callback: Callable[..., Chunks | Coroutine[Any, Any, Chunks]],
        /,
        *args: Any,
        retries: Retry | Mapping[str, Any] | None = None,
        timeout: Duration | None = None,
        queue: str | None = None,
        sensitive: Sensitive | None = None,
        semantics: Semantics | None = None,
        rollback: Callable[..., Any] | None = None,
        rollback_config: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> StepFuture[ByteStream]: ...

    @overload
    def do(
        self,
        name: str,
        callback: Callable[..., Chunks | Coroutine[Any, Any, Chunks]],
        /,
        *args: Any,
        config: Mapping[str, Any] | None = None,
        retries: Retry | Mapping[str, Any] | None = None,
        timeout: Duration | None = None,
        queue: str | None = None,
        sensitive: Sensitive | None = None,
        semantics: Semantics | None = None,
        rollback: Callable[..., Any] | None = None,
        rollback_config: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> StepFuture[ByteStream]: ...

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
        sensitive: Sensitive | None = None,
        semantics: Semantics | None = None,
        rollback: Callable[..., Any] | None = None,
        rollback_config: Mapping[str, Any] | None = None,
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
        sensitive: Sensitive | None = None,
        semantics: Semantics | None = None,
        rollback: Callable[..., Any] | None = None,
        rollback_config: Mapping[str, Any] | None = None,
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
        sensitive: Sensitive | None = None,
        semantics: Semantics | None = None,
        rollback: Callable[..., Any] | None = None,
        rollback_config: Mapping[str, Any] | None = None,
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
        sensitive: Sensitive | None = None,
        semantics: Semantics | None = None,
        rollback: Callable[..., Any] | None = None,
        rollback_config: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> StepFuture[T]: ...

    def do(
        self,
        name: Any = None,
        /,
        *args: Any,
        concurrent: bool = False,
        depends: Sequence[DecoratedStep[Any]] | None = None,
        config: Mapping[str, Any] | None = None,
        retries: Any = None,
        timeout: Duration | None = None,
        queue: str | None = None,
        sensitive: Sensitive | None = None,
        semantics: Semantics | None = None,
        rollback: Callable[..., Any] | None = None,
        rollback_config: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run a callback durably: once it has succeeded, its result is kept and it never runs again.

        Two forms. ``await step.do("name", [config], callback, *args, **kwargs)`` runs it. ``@step.do("name")`` over a
        function gives a step to be called and awaited later, with the results of other decorated steps as arguments
        by parameter name. In both, a parameter named ``ctx`` receives the attempt's context.

        A callback that returns or is an iterator or generator of bytes, of either sort, is written to Redis while it
        yields, in chunks and past the limit of other results; the step's result is a ``ByteStream``.

        Args:
            name: at most 256 characters; may repeat, occurrences are counted in the order of the calls.
            config: Cloudflare's mapping, ``{"retries": {"limit", "delay", "backoff"}, "timeout": …, "sensitive": …}``;
                ``semantics`` may stand in it as well.
            args, kwargs: what the callback is called with. The names of the options below are taken.
            concurrent: decorator form: resolve the results it depends on side by side.
            depends: decorator form: the steps whose results its parameters receive one by one.
            retries: ``Retry(limit=5, delay="10s", backoff="exponential")``, wins over ``config``.
            timeout: of one attempt; a bare number is milliseconds, as at Cloudflare.
            queue: where its attempts run, ``"gpu"``; default the workflow's own queue.
            sensitive: ``"output"``: whoever looks at the instance is shown ``[REDACTED]`` for the result; ``run`` and
                ``rollback`` get the real one, also in replays. Its errors are shown.
            semantics: ``"at_most_once"``: an attempt that was cut off, by the end of its worker say, has failed, for it
                may have done its work. It is repeated as ``retries`` say, and without them not, nor is any other failed
                attempt. Default ``"at_least_once"``: it is repeated, and no retry is used up.
            rollback: undoes the step, should the instance fail later or be terminated with ``rollback=True``; called
                with what it names of ``output``, ``error`` and ``ctx``. Handlers run one after the other, that of the
                step that was asked for last first; also where the step failed or was not finished.
            rollback_config: retries and timeout of the handler, as ``config``; default the app's, as for a step.
        Raises (at the call): BadName, UnknownQueue, StepLimitReached; BadStepConfig, also for arguments that the
            callback does not take, such as a misspelt option; ConfigError for a callback that rebinds a variable of
            ``run``, or whose results could not come back as its return annotation says.
        Raises (at the await): what the callback's last attempt raised, StepTimeout, StepInterrupted, PoisonError.
        """
        options = (config, retries, timeout, queue, rollback, rollback_config, sensitive, semantics)
        has_config = bool(args) and isinstance(args[0], Mapping)
        is_decorator = not args or (len(args) == 1 and has_config)
        if is_decorator and kwargs:
            raise _unknown_options(name, kwargs)
        if not args:
            if name is None or isinstance(name, str):
                return StepDecorator(self, name, concurrent, depends, options)
            if callable(name):
                return StepDecorator(self, None, concurrent, depends, options)(name)
        else:
            if has_config:
                if config is not None:
                    raise BadStepConfig(f'Step "{name}" is given its config twice. Use one of the two.')
                if len(args) == 1:
                    return StepDecorator(self, name, concurrent, depends, (args[0], *options[1:]))
                options = (args[0], *options[1:])
                args = args[1:]
            elif args[0] is None and len(args) > 1 and callable(args[1]):
                args = args[1:]  # an optional config that is absent
        if concurrent:
            kwargs["concurrent"] = concurrent  # an argument of the callback, in this form
        if depends is not None:
            kwargs["depends"] = depends
        function = args[0] if args else None
        if not callable(function):
            raise no_callback(name)
        return self._do(name, function, args[1:], kwargs, options, sys._getframe(1))

    def _do(
        self,
        name: Any,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Options,
        caller: FrameType,
    ) -> StepFuture[Any]:
        replay = self._replay
        replay.enter(name)
        names.check_step_name(name)
        config, retry, timeout, queue, rollback, rollback_config, sensitive, semantics = options
        if config is None and retry is None and timeout is None and sensitive is None and semantics is None:
            resolved = replay.defaults
        else:
            resolved = retries.resolve(
                replay.defaults,
                config,
                step=name,
                retries=retry,
                timeout=timeout,
                sensitive=sensitive,
                semantics=semantics,
            )
        if queue is not None:
            self._check_queue(queue, name)
        if replay.is_answered_next() and type(function) is FunctionType and not rebound_names(function.__code__):
            callback = Callback(function, args, kwargs)  # its answer is at hand, so that it will not run: no snapshot
        else:
            callback = prepare(function, args, kwargs, step=name, caller=caller, workflow=replay.workflow_class)
            callback.check(name)
        if rollback is None and rollback_config is None:
            seq, count = replay.reserve("do", name)
            return replay.ask(Do(seq, name, count, resolved, queue), callback)
        settings = self._rollback_config(name, rollback, rollback_config)
        workflow = replay.workflow_class
        handler = prepare(check_handler(rollback, name), (), {}, step=name, caller=caller, workflow=workflow)
        seq, count = replay.reserve("do", name)
        command = Do(seq, name, count, resolved, queue, settings)
        replay.on_rollback(command, callback, handler)
        return replay.ask(command, callback)

    @overload
    def poll(
        self,
        name: str,
        function: Callable[..., Coroutine[Any, Any, T]],
        /,
        *args: Any,
        every: Duration,
        until: Callable[[T], Any] = bool,
        timeout: Duration | None = None,
        retries: Retry | Mapping[str, Any] | None = None,
        queue: str | None = None,
    ) -> StepFuture[T]: ...

    @overload
    def poll(
        self,
        name: str,
        function: Callable[..., T],
        /,
        *args: Any,
        every: Duration,
        until: Callable[[T], Any] = bool,
        timeout: Duration | None = None,
        retries: Retry | Mapping[str, Any] | None = None,
        queue: str | None = None,
    ) -> StepFuture[T]: ...

    def poll(
        self,
        name: str,
        function: Callable[..., Any],
        /,
        *args: Any,
        every: Duration,
        until: Callable[[Any], Any] = bool,
        timeout: Duration | None = None,
        retries: Retry | Mapping[str, Any] | None = None,
        queue: str | None = None,
    ) -> StepFuture[Any]:
        """Look again and again, and return what was found: one step, with one result, however often it looks.

        Args:
            function, args: a look; called as by ``do``, also with ``ctx``. What it raises is a failure, which
                ``retries`` are about; each look has the time that an attempt of a step has.
            every: from the end of one look to the next.
            until: a plain function that says of what a look returned whether this is it; default: anything that counts
                as true.
            timeout: of all looks together, 24 hours if left out, also while the instance is paused. The last look is at
                its end.
        Raises (at the call): as ``do``.
        Raises (at the await): PollTimeout; what the last attempt raised, StepTimeout, PoisonError.
        """
        replay = self._replay
        replay.enter(name)
        names.check_step_name(name)
        if not callable(function):  # whatever its type says
            raise no_callback(name)
        settings = replace(
            resolve(replay.defaults, None, step=name, retries=retries),
            every_ms=parse_ms(every, what=f'every of poll "{name}"', minimum_ms=1),
            patience_ms=limits.EVENT_TIMEOUT_MS
            if timeout is None
            else parse_ms(timeout, what=f'the timeout of poll "{name}"', minimum_ms=1),
        )
        if queue is not None:
            self._check_queue(queue, name)
        caller = sys._getframe(1)
        look = prepare(function, args, {}, step=name, caller=caller, workflow=replay.workflow_class)
        look.check(name)
        callback = Poll(look, self._captured(until, name, caller))
        seq, count = replay.reserve("do", name)
        return replay.ask(Do(seq, name, count, settings, queue), callback)

    def _rollback_config(self, name: str, handler: object, config: Mapping[str, Any] | None) -> StepConfig:
        if handler is None:
            raise BadStepConfig(f'Step "{name}" is given rollback_config= without rollback=, which it is about.')
        if config is None:
            return self._replay.defaults
        return retries.resolve(self._replay.defaults, config, step=name, what="Rollback config")

    def _captured(self, function: Callable[..., Any], name: str, caller: FrameType) -> Callable[..., Any]:
        return prepare(function, (), {}, step=name, caller=caller, workflow=self._replay.workflow_class).function

    def _check_queue(self, queue: object, name: str) -> None:
        app = self._replay.app
        if app is not None and queue not in app.queues:
            raise UnknownQueue(
                f'Step "{name}" asks for the queue {queue!r}, which the app does not declare. Its queues are: '
                f"{', '.join(app.queues)}. Add it: App(…, queues=(…, {queue!r}))."
            )

    # Waiting

    def sleep(self, name: str, duration: Duration) -> StepFuture[None]:
        """Wait for ``duration``, which survives everything: ``"7 days"``, a timedelta, or a number of milliseconds.

        Raises: BadName, BadDuration (negative, longer than 365 days, not a duration).
        """
        self._replay.enter(name)
        names.check_step_name(name)
        duration_ms = parse_ms(duration, what=f'the duration of sleep "{name}"')
        seq, count = self._replay.reserve("sleep", name)
        return self._replay.ask(Sleep(seq, name, count, duration_ms=duration_ms), None)

    def sleep_until(self, name: str, moment: datetime | int | float) -> StepFuture[None]:
        """Wait until an aware datetime, or a number of milliseconds since the epoch.

        A moment that has passed returns at once (Cloudflare raises: https://github.com/cloudflare/workers-sdk/issues/12884).
        A pause does not shift it.

        Raises: BadName, BadDuration (a naive datetime, more than 365 days ahead, not a moment).
        """
        self._replay.enter(name)
        names.check_step_name(name)
        until_ms = _moment_ms(moment, name)
        if until_ms - self._replay.now_ms > limits.DURATION_MS_MAX:
            raise BadDuration(f'sleep_until "{name}" asks for a moment more than 365 days ahead, the most there is.')
        seq, count = self._replay.reserve("sleep", name)
        return self._replay.ask(Sleep(seq, name, count, until_ms=until_ms), None)

    def wait_for_event(
        self,
        name: str,
        options: str | Mapping[str, Any] | None = None,
        timeout: Duration | None = None,
        *,
        type: str | None = None,
        event: str | None = None,
        key: str | int | None = None,
        token: bool = False,
        heartbeat_timeout: Duration | None = None,
        sensitive: Sensitive | None = None,
    ) -> StepFuture[ReceivedEvent]:
        """Wait for an event sent to this instance: ``reply = await step.wait_for_event("approval", type="approved")``.

        An event that came earlier is waiting already; each event satisfies one wait, oldest first.

        Args:
            options: Cloudflare's form, ``{"type": …, "timeout": …, "sensitive": …}``, or just the type.
            timeout: 1 second to 365 days, default 24 hours; a bare number is milliseconds.
            type: letters, digits, ``-`` and ``_``, at most 100. ``event`` is an alias.
            token: what is returned has a ``token``, a text to hand out in a step: it takes the one answer that is sent
                with that, and nothing else. A second one is refused, and so is one that comes too late.
            heartbeat_timeout: with ``token``: how long whoever has it may be silent, 1 second to 365 days, default as
                long as the wait lasts. ``client.heartbeat(token)`` says that they are at work, and begins it anew.
            sensitive: ``"output"``: whoever looks at the instance is shown ``[REDACTED]`` for the payload, which is
                real for ``run``.
            key: what several instances may wait for, ``order_id`` say: an event of this type that is sent to the key
                while they wait reaches all of them. One that is sent to this instance satisfies the wait as well.
        Raises (at the call): BadName, BadDuration, BadStepConfig (no type, or two; no such ``sensitive``).
        Raises (at the await): EventTimeout; HeartbeatTimeout; EventError where the event was sent with ``error=``.
        """
        self._replay.enter(name)
        names.check_step_name(name)
        given = {"type": type, "event": event}
        if isinstance(options, Mapping):
            unknown = [str(key) for key in options if key not in _EVENT_OPTIONS]
            if unknown:
                raise BadStepConfig(
                    f'wait_for_event "{name}" does not know {", ".join(unknown)}. Its options are "type", "timeout" '
                    'and "sensitive".'
                )
            given |= {'options["type"]': options.get("type"), 'options["event"]': options.get("event")}
            timeout = options.get("timeout") if timeout is None else timeout
            sensitive = options.get("sensitive") if sensitive is None else sensitive
        elif options is not None:
            given["second argument"] = options
        found = {where: value for where, value in given.items() if value is not None}
        types = list(dict.fromkeys(found.values()))
        if len(types) > 1:
            shown = ", ".join(f"{where}={value!r}" for where, value in found.items())
            raise BadStepConfig(f'wait_for_event "{name}" is given different types: {shown}. Give one, as type=.')
        if not types:
            raise BadStepConfig(f'wait_for_event "{name}" needs the type of event to wait for: type="approved".')
        if token and key is not None:
            raise BadStepConfig(f'wait_for_event "{name}" takes one answer by its token, or what is sent to a key.')
        if heartbeat_timeout is not None and not token:
            raise BadStepConfig(
                f'wait_for_event "{name}" has heartbeat_timeout= without token=True, with which heartbeats are sent.'
            )
        checked = names.check_event_type(types[0])
        return self._wait("wait_for_event", name, (checked,), timeout, key, sensitive, token, heartbeat_timeout)

    def wait_for_any(
        self,
        name: str,
        types: Iterable[str],
        timeout: Duration | None = None,
        *,
        key: str | int | None = None,
        sensitive: Sensitive | None = None,
    ) -> StepFuture[ReceivedEvent]:
        """Wait for one event of any of several types: that which was accepted first, also of those that came earlier.

        Its ``type`` says which it was; those of the other types are kept for later waits. One wait with one timeout,
        where a race of several would be given an event each, and have to give them back.

        Args:
            types: 1 to 20, each once.
            timeout, key, sensitive: as for ``wait_for_event``.
        Raises (at the call): BadName, BadDuration, BadStepConfig (no types, too many, or one twice).
        Raises (at the await): EventTimeout; EventError where the event was sent with ``error=``.
        """
        self._replay.enter(name)
        names.check_step_name(name)
        if isinstance(types, str):
            raise BadStepConfig(f'wait_for_any "{name}" needs a list of types: ["approved", "cancelled"].')
        checked = tuple(names.check_event_type(type) for type in types)
        if not 0 < len(set(checked)) == len(checked) <= limits.EVENT_TYPES:
            raise BadStepConfig(
                f'wait_for_any "{name}" takes 1 to {limits.EVENT_TYPES} types, each once, not {list(checked)}.'
            )
        return self._wait("wait_for_any", name, checked, timeout, key, sensitive)

    def _wait(
        self,
        verb: str,
        name: str,
        types: tuple[str, ...],
        timeout: Duration | None,
        key: str | int | None,
        sensitive: Sensitive | None,
        by_token: bool = False,
        heartbeat_timeout: Duration | None = None,
    ) -> StepFuture[ReceivedEvent]:
        checked = None if key is None else check_key(key)
        try:
            is_hidden = retries.hides(sensitive)
        except BadStepConfig as error:
            raise BadStepConfig(f'{verb} "{name}": {error}') from None
        timeout_ms, heartbeat_ms = limits.EVENT_TIMEOUT_MS, None
        minimum_ms = limits.EVENT_TIMEOUT_MS_MIN
        if timeout is not None:
            timeout_ms = parse_ms(timeout, what=f'the timeout of {verb} "{name}"', minimum_ms=minimum_ms)
        if heartbeat_timeout is not None:
            what = f'the heartbeat_timeout of {verb} "{name}"'
            heartbeat_ms = parse_ms(heartbeat_timeout, what=what, minimum_ms=minimum_ms)
        seq, count = self._replay.reserve("wait", name)
        wait = Wait(seq, name, count, types, timeout_ms, checked, by_token, heartbeat_ms, is_hidden)
        return self._replay.ask(wait, None)

    # Other instances

    def invoke(
        self,
        workflow: Any,
        params: Any = None,
        *,
        id: str | None = None,
        name: str | None = None,
        on_parent_end: OnParentEnd = "abandon",
    ) -> StepFuture[Any]:
        """Create an instance of another workflow, wait for its end, and return its output.

        Args:
            workflow: its class, its name, or its binding (``self.env.CHILD_WORKFLOW``).
            params: as for ``create``.
            id: of the new instance; default one made of this instance's id and this step, which a retry finds again.
            name: of this step; default the workflow's name.
            on_parent_end: what becomes of the child when this instance ends, is restarted, is deleted or gives this
                step up before the child has ended. ``abandon``: it goes on. ``terminate``: it is terminated, and its
                ``finally`` does not run. ``cancel``: it is asked to end, as by ``cancel()``, within 10 minutes.
                Neither touches one that is rolled back already, nor one that this step has not created.
        Raises (at the call): BadName, UnknownWorkflow, BadParams, PayloadTooLarge, ConfigError (no such
            ``on_parent_end``).
        Raises (at the await): what the child raised; InstanceAlreadyExists where ``id`` is taken by another.
        """
        replay = self._replay
        replay.enter(name)
        target = self._workflow_name(workflow)
        name = names.check_step_name(target if name is None else name)
        if id is not None:
            names.check_instance_id(id)
        if on_parent_end not in ON_PARENT_END:
            raise ConfigError(f"on_parent_end is {on_parent_end!r:.100}; there are: {', '.join(ON_PARENT_END)}")
        what = f'the params of invoke "{name}"'
        if replay.app is not None:
            blob = replay.app.encode_params(target, params, what=what)
        else:
            blob = codec.encode({} if params is None else params, what=what)
        seq, count = replay.reserve("child", name)
        policy = "" if on_parent_end == "abandon" else on_parent_end
        return replay.ask(Child(seq, name, count, target, id, blob, join=False, policy=policy), None)

    def wait_for_child(self, name: str, instance: Any) -> StepFuture[Any]:
        """Wait for the end of an instance created elsewhere, and return its output.

        Args:
            instance: what ``create`` returned, also after it went through a step's result, or a mapping with
                ``workflow`` and ``id``.
        Raises (at the await): what the child raised; InstanceNotFound; InstanceError when 500 others wait for it.
        """
        self._replay.enter(name)
        names.check_step_name(name)
        reference = _reference(instance, name)
        seq, count = self._replay.reserve("child", name)
        return self._replay.ask(Child(seq, name, count, reference.workflow, reference.id, None, join=True), None)

    def _workflow_name(self, workflow: Any) -> str:
        app = self._replay.app
        if app is not None:
            return app.workflow_name(workflow)
        if isinstance(workflow, str):
            return names.check_workflow_name(workflow)
        if isinstance(workflow, type):
            return str(getattr(workflow, "__workflow_name__", None) or names.workflow_name_of(workflow.__name__))
        if isinstance(workflow, BindingReference):
            return workflow.path[0].lower().replace("_", "-")
        raise ConfigError(f"invoke needs a workflow's class, name or binding, not {workflow!r}.")

    def publish(self, name: str, value: Any) -> None:
        """Show a value to whoever looks at this instance, ``step.publish("progress", {"done": 3, "of": 8})``.

        ``instance.value("progress")`` reads it, also after the end; of each name there is the latest alone. It is no
        step: it is written with what ``run`` asks for next, at its next await that has to wait or at its end.

        Args:
            name: letters, digits, ``-`` and ``_``, at most 64; 20 different ones.
            value: as steps return it, at most 4 KiB. What is sensitive is not to be published.
        Raises: BadName, PayloadTooLarge, PayloadNotSerializable; ConfigError: too many different names.
        """
        self._replay.enter("publish")
        self._replay.publish(name, value)

    def continue_as(self, params: Any = None) -> NoReturn:
        """End here, and begin again as the same instance with other params and nothing else of what has been.

        Nothing behind it is executed but ``finally`` blocks, which can ask for no steps. The journal is new, so that
        replays stay short however long an instance lives. What stays: id, metadata, events that no wait has taken, and
        who waits for the end or subscribes. Handlers of steps (``rollback=``) are forgotten.

        Args:
            params: as for ``create``.
        Raises: InvalidTransition, where a step is neither awaited nor cancelled; BadParams, PayloadTooLarge.
        """
        self._replay.enter("continue_as")
        self._replay.continue_as(params)

    # Several at once

    def race(self, *awaitables: Awaitable[T]) -> ReplayTask[T]:
        """Return what ends first, as the journal has it (so every replay has the same winner), and cancel the rest.

        If the first to end raised, this raises. Cancelled steps are withdrawn: attempts nobody has begun are taken
        back, running ones see ``ctx.cancelled``, and whatever they still return changes nothing.
        """
        self._replay.enter("race")
        if not awaitables:
            raise ConfigError("step.race needs at least one step, task or coroutine to wait for.")
        contenders = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
        return self._replay.loop.create_task(first_ended(contenders))

    # A function that takes ctx as well is none of the first two.

    @overload
    def map(
        self,
        name: str,
        items: Iterable[Item],
        function: Callable[[Item], Coroutine[Any, Any, T]],
        /,
        **options: Unpack[MapOptions],
    ) -> ReplayTask[list[T]]: ...

    @overload
    def map(
        self,
        name: str,
        items: Iterable[Item],
        function: Callable[[Item], T],
        /,
        **options: Unpack[MapOptions],
    ) -> ReplayTask[list[T]]: ...

    @overload
    def map(
        self,
        name: str,
        items: Iterable[Any],
        function: Callable[..., Coroutine[Any, Any, T]],
        /,
        **options: Unpack[MapOptions],
    ) -> ReplayTask[list[T]]: ...

    @overload
    def map(
        self,
        name: str,
        items: Iterable[Any],
        function: Callable[..., T],
        /,
        **options: Unpack[MapOptions],
    ) -> ReplayTask[list[T]]: ...

    @overload
    def map(
        self,
        name: str,
        items: Iterable[Any],
        function: Callable[..., Coroutine[Any, Any, T]],
        /,
        **options: Unpack[EnoughOptions],
    ) -> ReplayTask[MapResult[T]]: ...

    @overload
    def map(
        self, name: str, items: Iterable[Any], function: Callable[..., T], /, **options: Unpack[EnoughOptions]
    ) -> ReplayTask[MapResult[T]]: ...

    @overload
    def map(
        self,
        name: str,
        items: Iterable[Any],
        function: Callable[..., Coroutine[Any, Any, T]],
        /,
        **options: Unpack[BearableOptions],
    ) -> ReplayTask[MapResult[T]]: ...

    @overload
    def map(
        self, name: str, items: Iterable[Any], function: Callable[..., T], /, **options: Unpack[BearableOptions]
    ) -> ReplayTask[MapResult[T]]: ...

    def map(
        self,
        name: str,
        items: Iterable[Any],
        function: Callable[..., Any],
        /,
        *,
        min_successful: int | None = None,
        max_failures: int | float | None = None,
        concurrency: int | None = None,
        item_name: Callable[[Any], str] | None = None,
        config: Mapping[str, Any] | None = None,
        retries: Retry | Mapping[str, Any] | None = None,
        timeout: Duration | None = None,
        queue: str | None = None,
        sensitive: Sensitive | None = None,
        semantics: Semantics | None = None,
        rollback: Callable[..., Any] | None = None,
        rollback_config: Mapping[str, Any] | None = None,
    ) -> ReplayTask[Any]:
        """Run ``function(item)`` as a step for every item, named ``"<name> 0"``, ``"<name> 1"``, …

        Args:
            items: from the event or a step's result, so that every replay sees the same.
            min_successful: over as soon as so many have succeeded, 1 or more.
            max_failures: over as soon as more have failed: a whole number, or a share of the items from 0.0 to 1.0.
            concurrency: how many at a time; default all.
            item_name: what stands in the name of an item's step in the place of its number, as ``item_name(item)``.
            rollback, rollback_config: as for ``do``, for the step of each item.
        Returns: the results in the order of the items. If one fails, those not finished are cancelled and it raises.
            With ``min_successful`` or ``max_failures`` a ``MapResult``: what became of each item, and why it is over.
            Failures are in there and raise nothing; those not finished when it is over are cancelled.
        Raises (at the call): BadName, UnknownQueue, BadStepConfig.
        """
        self._replay.enter(name)
        listed = list(items)
        if concurrency is not None and (isinstance(concurrency, bool) or concurrency < 1):
            raise BadStepConfig(f'step.map "{name}" has a concurrency of {concurrency!r}; use 1 or more, or None.')
        policy = Policy.of(name, len(listed), min_successful, max_failures)
        if not callable(function):
            raise no_callback(name)
        caller = sys._getframe(1)
        captured = self._captured(function, name, caller)
        if rollback is not None:
            rollback = self._captured(check_handler(rollback, name), name, caller)
        options = (config, retries, timeout, queue, rollback, rollback_config, sensitive, semantics)
        step_names = [f"{name} {index if item_name is None else item_name(item)}" for index, item in enumerate(listed)]

        def start(index: int) -> StepFuture[Any]:
            return self._do(step_names[index], captured, (listed[index],), {}, options, sys._getframe())

        if policy is None:
            return self._replay.loop.create_task(all_ended(start, len(listed), concurrency))
        return self._replay.loop.create_task(as_many_as_needed(start, step_names, concurrency, policy))

    # What would differ from replay to replay, made the same

    def now(self) -> datetime:
        """The moment of what ``run`` saw last, in UTC: a replay sees the same. It does not move between awaits."""
        return moment(self._replay.now_ms)

    def random(self) -> float:
        """A random number from 0 to below 1; a replay gets the same."""
        return random_module.Random(self._replay.seed()).random()

    def uuid4(self) -> UUID:
        """A random UUID; a replay gets the same."""
        return UUID(bytes=self._replay.seed()[:16], version=4)

    # Cloudflare's spelling

    waitForEvent = wait_for_event  # noqa: N815
    sleepUntil = sleep_until  # noqa: N815
    waitForChild = wait_for_child  # noqa: N815


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
        f"{'. The' if close is None else ' The'} options are {', '.join(OPTIONS)}, and for a decorated step "
        "concurrent and depends."
    )

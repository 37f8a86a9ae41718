"""Look into instances and replace what their steps do: Cloudflare's test API.

    introspector = introspect_workflow_instance(env.MY_WORKFLOW, "order-1")
    introspector.modify(lambda m: m.disable_sleeps())
    env.MY_WORKFLOW.create(id="order-1")
    assert introspector.wait_for_step_result({"name": "fetch user"}) == {"id": 7}

Every call may be awaited; in an async test those that wait must be. Introspecting an instance that exists already
affects the steps that have not begun.

Source: https://developers.cloudflare.com/workers/testing/vitest-integration/test-apis/#workflows
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from workflows.client.history import ErrorInfo, StepStatus
from workflows.errors import ConfigError, InstanceNotFound, NonRetryableError, StepFailed
from workflows.replay.overrides import Replacement
from workflows.storage.journal import ChildEnded, Settled
from workflows.storage.status import FINAL, Status
from workflows.testing.calls import TIMEOUT_SECONDS, AwaitsItself, at_once, run_through, waiting
from workflows.testing.mocks import IntrospectionError, MockTooLate, Rules, Step
from workflows.testing.timeline import Look, timeline
from workflows.testing.watch import Key
from workflows.values import codec, names, rejection
from workflows.values.byte_stream import is_stream
from workflows.values.failure import Failure
from workflows.values.rejection import Rejection

if TYPE_CHECKING:
    from workflows.testing.engine import WorkflowEngine

Selector = str | Mapping[str, Any]
"""A step's name, or Cloudflare's form ``{"name": "fetch user", "index": 1}``."""

_UNSET: Final[Any] = object()


class Binding(Protocol):
    """A workflow of the ``env`` fixture, as far as looking into its instances needs it."""

    @property
    def workflow_engine(self) -> WorkflowEngine:
        """What runs it."""
        ...

    @property
    def workflow(self) -> str:
        """Its name."""
        ...


def introspect_workflow_instance(binding: Binding, id: str) -> InstanceIntrospector:
    """Look into one instance, best before it is created.

    Args:
        binding: from the ``env`` fixture, ``env.MY_WORKFLOW``.
        id: what ``create(id=…)`` was or will be given.
    Raises: ConfigError (not a binding of ``env``), BadName.
    """
    return InstanceIntrospector(_engine_of(binding), (binding.workflow, names.check_instance_id(id)))


def introspect_workflow(binding: Binding) -> WorkflowIntrospector:
    """Look into all instances of a workflow that are created from now on, by whomever: children and schedules too.

    Raises: ConfigError (not a binding of ``env``, or this workflow is being introspected already).
    """
    return WorkflowIntrospector(_engine_of(binding), binding.workflow)


def _engine_of(binding: Any) -> WorkflowEngine:
    engine = getattr(binding, "workflow_engine", None)
    if engine is None:
        raise ConfigError(
            f"Introspection needs a workflow's binding from the env fixture, env.MY_WORKFLOW, not {binding!r:.100}."
        )
    found: WorkflowEngine = engine
    return found


class _Introspector(AwaitsItself, ABC):
    """What both kinds of introspector are: context managers, sync and async, that take functions that mock."""

    _unawaited = False

    @abstractmethod
    def _dispose(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._dispose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._dispose()

    def _modify(self, function: Callable[[InstanceModifier], Any], modifier: InstanceModifier) -> Any:
        self._check_awaited()
        begun = run_through(function, modifier)
        if begun is None:
            return self
        self._unawaited = True
        begun.result, begun.done = self, self._is_awaited
        return begun

    def _is_awaited(self) -> None:
        self._unawaited = False

    def _check_awaited(self) -> None:
        if self._unawaited:
            raise IntrospectionError("modify() was given an async function that waits: await introspector.modify(…).")


class InstanceModifier:
    """Mocks and shortcuts; given to the function that ``modify`` is called with.

    A step is chosen by keywords, by its name, or by Cloudflare's ``{"name": …, "index": …}``. ``index`` says which
    occurrence of the name is meant, from 1 (0 means 1). Every method may be awaited.
    """

    def __init__(
        self, engine: WorkflowEngine, rules: Rules, keys: Callable[[], list[Key]], scope: str = "instance"
    ) -> None:
        self._engine = engine
        self._rules = rules
        self._keys = keys
        self._scope = scope

    def disable_sleeps(self, steps: Iterable[Selector] | Selector | None = None) -> Any:
        """Let these sleeps, or all, end at once.

        Raises: MockTooLate: one of them has begun.
        """
        return at_once(lambda: self._choose("sleep", steps, self._rules.sleeps.add, "sleeping"))

    def disable_retry_delays(self, steps: Iterable[Selector] | Selector | None = None) -> Any:
        """Let these steps, or all, be tried again without a wait. Attempts are counted as ever.

        Raises: MockTooLate: one of them has begun.
        """
        return at_once(lambda: self._choose("do", steps, self._rules.delays.add, "retrying"))

    def mock_step_result(
        self,
        step: Selector | None = None,
        result: Any = _UNSET,
        *,
        name: str | None = None,
        index: int | None = None,
        value: Any = _UNSET,
    ) -> Any:
        """Give a step this result without running its callback. Any value that a step can return, None and 0 included;
        an iterator of bytes is read at once, and gives a stream.

        Raises: MockTooLate, PayloadError, ConfigError (no result, or this step has one already; an iterator of
            something else than bytes, or an async one).
        """
        if (result is _UNSET) == (value is _UNSET):
            raise ConfigError("mock_step_result needs the result, once: mock_step_result(step, result), or value=.")
        chosen = _selected(step, name, index)
        replacement = _replacement(value if result is _UNSET else result, f'the mocked result of step "{chosen[0]}"')

        def change() -> None:
            mocks = self._rules.mocks(chosen)
            if mocks.result is not None:
                raise ConfigError(f'Step "{chosen[0]}" (index {chosen[1]}) has a mocked result already.')
            mocks.result = replacement

        return at_once(lambda: self._change("do", [chosen], change))

    def mock_step_error(
        self,
        step: Selector | None = None,
        error: BaseException | type[BaseException] | Mapping[str, Any] | None = None,
        times: int | None = None,
        *,
        name: str | None = None,
        index: int | None = None,
    ) -> Any:
        """Let a step's attempts fail with this error before the callback; retries follow as its settings say.

        Args:
            error: an exception, a class of one, or Cloudflare's ``{"name": …, "message": …}``.
            times: only so many attempts; None: every one. Mocks with ``times`` follow each other in the order of the
                calls.
        Raises: MockTooLate, ConfigError (the step has a mocked result already: mock its errors first).
        """
        exception = _exception(error)
        return at_once(lambda: self._fail(_selected(step, name, index), exception, times))

    def force_step_timeout(
        self,
        step: Selector | None = None,
        times: int | None = None,
        *,
        name: str | None = None,
        index: int | None = None,
    ) -> Any:
        """Let a step's attempts time out at once; otherwise as ``mock_step_error``."""
        return at_once(lambda: self._fail(_selected(step, name, index), None, times))

    def mock_event(
        self,
        event: str | Mapping[str, Any] | None = None,
        payload: Any = None,
        *,
        type: str | None = None,
        error: Rejection | None = None,
    ) -> Any:
        """Put an event into the mailbox, and again after a restart: ``mock_event({"type": …, "payload": …})``.

        Args:
            error: as for ``send_event``: the wait raises EventError.
        Raises: BadName, PayloadError, ConfigError (no type).
        """
        if isinstance(event, Mapping):
            type, payload = type or event.get("type"), event.get("payload", payload)
        elif event is not None:
            type = event
        if type is None:
            raise ConfigError('mock_event needs the type of the event: mock_event(type="approved", payload=…).')
        checked = names.check_event_type(type)
        blob = codec.encode(payload, what=f'the payload of the mocked event "{checked}"')

        failed = None if error is None else rejection.encode(error)

        def add() -> None:
            number = len(self._rules.events)
            self._rules.events.append((checked, blob, failed))
            for key in self._keys():
                self._engine.send_mocked_event(key, self._scope, number, checked, blob, failed)

        return at_once(add)

    def force_event_timeout(
        self, step: Selector | None = None, *, name: str | None = None, index: int | None = None
    ) -> Any:
        """Let a wait for an event time out at once, whatever is in the mailbox.

        Raises: MockTooLate: the wait has begun.
        """
        chosen = _selected(step, name, index)
        return at_once(lambda: self._change("wait", [chosen], lambda: self._rules.waits.add(chosen)))

    def _fail(self, step: Step, error: BaseException | None, times: int | None) -> None:
        if times is not None and (type(times) is not int or times < 1):
            raise ConfigError(f"times is {times!r}; it must be 1 or more, or None for every attempt.")

        def change() -> None:
            mocks = self._rules.mocks(step)
            if mocks.result is not None:
                raise ConfigError(
                    f'Step "{step[0]}" (index {step[1]}) has a mocked result already. '
                    "Mock its errors and timeouts first."
                )
            if times is not None:
                mocks.first.extend([error] * times)
            elif error is not None:
                mocks.error = error
            else:
                mocks.timeout = True

        self._change("do", [step], change)

    def _choose(
        self,
        kind: str,
        steps: Iterable[Selector] | Selector | None,
        add: Callable[[Iterable[Step] | None], None],
        too_late: str,
    ) -> None:
        if steps is None:
            self._change("", [], lambda: add(None))
            # A sleep that is under way has its timer already.
            for key in self._keys():
                look = self._engine.look(key)
                if look is None:
                    continue
                for step in look.steps:
                    if step.status == too_late and step.due_at is not None:
                        raise MockTooLate(
                            f'{look.title} is {too_late} in "{step.name}" already, so the call came too late for that. '
                            "Introspect before you create the instance, or move the clock."
                        )
            return
        listed = [steps] if isinstance(steps, str | Mapping) else list(steps)
        chosen = [_selected(step, None, None) for step in listed]
        self._change(kind, chosen, lambda: add(chosen))

    def _change(self, kind: str, steps: Iterable[Step], change: Callable[[], None]) -> None:
        self._engine.mocks_only_in_process()
        keys = [(key, self._engine.generation_of(key)) for key in self._keys()]
        self._engine.mocks.change(keys, kind, list(steps), change)

    # Cloudflare's spelling

    disableSleeps = disable_sleeps  # noqa: N815
    disableRetryDelays = disable_retry_delays  # noqa: N815
    mockStepResult = mock_step_result  # noqa: N815
    mockStepError = mock_step_error  # noqa: N815
    forceStepTimeout = force_step_timeout  # noqa: N815
    mockEvent = mock_event  # noqa: N815
    forceEventTimeout = force_event_timeout  # noqa: N815


class InstanceIntrospector(_Introspector):
    """Looks into one instance; see ``introspect_workflow_instance``."""

    def __init__(self, engine: WorkflowEngine, key: Key) -> None:
        self._engine = engine
        self._key = key
        engine.introspected(self)

    @property
    def id(self) -> str:
        """The instance's id."""
        return self._key[1]

    def modify(self, function: Callable[[InstanceModifier], Any]) -> Any:
        """Call ``function``, plain or async, with what mocks steps. Returns: the introspector."""
        rules = self._engine.mocks.of_instance(self._key)
        return self._modify(function, InstanceModifier(self._engine, rules, lambda: [self._key]))

    def wait_for_step_result(
        self,
        step: Selector | None = None,
        *,
        name: str | None = None,
        index: int | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> Any:
        """Wait until a step has ended, and return its result; at once if it has.

        Also for a wait for an event (its payload) and a child (its output), where no ``do`` has this name.

        Args:
            index: which occurrence of the name, from 1 (0 means 1).
            timeout: real seconds that the instance may be busy.
        Raises:
            Exception: what the step failed with.
            IntrospectionError: the step cannot be reached: the instance has ended, or waits for something else.
        """
        self._check_awaited()
        chosen = _selected(step, name, index)
        return waiting(lambda: self._step_result(chosen, timeout))

    def wait_for_status(self, status: str, *, timeout: float = TIMEOUT_SECONDS) -> Any:
        """Wait until the instance has this status; at once if it has. ``"queued"`` always is true.

        Returns: the status.
        Raises:
            IntrospectionError: it has ended in another status, or waits for something.
            ConfigError: there is no such status.
        """
        self._check_awaited()
        if status not in list(Status):
            raise ConfigError(f"There is no status {status!r}; there are: {', '.join(Status)}")
        return waiting(lambda: self._status(Status(status), timeout))

    def get_output(self) -> Any:
        """What ``run`` returned.

        Raises:
            IntrospectionError: the instance is not complete.
        """
        return at_once(lambda: self._ended(Status.COMPLETE).output)

    def get_error(self) -> Any:
        """Why the instance failed: ``name``, ``message`` and ``traceback``.

        Raises:
            IntrospectionError: the instance is not errored.
        """
        return at_once(lambda: self._ended(Status.ERRORED).error or ErrorInfo("", ""))

    def timeline(self) -> str:
        """What the instance has done and what it waits for, as text."""
        look = self._engine.look(self._key)
        return timeline(look, self._engine.app) if look else f"{self._key[0]}/{self._key[1]} does not exist"

    def dispose(self) -> Any:
        """Forget the mocks and delete the instance; again, it does nothing. Happens by itself at the end of a test."""
        return at_once(self._dispose)

    def _dispose(self) -> None:
        self._engine.mocks.forget(self._key)
        try:
            self._engine.client.workflow(self._key[0]).get(self._key[1]).delete()
        except InstanceNotFound:
            pass  # never created, or disposed of before

    def _step_result(self, chosen: Step, timeout: float) -> Any:
        name, count = chosen

        def ended() -> tuple[StepStatus, Look] | None:
            look = self._engine.look(self._key)
            step = look.step(name, count, ("do", "wait", "child")) if look else None
            if look and step and step.ended_at is not None:
                return step, look
            if look and look.ended:
                raise IntrospectionError(
                    f'{look.title} is {look.status} and has not reached step "{name}" (index {count}).\n'
                    f"{self.timeline()}"
                )
            return None

        step, look = self._engine.wait_until(ended, self._key, f'the result of step "{name}"', timeout)
        if step.status in ("complete",):
            return step.output
        for entry in look.entries:
            if isinstance(entry, Settled | ChildEnded) and entry.seq == step.seq and entry.error is not None:
                raise Failure.from_blob(entry.error).to_exception()
        raise IntrospectionError(f'Step "{name}" is {step.status}: it has no result.\n{self.timeline()}')

    def _status(self, wanted: Status, timeout: float) -> str:
        if wanted is Status.QUEUED:
            return str(wanted)

        def reached() -> str | None:
            look = self._engine.look(self._key)
            if look is None:
                return None
            if look.status is wanted:
                return str(wanted)
            if look.ended:
                why = f" ({look.error})" if look.error else ""
                raise IntrospectionError(
                    f'{look.title} is {look.status}{why} and cannot become "{wanted}".\n{self.timeline()}'
                )
            return None

        return self._engine.wait_until(reached, self._key, f'status "{wanted}"', timeout, end=wanted in FINAL)

    def _ended(self, wanted: Status) -> Look:
        self._check_awaited()
        look = self._engine.look(self._key)
        if look is None:
            raise IntrospectionError(
                f'There is no instance "{self.id}" of workflow "{self._key[0]}": it was not created, or was deleted, '
                "as happens when the clock moves past its retention."
            )
        if look.status is not wanted:
            what = "output" if wanted is Status.COMPLETE else "error"
            more = "" if look.status in FINAL else f' Wait for it: wait_for_status("{wanted}").'
            raise IntrospectionError(f"{look.title} has no {what}: it is {look.status}.{more}\n{self.timeline()}")
        return look

    def __repr__(self) -> str:
        return f"<InstanceIntrospector {self._key[0]}/{self._key[1]}>"

    # Cloudflare's spelling

    waitForStepResult = wait_for_step_result  # noqa: N815
    waitForStatus = wait_for_status  # noqa: N815
    getOutput = get_output  # noqa: N815
    getError = get_error  # noqa: N815


class WorkflowIntrospector(_Introspector):
    """Looks into all new instances of one workflow; see ``introspect_workflow``."""

    def __init__(self, engine: WorkflowEngine, workflow: str) -> None:
        self._engine = engine
        self._workflow = workflow
        self._before = frozenset(engine.created(workflow))
        self._rules = engine.mocks.open_session(workflow, self._before)
        self._found: dict[Key, InstanceIntrospector] = {}
        self._open = True
        engine.introspected(self)

    def modify_all(self, function: Callable[[InstanceModifier], Any]) -> Any:
        """Call ``function``, plain or async, with what mocks steps in all these instances.

        Returns: the introspector.
        """
        return self._modify(function, InstanceModifier(self._engine, self._rules, self._keys, "workflow"))

    modify = modify_all

    def get(self) -> Any:
        """Introspectors of the instances created since, in the order of their creation."""
        return at_once(self._introspectors)

    def dispose(self) -> Any:
        """Stop looking, forget the mocks and delete the instances; again, it does nothing."""
        return at_once(self._dispose)

    def _keys(self) -> list[Key]:
        return [key for key in self._engine.created(self._workflow) if key not in self._before]

    def _introspectors(self) -> list[InstanceIntrospector]:
        self._check_awaited()
        for key in self._keys() if self._open else ():
            if key not in self._found:
                self._found[key] = InstanceIntrospector(self._engine, key)
        return list(self._found.values())

    def _dispose(self) -> None:
        if not self._open:
            return
        found = self._introspectors()
        self._open = False
        self._engine.mocks.close_session(self._workflow)
        for introspector in found:
            introspector._dispose()

    def __repr__(self) -> str:
        return f"<WorkflowIntrospector {self._workflow}>"

    modifyAll = modify_all  # noqa: N815


def _selected(step: Selector | None, name: str | None, index: int | None) -> Step:
    if isinstance(step, Mapping):
        unknown = [str(key) for key in step if key not in ("name", "index")]
        if unknown:
            raise ConfigError(f'A step is chosen by "name" and "index"; {", ".join(unknown)} is not known.')
        name, index = step.get("name", name), step.get("index", index)
    elif step is not None:
        name = step
    if not name:
        raise ConfigError('A step is chosen by its name: name="fetch user", or {"name": "fetch user", "index": 1}.')
    names.check_step_name(name)
    if index is None:
        return name, 1
    if type(index) is not int or index < 0:  # no bool either
        raise ConfigError(f"The index of a step counts from 1; {index!r} is no index.")
    return name, index or 1


def _replacement(value: Any, what: str) -> Replacement:
    if not is_stream(value):
        return Replacement(result=codec.encode(value, what=what))
    chunks = None if isinstance(value, AsyncIterable) else tuple(value)
    if chunks is None or not all(isinstance(chunk, bytes) for chunk in chunks):
        raise ConfigError(f"For a stream {what} is a plain iterator of bytes, such as iter([b'one', b'two']).")
    return Replacement(stream=chunks)


def _exception(error: Any) -> BaseException:
    if isinstance(error, BaseException):
        return error
    if inspect.isclass(error) and issubclass(error, BaseException):
        return error()
    if isinstance(error, Mapping):
        if error.get("name") == NonRetryableError.__name__:
            return NonRetryableError(str(error.get("message", "")))
        return StepFailed(str(error.get("message", "")), remote_name=str(error.get("name", "Error")))
    raise ConfigError(
        f"mock_step_error needs an exception to raise, not {error!r:.100}: mock_step_error(step, OSError())."
    )

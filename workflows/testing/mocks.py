"""What a test said about steps, and its answers to the worker.

Kept in the test's process, outside of every process it plays, so mocks live through restarts of the instance and
crashes of workers and orchestrators. Which attempt of a step gets which mock depends on how many have failed before,
not on their numbers: a crash uses a number up, and a test is not about that.

Source: https://developers.cloudflare.com/workers/testing/vitest-integration/test-apis/#workflows
"""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from workflows.authoring.commands import Command, Sleep, Wait
from workflows.errors import ConfigError, StepTimeout, WorkflowError
from workflows.replay.overrides import Occurrence, Replacement
from workflows.storage.intake import EventItem
from workflows.storage.keys import Instance
from workflows.testing.watch import Key

Step = tuple[str, int]
"""Name and count."""

_NO_EVENT: Final = "(its timeout is forced by a test)"
"""A type no event can have: parentheses and blanks are not allowed in one."""


class IntrospectionError(WorkflowError, AssertionError):
    """What the test expected of an instance cannot be had."""


class MockTooLate(IntrospectionError):
    """The step has begun already, so this mock would not do what it says."""


@dataclass(slots=True)
class StepMocks:
    """The mocks of one step.

    Attributes:
        first: for the first attempts, in their order: an error, or None for a timeout.
        error, timeout: for every attempt.
        result: what an attempt that does not fail comes to.
    """

    first: list[BaseException | None] = field(default_factory=list)
    error: BaseException | None = None
    timeout: bool = False
    result: Replacement | None = None

    def replacement(self, failed: int) -> Replacement | None:
        """Precedence: error, timeout, result, the callback itself."""
        timed_out = self.timeout
        error = self.error
        if failed < len(self.first):
            error = self.first[failed] or error
            timed_out = timed_out or self.first[failed] is None
        if error is not None:
            return Replacement(error=error)
        if timed_out:
            return Replacement(error=StepTimeout("Execution timed out after 0ms"))
        return self.result


@dataclass(slots=True)
class Choice:
    """Steps chosen by name, or all of them."""

    every: bool = False
    steps: set[Step] = field(default_factory=set)

    def add(self, steps: Iterable[Step] | None) -> None:
        """Choose more; None: all."""
        if steps is None:
            self.every = True
        else:
            self.steps.update(steps)

    def __contains__(self, step: Step) -> bool:
        return self.every or step in self.steps


@dataclass(slots=True)
class Rules:
    """What holds for one instance, or for all new instances of one workflow.

    Attributes:
        events: mocked events in their order: type, encoded payload, failure blob of one that is an error.
        used: steps that a mock has had an effect on.
    """

    steps: dict[Step, StepMocks] = field(default_factory=dict)
    sleeps: Choice = field(default_factory=Choice)
    delays: Choice = field(default_factory=Choice)
    waits: set[Step] = field(default_factory=set)
    events: list[tuple[str, bytes, bytes | None]] = field(default_factory=list)
    used: set[Step] = field(default_factory=set)

    def mocks(self, step: Step) -> StepMocks:
        """The mocks of one step, to add to."""
        return self.steps.setdefault(step, StepMocks())

    def unused(self) -> list[Step]:
        """Mocked steps that never came up: a name may be misspelt."""
        return sorted((set(self.steps) | self.waits | self.sleeps.steps) - self.used)


@dataclass(frozen=True, slots=True)
class Session:
    """Rules for the instances of a workflow that were not there when they began."""

    rules: Rules
    before: frozenset[Key]


class Mocks:
    """All mocks of one test engine; what its workers ask (``overrides.Overrides``).

    Args:
        send: puts a mocked event into an instance's mailbox.
    Attributes:
        runs: how often attempts of each step began, by workflow, step name and count.
    """

    def __init__(self, send: Callable[[Instance, EventItem], None]) -> None:
        self.runs: Counter[tuple[str, str, int]] = Counter()
        self._send = send
        self._lock = threading.RLock()
        self._instances: dict[Key, Rules] = {}
        self._sessions: dict[str, Session] = {}
        self._begun: dict[tuple[Key, str], set[tuple[str, str, int]]] = {}

    # For introspectors

    def of_instance(self, key: Key) -> Rules:
        """The rules of one instance, which may not exist yet."""
        with self._lock:
            return self._instances.setdefault(key, Rules())

    def forget(self, key: Key) -> None:
        """Drop the rules of one instance."""
        with self._lock:
            self._instances.pop(key, None)

    def open_session(self, workflow: str, before: Iterable[Key]) -> Rules:
        """Begin to apply rules to all new instances of a workflow.

        Raises:
            ConfigError: there is such a session already.
        """
        with self._lock:
            if workflow in self._sessions:
                raise ConfigError(
                    f'Workflow "{workflow}" is being introspected already. Dispose of that introspector first.'
                )
            session = self._sessions[workflow] = Session(Rules(), frozenset(before))
            return session.rules

    def close_session(self, workflow: str) -> None:
        """End it; closing twice changes nothing."""
        with self._lock:
            self._sessions.pop(workflow, None)

    def change(
        self, keys: Iterable[tuple[Key, str | None]], kind: str, steps: Iterable[Step], change: Callable[[], None]
    ) -> None:
        """Add mocks, if none of these steps has begun in the current life of these instances.

        Args:
            keys: instances, each with its generation; None while it does not exist.
            change: adds the mocks; nothing begins meanwhile.
        Raises:
            MockTooLate: one has begun.
        """
        with self._lock:
            for key, generation in keys:
                begun = self._begun.get((key, generation), set()) if generation is not None else set()
                for name, count in steps:
                    if (kind, name, count) in begun:
                        raise MockTooLate(
                            f'{_KINDS[kind]} "{name}"{f" (occurrence {count})" if count > 1 else ""} of instance '
                            f'"{key[1]}" of workflow "{key[0]}" has begun already, so the mock came too late. '
                            "Introspect before you create the instance: give create() an id, and "
                            "introspect_workflow_instance() the same one."
                        )
            change()

    def unused(self) -> list[Step]:
        """Mocked steps that never came up, of all rules."""
        with self._lock:
            every = [*self._instances.values(), *(session.rules for session in self._sessions.values())]
            return sorted({step for rules in every for step in rules.unused()})

    # For workers (overrides.Overrides)

    def opening(self, instance: Instance, generation: str, command: Command) -> Command:
        """Shorten sleeps, end waits, and put mocked events where a wait will find them."""
        key, step = (instance.workflow, instance.id), (command.name, command.count)
        send: list[EventItem] = []
        with self._lock:
            if command.kind != "do":
                self._note(key, generation, command.kind, *step)
            for scope, rules in self._rules(key):
                if isinstance(command, Sleep) and step in rules.sleeps:
                    rules.used.add(step)
                    return dataclasses.replace(command, duration_ms=0, until_ms=None)
                if isinstance(command, Wait) and step in rules.waits:
                    rules.used.add(step)
                    return dataclasses.replace(command, types=(_NO_EVENT,), timeout_ms=0)
                if isinstance(command, Wait):
                    send += [
                        _mocked(command, event_id(generation, scope, number), type, payload, error)
                        for number, (type, payload, error) in enumerate(rules.events)
                        if type in command.types
                    ]
        for event in send:
            self._send(instance, event)
        return command

    def attempt(self, step: Occurrence, failed: int) -> Replacement | None:
        """The mock of this attempt, if there is one."""
        key, name = (step.instance.workflow, step.instance.id), (step.name, step.count)
        with self._lock:
            self._note(key, step.generation, "do", *name)
            self.runs[step.instance.workflow, step.name, step.count] += 1
            for _, rules in self._rules(key):
                mocks = rules.steps.get(name)
                found = mocks.replacement(failed) if mocks is not None else None
                if found is not None:
                    rules.used.add(name)
                    return found
        return None

    def retry_delay_ms(self, step: Occurrence, delay_ms: int) -> int:
        """0 where delays are disabled."""
        key = (step.instance.workflow, step.instance.id)
        with self._lock:
            disabled = any((step.name, step.count) in rules.delays for _, rules in self._rules(key))
        return 0 if disabled else delay_ms

    def _note(self, key: Key, generation: str, kind: str, name: str, count: int) -> None:
        self._begun.setdefault((key, generation), set()).add((kind, name, count))

    def _rules(self, key: Key) -> Iterator[tuple[str, Rules]]:
        """The instance's own rules come first."""
        own = self._instances.get(key)
        if own is not None:
            yield "instance", own
        session = self._sessions.get(key[0])
        if session is not None and key not in session.before:
            yield "workflow", session.rules


def _mocked(wait: Wait, id: str, type: str, payload: bytes, error: bytes | None) -> EventItem:
    """For a wait that takes an answer by its token alone, such an answer."""
    if wait.by_token:
        return EventItem(f"{id} by token", type, payload, error, name=wait.listens[0])
    return EventItem(id, type, payload, error)


_KINDS: Final = {"do": "Step", "sleep": "The sleep", "wait": "The wait"}


def event_id(generation: str, scope: str, number: int) -> str:
    """The id of a mocked event: new in each life of the instance, and otherwise always the same."""
    return f"mock-{generation}-{scope}-{number}"

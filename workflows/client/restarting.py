"""Restarting from a step, as a plan that both clients carry out: find the step in the history, then cut there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from workflows.authoring.commands import describe
from workflows.client import reading, requests
from workflows.client.batches import Plan
from workflows.client.reading import History
from workflows.errors import ConfigError, InstanceError, WorkflowError
from workflows.storage.keys import Instance, Keyspace

FromStep: TypeAlias = str | Mapping[str, Any]
"""A step's name, or ``{"name": …, "count": …, "type": …}``."""

TYPES: Final[Mapping[str, str]] = {
    "do": "do",
    "sleep": "sleep",
    "waitForEvent": "wait",
    "wait": "wait",
    "child": "child",
}
"""What ``type`` may be, and the kind of step that it means."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The step that a restart is to begin at: the ``count``-th of this kind and name, as in ``status().steps``."""

    name: str
    count: int = 1
    kind: str = "do"

    @classmethod
    def of(cls, given: FromStep) -> Wanted:
        """Raises ConfigError: it names no step."""
        if isinstance(given, str):
            return cls(given)
        unknown = given.keys() - {"name", "count", "type"}
        if unknown or "name" not in given:
            raise ConfigError(f'from_ is a name or {{"name": …, "count": …, "type": …}}, not {given!r:.200}')
        name, count, type = given["name"], given.get("count", 1), given.get("type", "do")
        if not isinstance(name, str):
            raise ConfigError(f"the name of the step to restart from is {name!r:.100}, no text")
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ConfigError(f"the count of the step to restart from is {count!r:.100}; the first of a name has 1")
        if type not in TYPES:
            raise ConfigError(f"the type of the step to restart from is {type!r:.100}; there are: {', '.join(TYPES)}")
        return cls(name, count, TYPES[type])

    def not_found(self, instance: Instance) -> InstanceError:
        return InstanceError(
            f'(instance.cannot_restart) Step "{self.name}" not found in execution history: instance "{instance.id}" of '
            f'workflow "{instance.workflow}" has not asked for {describe(self.kind, self.name, self.count)}'
        )


def restart_from(keys: Keyspace, instance: Instance, step: Wanted) -> Plan[None]:
    """Start an instance over from a step: what was asked for before it keeps its answers, all else is done again.

    Raises:
        InstanceNotFound, InstanceError: there is no such step in its present life. Nothing has been changed.
        CorruptPayload: its history cannot be read.
    """
    while True:
        found = yield from _find(keys, instance, step)
        (was_there,) = yield [requests.restart_from(keys, instance, *found)]
        if _checked(was_there):
            return


def restart_each(keys: Keyspace, instances: Iterable[Instance], step: Wanted) -> Plan[list[Any]]:
    """The same for many, one after the other. Returns: what came of each."""
    answers: list[Any] = []
    for one in instances:
        try:
            yield from restart_from(keys, one, step)
            answers.append(None)
        except WorkflowError as refused:
            answers.append(refused)
    return answers


def _find(keys: Keyspace, instance: Instance, step: Wanted) -> Plan[tuple[int, str]]:
    """Returns: its ``seq``, and the generation that the history is of."""
    (first,) = yield [reading.read(keys, instance)]
    pages = History(_checked(first))
    while (page := pages.next_page) is not None:
        (more,) = yield [reading.read(keys, instance, page=page)]
        pages.add(_checked(more))
    for one in pages.steps():
        if (one.kind, one.name, one.count) == (step.kind, step.name, step.count):
            return one.seq, pages.generation
    raise step.not_found(instance)


def _checked(outcome: Any) -> Any:
    if isinstance(outcome, InstanceError):
        raise outcome
    return outcome

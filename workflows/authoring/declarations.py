"""What an app declares, checked when its module is imported: queues, limits, workflow classes.

A cron handler is made into a workflow of one step here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from workflows import limits as bounds
from workflows.authoring import retries
from workflows.authoring.callback import CONTEXT_PARAMETER
from workflows.authoring.event import WorkflowEvent
from workflows.authoring.retries import StepConfig
from workflows.authoring.step import WorkflowStep
from workflows.authoring.workflow import WorkflowEntrypoint
from workflows.errors import ConfigError
from workflows.values import names
from workflows.values.concurrency import Concurrency
from workflows.values.durations import Duration, parse_ms
from workflows.values.metadata import check_key
from workflows.values.models import check_model

_CRON_STEP: Final = "scheduled"
CRON_PREFIX: Final = "cron-"
_OF_STEPS: Final = ("retries", "timeout", "sensitive", "semantics")


def checked_queues(queues: Iterable[Any]) -> tuple[str, ...]:
    """One queue or several, each once. Raises: BadName, ConfigError."""
    listed = (queues,) if isinstance(queues, str) else tuple(queues)
    for queue in listed:
        names.check_queue_name(queue)
    if not listed or len(set(listed)) != len(listed):
        raise ConfigError(f"An app needs at least one queue, each named once, not {listed!r}.")
    return listed


def checked_producers(producers: Iterable[Any]) -> tuple[str, ...]:
    """No producer or several, each once. Raises: BadName, ConfigError."""
    listed = (producers,) if isinstance(producers, str) else tuple(producers)
    for producer in listed:
        names.check_producer_name(producer)
    if len(set(listed)) != len(listed):
        raise ConfigError(f"An app names each producer once, not {listed!r}.")
    if len(listed) > bounds.PRODUCERS:
        raise ConfigError(f"An app has {bounds.PRODUCERS} producers at most, not {len(listed)}.")
    return listed


def checked_events(events: Mapping[str, Any] | None, where: str) -> dict[str, Any]:
    """Models of payloads by type of event. Raises: BadName, ConfigError."""
    if events is None:
        return {}
    if not isinstance(events, Mapping):
        raise ConfigError(f'The events of the {where} are models by type: {{"packed": Packed}}, not {events!r:.100}.')
    for type, model in events.items():
        check_model(model, f'The payloads of event "{names.check_event_type(type)}" of the {where}')
    return dict(events)


def checked_metadata(keys: Iterable[Any], where: str) -> tuple[str, ...]:
    """No key of metadata or several, each once. Raises: BadParams, ConfigError."""
    listed = (keys,) if isinstance(keys, str) else tuple(keys)
    for key in listed:
        check_key(key)
    if len(set(listed)) != len(listed) or len(listed) > bounds.METADATA_KEYS:
        raise ConfigError(
            f"The {where} names {bounds.METADATA_KEYS} keys of metadata at most, each once, not {listed!r}."
        )
    return listed


def step_defaults(defaults: StepConfig | Mapping[str, Any] | None, retry_delay: Duration | None) -> StepConfig:
    """The settings of steps that give none. Raises: BadStepConfig, BadDuration."""
    if isinstance(defaults, StepConfig):
        resolved = defaults
    else:
        resolved = retries.resolve(StepConfig(), defaults, step="App(defaults=…)")
    if retry_delay is None:
        return resolved
    parse_ms(retry_delay, what="retry_delay of the app")
    return replace(resolved, retries=replace(resolved.retries, delay=retry_delay))


def check_taken(where: str, others: Iterable[str]) -> None:
    """Raises ConfigError: there are options that are none of ``where``; for those of steps it says where they stand."""
    for name in others:
        hint = f'App(defaults={{"{name}": …}}) for all steps, step.do(…, {name}=…) for one'
        raise ConfigError(f"{where} takes no {name}=." + (f" Write {hint}." if name in _OF_STEPS else ""))


def check_class(workflow_class: Any) -> None:
    """Raises ConfigError: it is no workflow class, or its ``run`` cannot be called as one."""
    if not isinstance(workflow_class, type) or not issubclass(workflow_class, WorkflowEntrypoint):
        raise ConfigError(
            f"@app.workflow stands over a subclass of WorkflowEntrypoint, not over {workflow_class!r}: "
            "class MyWorkflow(WorkflowEntrypoint)."
        )
    run = workflow_class.run
    shape = "async def run(self, event, step)"
    if run is WorkflowEntrypoint.run:
        raise ConfigError(f"{workflow_class.__qualname__} has no run. Add: {shape}.")
    if not inspect.iscoroutinefunction(run):
        raise ConfigError(f"{workflow_class.__qualname__}.run is not async. Write: {shape}.")
    if not accepts(run, 3):
        raise ConfigError(f"{workflow_class.__qualname__}.run cannot take an event and a step. Write: {shape}.")


def accepts(function: Any, count: int, *keywords: str) -> bool:
    """Whether it can be called with so many arguments, and these by keyword."""
    try:
        inspect.signature(function).bind(*[None] * count, **dict.fromkeys(keywords))
    except (TypeError, ValueError):
        return False
    return True


def step_limit(given: Mapping[str, int] | None, where: str) -> int:
    """Most calls of ``step.do`` per instance. Raises: ConfigError."""
    if given is None:
        return bounds.STEPS
    unknown = [str(key) for key in given if key != "steps"]
    if unknown:
        raise ConfigError(f'The limits of {where} do not know {", ".join(unknown)}. There is one: {{"steps": n}}.')
    steps: Any = given.get("steps", bounds.STEPS)
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= bounds.STEPS_MAX:
        raise ConfigError(f"The limit of steps of {where} is {steps!r}; use 1 to {bounds.STEPS_MAX}.")
    return steps


def checked_concurrency(given: int | Concurrency | None, schedules: Any, where: str) -> Concurrency | None:
    """How many run at a time. Raises: ConfigError."""
    if given is None:
        return None
    try:
        found = given if isinstance(given, Concurrency) else Concurrency(given)
    except ConfigError as error:
        raise ConfigError(f"{error} This is the {where}.") from error
    if found.key is not None and schedules:
        raise ConfigError(
            f"The {where} has schedules, whose instances have no params, and is limited for each {found.key!r} of the "
            "params. Leave out one of them."
        )
    return found


def cron_workflow(handler: Callable[..., Any], where: str) -> type[WorkflowEntrypoint[Any]]:
    """The workflow behind a cron handler: one step, which calls it with what it takes."""
    # A ctx of the handler's own is filled by the step, so it is tried first: (event, ctx) takes no env.
    forms = [(count, keywords) for keywords in ((CONTEXT_PARAMETER,), ()) for count in (2, 1, 0)]
    count = next((count for count, keywords in forms if accepts(handler, count, *keywords)), None)
    if count is None:
        raise ConfigError(f"The {where} cannot take an event and the bindings. Write: async def handler(event, env).")

    class CronWorkflow(WorkflowEntrypoint[Any]):
        async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> None:
            await step.do(_CRON_STEP, handler, *(event, self.env)[:count])

    CronWorkflow.__module__ = getattr(handler, "__module__", __name__)
    CronWorkflow.__qualname__ = CronWorkflow.__name__ = f"cron_{getattr(handler, '__name__', 'handler')}"
    return CronWorkflow

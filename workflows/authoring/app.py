"""The app: a namespace, its workflows, its bindings and its schedules, as the user's module declares them.

Importing the user's module builds this object; a worker runs what it holds and publishes its manifest. Everything that
can be wrong with a declaration is an error here, at import.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Never, TypeVar, overload

from workflows import limits as bounds
from workflows.authoring import lint
from workflows.authoring.bindings import opened
from workflows.authoring.declarations import (
    CRON_PREFIX,
    accepts,
    check_class,
    check_taken,
    checked_concurrency,
    checked_events,
    checked_metadata,
    checked_producers,
    checked_queues,
    cron_workflow,
    step_defaults,
    step_limit,
)
from workflows.authoring.env import BindingReference
from workflows.authoring.observation import Observation
from workflows.authoring.observer import Observer, checked_observers
from workflows.authoring.retries import StepConfig
from workflows.authoring.workflow import Definition, WorkflowEntrypoint, params_model_of
from workflows.errors import BadName, BadSchedule, ConfigError, UnknownQueue, UnknownWorkflow
from workflows.values import names
from workflows.values.concurrency import Concurrency
from workflows.values.durations import Duration
from workflows.values.models import check_model
from workflows.values.retention import deadline_ms, retention_ms
from workflows.values.schedules import CronSchedule, checked_schedules

Class = TypeVar("Class", bound=type[WorkflowEntrypoint[Any]])
Handler = TypeVar("Handler", bound=Callable[..., Any])
_VERSION_VARIABLE: Final = "WORKFLOWS_CODE_VERSION"


class App:
    """An app.

    Args:
        name: the namespace of all its keys in Redis.
        queues: the queues its workflows and steps may name; the first is the default.
        producers: who gets a stream of their own for requests, ``{<name>/inbox}:<producer>``; at most 100.
        defaults: settings of steps that give none, a ``StepConfig`` or Cloudflare's mapping.
        retry_delay: the default delay before the first retry (10 seconds), for tests say.
        notifications: publish on a channel when its instances are queued, start, pause and end: see
            ``docs/subscriptions.md``. Those created from then on; those created before stay as they are.
        observers: told what becomes of instances, steps and attempts in each worker process: see
            ``docs/observers.md``.
        version: of the code, shown with instances; default ``WORKFLOWS_CODE_VERSION``, or a hash of the sources of its
            workflows.
    Attributes:
        findings: what ``lint`` has to say about its workflows.
        observation: how its observers are told; None: it has none.
    Raises: BadName, BadStepConfig, ConfigError.
    """

    def __init__(
        self,
        name: str,
        *,
        queues: Iterable[str] = ("default",),
        producers: Iterable[str] = (),
        defaults: StepConfig | Mapping[str, Any] | None = None,
        retry_delay: Duration | None = None,
        notifications: bool = False,
        observers: Iterable[Observer] = (),
        version: str | None = None,
        **others: Never,
    ) -> None:
        check_taken("App()", others)
        self.name = names.check_namespace(name)
        self.queues = checked_queues(queues)
        self.producers = checked_producers(producers)
        self.defaults = step_defaults(defaults, retry_delay)
        self.findings: list[lint.LintFinding] = []
        self.notifications = notifications
        named = checked_observers(observers)
        self.observation = Observation(named) if named else None
        self._version = version
        self._definitions: dict[str, Definition] = {}
        self._bindings: Callable[[], Any] | None = None

    # Declaring

    @overload
    def workflow(self, cls: Class, /) -> Class: ...

    @overload
    def workflow(
        self,
        cls: None = None,
        /,
        *,
        name: str | None = None,
        binding: str | None = None,
        schedules: str | CronSchedule | Iterable[str | CronSchedule] = (),
        retention: Duration | Mapping[str, Duration] | None = None,
        deadline: Duration | None = None,
        limits: Mapping[str, int] | None = None,
        concurrency: int | Concurrency | None = None,
        queue: str | None = None,
        metadata: str | Iterable[str] = (),
        events: Mapping[str, Any] | None = None,
    ) -> Callable[[Class], Class]: ...

    def workflow(
        self,
        cls: Any = None,
        /,
        *,
        name: str | None = None,
        binding: str | None = None,
        schedules: Any = (),
        retention: Any = None,
        deadline: Duration | None = None,
        limits: Mapping[str, int] | None = None,
        concurrency: int | Concurrency | None = None,
        queue: str | None = None,
        metadata: Any = (),
        events: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> Any:
        """Register a workflow class.

        Args:
            name: default the class's, ``ApprovalWorkflow`` gives ``approval-workflow``.
            binding: its name in ``self.env``; default the name in capitals, ``APPROVAL_WORKFLOW``.
            schedules: a cron expression or several, of 5 fields (or 6, the last being seconds), in UTC; or
                ``CronSchedule``, which knows time zones and what to do when firings overlap or are late. Each match
                creates an instance with ``event.schedule`` set.
            retention: how long ended instances are kept: a duration, or ``{"success": …, "error": …}``.
            deadline: how long an instance may take, from its creation to its end: then ``run`` is asked to end, by
                ``DeadlineExceeded`` at whatever it waits for, and has 10 minutes to clean up; see
                ``docs/cancelling.md``. Paused time does not count. None: as long as it takes.
            limits: ``{"steps": n}``, most calls of ``step.do`` per instance, 1 to 25,000.
            concurrency: how many of its instances run at a time, or ``Concurrency(3, key="tenant")``, so many for each
                value under that name in the params. Others stay queued; those that wait or are paused do not count.
            queue: where its steps and turns run; default the app's first.
            metadata: keys by whose values instances are found, up to 10: ``list(metadata={"customer": "acme"})``. It
                holds for instances that are created from then on.
            events: models of payloads by type of event, ``{"packed": Packed}``: checked where such an event is sent by
                who has the app loaded, and what a wait returns as its payload. Types that are not named are free.
        Raises: BadName, BadSchedule, BadDuration, UnknownQueue, ConfigError.
        """
        check_taken("@app.workflow()", others)

        def register(workflow_class: Any) -> Any:
            check_class(workflow_class)
            workflow_name = names.check_workflow_name(name or names.workflow_name_of(workflow_class.__name__))
            where = f'workflow "{workflow_name}"'
            success_ms, error_ms = retention_ms(
                retention, bounds.RETENTION_MS, bounds.RETENTION_MS, where=f"of {where}"
            )
            params_model = params_model_of(workflow_class)
            if params_model is not None:
                check_model(params_model, f"The params of {where}")
            self._register(
                Definition(
                    name=workflow_name,
                    binding=binding or names.binding_name_of(workflow_name),
                    workflow_class=workflow_class,
                    params_model=params_model,
                    queue=self._checked_queue(queue, where),
                    schedules=checked_schedules(schedules, where),
                    retention_success_ms=success_ms,
                    retention_error_ms=error_ms,
                    deadline_ms=deadline_ms(deadline, None, where=f"of {where}"),
                    step_limit=step_limit(limits, where),
                    concurrency=checked_concurrency(concurrency, schedules, where),
                    metadata_keys=checked_metadata(metadata, where),
                    event_models=checked_events(events, where),
                )
            )
            self.findings.extend(lint.check(workflow_class))
            return workflow_class

        return register if cls is None else register(cls)

    def bindings(self, function: Handler) -> Handler:
        """Register the function that makes the bindings, called once per worker process.

        It may be plain or async, and may ``yield`` the bindings once to clean up after that. They are a mapping or an
        object; each workflow of the app is added under its binding name.
        """
        if self._bindings is not None:
            raise ConfigError(f'The app "{self.name}" has bindings already. Make them all in one function.')
        if not accepts(function, 0):
            raise ConfigError("@app.bindings needs a function without parameters that returns the bindings.")
        self._bindings = function
        return function

    def cron(
        self, *expressions: str | CronSchedule, name: str | None = None, queue: str | None = None
    ) -> Callable[[Handler], Handler]:
        """Run ``async def handler(event, env)`` (or a plain function) on a schedule, as a step with retries.

        ``event.cron`` is the expression, ``event.scheduled_time`` the moment it was due, ``int()`` of which makes a
        good instance id: ``env.DAILY_WORKFLOW.create(id=f"daily-{int(event.scheduled_time)}")``.

        Args:
            expressions: of 5 fields (or 6, the last being seconds), in UTC; or ``CronSchedule``.
            name: default the function's; the workflow behind it is called ``cron-<name>``.
        Raises: BadName, BadSchedule, UnknownQueue, ConfigError.
        """

        def register(handler: Handler) -> Handler:
            if not callable(handler):
                raise ConfigError("@app.cron stands over a function: async def scheduled(event, env).")
            given = name or str(getattr(handler, "__name__", "handler")).strip("_").replace("_", "-")
            workflow_name = names.check_workflow_name(CRON_PREFIX + given)
            where = f'cron handler "{given}"'
            if not expressions:
                raise BadSchedule(f'The {where} needs a cron expression: @app.cron("0 9 * * *").')
            self._register(
                Definition(
                    name=workflow_name,
                    binding=names.binding_name_of(workflow_name),
                    workflow_class=cron_workflow(handler, where),
                    queue=self._checked_queue(queue, where),
                    schedules=checked_schedules(expressions, where),
                    hidden=True,
                )
            )
            return handler

        return register

    # Looking up

    @property
    def definitions(self) -> Mapping[str, Definition]:
        """The workflows by name, hidden ones of cron handlers included."""
        return self._definitions

    def definition(self, name: str) -> Definition:
        """The workflow of that name.

        Raises: UnknownWorkflow, with the names there are.
        """
        found = self._definitions.get(name)
        if found is None:
            raise self._unknown(name)
        return found

    def workflow_name(self, target: object) -> str:
        """The name of the workflow that a class, a name or a binding stands for.

        Raises: UnknownWorkflow.
        """
        if isinstance(target, BindingReference):
            target = target.path[0]
        for definition in self._definitions.values():
            if target is definition.workflow_class or target in (definition.name, definition.binding):
                return definition.name
        raise self._unknown(target.__name__ if isinstance(target, type) else target)

    def encode_params(self, workflow: str, params: Any, *, what: str) -> bytes:
        """Check params against the workflow's model, and encode them.

        Raises: UnknownWorkflow, BadParams, PayloadNotSerializable, PayloadTooLarge.
        """
        return self.definition(workflow).encode_params(params, what=what)

    def load_event(self, workflow: str, type: str, payload: Any) -> Any:
        """The payload of an event as ``run`` sees it.

        Raises: UnknownWorkflow, BadEvent.
        """
        return self.definition(workflow).load_event(type, payload)

    @property
    def workflow_bindings(self) -> dict[str, str]:
        """Binding name to workflow name, for ``self.env``."""
        return {
            definition.binding: definition.name for definition in self._definitions.values() if not definition.hidden
        }

    @asynccontextmanager
    async def open_bindings(self) -> AsyncIterator[Any]:
        """Make the bindings, and clean up at the end of the block if their function yields.

        Raises: whatever the function raises; ConfigError if it is a generator that does not yield exactly once.
        """
        if self._bindings is None:
            yield {}
            return
        async with opened(self._bindings) as bindings:
            yield bindings

    def manifest(self) -> dict[str, Any]:
        """What others need to know of the app without its code, as JSON allows it. Durations in ms."""
        return {
            "app": self.name,
            "code": self.version,
            "queues": list(self.queues),
            "producers": list(self.producers),
            **({"notifications": True} if self.notifications else {}),
            "workflows": {
                definition.name: {
                    "binding": definition.binding,
                    "queue": definition.queue,
                    "schedules": [schedule.wire() for schedule in definition.schedules],
                    "retention": {
                        "success_ms": definition.retention_success_ms,
                        "error_ms": definition.retention_error_ms,
                    },
                    "limits": {"steps": definition.step_limit},
                    "hidden": definition.hidden,
                    **({"deadline_ms": definition.deadline_ms} if definition.deadline_ms is not None else {}),
                    **({"concurrency": definition.concurrency.as_dict()} if definition.concurrency else {}),
                    **({"metadata": list(definition.metadata_keys)} if definition.metadata_keys else {}),
                    "params_schema": definition.params_schema(),
                    **({"event_schemas": schemas} if (schemas := definition.event_schemas()) else {}),
                }
                for definition in self._definitions.values()
            },
        }

    @property
    def version(self) -> str:
        """The version of the code: as given, or a hash of the modules that define the workflows."""
        return self._version or os.environ.get(_VERSION_VARIABLE) or self._hash_of_sources()

    @cached_property
    def _told_version(self) -> str:
        return self.version

    def _hash_of_sources(self) -> str:
        digest = hashlib.blake2b(digest_size=6)
        modules = {definition.workflow_class.__module__ for definition in self._definitions.values()}
        if self._bindings is not None:
            modules.add(self._bindings.__module__)
        for name in sorted(modules):
            digest.update(name.encode())
            try:
                digest.update(Path(sys.modules[name].__file__ or "").read_bytes())
            except (KeyError, AttributeError, OSError):
                continue  # typed into a shell, or inside an archive
        return digest.hexdigest()

    def _register(self, definition: Definition) -> None:
        if not definition.binding.isidentifier() or definition.binding.startswith("_"):
            raise BadName(
                f'The workflow "{definition.name}" would be self.env.{definition.binding}, which is not a name in '
                "Python. Give one: @app.workflow(binding=…)."
            )
        for other in self._definitions.values():
            if other.name == definition.name:
                raise ConfigError(
                    f'The app "{self.name}" has a workflow "{other.name}" already '
                    f"({other.workflow_class.__qualname__}). Give one of them another name: @app.workflow(name=…)."
                )
            if other.binding == definition.binding:
                raise ConfigError(
                    f'The workflows "{other.name}" and "{definition.name}" would both be self.env.{other.binding}. '
                    "Give one of them another binding: @app.workflow(binding=…)."
                )
        count = len(definition.schedules) + sum(len(other.schedules) for other in self._definitions.values())
        if count > bounds.SCHEDULES:
            raise ConfigError(f'The app "{self.name}" has {count} schedules; the most is {bounds.SCHEDULES}.')
        if self.notifications:
            definition = replace(definition, told_as=lambda: self._told_version)
        self._definitions[definition.name] = definition

    def _checked_queue(self, queue: str | None, where: str) -> str:
        if queue is None:
            return self.queues[0]
        if queue not in self.queues:
            raise UnknownQueue(
                f"The {where} asks for the queue {queue!r}, which the app does not declare. Its queues are: "
                f"{', '.join(self.queues)}. Add it: App(…, queues=(…, {queue!r}))."
            )
        return queue

    def _unknown(self, name: object) -> UnknownWorkflow:
        known = [definition.name for definition in self._definitions.values() if not definition.hidden]
        close = difflib.get_close_matches(str(name), known, n=1)
        hint = f' Did you mean "{close[0]}"?' if close else ""
        return UnknownWorkflow(
            f'The app "{self.name}" has no workflow "{name}".{hint} Its workflows are: {", ".join(known) or "none"}.'
        )

    def __repr__(self) -> str:
        return f"<App {self.name}: {', '.join(self._definitions) or 'no workflows'}>"

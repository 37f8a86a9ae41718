"""The class people subclass, and what is known about a workflow once it is registered.

Source: https://developers.cloudflare.com/workflows/build/workers-api/#workflowentrypoint
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from workflows import limits
from workflows.authoring.event import WorkflowEvent
from workflows.authoring.step import WorkflowStep
from workflows.errors import BadEvent, BadParams
from workflows.values import codec
from workflows.values.concurrency import Concurrency
from workflows.values.models import declared_record, named, place
from workflows.values.schedules import CronSchedule

if TYPE_CHECKING:
    from typing_extensions import TypeVar as _TypeVar

    Env = _TypeVar("Env", default=Any)
else:
    Env = TypeVar("Env")


@dataclass(frozen=True, slots=True)
class ExecutionContext:
    """``self.ctx``: which instance this is."""

    workflow_name: str
    instance_id: str


class WorkflowEntrypoint(Generic[Env]):
    """Subclass this and write ``async def run(self, event, step)``.

    The constructor runs with every replay, as ``run`` does: keep it free of effects. ``self.env`` holds the bindings,
    ``self.ctx`` says which instance this is. ``WorkflowEntrypoint[Env]`` tells a type checker what ``self.env`` is.
    """

    def __init__(self, ctx: ExecutionContext, env: Any) -> None:
        self.ctx = ctx
        self.env: Env = env

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        """What the workflow does. Returns its output: any value a step may return."""
        raise NotImplementedError(f"{type(self).__name__} needs a method: async def run(self, event, step)")


@dataclass(frozen=True, slots=True)
class Definition:
    """A workflow as its app knows it. Durations in ms; ``None`` leaves a setting to the engine."""

    name: str
    binding: str
    workflow_class: type[WorkflowEntrypoint[Any]]
    params_model: Any = None
    event_models: Mapping[str, Any] = field(default_factory=dict, hash=False)  # of payloads, by type of event
    queue: str = "default"
    schedules: tuple[CronSchedule, ...] = ()
    retention_success_ms: int = limits.RETENTION_MS
    retention_error_ms: int = limits.RETENTION_MS
    deadline_ms: int | None = None
    step_limit: int = limits.STEPS
    concurrency: Concurrency | None = None
    metadata_keys: tuple[str, ...] = ()
    hidden: bool = False  # made by @app.cron, not listed among the workflows people wrote
    told_as: Callable[[], str] | None = None  # the version of the code, for an app that publishes how instances move

    @property
    def told_version(self) -> str:
        """The version that those hear who are told how instances move; '': nobody is told."""
        return "" if self.told_as is None else self.told_as()

    def validate_params(self, value: Any) -> Any:
        """The params to store: as given where the workflow declares no model, else checked and made plain.

        Raises:
            BadParams: they do not fit the model; the message lists each problem with its place.
            PayloadNotSerializable, PayloadTooLarge: they fit, and would not come back.
        """
        if self.params_model is None:
            return {} if value is None else value
        return codec.decode(self.encode_params(value))

    def load_params(self, value: Any) -> Any:
        """Stored params as ``run`` sees them: the declared model, or the value itself.

        Raises:
            BadParams: what was stored does not fit the model as it is now.
        """
        if self.params_model is None:
            return value
        return self._fitting_params(declared_record(self.params_model).rebuild, value)

    def encode_params(self, value: Any, *, what: str | None = None) -> bytes:
        """Check params and encode them.

        Raises: BadParams, PayloadNotSerializable, PayloadTooLarge.
        """
        what = what or f'the params of workflow "{self.name}"'
        value = {} if value is None else value
        if self.params_model is None:
            return codec.encode(value, what=what)
        record = declared_record(self.params_model)
        return record.encode(self._fitting_params(record.validate, value), what=what)

    def params_schema(self) -> dict[str, Any] | None:
        """The JSON schema of the params, where the workflow declares a model that has one."""
        return None if self.params_model is None else _schema(self.params_model)

    def encode_event(self, type: str, payload: Any) -> bytes:
        """Check the payload of an event, where its type has a model, and encode it.

        Raises: BadEvent, PayloadNotSerializable, PayloadTooLarge.
        """
        what, model = f'the payload of event "{type}"', self.event_models.get(type)
        if model is None:
            return codec.encode(payload, what=what)
        record = declared_record(model)
        return record.encode(self._fitting_event(record.validate, type, payload), what=what)

    def load_event(self, type: str, payload: Any) -> Any:
        """A stored payload as ``run`` sees it: the declared model, or the value itself.

        Raises:
            BadEvent: what was sent does not fit the model: by who does not know it, or before it was changed.
        """
        model = self.event_models.get(type)
        return payload if model is None else self._fitting_event(declared_record(model).rebuild, type, payload)

    def event_schemas(self) -> dict[str, Any]:
        """The JSON schemas of payloads, by type of event, of models that have one."""
        found = {type: _schema(model) for type, model in self.event_models.items()}
        return {type: schema for type, schema in found.items() if schema is not None}

    def _fitting_params(self, check: Callable[[Any], Any], value: Any) -> Any:
        misfit = f'The params of workflow "{self.name}" do not fit {named(self.params_model)}'
        return _fitting(check, value, BadParams, misfit, "params")

    def _fitting_event(self, check: Callable[[Any], Any], type: str, payload: Any) -> Any:
        model = named(self.event_models[type])
        misfit = f'The payload of event "{type}" for workflow "{self.name}" does not fit {model}'
        return _fitting(check, payload, BadEvent, misfit, "payload")


def _fitting(
    check: Callable[[Any], Any], value: Any, error_class: type[BadParams | BadEvent], misfit: str, top: str
) -> Any:
    from pydantic import ValidationError

    try:
        return check(value)
    except ValidationError as error:
        lines = [
            f"  {place(problem['loc'], top)}: {problem['msg']} (given: {_short(problem['input'])})"
            for problem in error.errors(include_url=False, include_context=False)
        ]
        raise error_class(f"{misfit}:\n" + "\n".join(lines)) from error


def _schema(model: Any) -> dict[str, Any] | None:
    try:
        return declared_record(model).json_schema()
    except Exception:
        return None  # a model with a type that JSON does not have


def params_model_of(workflow_class: type) -> Any:
    """The ``Model`` of ``run(self, event: WorkflowEvent[Model], step)``; None where there is none to check against."""
    run = inspect.unwrap(workflow_class.run)  # type: ignore[attr-defined]
    parameters = list(inspect.signature(run).parameters)
    if len(parameters) < 2:
        return None
    try:
        annotation = typing.get_type_hints(run).get(parameters[1])
    except Exception:
        # A name that exists for the type checker only, maybe of another parameter: resolve this one alone.
        annotation = run.__annotations__.get(parameters[1])
        if isinstance(annotation, str):
            try:
                annotation = eval(annotation, run.__globals__)  # noqa: S307  # the module's own annotation
            except Exception:
                return None
    if typing.get_origin(annotation) is not WorkflowEvent:
        return None
    (model,) = typing.get_args(annotation)
    return None if model is Any or isinstance(model, TypeVar) or model in (dict, object) else model


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."

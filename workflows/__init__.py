"""Durable workflows on Redis and RQ: the public names.

Each is imported when it is first asked for: a worker's code needs no Redis library, and pytest, which loads the plugin
in every project that has this package installed, pays nothing for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workflows.aio import AsyncClient
    from workflows.app import App
    from workflows.client import Client, WorkflowHandle, WorkflowInstance
    from workflows.codec import InstanceRef
    from workflows.context import StepContext
    from workflows.errors import (
        BadDuration,
        BadName,
        BadParams,
        BadSchedule,
        BadStepConfig,
        ConfigError,
        CorruptPayload,
        EventTimeout,
        ForbiddenInRun,
        InstanceAlreadyExists,
        InstanceEnded,
        InstanceError,
        InstanceNotFound,
        InstanceTerminated,
        InvalidTransition,
        NonDeterminismError,
        NonRetryableError,
        PayloadError,
        PayloadNotSerializable,
        PayloadTooLarge,
        PoisonError,
        ResultTimeout,
        ServerError,
        ServerUnavailable,
        ServerUnsuitable,
        StalledError,
        StepError,
        StepFailed,
        StepLimitReached,
        StepTimeout,
        UnknownQueue,
        UnknownWorkflow,
        WorkflowError,
        WorkflowTimeoutError,
    )
    from workflows.event import ReceivedEvent, WorkflowEvent
    from workflows.history import StepStatus
    from workflows.logs import get_logger
    from workflows.requests import CreateOptions, InstanceStatus
    from workflows.retries import Retry, StepConfig
    from workflows.step import WorkflowStep
    from workflows.workflow import ExecutionContext, WorkflowEntrypoint

_NAMES = {
    "aio": "AsyncClient",
    "app": "App",
    "client": "Client WorkflowHandle WorkflowInstance",
    "codec": "InstanceRef",
    "context": "StepContext",
    "errors": (
        "BadDuration BadName BadParams BadSchedule BadStepConfig ConfigError CorruptPayload EventTimeout "
        "ForbiddenInRun InstanceAlreadyExists InstanceEnded InstanceError InstanceNotFound InstanceTerminated "
        "InvalidTransition NonDeterminismError NonRetryableError PayloadError PayloadNotSerializable "
        "PayloadTooLarge PoisonError ResultTimeout ServerError ServerUnavailable ServerUnsuitable "
        "StalledError StepError StepFailed StepLimitReached StepTimeout UnknownQueue UnknownWorkflow "
        "WorkflowError WorkflowTimeoutError"
    ),
    "event": "ReceivedEvent WorkflowEvent",
    "history": "StepStatus",
    "logs": "get_logger",
    "requests": "CreateOptions InstanceStatus",
    "retries": "Retry StepConfig",
    "step": "WorkflowStep",
    "workflow": "ExecutionContext WorkflowEntrypoint",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'workflows' has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f"workflows.{_HOMES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    # Writing workflows
    "App",
    "ExecutionContext",
    "InstanceRef",
    "ReceivedEvent",
    "Retry",
    "StepConfig",
    "WorkflowEntrypoint",
    "WorkflowEvent",
    "WorkflowStep",
    "StepContext",
    "get_logger",
    # Producing and operating
    "AsyncClient",
    "Client",
    "CreateOptions",
    "InstanceStatus",
    "StepStatus",
    "WorkflowHandle",
    "WorkflowInstance",
    # Errors, the base classes first
    "WorkflowError",
    "InstanceError",
    "StepError",
    "WorkflowTimeoutError",
    "PayloadError",
    "ConfigError",
    "ServerError",
    "BadDuration",
    "BadName",
    "BadParams",
    "BadSchedule",
    "BadStepConfig",
    "CorruptPayload",
    "EventTimeout",
    "ForbiddenInRun",
    "InstanceAlreadyExists",
    "InstanceEnded",
    "InstanceNotFound",
    "InstanceTerminated",
    "InvalidTransition",
    "NonDeterminismError",
    "NonRetryableError",
    "PayloadNotSerializable",
    "PayloadTooLarge",
    "PoisonError",
    "ResultTimeout",
    "ServerUnavailable",
    "ServerUnsuitable",
    "StalledError",
    "StepFailed",
    "StepLimitReached",
    "StepTimeout",
    "UnknownQueue",
    "UnknownWorkflow",
]

"""Durable workflows on Redis and RQ: the public names.

Clients are imported when they are first asked for: a worker's code and a test's collection need no Redis library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from workflows.app import App
from workflows.codec import InstanceRef
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
from workflows.retries import Retry, StepConfig
from workflows.step import WorkflowStep
from workflows.workflow import ExecutionContext, WorkflowEntrypoint

if TYPE_CHECKING:
    from workflows.aio import AsyncClient
    from workflows.client import Client, WorkflowHandle, WorkflowInstance
    from workflows.context import StepContext
    from workflows.history import StepStatus
    from workflows.logs import get_logger
    from workflows.requests import CreateOptions, InstanceStatus

_LAZY = {
    "AsyncClient": "aio",
    "Client": "client",
    "WorkflowHandle": "client",
    "WorkflowInstance": "client",
    "StepContext": "context",
    "StepStatus": "history",
    "get_logger": "logs",
    "CreateOptions": "requests",
    "InstanceStatus": "requests",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"workflows.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'workflows' has no attribute {name!r}")


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

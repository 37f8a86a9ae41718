"""Durable workflows on Redis and RQ: the public names.

Each is imported when it is first asked for: a worker's code needs no Redis library, and pytest, which loads the plugin
in every project that has this package installed, pays nothing for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workflows.authoring.app import App
    from workflows.authoring.context import StepContext
    from workflows.authoring.event import ReceivedEvent, WorkflowEvent
    from workflows.authoring.logger import ContextFilter, get_logger
    from workflows.authoring.mapping import ItemOutcome, MapResult
    from workflows.authoring.observer import Observer, Transition
    from workflows.authoring.retries import Retry, StepConfig
    from workflows.authoring.step import WorkflowStep
    from workflows.authoring.workflow import ExecutionContext, WorkflowEntrypoint
    from workflows.client import Client, WorkflowHandle, WorkflowInstance
    from workflows.client.aio import AsyncClient
    from workflows.client.batches import BatchError, CreatedBatch, DeletedBatch
    from workflows.client.bulk import BulkResult
    from workflows.client.creation import CreateOptions
    from workflows.client.history import StepStatus
    from workflows.client.instance_event import InstanceEvent
    from workflows.client.schedules import ScheduleStatus
    from workflows.client.status import InstanceStatus
    from workflows.errors import (
        BadDuration,
        BadEvent,
        BadName,
        BadParams,
        BadSchedule,
        BadStepConfig,
        ConfigError,
        CorruptPayload,
        DeadlineExceeded,
        EventError,
        EventTimeout,
        ForbiddenInRun,
        HeartbeatTimeout,
        InstanceAlreadyExists,
        InstanceCancelled,
        InstanceEnded,
        InstanceError,
        InstanceNotFound,
        InstanceTerminated,
        InstanceTimeout,
        InvalidTransition,
        NonDeterminismError,
        NonRetryableError,
        PayloadError,
        PayloadNotSerializable,
        PayloadTooLarge,
        PoisonError,
        PollTimeout,
        ResultTimeout,
        ServerError,
        ServerUnavailable,
        ServerUnsuitable,
        StalledError,
        StepError,
        StepFailed,
        StepInterrupted,
        StepLimitReached,
        StepTimeout,
        StreamLost,
        UnknownQueue,
        UnknownWorkflow,
        WaitOver,
        WorkflowCancelled,
        WorkflowError,
        WorkflowTimeoutError,
    )
    from workflows.values.byte_stream import ByteStream
    from workflows.values.codec import InstanceRef
    from workflows.values.concurrency import Concurrency
    from workflows.values.ids import external_name, workflow_id
    from workflows.values.schedules import CronSchedule

_NAMES = {
    "client.aio": "AsyncClient",
    "authoring.app": "App",
    "client.blocking": "Client WorkflowHandle WorkflowInstance",
    "values.byte_stream": "ByteStream",
    "values.codec": "InstanceRef",
    "values.concurrency": "Concurrency",
    "values.ids": "external_name workflow_id",
    "authoring.context": "StepContext",
    "errors": (
        "BadDuration BadEvent BadName BadParams BadSchedule BadStepConfig ConfigError CorruptPayload "
        "DeadlineExceeded EventError EventTimeout ForbiddenInRun HeartbeatTimeout InstanceAlreadyExists "
        "InstanceCancelled InstanceEnded InstanceError InstanceNotFound InstanceTerminated InstanceTimeout "
        "InvalidTransition NonDeterminismError NonRetryableError "
        "PayloadError PayloadNotSerializable PayloadTooLarge PoisonError PollTimeout ResultTimeout "
        "ServerError ServerUnavailable ServerUnsuitable StalledError StepError StepFailed StepInterrupted "
        "StepLimitReached StepTimeout StreamLost UnknownQueue UnknownWorkflow WaitOver WorkflowCancelled WorkflowError "
        "WorkflowTimeoutError"
    ),
    "authoring.event": "ReceivedEvent WorkflowEvent",
    "client.history": "StepStatus",
    "client.instance_event": "InstanceEvent",
    "client.schedules": "ScheduleStatus",
    "client.status": "InstanceStatus",
    "authoring.logger": "ContextFilter get_logger",
    "client.batches": "BatchError CreatedBatch DeletedBatch",
    "client.bulk": "BulkResult",
    "client.creation": "CreateOptions",
    "authoring.mapping": "ItemOutcome MapResult",
    "authoring.observer": "Observer Transition",
    "authoring.retries": "Retry StepConfig",
    "authoring.step": "WorkflowStep",
    "authoring.workflow": "ExecutionContext WorkflowEntrypoint",
    "values.schedules": "CronSchedule",
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
    "ByteStream",
    "Concurrency",
    "CronSchedule",
    "ExecutionContext",
    "InstanceRef",
    "ItemOutcome",
    "MapResult",
    "Observer",
    "ReceivedEvent",
    "Retry",
    "StepConfig",
    "WorkflowEntrypoint",
    "WorkflowEvent",
    "WorkflowStep",
    "StepContext",
    "Transition",
    "ContextFilter",
    "get_logger",
    # Producing and operating
    "AsyncClient",
    "BatchError",
    "BulkResult",
    "Client",
    "CreateOptions",
    "CreatedBatch",
    "DeletedBatch",
    "InstanceEvent",
    "InstanceStatus",
    "ScheduleStatus",
    "StepStatus",
    "WorkflowHandle",
    "WorkflowInstance",
    "external_name",
    "workflow_id",
    # Errors, the base classes first
    "WorkflowError",
    "InstanceError",
    "StepError",
    "WorkflowTimeoutError",
    "PayloadError",
    "ConfigError",
    "ServerError",
    "BadDuration",
    "BadEvent",
    "BadName",
    "BadParams",
    "BadSchedule",
    "BadStepConfig",
    "CorruptPayload",
    "DeadlineExceeded",
    "EventError",
    "EventTimeout",
    "ForbiddenInRun",
    "HeartbeatTimeout",
    "InstanceAlreadyExists",
    "InstanceCancelled",
    "InstanceEnded",
    "InstanceNotFound",
    "InstanceTerminated",
    "InstanceTimeout",
    "InvalidTransition",
    "NonDeterminismError",
    "NonRetryableError",
    "PayloadNotSerializable",
    "PayloadTooLarge",
    "PoisonError",
    "PollTimeout",
    "ResultTimeout",
    "ServerUnavailable",
    "ServerUnsuitable",
    "StalledError",
    "StepFailed",
    "StepInterrupted",
    "StepLimitReached",
    "StepTimeout",
    "StreamLost",
    "UnknownQueue",
    "UnknownWorkflow",
    "WaitOver",
    "WorkflowCancelled",
]

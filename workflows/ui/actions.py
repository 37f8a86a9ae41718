"""Everything that can be done to one instance or schedule from here: one function each, for pages and for programs.

Each checks that its sender may do it, calls the client's verb, and leaves a line in the log; see ``Context.acting``.
All raise what the verbs raise, and RequestRefused when their sender may not.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from workflows.client.blocking import WorkflowInstance
from workflows.client.restarting import FromStep
from workflows.ui.context import Context
from workflows.values.durations import Duration


def create(
    context: Context,
    workflow: str,
    params: Any = None,
    *,
    id: str | None = None,
    retention: object = None,
    metadata: Mapping[str, str] | None = None,
    command_id: str | None = None,
    deadline: Duration | None = None,
) -> WorkflowInstance:
    """See ``WorkflowHandle.create``."""
    if id is None:
        id = str(uuid.uuid4())  # here, so that the log can say it
    with context.acting("create", workflow, id):
        handle = context.client.workflow(workflow)
        return handle.create(id, params, retention, command_id=command_id, metadata=metadata, deadline=deadline)


def pause(context: Context, instance: WorkflowInstance) -> None:
    with context.acting("pause", instance.workflow, instance.id):
        instance.pause()


def resume(context: Context, instance: WorkflowInstance) -> None:
    with context.acting("resume", instance.workflow, instance.id):
        instance.resume()


def cancel(
    context: Context, instance: WorkflowInstance, reason: str | None = None, *, grace: Duration | None = None
) -> bool:
    """Returns: whether it was not asked before."""
    with context.acting("cancel", instance.workflow, instance.id):
        return instance.cancel(reason, grace=grace)


def terminate(context: Context, instance: WorkflowInstance, *, rollback: bool = False) -> None:
    with context.acting("terminate", instance.workflow, instance.id, rollback=rollback):
        instance.terminate(rollback=rollback)


def restart(context: Context, instance: WorkflowInstance, from_: FromStep | None = None) -> None:
    with context.acting("restart", instance.workflow, instance.id, whole=from_ is None):
        instance.restart(from_)


def delete(context: Context, instance: WorkflowInstance) -> None:
    with context.acting("delete", instance.workflow, instance.id):
        instance.delete()


def send_event(
    context: Context, instance: WorkflowInstance, type: str, payload: Any = None, *, id: str | None = None
) -> str:
    """Returns: ``"delivered"`` or ``"buffered"``."""
    with context.acting("send_event", instance.workflow, instance.id, event_type=type):
        return instance.send_event(type, payload, id=id)


def pause_schedule(context: Context, workflow: str, line: str | None = None) -> bool:
    """Returns: whether it was not paused before."""
    with context.acting("pause_schedule", workflow):
        return context.client.schedules.pause(workflow, line)


def resume_schedule(context: Context, workflow: str, line: str | None = None) -> bool:
    """Returns: whether it was paused."""
    with context.acting("resume_schedule", workflow):
        return context.client.schedules.resume(workflow, line)


def trigger_schedule(context: Context, workflow: str, line: str | None = None) -> str:
    """Returns: the id of the new instance."""
    with context.acting("trigger_schedule", workflow):
        return context.client.schedules.trigger(workflow, line)

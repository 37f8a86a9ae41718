"""An instance on a terminal: its fields, its steps in order, and what happens to it while one looks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final

import click

from workflows.cli.showing import duration_text, indented, moment_text, named_lines, one_line, pairs_text, shown
from workflows.client import LazySteps, WorkflowInstance
from workflows.client.history import StepStatus, jsonable
from workflows.client.instance_event import TYPES, InstanceEvent
from workflows.client.status import InstanceStatus, RollbackStatus
from workflows.errors import WorkflowError

_WIDTH: Final = max(map(len, TYPES))


def show_status(status: InstanceStatus[LazySteps], step_output: bool, limit: int) -> None:
    """Everything there is to say of an instance; values beyond ``limit`` characters are cut."""
    began, ended = status.started_at or status.created_at, status.ended_at
    schedule = status.schedule
    named_lines(
        [
            ("Instance", f"{status.workflow}/{status.id}"),
            ("Status", status.shown_status),
            ("Reason", status.reason or ""),
            ("Queue", status.queue),
            ("Schedule", f"{schedule[0]} of {moment_text(schedule[1])}" if schedule else ""),
            ("Created", moment_text(status.created_at)),
            ("Started", moment_text(status.started_at)),
            ("Ended", f"{moment_text(ended)}, {duration_text(ended - began)}" if ended else ""),
            ("Paused", moment_text(status.paused_at)),
            ("Metadata", pairs_text(status.metadata)),
            ("Params", _value(lambda: status.params, limit)),
            ("Output", _value(lambda: status.output, limit) if status.has_output else ""),
            ("Error", str(status.error) if status.error else ""),
            ("Rollback", _outcome(status.rollback) if status.rollback else ""),
            *(("Value", f"{one.name} = {_value(one.read, limit)}, {moment_text(one.at)}") for one in status.published),
            *(("Warning", warning) for warning in status.warnings),
        ]
    )
    steps = list(status.steps)
    if steps:
        click.echo()
        _timeline(steps, step_output, limit)
    if status.error and status.error.traceback:
        click.echo(f"\n  {indented(status.error.traceback.rstrip(), 2)}")


def _outcome(rollback: RollbackStatus) -> str:
    return rollback.outcome if rollback.error is None else f"{rollback.outcome}: {rollback.error}"


def _value(read: Callable[[], Any], limit: int) -> str:
    try:
        text = json.dumps(jsonable(read()), ensure_ascii=False)
    except WorkflowError as error:
        text = f"({error})"
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"


def _timeline(steps: Sequence[StepStatus], step_output: bool, limit: int) -> None:
    width = max(len(_step_name(step)) for step in steps)
    kinds = max(5, *(len(step.kind) for step in steps))
    for step in steps:
        begun = step.started_at or step.ended_at
        line = [
            f"{begun:%H:%M:%S}" if begun else " " * 8,
            f"{step.kind:<{kinds}}",
            f"{_step_name(step):<{width}}",
            f"{step.status:<9}",
            _step_details(step),
        ]
        click.echo("  ".join(line).rstrip())
        for failure in step.failures:
            took = duration_text(failure.ended_at - failure.started_at)
            click.echo(f"{'':10}attempt {failure.attempt} failed after {took}: {indented(str(failure.error), 12)}")
        if step.error is not None and not (step.failures and step.failures[-1].error == step.error):
            click.echo(f"{'':10}{indented(str(step.error), 12)}")
        if step_output and step.heard_at is not None:
            details = _value(lambda step=step: step.heartbeat_details, limit)  # type: ignore[misc]
            click.echo(f"{'':10}heartbeat at {moment_text(step.heard_at)}: {shown(details)}")
        if step_output and step.has_output:
            click.echo(f"{'':10}-> {shown(_value(lambda step=step: step.output, limit))}")  # type: ignore[misc]


def _step_name(step: StepStatus) -> str:
    return shown(step.name if step.count == 1 else f"{step.name} ({step.count})")


def _step_details(step: StepStatus) -> str:
    parts = []
    if step.started_at and step.ended_at:
        parts.append(duration_text(step.ended_at - step.started_at))
    if step.attempts > 1:
        parts.append(f"{step.attempts} attempts")
    if step.event_type:
        parts.append(f"event {step.event_type}")
    if step.child:
        parts.append(f"instance {step.child.workflow}/{step.child.id}")
    if step.due_at:
        word = {"do": "next attempt", "rollback": "next attempt", "sleep": "until", "wait": "at most until"}.get(
            step.kind, "due"
        )
        parts.append(f"{word} {moment_text(step.due_at)}")
    return ", ".join(parts)


def followed(instance: WorkflowInstance, as_json: bool, limit: int) -> InstanceStatus[LazySteps]:
    """Shows what happens to an instance until its end. Returns: how it ended."""
    for event in instance.subscribe():
        show_event(event, as_json, limit)
    if not as_json:
        click.echo()
    return instance.status()


def show_event(event: InstanceEvent, as_json: bool, limit: int) -> None:
    """One line; a value beyond ``limit`` characters is cut, but not in JSON."""
    if as_json:
        click.echo(json.dumps(event.as_dict()))
        return
    parts = []
    if event.step_name is not None:
        parts.append(event.step_name if event.step_count == 1 else f"{event.step_name} ({event.step_count})")
    if event.attempt is not None:
        parts.append(f"attempt {event.attempt}")
    if event.duration_ms is not None:
        parts.append(duration_text(timedelta(milliseconds=event.duration_ms)))
    if event.event_type is not None:
        parts.append(f"event {event.event_type}")
    if event.published_name is not None:
        parts.append(event.published_name)
    if event.child is not None:
        parts.append(f"instance {event.child.workflow}/{event.child.id}")
    if event.error is not None:
        parts.append(str(event.error))
    if event.retry_delay_ms is not None:
        parts.append(f"next attempt in {duration_text(timedelta(milliseconds=event.retry_delay_ms))}")
    value = event.as_dict().get(event.value_name or "")
    if value is not None:
        parts.append(f"-> {_value(lambda: value, limit)}")
    click.echo(f"{event.timestamp:%H:%M:%S}  {event.type:<{_WIDTH}}  {one_line(', '.join(parts))}".rstrip())

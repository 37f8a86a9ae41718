"""An instance on a terminal: its fields, its steps in order, and what happens to it while one looks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import click

from workflows.cli.showing import duration_text, indented, moment_text, named_lines, one_line, pairs_text, shown
from workflows.client import LazySteps, WorkflowInstance
from workflows.client.history import StepStatus, jsonable
from workflows.client.status import InstanceStatus
from workflows.clock import here
from workflows.errors import WorkflowError
from workflows.storage.status import FINAL

FOLLOW_SECONDS: Final = 0.3


def show_status(status: InstanceStatus[LazySteps], step_output: bool, limit: int) -> None:
    """Everything there is to say of an instance; values beyond ``limit`` characters are cut."""
    began, ended = status.started_at or status.created_at, status.ended_at
    schedule = status.schedule
    named_lines(
        [
            ("Instance", f"{status.workflow}/{status.id}"),
            ("Status", status.status),
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
            *(("Warning", warning) for warning in status.warnings),
        ]
    )
    steps = list(status.steps)
    if steps:
        click.echo()
        _timeline(steps, step_output, limit)
    if status.error and status.error.traceback:
        click.echo(f"\n  {indented(status.error.traceback.rstrip(), 2)}")


def _value(read: Callable[[], Any], limit: int) -> str:
    try:
        text = json.dumps(jsonable(read()), ensure_ascii=False)
    except WorkflowError as error:
        text = f"({error})"
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"


def _timeline(steps: Sequence[StepStatus], step_output: bool, limit: int) -> None:
    width = max(len(_step_name(step)) for step in steps)
    for step in steps:
        begun = step.started_at or step.ended_at
        line = [
            f"{begun:%H:%M:%S}" if begun else " " * 8,
            f"{step.kind:<5}",
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
        word = {"do": "next attempt", "sleep": "until", "wait": "at most until"}.get(step.kind, "due")
        parts.append(f"{word} {moment_text(step.due_at)}")
    return ", ".join(parts)


def followed(instance: WorkflowInstance, as_json: bool) -> InstanceStatus[LazySteps]:
    """Shows what happens to an instance until its end. Returns: how it ended."""
    seen: dict[tuple[str, int], str] = {}
    last = ""
    while True:
        status = instance.status()
        if status.status != last:
            last = status.status
            _event(as_json, {"status": str(last), "reason": status.reason}, f"{last} {status.reason or ''}")
        for step in status.steps:
            key = (status.generation, step.seq)
            if seen.get(key) != step.status:
                seen[key] = step.status
                about = {"step": step.name, "count": step.count, "kind": step.kind, "status": step.status}
                _event(as_json, about, f"{step.kind} {_step_name(step)}: {step.status} {_step_details(step)}")
        if status.status in FINAL:
            if not as_json:
                click.echo()
            return status
        time.sleep(FOLLOW_SECONDS)


def _event(as_json: bool, value: dict[str, Any], text: str) -> None:
    now = here().strftime("%H:%M:%S")
    click.echo(json.dumps(value) if as_json else f"{now}  {one_line(text)}")

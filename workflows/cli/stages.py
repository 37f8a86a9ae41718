"""How the stage profile is put on a terminal."""

from __future__ import annotations

import json
from typing import Final

import click

from workflows.cli.showing import table
from workflows.health.stages import StageProfile, StageShare, StageSpan

_FIGURES: Final = ("µs per step", "share", "passes")


def show_stages(profile: StageProfile, as_json: bool) -> None:
    """The profile as JSON, or as sentences and a table: the last minute on the left, the time since the start on the
    right."""
    if as_json:
        click.echo(json.dumps(profile.as_dict(), indent=2))
        return
    if profile.silent:
        click.echo(f"{profile.silent} of {profile.silent + profile.processes} worker processes do not say.")
    if not profile.processes:
        click.echo("No worker process is running that says where its time goes.")
        return
    click.echo(_told("In the last minute", profile.lately, profile.processes))
    click.echo(_told("Since they started", profile.since_start, profile.processes))
    if not profile.since_start.steps:
        return
    sides = [_columns(span) for span in (profile.lately, profile.since_start)]
    head = ["stage", *sides[0][0], "|", *sides[1][0], ""]
    stages = [one.stage for one in profile.lately.stages]
    rows = [
        [stage.name, *left, "|", *right, stage.what]
        for stage, left, right in zip(stages, sides[0][1:], sides[1][1:], strict=True)
    ]
    click.echo()
    table(head, rows, empty="")


def _told(when: str, span: StageSpan, processes: int) -> str:
    """What became of the time."""
    steps = "1 step" if span.steps == 1 else f"{span.steps:,} steps"
    whose = "the worker process" if processes == 1 else f"each of the {processes} worker processes"
    return f"{when}: {steps}; the thread that leads {whose} was busy for {span.busy:.1%} of the time"


def _columns(span: StageSpan) -> list[list[str]]:
    """Head and figures, each as wide as its column."""
    rows = [list(_FIGURES), *map(_cells, span.stages)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]


def _cells(one: StageShare) -> list[str]:
    each = "–" if one.us_per_step is None else f"{one.us_per_step:,.1f}"
    return [each, "–" if one.share is None else f"{one.share:.0%}", f"{one.passes:,}"]

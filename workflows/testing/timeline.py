"""What an instance has done and what it waits for, as text for whoever reads a failed test."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from workflows.authoring.app import App
from workflows.authoring.commands import Command, describe
from workflows.client import history
from workflows.client.history import ErrorInfo, StepStatus
from workflows.client.reading import Reading
from workflows.errors import CorruptPayload, NonDeterminismError, WorkflowError
from workflows.insight.reason import Reason
from workflows.insight.why import why
from workflows.replay.replay import Replay
from workflows.replay.start import replay_of
from workflows.storage import cuts
from workflows.storage.journal import Entry, Start
from workflows.storage.status import FINAL, Status
from workflows.values.codec import decode
from workflows.values.durations import format_ms

SHOWN_STEPS: Final = 60
SHOWN_REASONS: Final = 10
_KIND_WIDTH: Final = 5
_shown = reprlib.Repr()
_shown.maxstring = _shown.maxother = 80
_shown.maxdict = _shown.maxlist = 8
_shown.maxlevel = 4


@dataclass(frozen=True, slots=True)
class Look:
    """One instance at one moment.

    Attributes:
        entries: its whole journal.
        steps: what the journal and the open records come to.
    """

    reading: Reading
    entries: Sequence[Entry]
    steps: Sequence[StepStatus]

    @property
    def status(self) -> Status:
        return self.reading.status

    @property
    def ended(self) -> bool:
        return self.status in FINAL

    @property
    def generation(self) -> str:
        return self.reading.text("gen")

    @property
    def title(self) -> str:
        """Which instance, for the start of a sentence."""
        return f'Instance "{self.reading.instance.id}" of workflow "{self.reading.instance.workflow}"'

    def step(self, name: str, count: int, kinds: Sequence[str]) -> StepStatus | None:
        """The step of that name, of the first of these kinds that has one."""
        for kind in kinds:
            for step in self.steps:
                if (step.kind, step.name, step.count) == (kind, name, count):
                    return step
        return None

    @property
    def output(self) -> Any:
        blob = self.reading.header["out"]
        return None if blob is None else decode(blob)

    @property
    def error(self) -> ErrorInfo | None:
        blob = self.reading.header["err"]
        return None if blob is None else ErrorInfo.from_blob(blob)


def timeline(look: Look, app: App | None = None) -> str:
    """The steps of an instance, one a line, and what it waits for.

    Args:
        app: shows, for an instance that code and journal disagree about, where they part.
    """
    created = history.moment(look.reading.header["created"])
    lines = [f"{look.reading.instance.workflow}/{look.reading.instance.id}: {look.status}{_outcome(look)}"]
    last = 0
    shown = _steps_to_show(look.steps)
    for number, step in enumerate(look.steps):
        if number in shown:
            lines += [f"  … {number - last} complete steps"] * (number > last)
            lines.append(f"  {_line(step, created, look.reading.now_ms)}")
            last = number + 1
    lines += [f"  waits: {reason}" for reason in waits_for(look)]
    if app is not None and look.reading.text("want") == "park":
        lines += [f"  {line}" for line in disagreement(look, app)]
    return "\n".join(lines)


def _steps_to_show(steps: Sequence[StepStatus]) -> frozenset[int]:
    """The places of the first and the last steps and of those that are not complete: a test may have thousands."""
    if len(steps) <= SHOWN_STEPS:
        return frozenset(range(len(steps)))
    third = SHOWN_STEPS // 3
    unusual = [number for number, step in enumerate(steps[:-third]) if step.status != "complete"]
    return frozenset([*range(third), *unusual[:third], *range(len(steps) - third, len(steps))])


def waits_for(look: Look) -> list[str]:
    """Why an instance does not move, each reason with what moves it in a test."""
    if look.ended:
        return []
    found = [_told(one, look.reading.now_ms) for one in why(look.reading.standing())]
    more = len(found) - SHOWN_REASONS
    return [*found[:SHOWN_REASONS], f"{more} more of the kind"] if more > 0 else found


def _told(reason: Reason, now_ms: int) -> str:
    until = reason.facts.get("until")
    left = "" if until is None else format_ms(max(0, round(datetime.fromisoformat(until).timestamp() * 1000) - now_ms))
    ways = {
        "wait.sleep": f'clock.advance("{left}"), or m.disable_sleeps()',
        "wait.retry": f'clock.advance("{left}"), or m.disable_retry_delays()',
        "wait.poll": f'clock.advance("{left}")',
        "wait.event": f'send_event, m.mock_event(), clock.advance("{left}"), or m.force_event_timeout()',
        "run.step": "its callback has not returned",
        "pause.user": "instance.resume() lets it go on",
    }
    if reason.code.startswith("park."):
        way: str | None = "mend the code, then resume()"
    else:
        way = ways.get(reason.code)
    hints = "".join(f" {hint.sentence}" for hint in reason.hints)
    return reason.sentence.rstrip(".") + (f": {way}" if way else "") + (f".{hints.rstrip('.')}" if hints else "")


def _outcome(look: Look) -> str:
    if look.status is Status.COMPLETE:
        try:
            return f" → {_shown.repr(look.output)}"
        except CorruptPayload as error:
            return f" → ({error})"
    return f": {look.error}" if look.error else ""


def _line(step: StepStatus, created: datetime | None, now_ms: int) -> str:
    at = step.ended_at or step.started_at
    when = f"+{format_ms(round((at - created).total_seconds() * 1000))}" if at and created else ""
    name = f'"{step.name}"' + (f" ({step.count})" if step.count > 1 else "")
    parts = [f"{step.seq:>3} {when:<8} {step.kind:<{_KIND_WIDTH}} {name:<30} {step.status}"]
    if step.attempts > 1:
        parts.append(f"attempt {step.attempts}")
    if step.has_output:
        try:
            parts.append(f"→ {_shown.repr(step.output)}")
        except CorruptPayload as error:
            parts.append(f"→ ({error})")
    if step.error is not None:
        parts.append(str(step.error))
    if step.due_at is not None:
        parts.append(f"due in {format_ms(max(0, round(step.due_at.timestamp() * 1000) - now_ms))}")
    return "  ".join(parts).rstrip()


class _Recorder(Replay):
    """A replay that remembers what was asked for."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.asked: list[Command] = []

    def ask(self, command: Command, callback: Any) -> Any:
        self.asked.append(command)
        return super().ask(command, callback)


def disagreement(look: Look, app: App) -> list[str]:
    """What the code asks for against what the journal holds, as a diff; empty if they agree after all."""
    instance, start = look.reading.instance, next(iter(look.entries), None)
    if not isinstance(start, Start) or instance.workflow not in app.definitions:
        return []
    try:
        replay = replay_of(_Recorder, app, instance, look.generation, start)
    except WorkflowError as unreadable:
        return [str(unreadable)]
    error = ""
    try:
        for entry in cuts.kept(look.entries):
            replay.feed([entry])
    except NonDeterminismError as found:
        error = str(found)
    except WorkflowError:
        pass  # another reason to be parked; what was asked for until then is still worth seeing
    finally:
        replay.close()
    stored = {step.seq: describe(step.kind, step.name, step.count) for step in look.steps}
    asked = {command.seq: describe(command.kind, command.name, command.count) for command in replay.asked}
    known = [f"{seq:>3} {stored[seq]}" for seq in sorted(stored)]
    now = [f"{seq:>3} {asked[seq]}" for seq in sorted(asked)]
    if known == now:
        return [error] if error else []
    hunks = list(difflib.unified_diff(known, now, lineterm=""))[2:]
    diff = ["  …" if line.startswith("@@") else f"{line[0]} {line[1:]}" for line in hunks]
    return ["- what the journal holds", "+ what the code asks for now", *diff, *([error] if error else [])]

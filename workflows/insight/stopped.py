"""Why an instance does not move at all: it has ended, is paused or parked, or is not there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from workflows.insight.reason import Reason
from workflows.insight.standing import Standing
from workflows.insight.wording import command, failed_with, iso, moment, plain, quoted
from workflows.storage.keys import Instance
from workflows.storage.records import OpenStep, OpenUndo
from workflows.storage.status import Status

REASON_CHARACTERS: Final = 4_000
FAULTS: Final = ("mismatch", "params", "corrupt", "other")
"""What a worker or a script says parked an instance; each is the end of a code ``park.…``."""


def missing(instance: Instance) -> Reason:
    """There is nothing of it."""
    return Reason.of(
        "missing",
        f"There is no instance {instance.id} of workflow {instance.workflow}: it was never created, was deleted, or "
        "its retention is over.",
        f"workflows instances list {instance.workflow}",
    )


def unreadable(instance: Instance) -> Reason:
    """Its header is no header, so nothing moves it."""
    return Reason.of(
        "unreadable",
        f"What Redis holds of {instance.id} cannot be read, so nothing moves it.",
        f"workflows doctor, which says what is wrong with it; mend that, or: workflows instances delete "
        f"{instance.workflow} {instance.id}",
    )


def ended(seen: Standing) -> Iterator[Reason]:
    """It is over."""
    id, status = seen.instance.id, seen.status
    at = seen.number("ended")
    undone = seen.header.get("undone")
    if undone is not None and undone != b"complete":
        yield Reason.of(
            "rollback.failed",
            f"A handler failed while {id} was rolled back, and those after it did not run: {failed_with(undone)}",
            f"{command('instances describe', seen)}, which says what has been undone; the rest is to be undone by hand",
            ended_at=iso(at),
        )
    sentence = f"{id} ended as {status} at {moment(at)}"
    error = seen.header.get("err")
    if error is not None and status is Status.ERRORED:
        sentence += f": {failed_with(error)}"
    elif undone == b"complete":
        sentence += ", and what it did is undone"
    again = None if status is Status.COMPLETE else command("instances restart", seen)
    yield Reason.of("done", sentence.rstrip(".") + ".", again, status=str(status), ended_at=iso(at))


def standing_still(seen: Standing) -> Iterator[Reason]:
    """Time stands still for it."""
    since = seen.number("paused_at")
    if seen.text("want") == "park":
        yield _parked(seen, since)
    if seen.status is Status.WAITING_FOR_PAUSE:
        held = [one for one in seen.records if isinstance(one, OpenStep) and one.state == "held"]
        names = ", ".join(("the handler of " * isinstance(one, OpenUndo)) + quoted(one.name) for one in held[:3])
        waits = f"{names or 'what is in flight'}{f' and {len(held) - 3} more' if len(held) > 3 else ''} to end"
        yield Reason.of(
            "pause.draining",
            f"{seen.instance.id} is pausing since {moment(since)}: it waits for {waits}.",
            since=iso(since),
            steps=[one.name for one in held],
        )
    elif seen.text("want") != "park":
        resume = command("instances resume", seen)
        yield Reason.of("pause.user", f"{seen.instance.id} was paused at {moment(since)}.", resume, since=iso(since))


def park_code(fault: str) -> str:
    """The code of what parked an instance."""
    return f"park.{fault if fault in FAULTS else 'other'}"


def _parked(seen: Standing, since: int) -> Reason:
    fault = seen.text("fault")
    resume, restart = command("instances resume", seen), command("instances restart", seen)
    ways = {
        "mismatch": f"deploy code that fits its journal, then: {resume}; or begin anew with: {restart}",
        "params": f"deploy a model that takes its params, then: {resume}",
        "corrupt": f"workflows doctor, which says where it stands; begin anew with: {restart}",
        "other": f"mend that, then: {resume}",
    }
    why = {
        "mismatch": "code and journal disagree",
        "params": "its params do not fit the model of its workflow",
        "corrupt": "something of it cannot be read",
        "other": "it cannot be replayed",
    }
    if fault not in FAULTS:
        fault = "other"
    said = plain(seen.text("reason"), REASON_CHARACTERS).rstrip(".")
    return Reason.of(
        park_code(fault),
        f"{seen.instance.id} is parked since {moment(since)}, because {why[fault]}: {said}.",
        ways[fault],
        since=iso(since),
        reason=seen.text("reason"),
    )

"""A turn: what ``run`` asks for next, as the decision a script can commit. Pure: no I/O, no clock."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from workflows import limits
from workflows.authoring import retries
from workflows.authoring.app import App
from workflows.authoring.commands import Child, Command, Do, Sleep, Wait, describe
from workflows.errors import CorruptPayload, DeadlineExceeded, InvalidTransition, WorkflowCancelled
from workflows.replay.overrides import Overrides
from workflows.replay.replay import Continued, Raised, Replay, Returned, Snapshot, delta
from workflows.storage import journal
from workflows.storage.intake import new_instance
from workflows.storage.journal import EventReceived, NoAnswer
from workflows.storage.keys import Instance
from workflows.storage.messages import InvokeChild, WatchChild
from workflows.storage.records import Asked, Decision, End, GivenUp, Open
from workflows.values import codec, failure
from workflows.values.byte_stream import ByteStream

_NAMED = 10
_NOT_YET = (False,) * 10
"""What an open record of a step holds between its settings and whether it has a handler."""


def decide(
    replay: Replay,
    before: Snapshot | None,
    app: App,
    instance: Instance,
    generation: str,
    overrides: Overrides | None = None,
) -> Decision:
    """What has to be committed after feeding: relative to the last decision, so that a step whose result is already in
    the journal but not yet fed is never opened again.

    An end says what was asked for and not answered, so that a script finds what never was. A turn adds the events it
    was decided over, see ``events_among``.
    """
    decision = _decide(replay, before, app, instance, generation, overrides)
    if replay.published is not None:
        decision.published = replay.published.since(0 if before is None else before.published)
    return decision


def _decide(
    replay: Replay,
    before: Snapshot | None,
    app: App,
    instance: Instance,
    generation: str,
    overrides: Overrides | None,
) -> Decision:
    if replay.end is not None and not isinstance(replay.end, Continued):
        return Decision(end=_end(replay, instance))
    opened, withdrawn = delta(before, replay.snapshot())
    if isinstance(replay.end, Continued):
        # What it gives up may have received an event, which has to be there for the next life.
        given_up = [GivenUp(seq, replay.command(seq).kind, False) for seq in withdrawn]
        return Decision(given_up, end=_next(replay, replay.end, generation))
    return Decision(
        [GivenUp(seq, replay.command(seq).kind, not replay.is_cancelled(seq)) for seq in withdrawn],
        [_open(replay, seq, app, instance, generation, overrides) for seq in opened],
    )


def events_among(blobs: Sequence[bytes], start: int, decision: Decision) -> list[tuple[int, int]]:
    """Events that a decision has made use of: seq of the wait and index of the entry. ``start`` is the index of the
    first blob. Those it gives up are left out; they go back to the mailbox.
    """
    given_up = {one.seq for one in decision.withdrawn}
    found = []
    for index, blob in enumerate(blobs, start):
        entry = journal.decode(blob) if journal.kind_of(blob) == journal.EVENT else None
        if isinstance(entry, EventReceived) and entry.seq not in given_up:
            found.append((entry.seq, index))
    return found


def only_step(decision: Decision) -> Asked | None:
    """The one step a decision opens, if it opens just that and ends nothing: it can be born held."""
    opened = decision.opened
    return opened[0] if decision.end is None and len(opened) == 1 and opened[0].kind == "do" else None


def _end(replay: Replay, instance: Instance) -> End:
    match replay.end:
        case Returned(value):
            try:
                is_stream = type(value) is ByteStream
                blob = codec.encode_stream(value) if is_stream else codec.encode(value, what="what run() returned")
                end = End("complete", value=blob)
            except BaseException as error:  # the value's own methods ran, on the engine's thread
                end = End("errored", error=failure.capture(error))
        case Raised(exception):
            end = End("errored", error=failure.capture(exception))
            if replay.cancelled_by is not None:
                end = _cancelled(replay.cancelled_by, instance)
        case Continued() | None:
            raise AssertionError("a replay that has not ended has no end")
    end.rollback = replay.rollback
    if replay.is_terminated:
        end.status = "terminated"
    asked = replay.unanswered()
    if len(asked) <= limits.SCRIPT_ELEMENTS:
        end.asked = list(map(told, asked))
    if replay.warnings:
        end.warnings = codec.encode(list(replay.warnings), what="the warnings of an instance")
    return end


def _cancelled(asked: WorkflowCancelled, instance: Instance) -> End:
    """As ``outcome`` of ``parts/stopping.lua`` has it, for one that has not ended by itself."""
    is_late = isinstance(asked, DeadlineExceeded)
    what = "has not ended within its deadline" if is_late else "was cancelled"
    why = f": {asked.reason}" if asked.reason else ""
    text = f'instance "{instance.id}" of workflow "{instance.workflow}" {what}{why}'
    if is_late:
        return End("errored", error=failure.make("InstanceTimeout", text))
    return End("terminated", error=failure.make("InstanceCancelled", text))


def _next(replay: Replay, end: Continued, generation: str) -> End:
    asked, vain = list(map(told, replay.unanswered())), replay.vain_answers()
    if len(asked) + len(vain) > limits.SCRIPT_ELEMENTS:
        refused = InvalidTransition("run() continues, and gives up more steps by that than one call takes.")
        return End("errored", error=failure.capture(refused))
    # The same whoever decides, and whenever: two decisions of one turn begin one life.
    following = hashlib.blake2b(f"{generation} goes on".encode(), digest_size=8).hexdigest()
    return End("continued", value=end.params, asked=asked, generation=following, vain=vain or None)


def told(command: Command) -> str:
    """A command as ``unasked`` in ``parts/decision.lua`` puts it."""
    return f"{command.seq}|{command.kind}|{command.count}|{command.name}"


def told_by_record(record: Open) -> str:
    """The command that an open record belongs to, in the same form."""
    return f"{record.seq}|{record.kind}|{record.count}|{record.name}"


def told_by_entry(blob: bytes) -> str:
    """The command that an entry answers or withdraws."""
    entry = journal.decode(blob)
    if isinstance(entry, NoAnswer):
        raise CorruptPayload("the journal holds what can only come before or after this turn")
    kind = entry.command if isinstance(entry, journal.Withdrawn) else entry.kind
    return f"{entry.seq}|{kind}|{entry.count}|{entry.name}"


def contradiction(unasked: Sequence[str]) -> str:
    """Why an end is refused: what there is that was never asked for."""
    shown = []
    for one in unasked[:_NAMED]:
        _, kind, count, name = one.split("|", 3)
        shown.append(describe(kind, name, int(count)))
    more = f" and {len(unasked) - _NAMED} more" if len(unasked) > _NAMED else ""
    return (
        f"The code ends, but has never asked for {', '.join(shown)}{more}, which the instance has open or answered. "
        "Run the code the instance was started with, or restart it."
    )


def _open(
    replay: Replay, seq: int, app: App, instance: Instance, generation: str, overrides: Overrides | None
) -> Asked:
    command = replay.command(seq)
    if overrides is not None:
        command = overrides.opening(instance, generation, command)
    values: list[Any] = [command.kind, seq, command.name, command.count, False]
    match command:
        case Do():  # or what undoes one
            queue = command.queue or app.definition(instance.workflow).queue
            values += (False, queue, command.config.timeout_ms, _wire(command.config))
            return Asked(values if command.rollback is None else [*values, *_NOT_YET, True])
        case Sleep():
            # A command that was detached and is awaited again keeps the moment it was due at first.
            due = replay.reopen_due(seq) or command.until_ms or False
            return Asked([*values, due, command.duration_ms or 0, command.until_ms is not None])
        case Wait():
            values += (replay.reopen_due(seq) or False, command.timeout_ms, "|".join(command.listens))
            if command.sensitive:
                return Asked([*values, command.heartbeat_ms or False, False, True])
            return Asked(values if command.heartbeat_ms is None else [*values, command.heartbeat_ms])
        case Child():
            # The default id contains the parent's generation, so that a restarted parent gets new children.
            id = command.id or f"{generation}-{seq}"
            values += (command.workflow, id)
            return Asked([*values, command.policy] if command.policy else values, _message(command, id, app))


@lru_cache(maxsize=1024)
def _wire(config: retries.StepConfig) -> bytes:
    return retries.to_wire(config)


def _message(command: Child, id: str, app: App) -> dict[str, Any]:
    if command.params is None:  # it is there already
        return WatchChild(command.workflow, id).wire()
    return InvokeChild(new_instance(app.definition(command.workflow), id, command.params)).wire()

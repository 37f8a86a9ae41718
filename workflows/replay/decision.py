"""A turn: what ``run`` asks for next, as the decision a script can commit. Pure: no I/O, no clock."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from workflows import limits
from workflows.authoring import retries
from workflows.authoring.app import App
from workflows.authoring.commands import Child, Command, Do, Sleep, Wait, describe
from workflows.errors import CorruptPayload
from workflows.replay.overrides import Overrides
from workflows.replay.replay import Raised, Replay, Returned, Snapshot, delta
from workflows.storage import journal
from workflows.storage.journal import EventReceived, Start, Withdrawn
from workflows.storage.keys import Instance
from workflows.values import codec, failure

Decision = dict[str, Any]
_NAMED = 10


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

    Returns: ``w`` commands withdrawn, ``o`` commands opened, ``e`` the end, as ``apply`` in ``pump.lua`` reads them; an
    end says with ``q`` what was asked for and not answered, so that a script finds what never was, or with ``l`` that
    this is too much for one. A turn adds the
    events it was decided over: ``g``, see ``events_among``.
    """
    if replay.end is not None:
        return {"w": [], "o": [], "e": _end(replay)}
    opened, withdrawn = delta(before, replay.snapshot())
    return {
        "w": [_withdraw(replay, seq) for seq in withdrawn],
        "o": [_open(replay, seq, app, instance, generation, overrides) for seq in opened],
    }


def events_among(blobs: Sequence[bytes], start: int, decision: Decision) -> list[tuple[int, int]]:
    """Events that a decision has made use of: seq of the wait and index of the entry. ``start`` is the index of the
    first blob. Those it gives up are left out; they go back to the mailbox.
    """
    given_up = {item["s"] for item in decision["w"]}
    found = []
    for index, blob in enumerate(blobs, start):
        entry = journal.decode(blob) if journal.kind_of(blob) == journal.EVENT else None
        if isinstance(entry, EventReceived) and entry.seq not in given_up:
            found.append((entry.seq, index))
    return found


def only_step(decision: Decision) -> dict[str, Any] | None:
    """The one step a decision opens, if it opens just that and ends nothing: it can be born held."""
    opened = decision["o"]
    return opened[0] if "e" not in decision and len(opened) == 1 and opened[0]["k"] == "do" else None


def _end(replay: Replay) -> dict[str, Any]:
    end: dict[str, Any]
    match replay.end:
        case Returned(value):
            try:
                end = {"st": "complete", "v": codec.encode(value, what="what run() returned")}
            except BaseException as error:  # the value's own methods ran, on the engine's thread
                end = {"st": "errored", "x": failure.capture(error)}
        case Raised(exception):
            end = {"st": "errored", "x": failure.capture(exception)}
        case None:
            raise AssertionError("a replay that has not ended has no end")
    asked = replay.unanswered()
    if len(asked) > limits.SCRIPT_ELEMENTS:
        end["l"] = -1  # a length that no journal has: the script sends it back to be compared
    else:
        end["q"] = list(map(told, asked))
    if replay.warnings:
        end["w"] = codec.encode(list(replay.warnings), what="the warnings of an instance")
    return end


def told(command: Command) -> str:
    """A command as ``unasked`` in ``pump.lua`` puts it."""
    return f"{command.seq}|{command.kind}|{command.count}|{command.name}"


def told_by_record(record: dict[bytes, Any]) -> str:
    """The command that an open record belongs to, in the same form."""
    return f"{record[b's']}|{record[b'k'].decode()}|{record[b'c']}|{record[b'n'].decode()}"


def told_by_entry(blob: bytes) -> str:
    """The command that an entry answers or withdraws."""
    entry = journal.decode(blob)
    if isinstance(entry, Start):
        raise CorruptPayload("the journal holds a second start of the instance")
    kind = entry.command if isinstance(entry, Withdrawn) else entry.kind
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
) -> dict[str, Any]:
    command = replay.command(seq)
    if overrides is not None:
        command = overrides.opening(instance, generation, command)
    spec: dict[str, Any] = {"s": seq, "k": command.kind, "n": command.name, "c": command.count}
    match command:
        case Do():
            spec |= {
                "qu": command.queue or app.definition(instance.workflow).queue,
                "g": _wire(command.config),
                "to": command.config.timeout_ms,
            }
        case Sleep():
            if command.until_ms is not None:
                spec |= {"due": command.until_ms, "ms": 0, "ab": 1}
            else:
                spec |= {"ms": command.duration_ms or 0}
            _keep_due(replay, seq, spec)
        case Wait():
            spec |= {"ty": command.type, "ms": command.timeout_ms}
            _keep_due(replay, seq, spec)
        case Child():
            spec |= _child(command, app, generation)
    return spec


def _withdraw(replay: Replay, seq: int) -> dict[str, Any]:
    item: dict[str, Any] = {"s": seq, "k": replay.command(seq).kind}
    if not replay.is_cancelled(seq):
        item["d"] = True
    return item


@lru_cache(maxsize=1024)
def _wire(config: retries.StepConfig) -> bytes:
    return retries.to_wire(config)


def _keep_due(replay: Replay, seq: int, spec: dict[str, Any]) -> None:
    """A command that was detached and is awaited again keeps the moment it was due at first."""
    due = replay.reopen_due(seq)
    if due is not None:
        spec["due"] = due


def _child(command: Child, app: App, generation: str) -> dict[str, Any]:
    # The default id contains the parent's generation, so that a restarted parent gets new children.
    id = command.id or f"{generation}-{command.seq}"
    message: dict[str, Any] = {"op": "watch" if command.join else "invoke", "wf": command.workflow, "id": id}
    if not command.join:
        definition = app.definition(command.workflow)
        message |= {
            "gen": secrets.token_hex(6),
            "p": command.params,
            "qu": definition.queue,
            "ok": definition.retention_success_ms,
            "err": definition.retention_error_ms,
        }
    return {"wf": command.workflow, "id": id, "m": message}

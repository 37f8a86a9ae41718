"""What of an instance waits for time, for an event or for another instance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from workflows.authoring import retries
from workflows.errors import CorruptPayload
from workflows.insight.reason import Reason
from workflows.insight.standing import Standing
from workflows.insight.wording import command, failed_with, iso, moment, plain, quoted, span, word
from workflows.storage.records import Open, OpenChild, OpenSleep, OpenStep, OpenUndo, OpenWait
from workflows.values.listening import type_of

MAIL_SHOWN: Final = 3
_WITH_IT: Final = {"terminate": " (terminated with it)", "cancel": " (asked to end with it)"}


def step_name(record: Open) -> str:
    """A step for people; how often there was one of that name only where it says something."""
    name = quoted(record.name) + (f" ({record.count})" if record.count > 1 else "")
    return f"the handler of step {name}" if isinstance(record, OpenUndo) else f"step {name}"


def attempts_of(record: OpenStep) -> int | None:
    """How often it is tried at most; None where that cannot be read."""
    try:
        return retries.from_wire(record.config).retries.limit + 1
    except CorruptPayload:
        return None


def last_attempt(record: OpenStep) -> tuple[Reason, ...]:
    """The hint that nothing comes after this failure, where that is so."""
    most = attempts_of(record)
    if most is None or most == 1 or record.failed + 1 < most:
        return ()
    return (Reason.of("hint.retries-over", f"It is its last attempt: {record.failed} of {most} have failed."),)


def waiting(seen: Standing, record: Open, strange: tuple[Reason, ...] = ()) -> Iterator[Reason]:
    """What one record waits for; nothing where somebody has something to do.

    Args:
        strange: hints for one that waits for an event.
    """
    id = seen.instance.id
    match record:
        case OpenSleep():
            due = seen.due_ms(record)
            yield Reason.of(
                "wait.sleep",
                f"{id} sleeps in {quoted(record.name)} until {moment(due)}.",
                step=record.name,
                count=record.count,
                until=iso(due),
            )
        case OpenWait():
            yield _wait(seen, record, strange)
        case OpenChild():
            other = f"{record.workflow}/{record.id}"
            made = ", which is not there yet: the message to its shard is on its way" * (record.seq in seen.starting)
            yield Reason.of(
                "wait.child",
                f"{id} waits for {other}{_WITH_IT.get(record.policy, '')}{made}.",
                f"workflows why {record.workflow} {record.id}",
                workflow=record.workflow,
                id=record.id,
                step=record.name,
                starting=record.seq in seen.starting,
                on_parent_end=record.policy or "abandon",
            )
        case OpenStep(state="back") if retries.looks_again(record.config, record.attempts, record.failures):
            due, looks = seen.due_ms(record), f"{record.attempts} time{'s' * (record.attempts != 1)}"
            yield Reason.of(
                "wait.poll",
                f"{id} has looked {looks} in {step_name(record)}, and looks again at {moment(due)}.",
                step=record.name,
                count=record.count,
                looks=record.attempts,
                until=iso(due),
            )
        case OpenStep(state="back"):
            yield _retry(seen, record)


def _wait(seen: Standing, record: OpenWait, strange: tuple[Reason, ...]) -> Reason:
    due = record.due + seen.number("stood")
    asked = span(seen.now_ms - record.asked)
    types, by_token = record.event_type.split("|"), "~" in record.type
    return Reason.of(
        "wait.event",
        f"{seen.instance.id} waits for {_wanted(record)} (step {quoted(record.name)}, asked {asked} ago), until "
        f"{moment(due)}{_silence(seen, record)}.",
        "workflows publish --token … '{…}'" if by_token else command("publish", seen, word(types[0]), "'{…}'"),
        *strange,
        type=record.event_type,
        step=record.name,
        count=record.count,
        asked_at=iso(record.asked),
        until=iso(due),
        **_silent_since(seen, record),
    )


def _silent_since(seen: Standing, record: OpenWait) -> dict[str, str | None]:
    return {"silent_since": iso(record.silent_since + seen.number("stood"))} if record.heartbeat else {}


def _silence(seen: Standing, record: OpenWait) -> str:
    """Of who has its token, where that counts."""
    if not record.heartbeat:
        return ""
    since = record.silent_since + seen.number("stood")
    what = "no heartbeat since" if record.heard else "no heartbeat yet, since"
    end = (
        "" if record.silent_at is None else f", and without one or the answer it ends at {moment(seen.due_ms(record))}"
    )
    return f"; {what} {moment(since)} ({span(seen.now_ms - since)} ago){end}"


def _wanted(record: OpenWait) -> str:
    types = " or ".join(map(quoted, record.event_type.split("|")))
    if "~" in record.type:
        return f"the one answer of type {types} by its token"
    return f"an event of type {types}" + (", also one sent to its key" if "=" in record.type else "")


def unmatched(seen: Standing) -> tuple[Reason, ...]:
    """The hint that it keeps events of types that nothing waits for: a slip of the pen, now and then."""
    awaited = {name for one in seen.records if isinstance(one, OpenWait) for name in one.listens}
    kept = [(type_of(name), count) for name, count in (seen.mail or {}).items() if name not in awaited]
    strange = {type: sum(count for other, count in kept if other == type) for type, _ in kept}
    if not strange:
        return ()
    shown = [f"{count} event{'s' * (count != 1)} of type {quoted(type)}" for type, count in strange.items()]
    more = f", and of {len(shown) - MAIL_SHOWN} more types" if len(shown) > MAIL_SHOWN else ""
    sentence = f"The mailbox holds {', '.join(shown[:MAIL_SHOWN])}{more}, which nothing waits for."
    return (Reason.of("hint.event-type", sentence, types=strange),)


def _retry(seen: Standing, record: OpenStep) -> Reason:
    due, most = seen.due_ms(record), attempts_of(record)
    named = step_name(record)
    if record.failures:
        number, _, at, error = record.failures[-1]
        failed = f"Attempt {number} of {named} of {seen.instance.id} failed at {moment(at)} with {failed_with(error)}"
    else:
        failed = f"An attempt of {named} of {seen.instance.id} failed"
    which = f"{record.failed + 1} of {most}" if most is not None else f"attempt {record.failed + 1}"
    return Reason.of(
        "wait.retry",
        f"{failed.rstrip('.')}; it is tried again at {moment(due)} ({which}).",
        None,
        *last_attempt(record),
        step=record.name,
        count=record.count,
        failed=record.failed,
        attempts=most,
        until=iso(due),
    )


def with_childs_reason(reason: Reason, childs: Reason) -> Reason:
    """The same of a wait for another instance, with the first reason of that one, which is not followed further."""
    other = f"{reason.facts['workflow']}/{reason.facts['id']}"
    told = plain(childs.sentence)
    return replace(
        reason,
        sentence=f"{reason.sentence.rstrip('.')}. {other}: {told}",
        hints=(*reason.hints, replace(childs, hints=())) if childs.is_problem else reason.hints,
        facts={**reason.facts, "child": childs.as_dict()},
    )

"""What must hold of events (I6): each is kept until it is delivered, in order, and delivered once."""

from __future__ import annotations

from tests.invariants.programs import HIDDEN, fault_of
from tests.invariants.simulation.oracle import Oracle
from tests.invariants.simulation.seen import Seen, ordered
from tests.invariants.simulation.violation import demand
from tests.invariants.simulation.world import World
from workflows.storage import journal
from workflows.storage.records import OpenWait
from workflows.storage.store import unpackb
from workflows.values import codec, rejection


def check_i6_events_come_in_order(before: Seen, seen: Seen) -> None:
    """Of those that were delivered since."""
    new = seen.journal[len(before.journal) :]
    accepted = [unpackb(blob[journal.HEADER_BYTES :])[b"ac"] for blob in new if blob[1:2] == b"E"]
    demand(accepted == sorted(accepted), f"events were delivered at once in the order {accepted}")
    demand(not accepted or "at" not in seen.rest, f"events {accepted} were delivered before all is open")
    for type in seen.names if accepted else ():
        left = seen.queue("m", type)[:1] if seen.queue("w", type) else []
        demand(not left or left[0] > accepted[-1], f"event {accepted[-1]} was delivered before {left}")


def check_i6_an_event_is_kept_or_delivered_once(world: World, seen: Seen, oracle: Oracle) -> None:
    if seen.ended:
        return
    # Replay will ignore what a wait gets that has been cancelled for good.
    cancelled = oracle.prefixes[seen.position].cancelled
    withdrawn, _ = seen.staged()
    delivered: list[int] = []
    names: list[str] = []
    for at, blob in enumerate(seen.journal):
        # Those that a restart has kept are not of this mailbox.
        if blob[1:2] != b"E" or at < seen.begin:
            continue
        entry = journal.decode(blob)
        assert isinstance(entry, journal.EventReceived)
        # What a part of a decision will put back is not back yet.
        not_yet = entry.seq in withdrawn and f"g|{ordered(entry.seq)}|{at}" in seen.queues
        if (at in oracle.void_entries if at < seen.position else entry.seq in cancelled) and not not_yet:
            continue
        delivered.append(unpackb(blob[journal.HEADER_BYTES :])[b"ac"])
        names.append(entry.event_id)
        check_i6_an_event_is_what_was_sent(entry.event_id, entry.error)
    check_what_was_hidden_stays_hidden(seen)
    box = sorted(number for kind in seen.names for number in seen.queue("m", kind))
    kept = sorted(int(name[2:]) for name in seen.mail if name.startswith("e:"))
    demand(box == kept, f"the mailbox lists {box} and keeps {kept}")
    check_i6_it_is_known_where_an_event_went(seen, set(box), set(withdrawn))
    check_i6_a_token_has_one_answer(seen)
    accepted = int(seen.mail.get("n", b"0"))
    former = world.received.get((seen.instance.workflow, seen.instance.id, seen.generation), [])
    names += former
    # Answers by a token that came when its life was over are nobody's.
    dropped = world.dropped.get((seen.instance.workflow, seen.instance.id, seen.generation), [])
    names += dropped
    told = f"of {accepted} events, {delivered} were delivered, {box} wait, and former lives received {former}"
    told += f" and dropped {dropped}"
    demand(len(former) + len(dropped) + len(delivered) + len(box) == accepted, told)
    demand(bool(former or dropped) or sorted(delivered + box) == list(range(1, accepted + 1)), told)
    if seen.instance.workflow not in ("random", "types", "any", "keyed", "tokens", "answers", "heartbeats", "reborn"):
        demand(delivered == sorted(delivered), f"events were delivered in the order {delivered}")
    for number in box:
        kept_event = unpackb(seen.mail[f"e:{number}"])
        names.append(kept_event[b"ev"].decode())
        check_i6_an_event_is_what_was_sent(names[-1], kept_event.get(b"x"))
    demand(len(names) == len(set(names)), f"an event was accepted twice: {names}")
    for ev in world.answered.get((seen.instance.workflow, seen.instance.id, seen.generation), ()):
        demand(ev in names, f"{ev} was acknowledged and is gone")
    for kind in seen.names:
        waits = [record for record in seen.records.values() if isinstance(record, OpenWait)]
        waiters = sorted(record.seq for record in waits if kind in record.listens)
        listed = seen.queue("w", kind)
        demand(waiters == listed, f"{waiters} wait for {kind}, the queue says {listed}")
        if waiters and seen.queue("m", kind):
            demand("mail" in seen.rest, "mail beside an open wait")
            looked_for = {member.rpartition("|")[2] for member in seen.queues if member.startswith("c|")}
            demand(kind in looked_for, f"nobody will look for the mail of {kind}")


def check_what_was_hidden_stays_hidden(seen: Seen) -> None:
    """An event that a wait was given whose payload people are not shown, also when it has gone back."""
    hidden: set[bytes] = set()
    for body in [unpackb(blob[journal.HEADER_BYTES :]) for blob in seen.journal if blob[1:2] == b"E"]:
        if body[b"n"].decode() in HIDDEN:
            hidden.add(body[b"ev"])
        demand(body.get(b"se") or body[b"ev"] not in hidden, f"{body[b'ev']}, given to {body[b'n']}, is shown")
    kept = [unpackb(blob) for name, blob in seen.mail.items() if name.startswith("e:")]
    shown = {event[b"ev"] for event in kept if not event.get(b"se")}
    demand(not shown & hidden, f"{shown & hidden}, of the mailbox, was hidden")


def note_the_next_life(world: World, before: Seen, seen: Seen) -> None:
    """It has the mailbox of the one before it, and is told what that has received."""
    former, present = [(one.instance.workflow, one.instance.id, one.generation) for one in (before, seen)]
    told = [codec.decode(journal.decode_start(one.journal[0]).params).get("told", []) for one in (before, seen)]
    # What a restart from a step has kept is not of this mailbox.
    kept = [one.event_id for one in before.counting[: before.begin] if isinstance(one, journal.EventReceived)]
    received = [one.split()[-1] for one in told[1][len(told[0]) :] if one != "late"]
    received = [one for one in received if one not in kept]
    world.received[present] = world.received.get(former, []) + received
    world.answered[present] = list(world.answered[former])
    answers = [event for name, events in answers_of(before).items() if "~" in name for event in events]
    world.dropped[present] = world.dropped.get(former, []) + [one for one in answers if one not in received]


def check_i6_an_event_is_what_was_sent(name: str, error: bytes | None) -> None:
    fault = fault_of(name)
    demand(error == (None if fault is None else rejection.encode(fault)), f"{name} says that {error!r} has failed")


def check_i6_a_token_has_one_answer(seen: Seen) -> None:
    """Of all that were sent with it; and none of another life, unless a restart from a step has kept the wait."""
    for name, events in answers_of(seen).items():
        demand("~" not in name or len(events) <= 1, f"{name} was answered by {events}")


def answers_of(seen: Seen) -> dict[str, set[str]]:
    """What this life was sent, by the name that it was sent to, and still has in its mailbox or journal."""
    answers: dict[str, set[str]] = {}
    bodies = [unpackb(blob[journal.HEADER_BYTES :]) for blob in seen.journal[seen.begin :] if blob[1:2] == b"E"]
    for name, event in [(body[b"ty"].decode(), body[b"ev"].decode()) for body in bodies]:
        answers.setdefault(name, set()).add(event)
    for name in seen.names:
        kept = [unpackb(seen.mail[f"e:{number}"])[b"ev"].decode() for number in seen.queue("m", name)]
        answers.setdefault(name, set()).update(kept)
    return answers


def check_i6_it_is_known_where_an_event_went(seen: Seen, box: set[int], withdrawn: set[int]) -> None:
    """Of each event in an entry that is not decided over it is known where it went, unless it was put back."""
    delivered: dict[int, int] = {}
    last: dict[int, int] = {}
    for at, blob in enumerate(seen.journal):
        if blob[1:2] == b"E" and at >= seen.begin:
            body = unpackb(blob[journal.HEADER_BYTES :])
            last[body[b"ac"]] = at
            if at >= seen.position:
                delivered[at] = body[b"ac"]
    wanted = sorted(at for at, number in delivered.items() if last[number] == at and number not in box)
    notes = [member.split("|") for member in seen.queues if member.startswith("g|")]
    noted = sorted(int(at) for _, seq, at in notes if int(at) >= seen.position or int(seq[1:]) not in withdrawn)
    demand(noted == wanted, f"events are noted in the entries {noted}, not {wanted}")

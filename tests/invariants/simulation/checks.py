"""What must hold after every step, by invariant."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import Any

from tests.invariants.programs import ENTITIES, FLAKY, POLLS, PUBLISHES
from tests.invariants.simulation import bells, reading, scheduling, streamed
from tests.invariants.simulation.cancelled import (
    check_a_request_stands_in_the_journal,
    check_i5_a_timer_says_when_it_is_to_end,
    check_it_is_ended_in_its_time,
    check_the_end_of_one_that_was_asked,
)
from tests.invariants.simulation.explained import check_why_it_stands_where_it_stands
from tests.invariants.simulation.mail import (
    check_i6_an_event_is_kept_or_delivered_once,
    check_i6_events_come_in_order,
    note_the_next_life,
)
from tests.invariants.simulation.oracle import Oracle, Prefix
from tests.invariants.simulation.parting import check_a_child_is_ended_once, check_no_child_is_left_behind
from tests.invariants.simulation.places import check_places
from tests.invariants.simulation.seen import Answer, Seen, State, state_of
from tests.invariants.simulation.slots import check_i13_slots
from tests.invariants.simulation.undone import check_what_was_begun_is_undone_in_reverse
from tests.invariants.simulation.violation import Violation, demand
from tests.invariants.simulation.world import World
from workflows.replay.replay import Raised, Returned
from workflows.storage import journal
from workflows.storage.records import Open, OpenSleep, OpenStep, OpenWait
from workflows.storage.status import TRANSITIONS, Status
from workflows.values import codec, failure

# What may have happened to an instance in one step of each sort; `status.TRANSITIONS` says where that may lead.
HAPPENINGS = {
    "claim": ("begin",),
    "work": ("decide", "settle", "pause", "stall", "continue_as"),
    "drain": ("decide", "settle", "pause", "stall", "continue_as"),
    "fire": ("wake", "expire"),
    "relay": ("wake", "begin", "grant", "cancel", "terminate"),
    "event": ("wake",),
    "alone": ("decide", "settle", "pause", "stall", "continue_as"),
    "crash": ("stall", "settle"),
    "reap": ("stall", "settle"),
    "freeze": ("stall", "settle"),
    "pause": ("pause",),
    "resume": ("resume",),
    "terminate": ("terminate",),
    "rollback": ("terminate",),
    "cancel": ("cancel",),
    "restart": ("restart",),
    "cut": ("restart",),
    "continue": ("wake", "settle", "pause", "grant"),
    "deploy": ("begin", "decide", "settle", "pause", "wake", "stall", "resume", "continue_as"),
    "look": (),
    "stand": ("terminate",),
    "hold": (),
    "say": (),
    "beat": (),
    "sweep": ("limit",),
    "limit": (),
    "admit": ("limit",),
    "garbage": ("limit",),
    "tidy": ("wake", "limit", "cancel", "terminate"),
}


def look(world: World, kind: str) -> State:
    """Read everything, and check everything."""
    state = reading.read(world)
    check_places(world, state)
    bells.check(world, kind, state)
    check_i13_slots(world, kind, state)
    scheduling.check(world, state)
    check_no_child_is_left_behind(world, state)
    for key, seen in state.instances.items():
        try:
            check_step(world, kind, world.before.get(key), seen)
            check_instance(world, state, seen)
            check_why_it_stands_where_it_stands(world, state, seen)
            streamed.check(world, state, seen)
        except Violation as error:
            raise Violation(f"{key[0]} {key[1]}: {error}") from error
    world.before = state.instances
    return state


def check_step(world: World, kind: str, before: Seen | None, seen: Seen) -> None:
    """What may have become of an instance by one thing that happened."""
    if before is None or kind == "REWIND":
        return
    if before.generation == seen.generation:
        check_i3_the_journal_only_grows(before, seen)
        for blob in seen.journal[len(before.journal) :]:
            check_i5_no_timer_fires_early(world, before, blob)
            check_i1_a_result_is_of_who_held_the_step(before, blob)
        check_i6_events_come_in_order(before, seen)
        check_a_poll_that_is_over_looks_no_more(world, before, seen)
        check_i5_paused_time_stands_still(world, before, seen)
        check_i1_details_are_of_who_holds_the_step(world, before, seen)
        if seen.is_rolling_back and not before.is_rolling_back:
            demand(not seen.text("want"), "it is rolled back while its time stands still")
    elif kind not in ("restart", "cut"):
        demand(seen.instance.workflow in ENTITIES, f"a new generation by {kind}")
        note_the_next_life(world, before, seen)
        if seen.instance.workflow == PUBLISHES:
            check_a_life_begins_with_the_values_of_the_one_before(before, seen)
        check_i3_a_restart_keeps_what_it_says(before, seen)
    else:
        check_i3_a_restart_keeps_what_it_says(before, seen)
        demand(not seen.values, f"{seen.values} of a former life after a restart")
    check_it_is_ended_in_its_time(world, kind, before, seen)
    check_a_child_is_ended_once(world, kind, before, seen)
    check_i2_the_status_moves_along_the_table(kind, before, seen)


def check_i3_the_journal_only_grows(before: Seen, seen: Seen) -> None:
    demand(seen.journal[: len(before.journal)] == before.journal, "the journal was rewritten")
    demand(seen.position >= before.position, "the decided position went back")
    demand(not before.ended or seen.status == before.status, f"{before.status} was left for {seen.status}")


def check_i3_a_restart_keeps_what_it_says(before: Seen, seen: Seen) -> None:
    """All or nothing of the journal, and of its answers those to what was asked for before the step."""
    demand(seen.position == 0, "a new life begins with a decision behind it")
    if not seen.cuts:
        # A life that goes on as another leaves it that it is to end.
        former = [blob for blob in seen.journal[1:] if blob[1:2] != b"K"]
        demand(not former, "something of a former life counts after a restart")
        return
    cut = seen.cuts[-1]
    demand(seen.journal[1:] == before.journal[1:], "the journal was rewritten")
    demand(cut.upto == len(seen.journal), "a cut ends elsewhere than the journal")
    counting = list(takewhile(lambda entry: not isinstance(entry, journal.CancelRequested), before.counting))
    last = {entry.seq: entry for entry in counting if isinstance(entry, Answer) and entry.seq < cut.seq}
    events = {entry.name_of_event: entry.seq for entry in last.values() if isinstance(entry, journal.EventReceived)}
    kept = {entry.seq: entry for entry in seen.counting if isinstance(entry, Answer)}
    for seq, entry in last.items():
        is_elsewhere = isinstance(entry, journal.EventReceived) and events[entry.name_of_event] != seq
        demand(kept.get(seq) == (None if is_elsewhere else entry), f"a restart from {cut.seq} lost or changed {entry}")
    demand(kept.keys() <= last.keys(), f"a restart from {cut.seq} kept {sorted(kept)}")


def check_i5_no_timer_fires_early(world: World, before: Seen, blob: bytes) -> None:
    entry = journal.decode(blob)
    if isinstance(entry, journal.Settled) and entry.name == POLLS and entry.error is not None:
        asked = before.records[entry.seq].asked
        demand(world.clock.ms >= asked + 25_000, "a poll gave up before its time")
    if isinstance(entry, journal.Slept | journal.TimedOut) and entry.seq in before.records:
        due = before.moment_of(before.records[entry.seq])
        demand(world.clock.ms >= due, f"timer {entry.name} fired {due - world.clock.ms} ms early")
        check_silence_is_told_from_a_timeout(world, before, entry)


def check_silence_is_told_from_a_timeout(world: World, before: Seen, entry: journal.Slept | journal.TimedOut) -> None:
    record = before.records[entry.seq]
    if isinstance(record, OpenWait) and isinstance(entry, journal.TimedOut):
        demand(entry.is_silent == (record.silent_at is not None), f"{entry} of {record}")
    if isinstance(entry, journal.TimedOut) and entry.is_silent:
        key = (before.instance.workflow, before.instance.id, before.generation, entry.seq)
        silent_ms = world.clock.ms - world.heard.get(key, 0)
        demand(silent_ms >= entry.timeout_ms, f"{entry.name} ended {silent_ms} ms after a heartbeat")


def check_a_poll_that_is_over_looks_no_more(world: World, before: Seen, seen: Seen) -> None:
    for seq, record in seen.records.items():
        if record.name == POLLS and state_of(record) == "back" and state_of(before.records[seq]) != "back":
            demand(world.clock.ms < record.asked + 25_000, f"step {seq} looks again although its time is over")


def check_i1_a_result_is_of_who_held_the_step(before: Seen, blob: bytes) -> None:
    entry = journal.decode(blob)
    if isinstance(entry, journal.Settled) and entry.value is not None:
        # Between two looks nobody can claim a step and settle it too.
        token = codec.decode(entry.value)["by"]
        demand(
            getattr(before.records.get(entry.seq), "token", None) == token,
            f"step {entry.seq}: a result nobody waits for",
        )


def check_i1_details_are_of_who_holds_the_step(world: World, before: Seen, seen: Seen) -> None:
    for seq, record in seen.records.items():
        former = before.records.get(seq)
        if not isinstance(record, OpenStep) or not isinstance(former, OpenStep):
            continue
        said = codec.decode(record.details) if record.details else None
        if record.details != former.details:
            demand(
                said is not None and former.token in ("", said["by"]),
                f"step {seq} has {said}, and was held by {former.token}",
            )
        if record.failed > former.failed and former.token in world.told and former.name == FLAKY:
            demand(
                said is not None and (said["n"] == world.told[former.token] or record.deaths or record.losses),
                f"step {seq} has failed and has {said}, its attempt has said {world.told[former.token]}",
            )


def check_i5_paused_time_stands_still(world: World, before: Seen, seen: Seen) -> None:
    if before.text("want") and not seen.text("want") and not seen.ended:
        stood = float(seen.text("stood")) - float(before.text("stood") or 0)
        demand(stood == world.clock.ms - float(before.text("paused_at")), f"time stood still for {stood} ms")


def check_i2_the_status_moves_along_the_table(kind: str, before: Seen, seen: Seen) -> None:
    if before.status != seen.status or before.generation != seen.generation:
        allowed = _reachable(before.status, HAPPENINGS.get(kind, ()))
        demand(seen.status in allowed, f"{before.status} became {seen.status} by {kind}")


def check_instance(world: World, state: State, seen: Seen) -> None:
    """What must hold of an instance whatever has happened."""
    oracle = oracle_of(world, seen)
    check_i1_a_step_has_one_result(seen, oracle)
    check_i7_results_are_of_what_the_journal_says(seen, oracle)
    if not seen.is_rolling_back:
        check_i6_an_event_is_kept_or_delivered_once(world, seen, oracle)
    check_what_was_begun_is_undone_in_reverse(seen, oracle)
    check_a_request_stands_in_the_journal(seen)
    check_i5_a_timer_says_when_it_is_to_end(state, seen)
    check_the_end_of_one_that_was_asked(seen, oracle)
    prefix = oracle.prefixes[seen.position]
    check_i7_what_is_shown_was_published_by_what_is_decided(seen, oracle)
    if seen.ended:
        check_i8_nothing_is_left_of_what_has_ended(seen)
        check_i12_what_is_left_over_is_known(state, seen)
        check_i7_the_end_is_that_of_run(seen, prefix)
        return
    demand(prefix.end is None or seen.is_rolling_back, "run() has ended, the instance has not")
    is_contradicted = world.is_short and seen.instance.workflow == "shortened"
    demand(seen.text("want") != "park" or is_contradicted, f"parked: {seen.text('reason')}")
    if "clear" in seen.rest:
        check_i12_what_is_left_over_is_known(state, seen)
        demand(not seen.text("turn"), "a turn while what is open is taken back")
        return  # what is open is being taken back
    wanted = check_i7_open_is_what_run_waits_for(seen, oracle)
    for seq, record in seen.records.items():
        if seq in wanted:
            check_i10_a_record_is_moved_by_something(world, state, seen, seq, record)
    check_i10_what_is_due_is_handed_out(seen)
    check_i12_what_is_left_over_is_known(state, seen)
    check_i2_the_status_follows_from_the_facts(seen)
    check_i4_what_is_undecided_has_one_turn(state, seen)


def check_i7_what_is_shown_was_published_by_what_is_decided(seen: Seen, oracle: Oracle) -> None:
    own = {name: value for name, value in seen.values.items() if value.n}
    prefixes = oracle.prefixes[: seen.position + 1]
    if any(blob[1:2] == b"R" for blob in seen.journal):
        # A rollback that somebody asks for takes what nobody has decided over for decided.
        demand(any(own == prefix.published for prefix in prefixes), f"{own} is shown, run() has never published that")
    else:
        demand(own == prefixes[-1].published, f"{own} is shown, run() has published {prefixes[-1].published}")
    handed_on = seen.values.keys() - own.keys()
    demand(not handed_on or seen.instance.workflow in ENTITIES, f"{handed_on} is of no earlier life")


def check_a_life_begins_with_the_values_of_the_one_before(before: Seen, seen: Seen) -> None:
    told = codec.decode(journal.decode_start(seen.journal[0]).params)["told"]
    shown = {name: (value.n, codec.decode(value.blob)) for name, value in seen.values.items()}
    demand(shown.get("told") == (0, told), f"{shown} is shown, earlier lives have told {told}")
    demand(shown.get("first") in (None, (0, told[0])), f"{shown} is shown, earlier lives have told {told}")
    demand(before.values.keys() <= shown.keys(), "a value is lost with the life that published it")


def check_i8_nothing_is_left_of_what_has_ended(seen: Seen) -> None:
    left = seen.mail or seen.queues or seen.text("turn") or seen.text("want")
    demand(not left, "something is left of an ended instance")
    # A walk may have met the last of them without knowing it.
    demand(not seen.records or "clear" in seen.rest, "open records of an ended instance")
    demand(int(seen.text("act") or 0) == 0, "a counter of an ended instance")


def check_i7_open_is_what_run_waits_for(seen: Seen, oracle: Oracle) -> set[int]:
    """Returns: what a replay waits for."""
    records, prefix = seen.records, oracle.prefixes[seen.position]
    if seen.is_rolling_back and seen.journal[seen.position :][:1] and seen.journal[seen.position][1:2] == b"R":
        demand(not records, f"{sorted(records)} are open when handlers begin")
        return set()
    # A void answer in the tail may be of a wait that is open again: it was detached, and is awaited once more.
    late = (
        {
            journal.decode(blob).seq  # type: ignore[union-attr]
            for at, blob in enumerate(seen.journal)
            if at >= seen.position and blob[1:2] not in (b"0", b"W", b"R", b"K")
        }
        - {seq for seq in oracle.void_steps(seen.position) if seq in records}
    )
    wanted = {seq: told for seq, told in prefix.pending.items() if seq not in late}
    withdrawn, opened = seen.staged()
    expected_records = (set(records) - set(withdrawn)) | opened
    demand(expected_records == set(wanted), f"open are {sorted(expected_records)}, run() waits for {sorted(wanted)}")
    for seq, record in records.items():
        if seq not in wanted:
            continue
        told = (record.kind, record.name, record.count)
        demand(told == wanted[seq][:3], f"record {seq} is {told}, run() asked for {wanted[seq]}")
    return set(wanted)


def check_i10_what_is_due_is_handed_out(seen: Seen) -> None:
    active, want = active_of(seen), seen.text("want")
    demand(int(seen.text("act") or 0) == active, f"act is {seen.text('act')}, {active} are ready or held")
    due = sorted(seq for seq, record in seen.records.items() if state_of(record) == "due")
    demand(due == seen.queue("d"), f"due are {due}, queued are {seen.queue('d')}")
    demand(want or not due or "due" in seen.rest, f"{due} are due and nobody hands them out")


def check_i2_the_status_follows_from_the_facts(seen: Seen) -> None:
    active, turn = active_of(seen), seen.text("turn")
    if seen.text("want"):
        demand(not turn, "a turn while paused")
        is_ready = any(state_of(record) == "ready" for record in seen.records.values())
        demand(not is_ready or "walk" in seen.rest, "handed out while paused")
        expected = Status.WAITING_FOR_PAUSE if active else Status.PAUSED
    elif seen.lacks_slot:
        expected = Status.QUEUED if seen.slot and seen.slot.state == "a" else Status.WAITING
    elif not seen.text("started"):
        expected = Status.QUEUED
    else:
        goes_on = turn or active or seen.rest.keys() & {"due", "at", "mail"}
        expected = Status.RUNNING if goes_on else Status.WAITING
    demand(seen.status == expected, f"is {seen.status}, should be {expected}")


def check_i4_what_is_undecided_has_one_turn(state: State, seen: Seen) -> None:
    want, turn = seen.text("want"), seen.text("turn")
    undecided = len(seen.journal) > seen.position
    demand(want or turn or not undecided or "at" in seen.rest or seen.lacks_slot, "undecided entries, and nobody woken")
    token = seen.rest.get("token", b"").decode()
    demand(not token or turn.endswith(token), "parts of a decision whose turn is lost")
    demand("at" not in seen.rest or not turn, "a turn beside a decision that is not applied whole")
    queue = seen.text("queue") or "default"
    member = f"t|{seen.instance.workflow}|{seen.instance.id}|{seen.generation}|0|{turn[2:]}|{queue}"
    if turn.startswith("r|"):
        demand(member in state.intents, "a turn without its intent")
    elif turn:
        _, worker, token = turn.split("|")
        holds = f"{worker}|t|{seen.instance.workflow}|{seen.instance.id}|{seen.generation}|0|{token}"
        demand(holds in state.held, "a turn without its holder")


def active_of(seen: Seen) -> int:
    """How many steps are ready or held."""
    return sum(state_of(record) in ("ready", "held") for record in seen.records.values())


def check_i10_a_record_is_moved_by_something(world: World, state: State, seen: Seen, seq: int, record: Open) -> None:
    who = f"{seen.instance.workflow}|{seen.instance.id}|{seen.generation}|{seq}"
    match record:
        case OpenStep(state="ready"):
            rung = f"a|{who}|{record.intent}|{record.queue}" in state.intents
            demand(rung or "walk" in seen.rest, f"step {seq} is ready without an intent")
        case OpenStep(state="held"):
            blamed = world.blamed[seen.instance.workflow, seen.instance.id, seen.generation, seq]
            demand(
                record.deaths <= 1 + blamed,
                f"step {seq} has {record.deaths} deaths to its name, {blamed} of them its own",
            )
            demand(f"{record.by}|a|{who}|{record.token}" in state.held, f"step {seq} is held by nobody")
        case OpenSleep() | OpenWait() | OpenStep(state="back"):
            kind = {"sleep": "s", "wait": "w", "do": "b", "rb": "b"}[record.kind]
            armed = f"{kind}|{who}" in state.timers
            demand(armed or seen.text("want") or "walk" in seen.rest, f"step {seq} waits without a timer")


def check_i12_what_is_left_over_is_known(state: State, seen: Seen) -> None:
    member = f"i|{seen.instance.workflow}|{seen.instance.id}|{seen.generation}"
    demand((member in state.unfinished) == seen.unfinished, f"{seen.rest} and unfinished are {state.unfinished}")
    parts = sum(name.startswith("p:") for name in seen.mail)
    expected = seen.rest.get("parts", 0) - seen.rest.get("at", 1) + 1
    demand(parts == expected, f"{parts} parts of a decision, {expected} are to be applied")


def check_i1_a_step_has_one_result(seen: Seen, oracle: Oracle) -> None:
    demand(0 <= seen.position <= len(seen.journal), "the position is outside the journal")
    answered: set[int] = set()
    for at, entry in answers_of(seen):
        if at not in oracle.void_entries:
            demand(entry.seq not in answered, f"two results for step {entry.seq}")
            answered.add(entry.seq)


def check_i7_results_are_of_what_the_journal_says(seen: Seen, oracle: Oracle) -> None:
    for at, entry in answers_of(seen):
        if isinstance(entry, journal.Settled) and entry.value is not None:
            value = codec.decode(entry.value)
            is_kept = at < seen.begin
            demand(is_kept or value["gen"] == seen.generation, f"step {entry.seq} has the result of a former life")
            expected = oracle.expected_inputs.get(entry.seq, ())
            demand(
                value["in"] == list(expected),
                f"step {entry.seq} was computed from {value['in']}, the journal has {list(expected)}",
            )


def answers_of(seen: Seen) -> Iterator[tuple[int, Any]]:
    """The entries that answer something run() has asked for, with their places."""
    for at, entry in enumerate(seen.counting):
        if isinstance(entry, Answer):
            yield at, entry


def check_i7_the_end_is_that_of_run(seen: Seen, prefix: Prefix) -> None:
    if seen.status is Status.COMPLETE:
        demand(isinstance(prefix.end, Returned), "complete, but run() has not returned")
        assert isinstance(prefix.end, Returned)
        stored = codec.decode(seen.outcome[b"v"])
        demand(stored == codec.decode(codec.encode(prefix.end.value, what="")), f"the output is {stored}")
    elif seen.status is Status.ERRORED:
        from_outside = failure.Failure.from_blob(seen.outcome[b"x"]).name in ("StalledError", "InstanceTimeout")
        demand(isinstance(prefix.end, Raised) or from_outside, "errored, but run() has not raised")


def oracle_of(world: World, seen: Seen) -> Oracle:
    key = (seen.instance.workflow, seen.instance.id, seen.generation)
    oracle = world.oracles.get(key)
    if oracle is None or oracle.blobs != seen.journal[: len(oracle.blobs)]:
        if oracle is not None:
            oracle.close()
        oracle = world.oracles[key] = Oracle(seen)
    # An end from outside withdraws what run() still waits for, and nothing replays that.
    for blob in seen.journal[len(oracle.blobs) : max(seen.position, seen.begin) if seen.ended else None]:
        oracle.feed(blob)
    return oracle


def _reachable(status: Status, happenings: tuple[str, ...]) -> set[Status]:
    found = {status}
    while True:
        more = {
            after
            for before in found
            for happening in happenings
            for after in TRANSITIONS.get((before, happening), frozenset())
        }
        if more <= found:
            return found
        found |= more

"""Replay laws that hold for any workflow and any order of answers (I7).

A random program is run by the model in ``protocol.py``. Whatever happens, replaying that journal must not depend on how
it is cut into pieces, and the records must be those that the replay is waiting for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.invariants.protocol import Protocol, facts, histories, new_replay, programs
from workflows.replay.replay import Snapshot, delta
from workflows.storage.cuts import kept
from workflows.storage.journal import Start

slow = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(histories(), st.data())
@slow
def test_replay_does_not_depend_on_how_the_journal_is_cut(history: Any, data: st.DataObject) -> None:
    program, journal = history
    at_once = new_replay(program)
    at_once.feed(journal)
    one_by_one = new_replay(program)
    for entry in journal:
        one_by_one.feed([entry])
        one_by_one.snapshot()
    in_chunks = new_replay(program)
    position = 0
    while position < len(journal):
        size = data.draw(st.integers(1, len(journal) - position))
        in_chunks.feed(journal[position : position + size])
        position += size
    assert facts(at_once) == facts(one_by_one) == facts(in_chunks)
    for replay in (at_once, one_by_one, in_chunks):
        replay.close()


@given(histories())
@slow
def test_replaying_a_prefix_asks_for_a_prefix(history: Any) -> None:
    """What was asked by entry k is asked in the same order by any longer replay (I7)."""
    program, journal = history
    longest = new_replay(program)
    longest.feed(journal)
    for length in range(len(journal) + 1):
        shorter = new_replay(program)
        shorter.feed(journal[:length])
        assert longest.asked[: len(shorter.asked)] == shorter.asked
        shorter.close()
    longest.close()


@given(histories())
@slow
def test_deltas_add_up(history: Any) -> None:
    """Opening and withdrawing by deltas, turn by turn, gives what one delta over all of them gives."""
    program, journal = history
    replay = new_replay(program)
    before: Snapshot | None = None
    opened: set[int] = set()
    for entry in journal:
        replay.feed([entry])
        after = replay.snapshot()
        change = delta(before, after)
        assert change == delta(
            replace(before, asked=None) if before else Snapshot(), after
        )  # the short way is the long one
        before = after
        opened = (opened - set(change.withdrawn)) | set(change.opened)
        opened &= set(after.pending)
    assert opened == set(replay.snapshot().pending)
    replay.close()


@given(st.data())
@slow
def test_a_restart_from_a_step_keeps_what_was_asked_before_it_and_nothing_else(data: st.DataObject) -> None:
    protocol = Protocol(data.draw(programs))
    protocol.turn(1)
    for _ in range(data.draw(st.integers(1, 3))):
        protocol.go_on(data.draw, 15)
        former, asked_before = protocol.replay, [command.seq for command in protocol.replay.asked]
        if not asked_before:
            return
        seq = data.draw(st.sampled_from(asked_before))
        counted = [entry for entry in kept(protocol.journal) if entry is not None and not isinstance(entry, Start)]
        protocol.restart_from(seq)
        counting = [entry for entry in kept(protocol.journal) if entry is not None and not isinstance(entry, Start)]
        protocol.turn(len(protocol.journal))
        protocol.check_records()
        present = protocol.replay
        assert [entry for entry in counting if entry not in counted] == []
        assert max([entry.seq for entry in counting], default=0) < seq
        assert present.asked[:seq] == former.asked[:seq]
        for number, entry in former.taken.items():
            if number < seq:
                assert present.taken.get(number) == entry or _is_given_up(present, number)
        assert not [one for one, command in protocol.records.items() if command.kind == "do" and one in present.taken]


def _is_given_up(replay: Any, seq: int) -> bool:
    return replay.end is not None or seq in replay.snapshot().gone or replay.is_cancelled(seq)

"""What still counts of a journal after restarts from a step."""

from __future__ import annotations

from typing import Any

from workflows.storage.cuts import generation_at, kept
from workflows.storage.journal import Cut, EventReceived, Settled, Start, TimedOut, Withdrawn

AT = 1_800_000_000_000


def journal_of(*entries: Any, cuts: tuple[Cut, ...]) -> list[Any]:
    return [Start(AT, cuts=cuts), *entries]


def settled(seq: int) -> Settled:
    return Settled(seq, f"s{seq}", 1, AT, value=b"")


def received(seq: int, event: str) -> EventReceived:
    return EventReceived(seq, f"w{seq}", 1, AT, type="t", sent_at_ms=AT, event_id=event, number=1)


def test_a_journal_without_cuts_counts_whole() -> None:
    journal = journal_of(settled(1), Withdrawn(2, "s2", 1, AT), settled(3), cuts=())
    assert kept(journal) == journal


def test_a_cut_leaves_out_its_step_and_those_asked_for_after_it_up_to_where_it_was_made() -> None:
    journal = journal_of(settled(2), settled(1), settled(3), settled(2), cuts=(Cut(4, 2, "g1"),))
    assert kept(journal) == [journal[0], None, journal[2], None, journal[4]]


def test_a_cut_leaves_out_what_was_given_up() -> None:
    """It may have been given up because of what is left out."""
    journal = journal_of(Withdrawn(1, "s1", 1, AT), settled(2), cuts=(Cut(3, 3, "g1"),))
    assert kept(journal) == [journal[0], None, journal[2]]


def test_each_cut_counts_for_what_was_there_when_it_was_made() -> None:
    journal = journal_of(settled(1), settled(2), settled(2), settled(3), cuts=(Cut(3, 2, "g1"), Cut(5, 3, "g2")))
    assert kept(journal) == [journal[0], journal[1], None, journal[3], None]


def test_of_several_answers_to_one_step_the_last_one_counts() -> None:
    """The others came while nobody waited for them."""
    late = TimedOut(1, "w1", 1, AT, timeout_ms=5)
    journal = journal_of(late, settled(2), received(1, "e1"), cuts=(Cut(4, 3, "g1"),))
    assert kept(journal) == [journal[0], None, journal[2], journal[3]]


def test_an_event_that_went_on_to_another_wait_counts_there_alone() -> None:
    journal = journal_of(received(1, "e1"), settled(3), received(2, "e1"), cuts=(Cut(4, 4, "g1"),))
    assert kept(journal) == [journal[0], None, journal[2], journal[3]]


def test_two_events_with_one_number_are_two_in_two_lives() -> None:
    journal = journal_of(received(1, "e1"), received(2, "e2"), cuts=(Cut(3, 3, "g1"),))
    assert kept(journal) == journal


def test_what_is_drawn_before_a_step_belongs_to_the_life_that_first_asked_for_it() -> None:
    cuts = (Cut(5, 2, "g1"), Cut(9, 4, "g2"))
    assert [generation_at(cuts, asked, "g3") for asked in range(6)] == ["g1", "g1", "g2", "g2", "g3", "g3"]

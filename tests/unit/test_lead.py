"""Whoever has something for the engine does its work, one thread at a time, and nothing is left lying."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from worker.arrivals import Arrival, Arrivals, Lost
from worker.lead import Lead

PATIENCE_SECONDS = 10.0
ONE, TWO, THREE = (Lost(frozenset({name})) for name in ("one", "two", "three"))


class Work:
    """What is done in the lead: it is noted, and what a test wants to happen meanwhile happens."""

    def __init__(self, *, shared: bool = True) -> None:
        self.arrivals = Arrivals()
        self.done: list[list[Arrival]] = []
        self.threads: list[threading.Thread] = []
        self.meanwhile: Callable[[], Any] = lambda: None
        self.is_wanted = False
        self.is_last = False
        self._at_work = threading.Lock()
        self.lead = Lead(self.arrivals, self._work, lambda: self.is_wanted, shared=shared)

    def _work(self, batch: list[Arrival]) -> bool:
        with_nobody_else = self._at_work.acquire(blocking=False)
        assert with_nobody_else
        try:
            meanwhile, self.meanwhile = self.meanwhile, lambda: None
            meanwhile()
            self.done.append(batch)
            self.threads.append(threading.current_thread())
            return self.is_last
        finally:
            self._at_work.release()

    def bring(self, item: Arrival) -> None:
        self.arrivals.add(item)
        self.lead.join()


def in_another_thread(act: Callable[[], Any]) -> None:
    thread = threading.Thread(target=act)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()


def test_a_thread_that_brings_something_does_the_work_itself() -> None:
    work = Work()
    work.arrivals.add(ONE)
    work.bring(TWO)
    assert work.done == [[ONE, TWO]]
    assert work.threads == [threading.current_thread()]


def test_who_finds_another_at_work_leaves_it_what_was_brought_and_goes() -> None:
    work = Work()
    work.meanwhile = lambda: in_another_thread(lambda: work.bring(TWO))
    work.bring(ONE)
    assert work.done == [[ONE], [TWO]]
    assert set(work.threads) == {threading.current_thread()}


def test_what_is_brought_as_the_lead_is_given_up_is_not_left_lying(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the last look at what has arrived and the end of the lead: who brings it finds the lead taken."""
    work = Work()

    class Taken:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def acquire(self, *, blocking: bool) -> bool:
            return self.lock.acquire(blocking=blocking)

        def release(self) -> None:
            if len(work.done) == 1:
                in_another_thread(lambda: work.bring(TWO))
            self.lock.release()

    monkeypatch.setattr(work.lead, "_taken", Taken())
    work.bring(ONE)
    assert work.done == [[ONE], [TWO]]


def test_who_has_a_callback_to_run_leaves_the_rest_to_the_engines_own_thread() -> None:
    work = Work()

    def meanwhile() -> None:
        work.arrivals.add(TWO)
        work.is_wanted = True

    work.meanwhile = meanwhile
    work.bring(ONE)
    assert work.done == [[ONE]]
    assert work.arrivals.wait(0), "it is rung for"
    assert work.arrivals.waiting() == [TWO]


def test_who_has_a_callback_to_run_already_does_not_begin_to_lead() -> None:
    """It may block, and what came of the one before must not wait for it."""
    work = Work()
    work.is_wanted = True
    work.bring(ONE)
    assert work.done == []
    assert work.arrivals.wait(0), "it is rung for"


@pytest.mark.parametrize("shared", [True, False])
def test_the_engines_own_thread_does_what_it_is_rung_for_until_the_end(shared: bool) -> None:
    work = Work(shared=shared)
    own = threading.Thread(target=work.lead.keep, args=(lambda: None,))
    own.start()
    work.is_last = True
    work.arrivals.put(ONE)
    own.join(PATIENCE_SECONDS)
    assert not own.is_alive()
    work.bring(TWO)
    assert work.done == [[ONE]], "nobody leads after the end"


def test_the_engines_own_thread_does_everything_where_the_lead_is_not_shared() -> None:
    work = Work(shared=False)
    work.bring(ONE)
    assert work.done == []
    work.is_last = True
    work.lead.keep(lambda: None)
    assert work.done == [[ONE]]


def test_there_is_a_round_at_its_moment_although_nothing_has_arrived() -> None:
    work = Work()
    work.is_last = True
    work.lead.keep(lambda: 0.001)
    assert work.done == [[]]

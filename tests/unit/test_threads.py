"""Threads for plain callbacks: a thread that is free goes on with what waits, and is asked after each call."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from worker.threads import Threads

PATIENCE_SECONDS = 10.0


class Made:
    """Threads, and what they say after each call: whether they have another to run."""

    def __init__(self, size: int) -> None:
        self.said: list[bool] = []
        self.after: Callable[[], Any] = lambda: None
        self.deaths: list[str] = []
        self.threads = Threads(size, self._after, self.deaths.append)

    def _after(self) -> None:
        self.said.append(self.threads.has_call)
        after, self.after = self.after, lambda: None
        after()


def made(size: int) -> Iterator[Made]:
    one = Made(size)
    yield one
    one.threads.close()
    assert one.deaths == []


@pytest.fixture
def alone() -> Iterator[Made]:
    """One thread."""
    yield from made(1)


@pytest.fixture
def two() -> Iterator[Made]:
    """Two threads."""
    yield from made(2)


def test_a_thread_says_whether_a_call_waits_for_it_and_runs_that_next(alone: Made) -> None:
    first, done = threading.Event(), threading.Event()
    ran: list[str] = []
    alone.threads.submit(first.wait, PATIENCE_SECONDS)
    alone.threads.submit(ran.append, "second")
    alone.after = lambda: ran.append("after the first")
    alone.threads.submit(lambda _: done.set(), None)
    first.set()
    assert done.wait(PATIENCE_SECONDS)
    assert ran == ["after the first", "second"]
    assert alone.said[:2] == [True, True]


def test_what_a_thread_submits_after_a_call_it_runs_itself(two: Made) -> None:
    done = threading.Event()
    where: list[int] = []

    def note(_: object) -> None:
        where.append(threading.get_ident())
        if len(where) == 2:
            done.set()

    two.after = lambda: two.threads.submit(note, None)
    two.threads.submit(note, None)
    assert done.wait(PATIENCE_SECONDS)
    assert where[0] == where[1]
    assert not two.threads.are_mine


def test_what_more_a_thread_submits_does_not_wait_for_it(two: Made) -> None:
    release, done = threading.Event(), threading.Event()

    def after() -> None:
        two.threads.submit(release.wait, PATIENCE_SECONDS)
        two.threads.submit(lambda _: done.set(), None)

    two.after = after
    two.threads.submit(lambda _: None, None)
    try:
        assert done.wait(PATIENCE_SECONDS)
    finally:
        release.set()


def test_no_call_waits_for_one_that_blocks_while_there_is_another_thread(two: Made) -> None:
    """Also after a thread has taken up what another one was woken for."""
    for _ in range(50):
        release, done = threading.Event(), threading.Event()
        two.threads.submit(lambda _: None, None)
        two.threads.submit(release.wait, PATIENCE_SECONDS)
        two.threads.submit(lambda _, done=done: done.set(), None)  # type: ignore[misc]
        try:
            assert done.wait(PATIENCE_SECONDS)
        finally:
            release.set()


def test_calls_that_wait_for_each_other_have_a_thread_each() -> None:
    """Whoever is woken wakes the next, without waiting for what the first one takes."""
    count = 20
    for many in made(count):
        for _ in range(30):
            together, done = threading.Barrier(count), threading.Semaphore(0)

            def meet(_: object, together: threading.Barrier = together, done: threading.Semaphore = done) -> None:
                together.wait(PATIENCE_SECONDS)
                done.release()

            for _ in range(count):
                many.threads.submit(meet, None)
            assert all(done.acquire(timeout=PATIENCE_SECONDS) for _ in range(count))


def test_each_call_is_made_once_however_the_threads_are_interrupted() -> None:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for many in made(8):
            ran: list[int] = []
            done = threading.Semaphore(0)

            def note(number: int, ran: list[int] = ran, done: threading.Semaphore = done) -> None:
                ran.append(number)
                done.release()

            for number in range(2_000):
                many.threads.submit(note, number)
            assert all(done.acquire(timeout=PATIENCE_SECONDS) for _ in range(2_000))
            assert sorted(ran) == list(range(2_000))
    finally:
        sys.setswitchinterval(usual)

"""What blocks is told from what is kept from running. Time is an argument here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from worker import guardian as module
from worker.guardian import Guardian
from worker.patience import Patience
from workflows.clock import monotonic
from workflows.storage.keys import Instance

STALL_SECONDS = 2.0
INSTANCE = Instance(0, "orders", "o-1")


@pytest.fixture
def interrupts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Which exceptions were raised in the thread of ``run``; without raising them."""
    raised: list[Any] = []
    monkeypatch.setattr(module, "_interrupt", lambda thread, exception: raised.append(exception))
    return raised


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """How long the thread of ``run`` has computed."""
    used = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(module, "_cpu_seconds_of", lambda thread: used.seconds)
    return used


@pytest.fixture
def guardian(interrupts: list[Any], cpu: SimpleNamespace) -> Iterator[Guardian]:
    engine: Any = SimpleNamespace()
    yield Guardian(engine, STALL_SECONDS, pytest.fail)


@contextmanager
def watching(guardian: Guardian) -> Iterator[None]:
    guardian.begin(INSTANCE)
    yield
    guardian.end()


def look_for(guardian: Guardian, seconds: float, *, every: float, start: float) -> float:
    now = start
    while now < start + seconds:
        now += every
        guardian._look_at_run(now)
    return now


def test_a_run_that_blocks_is_interrupted(guardian: Guardian, interrupts: list[Any]) -> None:
    """It may compute or wait for the network: it is there at every look."""
    with watching(guardian):
        now = look_for(guardian, 1.9, every=0.02, start=monotonic())
        assert interrupts == []
        look_for(guardian, 0.2, every=0.02, start=now)
        assert interrupts == [module.RunStalled]
        assert guardian.stuck() == INSTANCE


def test_a_run_on_a_busy_machine_is_left_alone(guardian: Guardian, interrupts: list[Any]) -> None:
    """Who looks comes late himself, so the thread he looks at had no chance to go on either."""
    with watching(guardian):
        look_for(guardian, 10, every=0.5, start=monotonic())
        assert guardian.stuck() is None
    assert interrupts == []


def test_a_run_is_left_alone_after_a_pause_of_the_whole_machine(guardian: Guardian, interrupts: list[Any]) -> None:
    with watching(guardian):
        now = look_for(guardian, 0.1, every=0.02, start=monotonic())
        look_for(guardian, 0.1, every=0.02, start=now + 3600)
    assert interrupts == []


def test_a_run_that_computes_and_lets_nobody_look_is_interrupted(
    guardian: Guardian, interrupts: list[Any], cpu: SimpleNamespace
) -> None:
    with watching(guardian):
        now = look_for(guardian, 0.1, every=0.02, start=monotonic())
        cpu.seconds = 2.0
        guardian._look_at_run(now + 2.0)
        assert interrupts == [module.RunStalled]


def test_each_run_has_time_of_its_own(guardian: Guardian, interrupts: list[Any], cpu: SimpleNamespace) -> None:
    for _ in range(5):
        cpu.seconds += 1.5
        with watching(guardian):
            look_for(guardian, 1.5, every=0.02, start=monotonic())
    assert interrupts == []


def test_what_a_thread_has_computed_is_known_where_the_system_tells() -> None:
    if not hasattr(module.time, "pthread_getcpuclockid"):
        pytest.skip("the system does not tell")
    before = module._cpu_seconds_of(threading.current_thread())
    while module._cpu_seconds_of(threading.current_thread()) - before < 0.01:
        sum(range(1000))
    assert module._cpu_seconds_of(threading.Thread()) == 0.0


def test_patience_counts_a_late_look_for_a_moment_only() -> None:
    patience = Patience()
    patience.begin(100.0)
    assert patience.look(100.02) == pytest.approx(0.02)
    assert patience.look(200.0) == pytest.approx(0.08)
    patience.begin(300.0)
    assert patience.waited == 0.0

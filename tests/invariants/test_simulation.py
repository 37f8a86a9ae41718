"""Runs of the simulator: real scripts, real engine, every fault, one thread (see ``simulation``).

``SIM_SEED=17 pytest tests/invariants/test_simulation.py`` repeats one run; ``python -m tests.torture`` does many more.
"""

from __future__ import annotations

import os
import time
from itertools import count
from pathlib import Path

import pytest
import redis as redis_py

import orchestrator
import worker
import workflows
from tests.invariants.mutants import Undecided, hunt, mutants
from tests.invariants.simulation.run import play

SECONDS = 6.0
MUTANT_SECONDS = 10.0
SEEDS_MIN = 20


def seeds() -> list[int]:
    given = os.environ.get("SIM_SEED")
    return [int(given)] if given else []


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_every_invariant_holds_whatever_fails(redis: redis_py.Redis) -> None:
    """After each step of each run, and every instance comes to its end."""
    if seeds():
        for seed in seeds():
            play(redis, seed)
        return
    until = time.monotonic() + SECONDS
    for seed in count():
        play(redis, seed)
        if time.monotonic() > until and seed >= SEEDS_MIN:
            break


def test_a_seed_decides_everything_that_happens(redis: redis_py.Redis) -> None:
    """Otherwise a failure could not be repeated."""
    for seed in (3, 4):
        assert play(redis, seed).trace == play(redis, seed).trace


def test_every_defence_that_a_mutant_takes_away_is_there() -> None:
    """Else it would take four hundred runs to find out that the script has changed and the mutant changes nothing."""
    folders = [Path(package.__path__[0]) for package in (workflows, worker, orchestrator)]
    texts = [path.read_text() for folder in folders for path in folder.rglob("*.lua")]
    for mutant in mutants():
        for old, _ in mutant.changes:
            assert any(old in text for text in texts), f"{mutant.title}: {old!r} is in no script"


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_simulator_notices_when_a_defence_is_missing(redis: redis_py.Redis) -> None:
    """A handful a day; the long form hunts them all."""
    until = time.monotonic() + MUTANT_SECONDS
    found = mutants()
    start = int(time.time() // 86_400) * 7
    for offset in range(len(found)):
        mutant = found[(start + offset) % len(found)]
        try:
            assert hunt(redis, mutant, until=until) is not None, f"survived: {mutant.title}"
        except Undecided:
            break

"""What a seed decides before the first step."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from tests.invariants import programs


@dataclass(frozen=True, slots=True)
class Setup:
    """What a seed decided before the first step."""

    programs: tuple[str, ...]
    faults: int
    controls: tuple[str, ...]
    events: int
    steps: int
    warm: int
    shards: int
    rewind: bool
    deadly: bool
    slice: int
    garbage: bool = False


def setup_of(rng: random.Random) -> Setup:
    about_events = rng.random() < 0.35
    names = programs.WAITING if about_events else programs.NAMES
    kinds = ("pause", "restart", "cut", "terminate", "rollback")
    deadly = rng.random() < 0.15
    return Setup(
        programs=tuple(rng.choice(names) for _ in range(rng.choice((1, 1, 2, 3)))),
        faults=rng.choice((6, 9, 12) if deadly else (0, 0, 1, 2, 3, 6)),
        controls=tuple(rng.choices(kinds, (6, 2, 3, 1, 1), k=rng.choice((0, 0, 1, 2, 3)))),
        events=rng.choice((2, 3, 5) if about_events else (0, 1, 2)),
        steps=rng.randint(15, 60),
        warm=rng.choice((0, 1, 10_000, 10_000)),
        shards=rng.choice((1, 1, 1, 2)),
        rewind=rng.random() < 0.3,
        deadly=deadly,
        slice=rng.choice((2, 3, 200)),
    )


def meets(seed: int) -> bool:
    """Whether rollbacks, cuts and limits are to meet in this run; a choice of its own, which changes no other run."""
    return random.Random(f"meeting {seed}").random() < 0.15


def meeting(setup: Setup, chance: random.Random) -> Setup:
    """The same with what is needed for that: something to undo, and people who do not let it alone."""
    kinds = ("rollback", "cut", "pause", "restart", "terminate")
    return replace(
        setup,
        programs=tuple(chance.choice(("saga", "saga", "random")) for _ in setup.programs),
        controls=tuple(chance.choices(kinds, (4, 4, 2, 1, 1), k=chance.choice((2, 3, 4, 6)))),
    )

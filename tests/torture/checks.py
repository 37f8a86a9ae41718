"""What must be true of a ledger, whatever was done meanwhile."""

from __future__ import annotations

from collections.abc import Iterable

from tests.invariants.simulation.violation import demand
from tests.torture.faults import Faults
from tests.torture.ledger import Line


def keys_stand_for_one_step(lines: Iterable[Line]) -> int:
    """No idempotency key ever stood for two steps, nor for two pieces of work. Returns: how many keys there were."""
    known: dict[str, tuple[object, str]] = {}
    for line in lines:
        meant = known.setdefault(line.key, (line.step, line.work))
        demand(meant == (line.step, line.work), f"{line.key} stood for {meant}, then for {(line.step, line.work)}")
    return len(known)


def settled_is_settled(lines: list[Line], faults: Faults, hurt: Iterable[str]) -> int:
    """No step began after the step that needed its result had. Returns: how many steps were followed by another.

    Except where Redis has forgotten that result since, or a frozen process began late what others had done.
    """
    hurt = set(hurt)
    followed: dict[str, Line] = {}
    for line in lines:
        if line.what == "start":
            followed.setdefault(_former(line.key), line)
    for line in lines:
        after = followed.get(line.key)
        if line.what != "start" or after is None or line.at <= after.at or line.step[1] in hurt:
            continue
        excused = faults.threw_back(after.at, line.at) or faults.was_frozen(line.pid, 0, line.at)
        demand(excused, f"{line} began {line.at - after.at:.3f} s after {after}, which needed its result")
    return sum(1 for line in lines if line.what == "end" and line.key in followed)


def _former(key: str) -> str:
    """The step before this one, where steps of one name follow each other; '' for the first."""
    name, _, count = key.rpartition("/")
    return f"{name}/{int(count) - 1}" if int(count) > 1 else ""

"""Why does this instance not move? One answer, for the command line, JSON, pages and tests alike; pure.

What an instance says of itself comes first, then what it depends on. Without surroundings only the former is judged,
and what would need them counts as ordinary: ``needs_surroundings`` says when that would be too little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from workflows.insight import running, stopped
from workflows.insight.reason import CATALOGUE, Reason
from workflows.insight.running import LATE_MS
from workflows.insight.standing import Standing
from workflows.insight.surroundings import Surroundings
from workflows.insight.waiting import unmatched, waiting
from workflows.insight.wording import command
from workflows.storage.records import OpenStep, OpenWait

SAME_SHOWN = 5
"""How many reasons of one code are told one by one; how many more there are is told with the last of them."""
_BESIDE = ("rollback.running", "cancel.running")
"""These say what is going on, and not what moves it."""
_ORDER = {code: place for place, code in enumerate(CATALOGUE)}


def why(seen: Standing, around: Surroundings | None = None) -> list[Reason]:
    """Why an instance stands where it stands; at least one reason, unless it was read in part; what
    blocks most first.

    Args:
        around: what it depends on; None: not looked at.
    """
    if not seen.is_live:
        return list(stopped.ended(seen))
    if seen.text("want"):
        return list(stopped.standing_still(seen))
    reasons = _ordered(_moving(seen, around))
    if seen.is_partial or any(one.code not in _BESIDE for one in reasons):
        return _few(reasons)
    return [_stuck(seen, "nothing of it is open")]


def needs_surroundings(seen: Standing) -> bool:
    """Whether something should have happened to it by now, so that it depends on others why it has not."""
    if not seen.moves:
        return False
    if seen.slot is not None and seen.slot.state == "a":
        return False
    return any(one.age_ms > LATE_MS for one in running.unclaimed(seen)) or any(running.late(seen, seen.records))


def is_quiet(seen: Standing) -> bool:
    """Whether nothing about it is remarkable, as far as it says itself: then it need not be put into words."""
    if not seen.is_live:
        return seen.header.get("undone") in (None, b"complete")
    if not seen.moves:
        return seen.text("want") != "park"
    waits_for_slot = seen.slot is not None and seen.slot.state == "a"
    return not (waits_for_slot or seen.number("strikes") or needs_surroundings(seen))


def _moving(seen: Standing, around: Surroundings | None) -> Iterator[Reason]:
    if around is not None and around.full:
        yield Reason.of(
            "redis.memory",
            f"Redis is full and refuses what needs memory, so {seen.instance.id} and all others get nothing new.",
            "give Redis more memory (maxmemory) or delete instances; workflows doctor shows what there is",
        )
    yield from running.stalled(seen)
    untended = running.nobody_tends(seen, around)
    if untended is not None and not _is_in_hands(seen):
        yield untended
    waits_for_slot = seen.slot is not None and seen.slot.state in "-a"
    yield from running.limited(seen, around)
    if seen.is_unfinished:
        sentence = f"There is more to do in {seen.instance.id} than at once: it is gone on with slice by slice."
        yield Reason.of("run.unfinished", sentence)
    if seen.journal_length > seen.number("pos") and not (seen.text("turn") or seen.is_unfinished or waits_for_slot):
        yield _stuck(seen, "nobody is to decide what follows from its last entries")
    for waits in running.unclaimed(seen):
        if (
            around is not None
            and not seen.is_unfinished
            and any(member not in around.places for member in waits.members)
        ):
            yield _stuck(seen, f"on queue {waits.queue} nobody is to be told of {waits.what}")
        else:
            yield running.on_a_queue(seen, around, waits, untended is None)
    yield from running.held(seen, around)
    late = list(running.late(seen, seen.records)) if untended is None else []
    yield from late
    strange = unmatched(seen)
    for record in seen.records:
        timer = seen.timer(record)
        if around is not None and timer is not None and timer not in around.places and not seen.is_unfinished:
            yield _stuck(seen, f"no timer is armed for {record.name!r}")
        elif isinstance(record, OpenStep) and record.state == "due" and not (seen.is_unfinished or waits_for_slot):
            yield _stuck(seen, f"step {record.name!r} is not handed out")
        else:
            yield from waiting(seen, record, strange)
            strange = () if isinstance(record, OpenWait) else strange
    yield from running.cancelled(seen)
    if seen.header.get("rb") is not None:
        sentence = f"{seen.instance.id} is rolled back: the handlers of its steps undo what it did."
        yield Reason.of("rollback.running", sentence)


def _is_in_hands(seen: Standing) -> bool:
    """Whether all there is to do is being done by workers."""
    steps = [isinstance(one, OpenStep) and one.state == "held" for one in seen.records]
    return all(steps) and bool(steps or seen.holder) and not seen.text("turn").startswith("r|")


def _stuck(seen: Standing, what: str) -> Reason:
    return Reason.of(
        "stuck",
        f"{seen.instance.id} is {seen.status}, and nothing would move it: {what}.",
        "the sweep of an orchestrator mends that within a minute or two; please report it, with: "
        + command("instances describe", seen, "--json"),
        status=str(seen.status),
    )


def _ordered(reasons: Iterable[Reason]) -> list[Reason]:
    return sorted(reasons, key=lambda one: (not one.is_problem, _ORDER[one.code]))


def _few(reasons: list[Reason]) -> list[Reason]:
    """Without most of those that say the same of one step after the other."""
    counts = Counter(one.code for one in reasons)
    told: Counter[str] = Counter()
    found = []
    for one in reasons:
        told[one.code] += 1
        left = counts[one.code] - SAME_SHOWN
        if told[one.code] <= SAME_SHOWN:
            found.append(one)
        elif told[one.code] == SAME_SHOWN + 1:
            found.append(Reason.of(one.code, f"So it is with {left} more.", more=left))
    return found

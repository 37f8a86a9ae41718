"""What must hold of handlers: the journal alone says which ran, in which order, and how that ended."""

from __future__ import annotations

from tests.invariants.simulation.oracle import Oracle
from tests.invariants.simulation.seen import Seen
from tests.invariants.simulation.violation import demand
from workflows.storage import journal
from workflows.storage.records import OpenUndo
from workflows.storage.status import Status
from workflows.values.failure import Failure

CUT_SHORT = ("InstanceTerminated", "StalledError")


def check_what_was_begun_is_undone_in_reverse(seen: Seen, oracle: Oracle) -> None:
    """Each step that was begun with a handler, once, the last first; or the chain stopped, and the end says so."""
    begun: dict[int, tuple[str, int]] = {}
    left: list[tuple[str, int]] | None = None
    failed = False
    for entry in seen.counting:
        if isinstance(entry, journal.RollingBack):
            demand(left is None, "it is rolled back twice")
            left = [begun[seq] for seq in sorted(begun)]
        elif isinstance(entry, journal.Undone):
            demand(left and not failed, f"{entry.name} is undone, and nothing is to be undone any more")
            assert left
            demand((entry.name, entry.count) == left.pop(), f"{entry.name} is undone out of its order")
            failed = entry.error is not None
        elif isinstance(entry, journal.Settled | journal.Withdrawn) and entry.seq in oracle.handled:
            demand(entry.rollback, f"{entry.name} has a handler, and its entry does not say so")
            if not entry.attempts:
                continue
            demand(left is None, f"{entry.name} has ended, and others have been undone before")
            begun.setdefault(entry.seq, (entry.name, entry.count))
    handlers = [record for record in seen.records.values() if isinstance(record, OpenUndo)]
    if handlers:
        demand(left is not None and len(handlers) == len(seen.records) == 1, "handlers run beside other things")
        assert left is not None
        told = (handlers[0].name, handlers[0].count)
        demand(not failed and left[-1:] == [told], f"the handler of {told} is open, {left} are left")
    if seen.ended:
        check_the_end_says_how_that_ended(seen, bool(begun), left, failed)
    else:
        demand(left is None or seen.is_rolling_back, "it is rolled back, and its header does not say so")
        is_it = left is not None or "clear" in seen.rest
        demand(is_it or not seen.is_rolling_back, "its header says that it is rolled back, and nothing else does")


def has_begun(seen: Seen) -> bool:
    """Whether any step that counts was tried and has a handler."""
    answers = [entry for entry in seen.counting if isinstance(entry, journal.Settled | journal.Withdrawn)]
    return any(entry.rollback and entry.attempts for entry in answers)


def check_the_end_says_how_that_ended(
    seen: Seen, has_begun: bool, left: list[tuple[str, int]] | None, failed: bool
) -> None:
    demand(not seen.is_rolling_back, "an ended instance says that it is rolled back")
    outcome = seen.outcome.get(b"rb")
    if outcome == b"complete":
        demand(left == [] and not failed, f"all is said to be undone, {left} are left")
    elif outcome is None:
        is_unasked = seen.status is not Status.ERRORED or Failure.from_blob(seen.outcome[b"x"]).name in CUT_SHORT
        demand(not has_begun or (left is None and is_unasked), "it ended with things to undo, and says nothing of them")
    else:
        name = Failure.from_blob(outcome).name
        demand(failed or name in CUT_SHORT, f"the rollback ended with {name}, and no handler failed")

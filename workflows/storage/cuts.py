"""What still counts of a journal after its instance was restarted from a step. Pure.

A restart from a step rewrites nothing but the first entry, which gets one more ``Cut``. What was asked before a step
depends only on answers to what was asked before it, so that part of the journal replays alike, whatever followed.
"""

from __future__ import annotations

from collections.abc import Sequence

from workflows.storage.journal import (
    Answer,
    CancelRequested,
    Cut,
    Entry,
    EventReceived,
    RollingBack,
    Start,
    Withdrawn,
)


def cuts_of(entries: Sequence[Entry]) -> tuple[Cut, ...]:
    """The cuts of a journal, or of a part that begins with its first entry."""
    start = entries[0] if entries else None
    return start.cuts if isinstance(start, Start) else ()


def is_cut_out(cuts: Sequence[Cut], at: int, entry: Answer | RollingBack | CancelRequested) -> bool:
    """Whether an entry, which stands at this place, is about what is to be asked for anew, or was the end of a life."""
    if isinstance(entry, Withdrawn | RollingBack | CancelRequested):
        return any(at < cut.upto for cut in cuts)
    return any(at < cut.upto and entry.seq >= cut.seq for cut in cuts)


def kept(entries: Sequence[Entry]) -> Sequence[Entry | None]:
    """The entries, with None in the place of those that no longer count. They begin with the first one, and have to
    reach behind the last cut for the answer to be final.

    Of several answers to one step all but the last came in vain: the step had been given up, or nobody listened. And an
    event that a wait received in vain went back to the mailbox, so of several entries with it the last one has it.
    Whether they would come in vain once more depends on what is cut out, so they do not count either. What a life did
    after it was asked to end is of no use to one that is not asked.
    """
    cuts = cuts_of(entries)
    if not cuts:
        return entries
    found: list[Entry | None] = list(entries)
    for at, entry in enumerate(entries):
        if isinstance(entry, CancelRequested) and at < cuts[-1].upto:
            upto = next(cut.upto for cut in cuts if at < cut.upto)
            found[at:upto] = [None] * len(found[at:upto])
    known: set[int | tuple[str, int, int]] = set()
    for at in range(min(cuts[-1].upto, len(entries)) - 1, 0, -1):
        entry = entries[at]
        if found[at] is None or isinstance(entry, Start):
            continue
        if isinstance(entry, RollingBack | CancelRequested) or is_cut_out(cuts, at, entry):
            found[at] = None
            continue
        names: set[int | tuple[str, int, int]] = {entry.seq}
        if isinstance(entry, EventReceived):
            names.add(entry.name_of_event)
        if names & known:
            found[at] = None
        known |= names
    return found


def generation_at(cuts: Sequence[Cut], asked: int, generation: str) -> str:
    """The life in which ``run`` has asked for ``asked`` steps and not for the next one; ``generation``: the present."""
    return next((cut.generation for cut in cuts if asked < cut.seq), generation)

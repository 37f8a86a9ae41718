"""Which status may follow which: one table.

Names are Cloudflare's. ``pump.lua`` derives a status from the facts of an instance, so no code sets one from another;
this table states what can come out of it, the tests compare both, and the diagram in ``docs/architecture.md`` is drawn
from it (I2).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Status(StrEnum):
    QUEUED = "queued"
    """Created or restarted, and no worker has begun with it yet; or it waits for a slot of its workflow's limit."""
    RUNNING = "running"
    """A turn or an attempt is open."""
    WAITING = "waiting"
    """Only time, an event or another instance can move it; costs nothing meanwhile."""
    WAITING_FOR_PAUSE = "waitingForPause"
    """Pause requested; attempts in flight are finishing."""
    PAUSED = "paused"
    """Stopped by a user, or parked with a reason; resumable."""
    COMPLETE = "complete"
    """``run`` returned."""
    ERRORED = "errored"
    """``run`` raised, or the instance stalled three times."""
    TERMINATED = "terminated"
    """Stopped by a user for good; can be restarted."""


FINAL: Final = frozenset({Status.COMPLETE, Status.ERRORED, Status.TERMINATED})
LIVE: Final = tuple(status for status in Status if status not in FINAL)

_Q, _R, _W, _P, _S = Status.QUEUED, Status.RUNNING, Status.WAITING, Status.WAITING_FOR_PAUSE, Status.PAUSED

# (status, happening) -> statuses that may follow. A happening that is missing has no effect there.
TRANSITIONS: Final[dict[tuple[Status, str], frozenset[Status]]] = {
    (_Q, "begin"): frozenset({_R}),  # claim.lua
    # commit.lua, settle.lua; terminated once it has been rolled back
    (_R, "decide"): frozenset({_R, _W, Status.COMPLETE, Status.ERRORED, Status.TERMINATED}),
    (_R, "continue_as"): frozenset({_Q}),  # commit.lua, settle.lua: the next life begins
    (_R, "settle"): frozenset({_R, _W}),  # settle.lua: a retry that backs off leaves nothing open
    (_W, "wake"): frozenset({_Q, _R, _W}),  # fire.lua, send_event.lua, child_ended.lua; queued if it needs a slot
    (_Q, "pause"): frozenset({_S}),  # pause.lua
    (_R, "pause"): frozenset({_P, _S}),  # also release.lua, which parks
    (_W, "pause"): frozenset({_S}),
    (_P, "settle"): frozenset({_P, _S}),  # the last attempt in flight makes it paused
    (_P, "resume"): frozenset({_R}),  # resume.lua cancels the pause; an attempt is held, so it is running
    (_S, "resume"): frozenset({_Q, _R, _W}),
    (_Q, "terminate"): frozenset({Status.TERMINATED}),  # terminate.lua
    **{(status, "terminate"): frozenset({Status.TERMINATED, _Q, _R}) for status in (_R, _W, _P)},  # rolled back first
    (_S, "terminate"): frozenset({Status.TERMINATED, _Q, _R, _W}),  # also a rollback that was paused
    # cancel.lua; queued: never begun with, or in want of a slot
    (_Q, "cancel"): frozenset({Status.TERMINATED, _Q, _R}),
    **{(status, "cancel"): frozenset({_Q, _R}) for status in (_R, _W, _P)},
    (_S, "cancel"): frozenset({Status.TERMINATED, _Q, _R, _W}),
    # fire.lua: its deadline is over, or its time to clean up
    (_Q, "expire"): frozenset({Status.ERRORED, _Q, _R}),
    (_W, "expire"): frozenset({_Q, _R}),
    **{(status, "restart"): frozenset({_Q}) for status in Status},  # restart.lua
    (_Q, "grant"): frozenset({_Q, _R, _W}),  # grant.lua; continue.lua, where mail was for nobody
    (_Q, "limit"): frozenset({_Q, _R, _W}),  # limit.lua: there is none any more
    (_R, "limit"): frozenset({_Q, _R}),  # limit.lua: nobody has begun with its turn, so it needs a slot first
    (_R, "stall"): frozenset({_R, _W, Status.ERRORED}),  # release.lua, reap.lua: the third strike
}

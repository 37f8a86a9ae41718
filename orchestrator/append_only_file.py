"""Has Redis write its append-only file anew after each of its starts.

What a script writes stands there between MULTI and EXEC. A crash may cut the file in between, and Redis, reading it
back, leaves all of that out, as it should. But where the cut goes through a command it takes only this command off the
file, and goes on writing behind an open MULTI. At its next start, however late, the half of a script that stands there
counts as a whole, before everything that has happened since (F57). A file that is written anew has none of that.
"""

from __future__ import annotations

import logging
import math

import redis

from workflows.clock import monotonic
from workflows.storage.store import Store

_log = logging.getLogger("workflows.orchestrator")

AGAIN_SECONDS = 60.0


class AppendOnlyFile:
    """What one orchestrator knows of the file since it has been connected."""

    def __init__(self) -> None:
        self._look_at = 0.0
        self._told = False

    def forget(self) -> None:
        """After a reconnect Redis may have been started again."""
        self._look_at = 0.0

    def look(self, store: Store) -> None:
        """Ask for it if nobody has since Redis started; where that failed, once a minute.

        Raises: redis.RedisError: Redis cannot be asked at the moment.
        """
        if monotonic() < self._look_at:
            return
        try:
            state = store.command("INFO", "persistence")
            if not state.get("aof_enabled") or _was_written(state):
                self._look_at = math.inf
                return
            if not (state.get("aof_rewrite_in_progress") or state.get("aof_rewrite_scheduled")):
                store.command("BGREWRITEAOF")
        except redis.ResponseError as error:
            # Another orchestrator was faster; or this user may not ask for it, which is said once.
            if "in progress" not in str(error) and not self._told:
                self._told = True
                _log.warning("append-only file not written anew", extra={"error": error})
        self._look_at = monotonic() + AGAIN_SECONDS


def _was_written(state: dict[str, object]) -> bool:
    """Whether it has been, in this run of Redis, which tells how long that took the last time and how it ended."""
    took = state.get("aof_last_rewrite_time_sec", -1)
    return isinstance(took, int) and took >= 0 and state.get("aof_last_bgrewrite_status") == "ok"

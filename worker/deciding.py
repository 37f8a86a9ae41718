"""What ``run`` asks for next: over the entries a turn was claimed with, or over one that is yet to be written."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from worker.attempt import Attempt
from worker.claim import Task
from worker.replays import Replays
from worker.warm import WarmReplay
from workflows.authoring.app import App
from workflows.errors import CorruptPayload, NonDeterminismError
from workflows.replay.decision import decide, events_among
from workflows.replay.overrides import Overrides
from workflows.replay.replay import Replay, RunStalled, Snapshot
from workflows.storage.records import Decision

_log = logging.getLogger("workflows.worker")


class Deciding:
    """Takes replays out of the cache and feeds them; who sends the decision puts them back.

    Args:
        overrides: what a test puts in the place of callbacks, durations and delays.
    """

    def __init__(self, app: App, replays: Replays, overrides: Overrides | None) -> None:
        self._app = app
        self._replays = replays
        self._overrides = overrides

    def of_turn(self, task: Task, *, live: bool = True) -> tuple[WarmReplay, Decision, Sequence[bytes]]:
        """Feed the journal up to where it stood at the claim. Returns, behind the decision, the entries it is over.

        Raises:
            Gone, CorruptPayload, NonDeterminismError, RunStalled.
        """
        warm = self._replays.reach(task, task.position)
        before = warm.replay.snapshot() if task.position else None
        blobs = self._replays.blobs(task, task.position, task.upto)
        self._replays.feed(task.instance, warm, blobs, live=live)
        decision = decide(warm.replay, before, self._app, task.instance, task.generation, self._overrides)
        decision.events = events_among(blobs, task.position, decision)
        return warm, decision, blobs

    def ahead(self, attempt: Attempt, entry: bytes) -> tuple[WarmReplay, Decision] | None:
        """Feed an outcome that is not in the journal yet, hoping that nothing comes before it; the script decides.

        Returns: None when it is not worth trying, or ``run`` cannot go on: then the turn finds that out and says so.
        """
        instance = attempt.instance
        warm = self._replays.warm.take(instance)
        if warm is None:
            return None
        before = warm.replay.snapshot()
        if warm.generation != attempt.generation or not _is_only_step(attempt.seq, before, warm.replay):
            self._replays.keep(instance, warm)
            return None
        try:
            self._replays.feed(instance, warm, [entry], live=True)
            return warm, decide(warm.replay, before, self._app, instance, warm.generation, self._overrides)
        except (NonDeterminismError, CorruptPayload, RunStalled):
            return None
        except Exception:
            _log.exception("cannot decide", extra={"workflow": instance.workflow, "instance": instance.id})
            warm.replay.close()
            return None


def _is_only_step(seq: int, open_: Snapshot, replay: Replay) -> bool:
    """Whether no other step is open: a heuristic for when to try, the script has the last word."""
    return open_.pending == (seq,) or all(other == seq or replay.command(other).kind != "do" for other in open_.pending)

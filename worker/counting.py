"""What a worker counts of attempts and instances, for ``/metrics``."""

from __future__ import annotations

from worker.attempt import Attempt, Outcome
from worker.transitions import Committed, Listener, Void
from workflows.telemetry import metrics
from workflows.telemetry.figures import Figures


class Counting(Listener):
    """Adds to the figures of the process."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def attempt_ended(self, attempt: Attempt, outcome: Outcome, ended_ms: int) -> None:
        """One more, and how long it took by the moments that stand in the journal: no clock is asked for it."""
        how = "ok" if outcome.error is None else "failed" if outcome.retry_delay_ms is None else "retry"
        workflow, queue = attempt.instance.workflow, attempt.queue
        self._figures.count(metrics.ATTEMPTS, (workflow, queue, how))
        seconds = (ended_ms - attempt.started_ms) / 1000
        self._figures.observe(metrics.ATTEMPT_SECONDS, (workflow, queue), seconds if seconds > 0 else 0.0)

    def attempt_void(self, attempt: Attempt, why: Void) -> None:
        """One more that nothing came of."""
        self._figures.count(metrics.ATTEMPTS, (attempt.instance.workflow, attempt.queue, "void"))

    def turn_committed(self, turn: Committed) -> None:
        """One more decision, and perhaps the beginning or the end of an instance."""
        workflow, decision = turn.instance.workflow, turn.decision
        self._figures.count(metrics.TURNS, (workflow, "yes" if turn.warm.resumed else "no"))
        if decision.events:
            self._figures.count(metrics.EVENTS, (workflow,), len(decision.events))
        if turn.is_first:
            self._figures.count(metrics.INSTANCES_BEGUN, (workflow,))
        end = decision.end
        if end is not None and end.rollback != "begin" and end.generation is None:
            self._figures.count(metrics.INSTANCES_ENDED, (workflow, end.status))
            seconds = (turn.now_ms - turn.warm.created_ms) / 1000
            self._figures.observe(metrics.INSTANCE_SECONDS, (workflow, end.status), max(0.0, seconds))

"""What a worker logs of failures, and of instances as they begin and end.

A traceback stands there once, where its error comes from.
"""

from __future__ import annotations

import logging
from typing import Any

from worker.attempt import Attempt, Outcome
from worker.transitions import Committed, Listener
from workflows.process.logs import INSTANCES
from workflows.replay.replay import Raised
from workflows.storage.keys import Instance
from workflows.values.durations import format_ms
from workflows.values.failure import Failure

_log = logging.getLogger("workflows.failures")
_instances = logging.getLogger(INSTANCES)
_parked = logging.getLogger("workflows.worker")


class Reports(Listener):
    """The log."""

    def attempt_ended(self, attempt: Attempt, outcome: Outcome, ended_ms: int) -> None:
        """A warning for an attempt that is followed by another, an error for the last one."""
        if outcome.error is None:
            return
        failure = Failure.from_blob(outcome.error)
        fields = {**attempt.context.labels, "error": failure}
        if outcome.retry_delay_ms is not None:
            _log.warning("attempt failed", extra={**fields, "next_try_in": format_ms(outcome.retry_delay_ms)})
        else:
            _log.error("step failed", extra={**fields, "traceback": failure.traceback})

    def turn_committed(self, turn: Committed) -> None:
        """Its instance has begun, or ended."""
        decision = turn.decision
        if not turn.is_first and decision.end is None:
            return
        fields: dict[str, Any] = {
            "workflow": turn.instance.workflow,
            "instance": turn.instance.id,
            "generation": turn.generation,
        }
        if turn.is_first:
            _instances.info("instance begun", extra=fields)
        if decision.end is None:
            return
        if decision.end.generation is not None:
            _instances.info("instance continued", extra=fields)
            return
        if decision.end.error is None:
            if decision.end.status == "complete":
                _instances.info("instance complete", extra=fields)
            else:
                _instances.info("instance terminated", extra=fields)
            return
        if decision.end.status == "terminated":
            _instances.info("instance terminated", extra=fields)
            return
        failure = Failure.from_blob(decision.end.error)
        if decision.end.rollback == "begin":
            _log.error("instance is rolled back", extra={**fields, "error": failure})
            return
        end = turn.warm.replay.end
        raised = end.exception if isinstance(end, Raised) else None
        if raised is None or not _comes_from_a_step(raised):
            fields["traceback"] = failure.traceback
        _log.error("instance errored", extra={**fields, "error": failure})

    def parked(self, instance: Instance, generation: str, reason: str) -> None:
        """An error: it waits for other code."""
        where = {"workflow": instance.workflow, "instance": instance.id, "generation": generation}
        _parked.error("parked", extra={**where, "reason": reason})


def _comes_from_a_step(error: BaseException) -> bool:
    """Whether it was shown when the step failed."""
    try:
        return bool(vars(error).get("remote_traceback"))
    except TypeError:
        return False

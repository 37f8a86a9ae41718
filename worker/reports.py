"""What a worker logs of failures, and of instances as they begin and end.

Said when Redis has accepted it, so that what came too late is not reported; and a traceback once, where its error comes
from.
"""

from __future__ import annotations

import logging
from typing import Any

from worker.attempt import Attempt, Outcome
from workflows.process.logs import INSTANCES
from workflows.replay.replay import Raised, Returned
from workflows.storage.keys import Instance
from workflows.storage.records import Decision
from workflows.values.durations import format_ms
from workflows.values.failure import Failure

_log = logging.getLogger("workflows.failures")
_instances = logging.getLogger(INSTANCES)


def attempt_ended(attempt: Attempt, outcome: Outcome) -> None:
    """A warning for an attempt that is followed by another, an error for the last one."""
    if outcome.error is None:
        return
    failure = Failure.from_blob(outcome.error)
    fields = {**attempt.context.labels, "error": _short(failure)}
    if outcome.retry_delay_ms is not None:
        _log.warning("attempt failed", extra={**fields, "next_try_in": format_ms(outcome.retry_delay_ms)})
    else:
        _log.error("step failed", extra={**fields, "traceback": failure.traceback})


def turn_committed(instance: Instance, decision: Decision, end: Returned | Raised | None, *, first: bool) -> None:
    """Its instance has begun, or ended."""
    if not first and decision.end is None:
        return
    fields = {"workflow": instance.workflow, "instance": instance.id}
    if first:
        _instances.info("instance begun", extra=fields)
    if decision.end is None:
        return
    if decision.end.error is None:
        _instances.info(f"instance {decision.end.status}", extra=fields)
        return
    if decision.end.status == "terminated":
        _instances.info("instance terminated", extra=fields)
        return
    failure = Failure.from_blob(decision.end.error)
    if decision.end.rollback == "begin":
        _log.error("instance is rolled back", extra={**fields, "error": _short(failure)})
        return
    raised = end.exception if isinstance(end, Raised) else None
    if raised is None or not _comes_from_a_step(raised):
        fields["traceback"] = failure.traceback
    _log.error("instance errored", extra={**fields, "error": _short(failure)})


def _comes_from_a_step(error: BaseException) -> bool:
    """Whether it was shown when the step failed."""
    try:
        return bool(vars(error).get("remote_traceback"))
    except TypeError:
        return False


def _short(failure: Failure) -> str:
    message: Any = failure.message
    return f"{failure.name}: {message}" if message else failure.name

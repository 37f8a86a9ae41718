"""One action for many instances."""

from __future__ import annotations

from typing import Any

from workflows.ui.answers import JsonAnswer
from workflows.ui.bulk_orders import Order
from workflows.ui.context import Context


def start(context: Context) -> JsonAnswer:
    """Begin with it. Raises: RequestRefused, ConfigError, BadName: nothing has begun."""
    _check(context)
    order = Order.of(context.json)
    with context.acting(order.kind.permission, order.filter.workflow, bulk=order.action, dry_run=order.dry_run):
        job = context.jobs.start(order, context.user)
    return JsonAnswer(job.as_dict(), status=202)


def jobs(context: Context) -> list[dict[str, Any]]:
    """Those that this process knows, the newest first."""
    return [job.as_dict() for job in context.jobs.all()]


def job(context: Context) -> dict[str, Any]:
    """How far one is. Raises: RequestRefused: it is not known."""
    return context.jobs.get(context.path["job"]).as_dict()


def stop(context: Context) -> dict[str, Any]:
    """Let it go on with nothing more. Raises: RequestRefused: it is not known."""
    _check(context)
    job = context.jobs.get(context.path["job"])
    with context.acting(job.order.kind.permission, job.order.filter.workflow, bulk="stop"):
        job.stop()
    return job.as_dict()


def _check(context: Context) -> None:
    """Whoever may do nothing hears so first. Raises: RequestRefused."""
    if not context.access.actions:
        with context.acting("bulk", "-"):
            pass

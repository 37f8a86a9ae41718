"""What creates instances by itself, and when it will."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo

from starlette.responses import Response

from workflows.client.requests import exists
from workflows.client.schedules import ScheduleStatus
from workflows.errors import InstanceError
from workflows.storage.outage import server_errors
from workflows.storage.store import Store
from workflows.ui import actions
from workflows.ui.context import Context
from workflows.ui.refusals import RequestRefused
from workflows.values.cron import firings, last_firing
from workflows.values.schedules import CronSchedule

SHOWN: Final = 5
_AHEAD: Final = timedelta(days=366)
_BEFORE: Final = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class ScheduleLine:
    """A schedule as the page shows it.

    Attributes:
        ahead: the moments of the next ``SHOWN`` firings within a year, apart from jitter; none while it is paused.
        last_at: of the firing before now; None: there was none for a month.
        last_id: of its instance; None: that is not there.
    """

    schedule: ScheduleStatus
    ahead: tuple[datetime, ...]
    last_at: datetime | None
    last_id: str | None


def schedules(context: Context) -> Response:
    """All of them."""
    found = [_line(one, context.now) for one in context.client.schedules.list()]
    return context.render("schedules.html", lines=_with_instances(context.store, found))


def _line(one: ScheduleStatus, now: datetime) -> ScheduleLine:
    now_ms = _ms(now)
    ahead: tuple[datetime, ...] = ()
    if one.next_at is not None:
        moments = firings(one.cron, one.timezone, _ms(one.next_at) - 1, _ms(now + _AHEAD))
        ahead = tuple(_moment(at, one.timezone) for at in islice(moments, SHOWN))
    last = last_firing(one.cron, one.timezone, _ms(now - _BEFORE), now_ms)
    if last is None:
        return ScheduleLine(one, ahead, None, None)
    return ScheduleLine(one, ahead, _moment(last, one.timezone), CronSchedule(one.cron, one.timezone).instance_id(last))


def _with_instances(store: Store, lines: list[ScheduleLine]) -> list[ScheduleLine]:
    """Without the ids of those instances that are not there: what was not fired, or is not kept any more."""
    asked = [
        None if one.last_id is None else exists(store.keys, store.keys.instance(one.schedule.workflow, one.last_id))
        for one in lines
    ]
    requests = [request for request in asked if request is not None]
    with server_errors(store.redis):
        answers = iter(store.call_all([request.call for request in requests]) if requests else [])
    return [
        replace(one, last_id=None)
        if request is None or isinstance(request.outcome(next(answers)), InstanceError)
        else one
        for one, request in zip(lines, asked, strict=True)
    ]


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _moment(ms: int, zone: str) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone(ZoneInfo(zone))


def act(context: Context) -> Response:
    """Do what a button of the page says."""
    form = context.form
    workflow, line = form.get("workflow", ""), form.get("line") or None
    match form.get("action"):
        case "pause":
            actions.pause_schedule(context, workflow, line)
            return context.redirect("schedules", said="schedule-paused")
        case "resume":
            actions.resume_schedule(context, workflow, line)
            return context.redirect("schedules", said="schedule-resumed")
        case "trigger":
            id = actions.trigger_schedule(context, workflow, line)
            return context.redirect("instance", name=workflow, id=id, said="triggered")
        case other:
            raise RequestRefused(422, "BadAction", f"There is no action {other!r:.60}")

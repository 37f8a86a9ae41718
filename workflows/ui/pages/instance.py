"""One instance: what it does, why it does not move, what it has done, and what can be done about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response

from workflows.authoring.context import StepName, idempotency_key
from workflows.client import LazySteps
from workflows.client.blocking import WorkflowInstance, carry_out
from workflows.client.facts import config_shown
from workflows.client.history import StepStatus
from workflows.client.published import PublishedValue
from workflows.client.raw_journal import VALUES, RawEntry, raw_journal
from workflows.client.restarting import FromStep
from workflows.client.status import InstanceStatus
from workflows.errors import CorruptPayload, InstanceError, InstanceNotFound
from workflows.health.family import parents_of
from workflows.health.kept_events import mailbox
from workflows.storage.cuts import cuts_of, generation_at
from workflows.storage.journal import Settled
from workflows.storage.records import OpenStep
from workflows.storage.status import FINAL, Status
from workflows.ui import actions
from workflows.ui.context import Context
from workflows.ui.forms import read_json
from workflows.ui.pages.event import schemas
from workflows.ui.refusals import RequestRefused
from workflows.ui.showing import ShownValue, json_text, value_of
from workflows.ui.timeline import Row, timeline

TABS: Final = (
    ("steps", "Steps"),
    ("values", "Params, output, error"),
    ("events", "Events"),
    ("family", "Family"),
    ("journal", "Journal"),
    ("raw", "Raw"),
)
STEPS_PER_PAGE: Final = 50
_LAST: Final = (Status.WAITING_FOR_PAUSE, Status.PAUSED)


@dataclass(frozen=True, slots=True)
class StepLine:
    """A step as the page shows it.

    Attributes:
        config: retries and timeout; None: it has none, or they cannot be read.
        key: its idempotency key; None: it runs nothing.
        details: of its last heartbeat, while it is open.
    """

    step: StepStatus
    config: Mapping[str, Any] | None
    key: str | None
    output: ShownValue | None
    details: ShownValue | None


def instance(context: Context) -> Response:
    """The page; its address says which part of it."""
    found = context.client.workflow(context.path["name"])
    one = found.get(context.path["id"])
    try:
        status = one.status()
        steps = list(status.steps)
    except InstanceNotFound:
        raise
    except (InstanceError, CorruptPayload) as error:
        return _unreadable(context, one, str(error))
    tab = context.query.get("tab", "steps")
    tab = tab if tab in dict(TABS) else "steps"
    return context.render(
        "instance.html",
        name=one.workflow,
        id=one.id,
        found=status,
        published=_published(context, status),
        reasons=[reason for reason in one.why() if reason.code != "done"],
        link=lambda row: _link(context, one, row),
        steps=steps,
        picture=timeline(steps, status.created_at, status.ended_at, context.now),
        tabs=TABS,
        tab=tab,
        can=_possible(context, status),
        typed=sorted(schemas(context, one.workflow)),
        awaited=sorted({step.event_type for step in steps if step.status == "waiting" and step.event_type}),
        **_PARTS[tab](context, one, status, steps),
    )


def _published(context: Context, status: InstanceStatus[LazySteps]) -> list[tuple[PublishedValue, ShownValue | None]]:
    """What ``run`` shows of itself; values as JSON on one line."""

    def shown(one: PublishedValue) -> ShownValue | None:
        return value_of(one.read, one.stored.blob, hide=context.hide_values, whole=False, indent=None)

    return [(one, shown(one)) for one in status.published]


def _unreadable(context: Context, one: WorkflowInstance, problem: str) -> Response:
    """What can be said and done where what Redis holds of it makes no sense."""
    can = {action: context.access.allows(action) for action in ("restart", "delete")}
    return context.render(
        "unreadable.html",
        status=409,
        whole=True,
        name=one.workflow,
        id=one.id,
        problem=problem,
        reasons=one.why(),
        can=can,
    )


def _link(context: Context, one: WorkflowInstance, row: Row) -> str:
    """Where the steps of a row of the timeline are listed."""
    if row.steps > 1:
        return context.url("instance", name=one.workflow, id=one.id, step=row.name) + "#tabs"
    begin = (row.seq - 1) // STEPS_PER_PAGE * STEPS_PER_PAGE
    page = context.url("instance", name=one.workflow, id=one.id, **{"from": begin or None})
    return f"{page}#step-{row.seq}"


def act(context: Context) -> Response:
    """Do what a button of the page says, and show what has come of it."""
    name, form = context.path["name"], context.form
    one = context.client.workflow(name).get(context.path["id"])
    match form.get("action"):
        case "pause":
            actions.pause(context, one)
            said = "paused"
        case "resume":
            actions.resume(context, one)
            said = "resumed"
        case "cancel":
            is_first = actions.cancel(context, one, form.get("reason") or None, grace=form.get("grace") or None)
            said = "cancelled" if is_first else "cancelled-before"
        case "terminate":
            rollback = form.get("rollback") == "true"
            actions.terminate(context, one, rollback=rollback)
            said = "rollback" if rollback else "terminated"
        case "restart":
            actions.restart(context, one, _from_step(form))
            said = "restarted"
        case "send_event":
            payload = _payload(form.get("payload", ""))
            said = actions.send_event(context, one, form.get("type", ""), payload, id=form.get("event_id") or None)
        case "delete":
            actions.delete(context, one)
            return context.redirect("instances", name=name, said="deleted")
        case other:
            raise RequestRefused(422, "BadAction", f"There is no action {other!r:.60}")
    return context.redirect("instance", name=name, id=one.id, said=said)


def _from_step(form: Mapping[str, str]) -> FromStep | None:
    """The step that a restart is to begin at; None: it is to begin with the first."""
    if "step" not in form:
        return None
    return {"name": form["step"], "type": form.get("type", "do"), "count": max(1, _number(form.get("count"), 10**9))}


def _payload(text: str) -> Any:
    if not text.strip():
        return None
    try:
        return read_json(text)
    except ValueError as error:
        raise RequestRefused(422, "BadPayload", f"The payload is {error}.") from None


def _possible(context: Context, status: InstanceStatus[LazySteps]) -> dict[str, bool]:
    """What its sender may do and what makes sense now, by action."""
    is_over, stands = status.status in FINAL, status.status in _LAST
    sensible = {
        "pause": not is_over and not stands,
        "resume": stands,
        "cancel": not is_over and status.cancelling is None and not status.is_rolling_back,
        "terminate": not is_over,
        "restart": True,
        "delete": True,
        "send_event": not is_over,
    }
    return {action: makes_sense and context.access.allows(action) for action, makes_sense in sensible.items()}


def _steps(
    context: Context, one: WorkflowInstance, status: InstanceStatus[LazySteps], steps: Sequence[StepStatus]
) -> dict[str, Any]:
    wanted = context.query.get("step", "")
    chosen = [step for step in steps if not wanted or wanted.casefold() in step.name.casefold()]
    begin = _number(context.query.get("from"), len(chosen))
    history = status.steps.history
    entries = history.entries()
    configs = {entry.seq: entry.config for entry in entries if isinstance(entry, Settled) and entry.config}
    configs |= {record.seq: record.config for record in history.records() if isinstance(record, OpenStep)}
    cuts, whole = cuts_of(entries), context.query.get("whole")

    def line(step: StepStatus) -> StepLine:
        generation = generation_at(cuts, step.seq, status.generation)
        runs = {"do": "do", "rollback": "rb"}.get(step.kind)
        return StepLine(
            step,
            config_shown(configs.get(step.seq) or b""),
            None
            if runs is None
            else idempotency_key(one.workflow, one.id, generation, StepName(step.name, step.count), runs),
            value_of(
                lambda: step.output,
                step.__dict__["value"],
                hide=context.hide_values,
                whole=whole == str(step.seq),
            ),
            value_of(
                lambda: step.heartbeat_details,
                step.__dict__["details"],
                hide=context.hide_values,
                whole=False,
                indent=None,
            ),
        )

    return {
        "lines": [line(step) for step in chosen[begin : begin + STEPS_PER_PAGE]],
        "wanted": wanted,
        "begin": begin,
        "number": len(chosen),
        "per_page": STEPS_PER_PAGE,
        "open_step": _number(context.query.get("open"), 10**9),
    }


def _number(text: str | None, most: int) -> int:
    return min(int(text), most) if text and text.isascii() and text.isdigit() and len(text) < 10 else 0


def _values(
    context: Context, one: WorkflowInstance, status: InstanceStatus[LazySteps], steps: Sequence[StepStatus]
) -> dict[str, Any]:
    del one, steps
    whole, stored = context.query.get("whole"), status.__dict__["stored"]

    def shown(name: str, field: str) -> ShownValue | None:
        return value_of(lambda: getattr(status, name), stored[field], hide=context.hide_values, whole=whole == name)

    return {"params": shown("params", "params"), "output": shown("output", "out")}


def _events(
    context: Context, one: WorkflowInstance, status: InstanceStatus[LazySteps], steps: Sequence[StepStatus]
) -> dict[str, Any]:
    del status
    kept = mailbox(context.store, context.store.keys.instance(one.workflow, one.id))
    whole, hide = context.query.get("whole"), context.hide_values
    waits = [step for step in steps if step.kind == "wait"]

    def payload(step: StepStatus) -> ShownValue | None:
        shown = f"wait-{step.seq}"
        return value_of(lambda: step.output, step.__dict__["value"], hide=hide, whole=whole == shown)

    return {
        "kept": [
            (event, value_of(event.payload, event.stored, hide=hide, whole=whole == f"kept-{n}"))
            for n, event in enumerate(kept.events, 1)
        ],
        "more_kept": kept.more,
        "waits": [(step, payload(step)) for step in waits[-STEPS_PER_PAGE:]],
        "more_waits": max(0, len(waits) - STEPS_PER_PAGE),
    }


def _family(
    context: Context, one: WorkflowInstance, status: InstanceStatus[LazySteps], steps: Sequence[StepStatus]
) -> dict[str, Any]:
    del status
    children = [step for step in steps if step.child is not None]
    return {
        "parents": parents_of(context.store, context.store.keys.instance(one.workflow, one.id)),
        "children": children[:STEPS_PER_PAGE],
        "more_children": max(0, len(children) - STEPS_PER_PAGE),
    }


def _journal(
    context: Context, one: WorkflowInstance, status: InstanceStatus[LazySteps], steps: Sequence[StepStatus]
) -> dict[str, Any]:
    del status, steps
    keys = context.store.keys
    page = carry_out(context.store, raw_journal(keys, keys.instance(one.workflow, one.id), context.query.get("cursor")))
    return {"entries": [(entry, _facts(entry)) for entry in page.entries], "page": page}


def _facts(entry: RawEntry) -> dict[str, str]:
    """What else an entry says; its values and settings stand with the steps."""
    left = {*VALUES, "at", "seq", "name", "count", "config"}
    return {
        key: value if isinstance(value, str) else json_text(value)
        for key, value in entry.content.items()
        if key not in left and value not in (None, [], False, 0, "")
    }


def _raw(
    context: Context, one: WorkflowInstance, status: InstanceStatus[LazySteps], steps: Sequence[StepStatus]
) -> dict[str, Any]:
    del one
    most = context.query.get("whole") != "raw"
    shape = status.as_dict(outputs=not context.hide_values)
    if context.hide_values:
        shape |= {"params": None, "output": None, "values": dict.fromkeys(shape["values"])}
    if most and len(steps) > STEPS_PER_PAGE:
        shape |= {"steps": shape["steps"][:STEPS_PER_PAGE], "steps_complete": False}
    text = json_text(shape)
    limit = 200_000
    return {"raw": ShownValue(text if not most else text[:limit], len(text), len(text))}


_PARTS: Final = {
    "steps": _steps,
    "values": _values,
    "events": _events,
    "family": _family,
    "journal": _journal,
    "raw": _raw,
}

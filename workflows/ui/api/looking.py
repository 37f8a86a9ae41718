"""One instance, looked at closely: a step, its timeline, its journal."""

from __future__ import annotations

from typing import Any

from workflows.client.blocking import carry_out
from workflows.client.history import iso, moment
from workflows.client.raw_journal import VALUES, raw_journal
from workflows.client.restarting import Wanted
from workflows.errors import ConfigError
from workflows.ui.answers import JsonAnswer
from workflows.ui.api import parameters, values
from workflows.ui.context import Context
from workflows.ui.refusals import RequestRefused
from workflows.ui.timeline import Stretch, spans_of


def get_step(context: Context) -> dict[str, Any]:
    """One step of an instance.

    Query: ``name``, as it was given or with its count behind it (``charge-2``), ``count``, ``type`` (``do``, ``sleep``,
    ``waitForEvent``, ``child``), ``attempt``: of a failed attempt, what it failed with.
    """
    name, kind = context.query.get("name"), context.query.get("type") or "do"
    if not name:
        raise ConfigError("name is missing: which step?")
    wanted = Wanted.of(
        {"name": name, "count": parameters.number(context, "count", 1), "type": "do" if kind == "step" else kind}
    )
    names = {(wanted.name, wanted.count)}
    base, _, number = name.rpartition("-")
    if base and "count" not in context.query and number.isascii() and number.isdigit():
        names.add((base, int(number[:9])))
    status = context.instance.status()
    for step in status.steps:
        if step.kind == wanted.kind and (step.name, step.count) in names:
            break
    else:
        raise RequestRefused(
            404, "StepNotFound", f'Instance "{status.id}" has not asked for a step "{name:.300}" of type {kind:.30}'
        )
    (told,) = values.steps([step], context.hide_values)
    if "attempt" not in context.query:
        return told
    attempt = parameters.number(context, "attempt", 1)
    for failure in step.failures:
        if failure.attempt == attempt:
            return told | failure.as_dict() | {"output": None, "status": "failed"}
    if attempt == step.attempts and step.status == "complete":
        return told | {"attempt": attempt}
    raise RequestRefused(
        404,
        "AttemptNotFound",
        f"Nothing is kept of attempt {attempt}: it has had {step.attempts}, the last ten failed ones are kept",
    )


def get_reasons(context: Context) -> list[dict[str, Any]]:
    """Why it stands where it stands, what blocks most first; each reason with a way out where there is one."""
    return [reason.as_dict() for reason in context.instance.why()]


def get_timeline(context: Context) -> dict[str, Any]:
    """When each step ran, waited for a worker or for its next attempt, and failed."""
    status = context.instance.status()
    now = context.now
    last = status.ended_at or now
    rows = [
        {
            "seq": step.seq,
            "kind": step.kind,
            "name": step.name,
            "count": step.count,
            "status": step.status,
            "spans": [_span(span) for span in spans_of(step, last.timestamp() * 1000)],
        }
        for step in status.steps
    ]
    return {"created_at": iso(status.created_at), "ended_at": iso(status.ended_at), "now": iso(now), "steps": rows}


def _span(span: Stretch) -> dict[str, Any]:
    start, stop = iso(moment(span.start)), iso(moment(span.stop))
    return {"kind": span.kind, "start": start, "end": None if span.is_open else stop, "title": span.title}


def get_journal(context: Context) -> JsonAnswer:
    """The journal as it is stored: each entry with its position and nonce, up to 200 at a time.

    Query: ``cursor``.
    """
    keys, instance = context.store.keys, context.instance
    plan = raw_journal(keys, keys.instance(instance.workflow, instance.id), context.query.get("cursor"))
    page = carry_out(context.store, plan)
    shown = [one.as_dict() for one in page.entries]
    for one in shown:
        for name in one["content"].keys() & {*VALUES}:
            one["content"][name] = values.value(one["content"][name], context.hide_values)
    return JsonAnswer(shown, {"count": len(shown), "cursor": page.cursor})

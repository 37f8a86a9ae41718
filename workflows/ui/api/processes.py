"""What moves instances, and what stands in the way: queues, workers, schedules, the doctor."""

from __future__ import annotations

import dataclasses
from typing import Any

from starlette.responses import PlainTextResponse, Response

from workflows.client.history import jsonable
from workflows.client.selection import read_moment
from workflows.health import namespace, server
from workflows.health.catalogue import manifest_of
from workflows.health.error_groups import error_groups
from workflows.health.fleet import fleet
from workflows.health.queues import Service, service
from workflows.health.stages import stage_profile
from workflows.storage.outage import server_errors
from workflows.telemetry.state import exposition
from workflows.telemetry.text import CONTENT_TYPE
from workflows.ui.answers import JsonAnswer
from workflows.ui.context import Context
from workflows.values.names import check_workflow_name


def _service(context: Context) -> Service:
    with server_errors(context.store.redis):
        return service(context.store, manifest_of(context.client).queues())


def list_queues(context: Context) -> dict[str, Any]:
    """By queue: work that no worker has taken, how long the oldest of it waits, workers, slots and free ones."""
    return {name: state.as_dict() for name, state in _service(context).queues.items()}


def list_workers(context: Context) -> dict[str, Any]:
    """The orchestrators, and the workers with the queues that they serve and what they say of themselves."""
    seen = _service(context)
    found = fleet(context.store, seen)
    return {
        "orchestrators": [one.name for one in found.orchestrators],
        "shards": context.store.keys.shards,
        "owned_shards": seen.around.owned_shards,
        "workers": [one.as_dict() for one in found.workers],
    }


def profile_stages(context: Context) -> dict[str, Any]:
    """What ``workflows doctor --stages`` says: where the time of a step goes in the workers."""
    return stage_profile(context.store).as_dict()


def list_errors(context: Context) -> dict[str, Any]:
    """What has failed or is parked, of the newest, grouped by workflow, step and error.

    Query: ``workflow``, ``since`` (a moment).
    """
    workflow, since = context.query.get("workflow"), context.query.get("since")
    return error_groups(
        context.store,
        workflow=None if workflow is None else check_workflow_name(workflow),
        since=None if since is None else read_moment(since),
    ).as_dict()


def list_schedules(context: Context) -> list[dict[str, Any]]:
    """The schedules of all workflows."""
    return [one.as_dict() for one in context.client.schedules.list()]


def examine(context: Context) -> dict[str, Any]:
    """What ``workflows doctor`` says: findings, each with its level and the way out."""
    store = context.store
    with server_errors(store.redis):
        findings = server.check_server(store.redis)
        report = namespace.report(store)
    findings += report.findings()
    return {
        "findings": [{"level": one.level, "message": one.message} for one in findings],
        "namespace": jsonable(dataclasses.asdict(report)),
    }


def metrics(context: Context) -> Response:
    """What stands in Redis as metrics, in the text format of Prometheus; read anew every five seconds at most."""
    with server_errors(context.store.redis):
        return PlainTextResponse(exposition(context.store), media_type=CONTENT_TYPE)


def health(context: Context) -> JsonAnswer:
    """Whether Redis answers; no data."""
    with server_errors(context.store.redis):
        context.store.redis.ping()
    return JsonAnswer({"status": "ok"})

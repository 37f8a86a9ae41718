"""Requests of producers that cannot or may not call scripts: one stream per namespace, one XADD per request.

    XADD media:inbox * op create workflow approval id a1 params '{"user": 7}'
    XADD media:inbox * op event  workflow approval id a1 type approved payload '{"by": "ann"}'

The owner of shard 0 applies an entry and then removes it; a crash in between applies it again into the stored answer,
because the entry's id serves as command id. What cannot be applied moves to
``<namespace>:inbox:refused`` with a reason.
"""

from __future__ import annotations

import json
import logging
import secrets
import uuid
from pathlib import Path
from typing import Any

from workflows import codec, limits, names
from workflows.errors import WorkflowError
from workflows.manifest import Manifest, load_manifest
from workflows.scripts import CREATE, SEND_EVENT
from workflows.store import Call, Store, call_one, script

_APPLIED = script(Path(__file__).with_name("applied.lua"), pump=False)
_log = logging.getLogger("workflows.orchestrator")
BATCH = 100
REFUSED_KEPT = 1_000


class Refused(Exception):
    """The request cannot be applied, now or later."""


def apply(store: Store) -> int:
    """Apply what stands in the inbox. Returns: how many requests were taken off it."""
    entries = store.stream(store.keys.inbox, BATCH)
    if not entries:
        return 0
    manifest = load_manifest(store)
    for entry_id, fields in entries:
        reason = ""
        try:
            request = {key.decode(): value.decode() for key, value in fields.items()}
            _apply(store, manifest, entry_id.decode(), request)
        except (Refused, WorkflowError, UnicodeDecodeError) as error:
            reason = str(error)
            _log.warning("request refused", extra={"entry": entry_id.decode(), "reason": reason})
        arguments = {"id": entry_id, "reason": reason, "keep": REFUSED_KEPT}
        store.call(Call(_APPLIED, [store.keys.inbox, store.keys.inbox_refused], arguments))
    return len(entries)


def _apply(store: Store, manifest: Manifest, entry_id: str, request: dict[str, str]) -> None:
    operation = request.get("op")
    if operation not in ("create", "event"):
        raise Refused(f"op is {operation!r}: it must be 'create' or 'event'")
    workflow = names.check_workflow_name(request.get("workflow", ""))
    if operation == "create":
        known = manifest.workflow(workflow)
        # Without an id the entry's own serves, so that applying it twice is still one instance.
        id = names.check_instance_id(request.get("id") or f"inbox-{entry_id}")
        item = {
            "i": 1,
            "wf": known.name,
            "id": id,
            "gen": secrets.token_hex(6),
            "cid": entry_id,
            "p": _value(request, "params", {}),
            "qu": known.queue,
            "ok": known.retention_success_ms,
            "err": known.retention_error_ms,
        }
        answer = store.call(call_one(store.keys, CREATE, store.keys.instance(known.name, id), {"items": [item]}))
    else:
        id = names.check_instance_id(request.get("id", ""))
        item = {
            "i": 1,
            "ev": names.check_command_id(request["event_id"], "event_id") if "event_id" in request else entry_id,
            "ty": names.check_event_type(request.get("type", "")),
            "p": _value(request, "payload", None),
        }
        arguments = {"items": [item], "max": limits.MAILBOX_EVENTS}
        answer = store.call(call_one(store.keys, SEND_EVENT, store.keys.instance(workflow, id), arguments))
    if answer[0] not in (b"created", b"delivered", b"buffered"):
        raise Refused(f"{operation} of {workflow}/{id}: {answer[0].decode()}")


def _value(request: dict[str, str], field: str, default: Any) -> bytes:
    try:
        value = json.loads(request[field]) if field in request else default
    except (ValueError, RecursionError) as error:
        raise Refused(f"{field} is not JSON: {error}") from error
    return codec.encode(value, what=f"the {field} of a request")


def event_of_message(data: bytes) -> tuple[str, str, str, bytes]:
    """Workflow, instance, type and payload blob of a message published on the events channel.

    Raises:
        Refused, WorkflowError: it is not a request for an event.
    """
    try:
        message = json.loads(data)
        if not isinstance(message, dict):
            raise ValueError("an object is needed")
    except (ValueError, RecursionError) as error:
        raise Refused(f"not JSON: {error}") from error
    workflow = names.check_workflow_name(message.get("workflow", ""))
    id = names.check_instance_id(message.get("instance", ""))
    type = names.check_event_type(message.get("type", ""))
    return workflow, id, type, codec.encode(message.get("payload"), what="the payload of a published event")


def bridge(store: Store, token: str, data: bytes) -> str:
    """Put a published event into its mailbox, if this orchestrator owns the shard (so it happens once).

    Returns: the answer of ``send_event.lua``.
    """
    workflow, id, type, payload = event_of_message(data)
    item = {"i": 1, "ev": uuid.uuid4().hex, "ty": type, "p": payload}
    arguments = {"items": [item], "max": limits.MAILBOX_EVENTS, "owner": token}
    answer: bytes = store.call(call_one(store.keys, SEND_EVENT, store.keys.instance(workflow, id), arguments))[0]
    return answer.decode()

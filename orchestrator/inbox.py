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

import redis

from workflows import limits
from workflows.errors import WorkflowError
from workflows.storage import aside
from workflows.storage.manifest import Manifest, load_manifest
from workflows.storage.removal import CREATE, SEND_EVENT
from workflows.storage.store import Call, Store, call_one, script
from workflows.values import codec, names

_INBOX = script(Path(__file__).with_name("inbox.lua"))
_APPLIED = script(Path(__file__).with_name("applied.lua"))
_log = logging.getLogger("workflows.orchestrator")
# Of one round of the loop: timers, wake-ups and leases have their turn in between.
BATCH = 100
BATCH_BYTES = 2 * 1024 * 1024
REFUSED_KEPT = 1_000
# What is left of each field and value of a refused request, and of the reason.
REFUSED_BYTES = 256
REASON_CHARACTERS = 500


class Refused(Exception):
    """The request cannot be applied, now or later."""


def apply(store: Store) -> int:
    """Apply some of what stands in the inbox. Returns: how many requests were taken off it."""
    limit = {"n": BATCH, "bytes": BATCH_BYTES, "fields": limits.REQUEST_FIELDS, "most": limits.REQUEST_BYTES}
    entries = store.call(Call(_INBOX, [store.keys.inbox], limit))
    if not entries:
        return 0
    manifest = load_manifest(store)
    done = []
    for entry_id, texts, count, size in entries:
        reason = ""
        try:
            if not texts:
                raise Refused(
                    f"{int(count):,} fields of {int(size):,} bytes: a request has at most "
                    f"{limits.REQUEST_FIELDS} fields of {limits.REQUEST_BYTES:,} bytes together"
                )
            decoded = [text.decode() for text in texts]
            _apply(store, manifest, entry_id.decode(), dict(zip(decoded[::2], decoded[1::2], strict=True)))
        except (Refused, WorkflowError, UnicodeDecodeError, redis.ResponseError) as error:
            if isinstance(error, redis.ResponseError) and not aside.is_about_data(error):
                raise
            reason = str(error)[:REASON_CHARACTERS] or "refused"
            _log.warning("request refused", extra={"entry": entry_id.decode(), "reason": reason})
        done.append({"id": entry_id, "reason": reason})
    arguments = {"items": done, "keep": REFUSED_KEPT, "texts": 2 * limits.REQUEST_FIELDS, "cut": REFUSED_BYTES}
    store.call(Call(_APPLIED, [store.keys.inbox, store.keys.inbox_refused], arguments))
    return len(done)


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

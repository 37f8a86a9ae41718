"""Requests of producers that cannot or may not call scripts: a stream per producer, one XADD per request.

    XADD {media/inbox}:shop * op create workflow approval id a1 params '{"user": 7}'
    XADD {media/inbox}:shop * op event  workflow approval id a1 type approved payload '{"by": "ann"}'
    XADD {media/inbox}:shop * op event  workflow approval id a1 type approved error 'not this week'

The app declares its producers; those that trust each other may share ``media:inbox``. Redis has no narrower right than
XADD on a stream, and with it goes the one to trim it.

The owner of shard 0 applies an entry and then removes it; a crash in between applies it again into the stored answer,
because the entry's id, with its producer's name, serves as command id. What cannot be applied moves to a stream of its
own, ``…:refused``, with a reason.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis

from workflows import limits
from workflows.errors import WorkflowError
from workflows.storage import aside, keys
from workflows.storage.intake import (
    CreateItem,
    EventItem,
    address,
    create_call,
    event_call,
    heartbeat_call,
    new_event,
    new_instance,
)
from workflows.storage.keys import Instance, Keyspace
from workflows.storage.manifest import Manifest, load_manifest
from workflows.storage.store import Call, Store, script
from workflows.telemetry import metrics
from workflows.telemetry.figures import figures
from workflows.values import codec, names
from workflows.values.listening import AnswerToken, answered
from workflows.values.rejection import Rejection

_INBOX = script(Path(__file__).with_name("inbox.lua"))
_APPLIED = script(Path(__file__).with_name("applied.lua"))
_log = logging.getLogger("workflows.orchestrator")
# Of one round of the loop, shared by the streams that have something: timers, wake-ups and leases have their turn in
# between, and so has every stream, whoever fills another.
BATCH = 100
BATCH_BYTES = 2 * 1024 * 1024
REQUEST_FIELDS = {
    "create": frozenset({"op", "workflow", "id", "params", "metadata"}),
    "event": frozenset(
        {"op", "workflow", "id", "type", "payload", "event_id", "error", "error_name", "create_with", "token"}
    ),
    "heartbeat": frozenset({"op", "token"}),
}
MESSAGE_FIELDS = frozenset({"workflow", "instance", "type", "payload", "error"})


class Refused(Exception):
    """The request cannot be applied, now or later."""


class Inbox:
    """The streams of a namespace, read in turn."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last = ""  # whose stream had the last turn; the next round begins behind it

    def apply(self) -> int:
        """Apply some of what stands in the streams. Returns: how many requests were taken off them."""
        store = self._store
        manifest = load_manifest(store)
        declared = store.keys.inboxes(manifest.producers)
        there = store.commands([["EXISTS", stream.key] for stream in declared])
        full = [stream for stream, exists in zip(declared, there, strict=True) if exists]
        share, share_bytes = max(1, BATCH // max(1, len(full))), BATCH_BYTES // max(1, len(full))
        taken = size = 0
        for stream in sorted(full, key=lambda stream: (stream.producer <= self._last, stream.producer)):
            if taken >= BATCH or size >= BATCH_BYTES:
                break
            self._last = stream.producer
            with _displaced(store, stream):
                count, weight = _apply_some(store, manifest, stream, share, share_bytes)
                taken, size = taken + count, size + weight
        return taken


@contextmanager
def _displaced(store: Store, stream: keys.Stream) -> Iterator[None]:
    """Reading a stream, which may be none: then it is taken away, and the others have their turn (I11)."""
    try:
        yield
    except redis.ResponseError as error:
        wanted = {stream.key: "stream", stream.refused: "stream"}
        if not aside.is_about_data(error) or not aside.displace(store, wanted):
            raise


def _apply_some(store: Store, manifest: Manifest, stream: keys.Stream, most: int, most_bytes: int) -> tuple[int, int]:
    """Apply the first requests of a stream. Returns: how many were taken off it, and their bytes."""
    limit = {"n": most, "bytes": most_bytes, "fields": limits.REQUEST_FIELDS, "most": limits.REQUEST_BYTES}
    entries = store.call(Call(_INBOX, [stream.key], limit))
    if not entries:
        return 0, 0
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
            request = dict(zip(decoded[::2], decoded[1::2], strict=True))
            _apply(store, manifest, _request_id(stream, entry_id), request)
        except (Refused, WorkflowError, UnicodeDecodeError, redis.ResponseError) as error:
            if isinstance(error, redis.ResponseError) and not aside.is_about_data(error):
                raise
            reason = str(error)[: limits.REASON_CHARACTERS] or "refused"
        done.append({"id": entry_id, "reason": reason})
    arguments = {
        "items": done,
        "keep": limits.REFUSED_KEPT,
        "texts": 2 * limits.REQUEST_FIELDS,
        "cut": limits.REFUSED_BYTES,
    }
    store.call(Call(_APPLIED, [stream.key, stream.refused], arguments))
    # Somebody who fills a stream fills no log.
    for reason, times in Counter(one["reason"] for one in done if one["reason"]).items():
        figures.count(metrics.INBOX_REFUSED, by=times)
        _log.warning("requests refused", extra={"key": stream.key, "count": times, "reason": reason})
    return len(done), sum(int(size) for *_, size in entries)


def _request_id(stream: keys.Stream, entry_id: bytes) -> str:
    """By which a request is known if it names no id: two streams may have entries of the same id."""
    return f"{stream.producer}-{entry_id.decode()}" if stream.producer else entry_id.decode()


def _apply(store: Store, manifest: Manifest, request_id: str, request: dict[str, str]) -> None:
    operation = request.get("op")
    if operation not in REQUEST_FIELDS:
        raise Refused(f"op is {operation!r}: it must be 'create', 'event' or 'heartbeat'")
    _expect(request, REQUEST_FIELDS[operation])
    if operation == "heartbeat":
        wait = AnswerToken.parse(request.get("token"))
        heard = store.call(heartbeat_call(store.keys, wait))
        _accepted(operation, store.keys.instance(wait.workflow, wait.id), [heard])
        return
    if "token" in request:
        instance, event = _answer_of(store.keys, request, request.get("event_id", request_id))
        _accepted(operation, instance, store.call(event_call(store.keys, instance, event)))
        return
    workflow = names.check_workflow_name(request.get("workflow", ""))
    if operation == "create":
        # Without an id the request's own serves, so that applying it twice is still one instance.
        item = _new(manifest, workflow, request.get("id", f"inbox-{request_id}"), request, "params", request_id)
        instance = store.keys.instance(item.workflow, item.id)
        answer = store.call(create_call(store.keys, item))
    else:
        instance = address(store.keys, workflow, request.get("id", ""))
        event = new_event(
            request.get("type", ""),
            _value(request, "payload"),
            id=request.get("event_id", request_id),
            error=_rejection(request),
            new=_new(manifest, workflow, instance.id, request, "create_with") if "create_with" in request else None,
        )
        answer = store.call(event_call(store.keys, instance, event))
    _accepted(operation, instance, answer)


def _accepted(operation: str, instance: Instance, answer: list[bytes]) -> None:
    if answer[0] not in (b"created", b"delivered", b"buffered", b"started", b"heard"):
        raise Refused(f"{operation} of {instance.workflow}/{instance.id}: {answer[0].decode()}")


def _answer_of(keys: Keyspace, request: Mapping[str, str], event_id: str) -> tuple[Instance, EventItem]:
    """The answer to one wait that a request with its token is."""
    if superfluous := sorted({"workflow", "id", "type", "create_with"} & set(request)):
        raise Refused(f"{', '.join(superfluous)} beside a token, which says which wait is answered")
    wait = AnswerToken.parse(request["token"])
    event = new_event(wait.type, _value(request, "payload"), id=event_id, error=_rejection(request))
    sent = replace(event, name=answered(wait.type, wait.seq), life=wait.life)
    return keys.instance(wait.workflow, wait.id), sent


def _expect(request: Iterable[str], known: frozenset[str]) -> None:
    """A field nobody reads is most likely a mistyped one, and what it was to say would be lost without a word."""
    unknown = sorted(set(request) - known)
    if unknown:
        raise Refused(f"{', '.join(unknown)} is unknown; there are {', '.join(sorted(known))}")


def _value(request: Mapping[str, str], field: str) -> Any:
    """None where it is left out."""
    try:
        return json.loads(request[field]) if field in request else None
    except (ValueError, RecursionError) as error:
        raise Refused(f"{field} is not JSON: {error}") from error


def _new(
    manifest: Manifest, workflow: str, id: str, request: Mapping[str, str], field: str, command: str | None = None
) -> CreateItem:
    """The instance that a request asks for, with the params in a field of it."""
    known = manifest.workflow(workflow)
    blob = codec.encode(known.validate_params(_value(request, field)), what="the params of a request")
    if known.concurrency is not None:
        known.concurrency.check(blob, workflow)
    return new_instance(known, id, blob, command=command, metadata=_value(request, "metadata"))


def _rejection(request: Mapping[str, str]) -> Rejection | None:
    error, name = request.get("error"), request.get("error_name")
    if name is not None and error is None:
        raise Refused("error_name is the name of an error, and there is none")
    return None if error is None else {"message": error} | ({} if name is None else {"name": name})


def event_of_message(keyspace: Keyspace, data: bytes) -> tuple[Instance, EventItem]:
    """For whom a message published on the events channel is, and the event.

    Raises:
        Refused, WorkflowError: it is not a request for an event.
    """
    try:
        message = json.loads(data)
        if not isinstance(message, dict):
            raise ValueError("an object is needed")
    except (ValueError, RecursionError) as error:
        raise Refused(f"not JSON: {error}") from error
    _expect(message, MESSAGE_FIELDS)
    instance = address(keyspace, message.get("workflow", ""), message.get("instance", ""))
    return instance, new_event(message.get("type", ""), message.get("payload"), error=message.get("error"))


def bridge(store: Store, token: str, data: bytes) -> str:
    """Put a published event into its mailbox, if this orchestrator owns the shard (so it happens once).

    Returns: the answer of ``send_event.lua``.
    """
    instance, event = event_of_message(store.keys, data)
    answer: bytes = store.call(event_call(store.keys, instance, event, owner=token))[0]
    return answer.decode()

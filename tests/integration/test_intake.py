"""Whoever creates an instance or sends an event, the same is accepted and the same is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis as redis_py

from orchestrator import inbox, relay
from tests.driving import dump, store_of
from workflows.client import creation
from workflows.errors import WorkflowError
from workflows.storage import journal
from workflows.storage.keys import Instance
from workflows.storage.manifest import KnownWorkflow
from workflows.storage.store import Store, packb
from workflows.values import codec


@pytest.fixture
def store(redis: redis_py.Redis) -> Store:
    body = {"queue": "default", "retention": {"success_ms": 1, "error_ms": 1}, "schedules": []}
    store = store_of(redis, shards=1)
    redis.hset(store.keys.manifest, "shop", json.dumps({"workflows": {"order": body}}))
    return store


def ask(store: Store, **request: str) -> str:
    """Put a request into the inbox and apply it. Returns: why it was refused."""
    store.redis.xadd(store.keys.inbox, request)  # type: ignore[arg-type]
    assert inbox.Inbox(store).apply() == 1
    refused: Any = store.redis.xrange(store.keys.inbox_refused)
    return refused[0][1][b"reason"].decode() if refused else ""


def create(store: Store, id: str = "a1") -> Instance:
    _, request = creation.create(store.keys, KnownWorkflow("order"), id=id)
    assert store.call(request.call) == [b"created"]
    return store.keys.instance("order", id)


def params_of(store: Store, instance: Instance) -> Any:
    (blob,) = store.redis.lrange(store.keys.journal(instance), 0, 0)
    return codec.decode(journal.decode_start(blob).params)


@pytest.mark.parametrize("params", [{}, {"params": "null"}, {"params": "{}"}])
def test_no_params_are_an_empty_dict_from_the_inbox_as_from_a_client(store: Store, params: dict[str, str]) -> None:
    assert ask(store, op="create", workflow="order", id="a1", **params) == ""
    assert params_of(store, store.keys.instance("order", "a1")) == {}
    assert params_of(store, create(store, "a2")) == {}


def test_an_id_that_was_left_empty_is_refused_like_any_that_is_none(store: Store) -> None:
    assert "it is empty" in ask(store, op="create", workflow="order", id="")
    assert store.redis.zcard(store.keys.shard_key(0, "index")) == 0


def test_a_request_without_an_id_is_one_instance_with_an_id_of_its_own(store: Store) -> None:
    assert ask(store, op="create", workflow="order") == ""
    assert store.redis.zcard(store.keys.shard_key(0, "index")) == 1


@pytest.mark.parametrize(
    ("request_", "unknown"),
    [
        ({"op": "create", "workflow": "order", "id": "a2", "param": "{}"}, "param"),
        ({"op": "create", "workflow": "order", "id": "a2", "payload": "{}"}, "payload"),
        ({"op": "event", "workflow": "order", "id": "a1", "type": "t", "eventid": "e1"}, "eventid"),
        ({"op": "event", "workflow": "order", "id": "a1", "type": "t", "params": "{}"}, "params"),
    ],
)
def test_a_request_with_a_field_nobody_reads_is_refused(store: Store, request_: dict[str, str], unknown: str) -> None:
    """What it was to say would be lost without a word: two events in place of one, or an instance without params."""
    create(store)
    reason = ask(store, **request_)
    assert reason.startswith(f"{unknown} is unknown; there are ")
    assert store.redis.zcard(store.keys.shard_key(0, "index")) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"event_id": "e1"},
        {"params": {}},
        {"type": "a b"},
        {"type": 7},
        {"instance": "-a"},
        {"workflow": ""},
        {"payload": "x" * 1_100_000},
        {"error": {"name": "No"}},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_published_event_is_held_to_what_any_event_is(store: Store, wrong: dict[str, Any]) -> None:
    create(store)
    before = dump(store.redis)
    message = {"workflow": "order", "instance": "a1", "type": "t", "payload": 1, **wrong}
    with pytest.raises((WorkflowError, inbox.Refused)):
        inbox.bridge(store, "token", json.dumps(message).encode())
    assert dump(store.redis) == before


@pytest.mark.parametrize("wrong", [{"id": "-child"}, {"wf": "w" * 65}, {"qu": "q" * 65}, {"p": b"p" * 1_100_000}])
def test_a_message_for_an_instance_that_no_client_can_create_is_set_aside(store: Store, wrong: dict[str, Any]) -> None:
    """Nobody could ask for such an instance, or end it."""
    wire = {"op": "invoke", "wf": "order", "id": "c1", "gen": "g", "p": b"", "qu": "default", "ok": 1, "err": 1}
    asker = {"pwf": "order", "pid": "a1", "pgen": "g", "pseq": 1}
    store.redis.hset(store.keys.shard_key(0, "relay"), "c|order|a1|g|1", packb({**wire, **asker, **wrong}))
    assert relay.deliver(store, 0) == 1
    assert store.redis.zcard(store.keys.shard_key(0, "index")) == 0
    assert store.redis.zcard(store.keys.shard_key(0, "intents")) == 0

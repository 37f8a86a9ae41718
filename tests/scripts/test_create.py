"""create.lua: whole or not at all, one winner per id, safe to call twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import redis as redis_py

from tests.driving import HandWorker, dump, keys_of, store_of
from workflows.storage import journal
from workflows.storage.intake import CreateItem, create_batch_call
from workflows.storage.keys import Instance, Intent
from workflows.storage.records import ParentStep
from workflows.storage.store import Store, unpackb
from workflows.values import codec, failure


@pytest.fixture
def store(redis: redis_py.Redis) -> Store:
    return store_of(redis, shards=1)


def item(id: str, *, command: str | None = "", **more: Any) -> CreateItem:
    """``command``: one made of the id; None: none."""
    blob = codec.encode({"n": 1}, what="params")
    return CreateItem(
        **{
            "workflow": "order",
            "id": id,
            "generation": "g1",
            "params": blob,
            "queue": "default",
            "keep_ok_ms": 1000,
            "keep_err_ms": 2000,
            "command": f"c-{id}" if command == "" else command,
            **more,
        }
    )


def create(store: Store, *items: CreateItem) -> list[str]:
    instances = [store.keys.instance("order", one.id) for one in items]
    return [answer.decode() for answer in store.call(create_batch_call(store.keys, instances, items))]


def test_a_created_instance_is_queued_and_has_one_turn_to_be_claimed(store: Store, redis: redis_py.Redis) -> None:
    """I10: whatever crashes next, something will move it."""
    assert create(store, item("a1")) == ["created"]
    instance = store.keys.instance("order", "a1")
    header = redis.hgetall(store.keys.header(instance))
    assert header[b"st"] == b"queued"
    assert not header.keys() & {b"pos", b"want", b"queue"}, "what is the default is not stored"
    assert [journal.decode(blob) for blob in redis.lrange(store.keys.journal(instance), 0, -1)] == [
        journal.Start(int(header[b"created"]), codec.encode({"n": 1}, what="params"))
    ]
    (member,) = redis.zrange(store.keys.shard_key(0, "intents"), 0, -1)
    intent = Intent.parse(member.decode())
    assert (intent.kind, intent.workflow, intent.id, intent.generation, intent.queue) == (
        "t",
        "order",
        "a1",
        "g1",
        "default",
    )
    assert header[b"turn"].decode() == f"r|{intent.nonce}"
    assert redis.lrange(store.keys.shard_key(0, "wake"), 0, -1) == [b"1"]
    assert redis.zrange(store.keys.shard_key(0, "index"), 0, -1) == [b"queued|order|" + header[b"created"] + b"|a1"]


def test_who_waits_for_a_child_does_not_swell_its_header(store: Store, redis: redis_py.Redis) -> None:
    """See decision 0013."""
    parent = ParentStep("w" * 60, "p" * 60, "g" * 12, 7)
    assert create(store, item("a1", parent=parent, command="c1")) == ["created"]
    header = store.keys.header(store.keys.instance("order", "a1"))
    assert redis.object("encoding", header) in (b"listpack", b"ziplist")
    assert create(store, item("a1", parent=parent)) == ["created"]
    assert create(store, item("a1", parent=replace(parent, seq=8))) == ["exists"]


def test_the_same_call_twice_is_created_twice_and_changes_nothing(store: Store, redis: redis_py.Redis) -> None:
    create(store, item("a1"))
    before = dump(redis)
    assert create(store, item("a1")) == ["created"]
    assert dump(redis) == before


def test_somebody_elses_id_is_refused_and_nothing_changes(store: Store, redis: redis_py.Redis) -> None:
    create(store, item("a1"))
    before = dump(redis)
    assert create(store, item("a1", command="other", generation="g2")) == ["exists"]
    assert dump(redis) == before


def test_a_batch_answers_each_entry_in_order(store: Store) -> None:
    create(store, item("a2"))
    answers = create(store, item("a1"), item("a2", command="other"), item("a3"), item("a1", command="again"))
    assert answers == ["created", "exists", "created", "exists"]


def test_a_taken_id_is_an_outcome_for_the_parent_that_asked(store: Store, redis: redis_py.Redis) -> None:
    """Silence would hang the parent for ever."""
    create(store, item("a1"))
    parent = ParentStep("order", "p", "gp", 3)
    taken = failure.make("InstanceAlreadyExists", "taken")
    assert create(store, item("a1", command="other", parent=parent, taken=taken)) == ["exists"]
    (message,) = redis.hvals(store.keys.shard_key(0, "relay"))
    told = unpackb(message)
    assert (told[b"op"], told[b"id"], told[b"seq"], told[b"x"]) == (b"outcome", b"p", 3, taken)


def test_a_parent_that_repeats_itself_finds_its_own_child(store: Store, redis: redis_py.Redis) -> None:
    """F37: the relay delivers at least once, without a command id."""
    parent = ParentStep("order", "p", "gp", 3)
    ask = item("a1", command=None, parent=parent, taken=failure.make("InstanceAlreadyExists", "taken"))
    assert create(store, ask) == ["created"]
    before = dump(redis)
    assert create(store, ask) == ["created"]
    assert dump(redis) == before


def test_an_ended_instance_still_holds_its_id(store: Store) -> None:
    create(store, item("a1"))
    instance = Instance(0, "order", "a1")
    HandWorker(store).complete(instance)
    assert create(store, item("a1", command="other")) == ["exists"]
    assert keys_of(store.redis, store.keys, instance)

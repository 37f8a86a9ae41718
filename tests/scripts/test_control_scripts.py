"""send_event, pause, resume, terminate, restart, delete: each called twice, and refused without a trace."""

from __future__ import annotations

from typing import Any

import pytest
import redis as redis_py

from tests.driving import HandClock, HandWorker, dump, keys_of, sleep, step, wait
from workflows.client import creation, requests
from workflows.client.requests import Request
from workflows.storage.intake import event_call, new_event
from workflows.storage.journal import EventReceived, Withdrawn
from workflows.storage.keys import Instance, held_channel
from workflows.storage.manifest import KnownWorkflow
from workflows.storage.records import End
from workflows.storage.removal import delete_call
from workflows.storage.store import Call, Store
from workflows.values import codec, failure


@pytest.fixture
def instance(store: Store, worker: HandWorker) -> Instance:
    id, request = creation.create(store.keys, KnownWorkflow("order"), id="a1")
    store.call(request.call)
    return store.keys.instance("order", id)


def ask(store: Store, request: Request[Any]) -> Any:
    return store.call(request.call)


def send(store: Store, instance: Instance, type: str, payload: Any, id: str, **more: Any) -> str:
    call = event_call(store.keys, instance, new_event(type, payload, id=id))
    answer: bytes = store.call(Call(call.script, call.keys, {**call.arguments, "max": 3, **more}))[0]
    return answer.decode()


def own_keys(store: Store, instance: Instance, names: str) -> list[str]:
    return [key for key in store.keys.of_instance(instance) if key[-1] in names]


def shard(store: Store, name: str) -> str:
    return store.keys.shard_key(0, name)


@pytest.mark.parametrize("verb", ["terminate", "restart", "delete"])
def test_whoever_holds_a_step_of_an_instance_that_is_taken_away_is_told(
    store: Store, worker: HandWorker, instance: Instance, verb: str
) -> None:
    worker.turn(instance, opened=[step(1, "charge")])
    worker.claim(instance, "a", 1)
    (held,) = store.members(shard(store, "held"), f"{worker.name}|a")
    with store.redis.pubsub(ignore_subscribe_messages=True) as channel:  # type: ignore[no-untyped-call]
        channel.subscribe(held_channel(worker.name))
        assert channel.get_message(timeout=5) is None
        ask(store, getattr(requests, verb)(store.keys, instance))
        assert channel.get_message(timeout=5)["data"] == held


VERBS = ("pause", "resume", "terminate", "restart", "delete", "send_event")


def request_of(store: Store, instance: Instance, verb: str) -> Request[Any]:
    more = ("approved",) if verb == "send_event" else ()
    made: Request[Any] = getattr(requests, verb)(store.keys, instance, *more)
    return made


@pytest.mark.parametrize("verb", VERBS)
def test_an_unknown_instance_leaves_no_trace(store: Store, redis: redis_py.Redis, verb: str) -> None:
    before = dump(redis)
    answer = ask(store, request_of(store, store.keys.instance("order", "none"), verb))
    assert answer in (b"unknown", [b"unknown"])
    assert dump(redis) == before


@pytest.mark.parametrize("verb", VERBS)
def test_the_same_call_twice_happens_once(
    store: Store, redis: redis_py.Redis, worker: HandWorker, instance: Instance, verb: str
) -> None:
    """M2: a reply may be lost, and the call is then sent again."""
    worker.turn(instance, opened=[step(1, "s"), wait(2, "w", "other")])
    if verb == "resume":
        ask(store, requests.pause(store.keys, instance))
    request = request_of(store, instance, verb)
    first = ask(store, request)
    before = dump(redis)
    second = ask(store, request)
    assert dump(redis) == before
    assert second == (first if verb != "delete" else [b"unknown"])


@pytest.mark.parametrize("verb", ["pause", "resume", "terminate", "send_event"])
def test_an_ended_instance_is_left_as_it_is(
    store: Store, redis: redis_py.Redis, worker: HandWorker, instance: Instance, verb: str
) -> None:
    worker.complete(instance)
    before = dump(redis)
    answer = ask(store, request_of(store, instance, verb))
    expected = {"pause": b"complete", "resume": b"complete", "terminate": b"cannot", "send_event": [b"ended"]}
    assert answer == expected[verb]
    assert dump(redis) == before


# Events


def test_events_of_one_type_arrive_in_the_order_sent(store: Store, worker: HandWorker, instance: Instance) -> None:
    """More than ten of them: Cloudflare sorts these as text."""
    for number in range(12):
        assert send(store, instance, "t", number, f"e{number}", max=100) == "buffered"
    worker.turn(instance, opened=[wait(seq, f"w{seq}", "t") for seq in range(1, 13)])
    received = [entry for entry in worker.entries(instance) if isinstance(entry, EventReceived)]
    assert [(entry.seq, codec.decode(entry.payload)) for entry in received] == [(n + 1, n) for n in range(12)]


def test_an_event_goes_to_the_wait_that_asked_first(store: Store, worker: HandWorker, instance: Instance) -> None:
    """I6."""
    worker.turn(instance, opened=[wait(1, "first", "t"), wait(2, "second", "t"), wait(3, "other", "u")])
    assert send(store, instance, "t", "x", "e1") == "delivered"
    assert [entry.name for entry in worker.entries(instance) if isinstance(entry, EventReceived)] == ["first"]
    assert worker.header(instance, "st") == "running"


def test_a_full_mailbox_refuses_without_a_trace(store: Store, redis: redis_py.Redis, instance: Instance) -> None:
    for number in range(3):
        send(store, instance, "t", number, f"e{number}")
    before = dump(redis)
    assert send(store, instance, "t", 9, "e9") == "full"
    assert dump(redis) == before


def test_the_bridge_acts_only_while_it_owns_the_shard(store: Store, redis: redis_py.Redis, instance: Instance) -> None:
    before = dump(redis)
    assert send(store, instance, "t", 1, "e1", owner="me") == "not-owner"
    assert dump(redis) == before


def test_an_event_is_kept_while_paused_and_there_after_resume(
    store: Store, worker: HandWorker, instance: Instance
) -> None:
    worker.turn(instance, opened=[wait(1, "w", "t")])
    ask(store, requests.pause(store.keys, instance))
    assert send(store, instance, "t", 1, "e1") == "delivered"
    assert worker.header(instance, "st") == "paused"
    assert worker.intents(instance) == []
    ask(store, requests.resume(store.keys, instance))
    assert [member[0] for member in worker.intents(instance)] == ["t"]


def test_a_full_mailbox_keeps_no_event_from_the_wait_that_is_open_for_it(
    store: Store, worker: HandWorker, instance: Instance
) -> None:
    """Else a flood of a type nobody waits for would block the one that is waited for."""
    worker.turn(instance, opened=[wait(1, "w", "awaited")])
    assert [send(store, instance, "flood", n, f"e{n}") for n in range(4)] == [*["buffered"] * 3, "full"]
    assert send(store, instance, "awaited", 9, "e9") == "delivered"


# Pause and resume


def test_pausing_takes_back_what_nobody_claimed_and_lets_the_rest_finish(
    store: Store, worker: HandWorker, instance: Instance
) -> None:
    worker.turn(instance, opened=[step(1, "held"), step(2, "ready")])
    token = worker.claim(instance, "a", 1)
    assert ask(store, requests.pause(store.keys, instance)) == b"waitingForPause"
    assert worker.intents(instance) == []
    assert worker.settle(instance, 1, "held", token, value=1) == 1
    assert worker.header(instance, "st") == "paused"
    assert ask(store, requests.resume(store.keys, instance)) == b"running"
    assert sorted(member[0] for member in worker.intents(instance)) == ["a", "t"]


def test_resuming_while_pausing_cancels_the_pause(store: Store, worker: HandWorker, instance: Instance) -> None:
    worker.turn(instance, opened=[step(1, "held")])
    token = worker.claim(instance, "a", 1)
    ask(store, requests.pause(store.keys, instance))
    assert ask(store, requests.resume(store.keys, instance)) == b"running"
    assert worker.settle(instance, 1, "held", token, value=1) == 1


def test_a_paused_sleep_keeps_what_is_left_of_it(
    store: Store, redis: redis_py.Redis, worker: HandWorker, instance: Instance, clock: HandClock
) -> None:
    worker.turn(instance, opened=[sleep(1, "nap", 10_000)])
    clock.ms += 4_000
    ask(store, requests.pause(store.keys, instance))
    assert redis.zcard(shard(store, "timers")) == 0
    clock.ms += 3_600_000
    ask(store, requests.resume(store.keys, instance))
    ((_, due_ms),) = redis.zrange(shard(store, "timers"), 0, -1, withscores=True)
    assert due_ms == clock.ms + 6_000


def test_a_turn_that_was_open_at_the_pause_is_stale(
    store: Store, redis: redis_py.Redis, worker: HandWorker, instance: Instance
) -> None:
    token = worker.claim(instance)
    ask(store, requests.pause(store.keys, instance))
    before = dump(redis)
    assert worker.commit(instance, token, opened=[step(1, "s")]) == 0
    assert dump(redis) == before


# Ends


def test_termination_closes_everything_and_says_so_in_the_journal(
    store: Store, redis: redis_py.Redis, worker: HandWorker, instance: Instance
) -> None:
    worker.turn(instance, opened=[step(1, "s"), sleep(2, "nap", 5_000), wait(3, "w", "t")])
    token = worker.claim(instance, "a", 1)
    assert ask(store, requests.terminate(store.keys, instance)) == b"terminated"
    withdrawn = [entry.name for entry in worker.entries(instance) if isinstance(entry, Withdrawn)]
    assert sorted(withdrawn) == ["nap", "s", "w"]
    for name in ("intents", "timers", "held"):
        assert redis.zcard(shard(store, name)) == 0
    assert redis.zrange(shard(store, "retire"), 0, -1)
    assert not redis.exists(*own_keys(store, instance, "omq"))
    assert isinstance(token, str)


def test_a_result_that_comes_after_termination_changes_nothing(
    store: Store, redis: redis_py.Redis, worker: HandWorker, instance: Instance
) -> None:
    """F36."""
    token = worker.claim(instance)
    ask(store, requests.terminate(store.keys, instance))
    before = dump(redis)
    assert worker.commit(instance, token, end=End("complete", asked=[])) == 0
    assert dump(redis) == before


def test_a_restart_begins_a_new_life(
    store: Store, redis: redis_py.Redis, worker: HandWorker, instance: Instance, clock: HandClock
) -> None:
    created = worker.header(instance, "created")
    generation = worker.header(instance, "gen")
    worker.turn(instance, opened=[step(1, "s"), wait(2, "w", "t")])
    send(store, instance, "u", 1, "e1")
    token = worker.claim(instance, "a", 1)
    clock.ms += 1_000
    assert ask(store, requests.restart(store.keys, instance)) == b"queued"
    assert worker.header(instance, "gen") != generation
    assert worker.header(instance, "created") == created
    assert len(worker.entries(instance)) == 1
    assert [member[0] for member in worker.intents(instance)] == ["t"]
    assert not redis.exists(*own_keys(store, instance, "omq"))
    assert redis.zcard(shard(store, "held")) == 0
    assert isinstance(token, str)


def test_an_ended_instance_can_be_restarted_and_is_not_retired_meanwhile(
    store: Store, redis: redis_py.Redis, worker: HandWorker, instance: Instance
) -> None:
    worker.fail(instance, ValueError("bad"))
    assert redis.zcard(shard(store, "retire")) == 1
    ask(store, requests.restart(store.keys, instance))
    assert redis.zcard(shard(store, "retire")) == 0
    assert worker.header(instance, "err") == worker.header(instance, "ended") == ""


@pytest.mark.parametrize("how", ["queued", "running", "paused", "ended"])
def test_a_deleted_instance_leaves_no_key(
    store: Store, redis: redis_py.Redis, worker: HandWorker, instance: Instance, how: str
) -> None:
    """I8, F56: whatever it was doing."""
    if how != "queued":
        worker.turn(instance, opened=[step(1, "a"), step(2, "b"), sleep(3, "nap", 5_000), wait(4, "w", "t")])
        worker.claim(instance, "a", 1)
        send(store, instance, "u", 1, "e1")
    if how == "paused":
        ask(store, requests.pause(store.keys, instance))
    if how == "ended":
        ask(store, requests.terminate(store.keys, instance))
    answer = ask(store, requests.delete(store.keys, instance))
    assert answer[0] == b"deleted"
    assert keys_of(redis, store.keys, instance) == []
    left = {key.decode() for key in redis.keys("*")}
    assert left <= {store.keys.meta, shard(store, "wake"), shard(store, "workers")}


def test_a_delete_names_the_doorbells_that_still_stand(store: Store, worker: HandWorker, instance: Instance) -> None:
    worker.turn(instance, opened=[step(1, "a", queue="gpu"), step(2, "b")])
    nonces = {member.split("|")[6]: member.split("|")[5] for member in worker.intents(instance)}
    request = requests.delete(store.keys, instance)
    assert sorted(request.parse(ask(store, request))) == sorted(nonces.items())


def test_retention_deletes_only_what_is_over(
    store: Store, redis: redis_py.Redis, worker: HandWorker, instance: Instance, clock: HandClock
) -> None:
    worker.complete(instance)
    ((member, due_ms),) = redis.zrange(shard(store, "retire"), 0, -1, withscores=True)
    arguments = {"gen": worker.header(instance, "gen"), "retire": member, "x": failure.make("InstanceNotFound", "gone")}
    before = dump(redis)
    assert store.call(delete_call(store.keys, instance, arguments)) == [b"kept"]
    assert dump(redis) == before
    clock.ms = int(due_ms)
    assert store.call(delete_call(store.keys, instance, arguments)) == [b"deleted"]
    assert keys_of(redis, store.keys, instance) == []


def test_command_ids_are_forgotten_oldest_first(store: Store, redis: redis_py.Redis, instance: Instance) -> None:
    """A sender that never stops cannot fill Redis."""
    for number in range(300):
        send(store, instance, "t", number, f"e{number}", max=1_000_000)
    known = redis.hkeys(store.keys.of_instance(instance)[4])
    assert len(known) <= 256
    assert b"e299" in known

"""A restart from a step, as the scripts see it: what is kept, what goes, and what late calls find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis as redis_py

from tests.driving import HandWorker, dump, keys_of, sleep, step, wait
from worker.claim import claim
from workflows import limits
from workflows.client import creation, requests
from workflows.client.requests import Request
from workflows.storage.cuts import kept
from workflows.storage.intake import event_call, new_event
from workflows.storage.journal import Cut, Settled, Start
from workflows.storage.keys import Instance, Intent
from workflows.storage.manifest import KnownWorkflow
from workflows.storage.records import End
from workflows.storage.store import Store


@pytest.fixture
def instance(store: Store, worker: HandWorker) -> Instance:
    """Has done step 1, and is about to do step 2."""
    id, request = creation.create(store.keys, KnownWorkflow("order"), id="a1", params={"n": 7})
    store.call(request.call)
    made = store.keys.instance("order", id)
    worker.turn(made, opened=[step(1, "pick")])
    done(worker, made, 1, "pick")
    worker.turn(made, opened=[step(2, "charge")])
    return made


def done(worker: HandWorker, instance: Instance, seq: int, name: str) -> None:
    assert worker.settle(instance, seq, name, worker.claim(instance, "a", seq), value=name) == 1


def restart_from(store: Store, worker: HandWorker, instance: Instance, seq: int) -> Request[bool]:
    return requests.restart_from(store.keys, instance, seq, worker.header(instance, "gen"))


def start_of(worker: HandWorker, instance: Instance) -> Start:
    start = worker.entries(instance)[0]
    assert isinstance(start, Start)
    return start


def send(store: Store, instance: Instance, type: str, id: str) -> str:
    answer: bytes = store.call(event_call(store.keys, instance, new_event(type, None, id=id)))[0]
    return answer.decode()


def test_it_adds_a_cut_and_keeps_every_entry_behind_the_first(
    store: Store, worker: HandWorker, instance: Instance
) -> None:
    done(worker, instance, 2, "charge")
    before, generation = worker.entries(instance), worker.header(instance, "gen")
    assert store.call(restart_from(store, worker, instance, 2).call) == b"queued"
    start = start_of(worker, instance)
    assert start.cuts == (Cut(3, 2, generation),)
    assert (start.params, start.at_ms) == (before[0].params, before[0].at_ms)  # type: ignore[union-attr]
    assert worker.entries(instance)[1:] == before[1:]
    assert [entry.seq for entry in kept(worker.entries(instance))[1:] if isinstance(entry, Settled)] == [1]
    assert (worker.header(instance, "st"), worker.header(instance, "pos")) == ("queued", "0")
    assert worker.header(instance, "gen") != generation


def test_everything_open_goes_and_the_mailbox_with_it(
    store: Store, redis: redis_py.Redis, worker: HandWorker, instance: Instance
) -> None:
    done(worker, instance, 2, "charge")
    worker.turn(instance, opened=[step(3, "ship"), step(4, "tell"), sleep(5, "nap", 5_000), wait(6, "w", "t")])
    worker.claim(instance, "a", 3)
    assert send(store, instance, "u", "e1") == "buffered"
    store.call(restart_from(store, worker, instance, 3).call)
    assert [name[-1] for name in keys_of(redis, store.keys, instance)] == ["h", "j", "c"]
    assert redis.zcard(store.keys.shard_key(0, "held")) == redis.zcard(store.keys.shard_key(0, "timers")) == 0
    assert [member[0] for member in worker.intents(instance)] == ["t"]


@pytest.mark.parametrize("late", ["attempt", "turn"])
def test_a_worker_of_the_former_life_can_write_nothing(
    store: Store, redis: redis_py.Redis, worker: HandWorker, instance: Instance, late: str
) -> None:
    """F36."""
    token, settle = worker.claim(instance, "a", 2), worker.settle
    record, generation = worker.record(instance, 2), worker.header(instance, "gen")
    if late == "turn":
        assert settle(instance, 2, "charge", token, value=1) == 1
        token = worker.claim(instance)
    store.call(restart_from(store, worker, instance, 2).call)
    before = dump(redis)
    real_header, real_record = worker.header, worker.record
    worker.header = lambda one, field: generation if field == "gen" else real_header(one, field)  # type: ignore[method-assign]
    worker.record = lambda one, seq: record  # type: ignore[method-assign]
    if late == "attempt":
        assert settle(instance, 2, "charge", token, value=1) == 0
    else:
        assert worker.commit(instance, token, opened=[step(3, "ship")]) == 0
    assert dump(redis) == before
    worker.header, worker.record = real_header, real_record  # type: ignore[method-assign]


def test_a_step_of_another_life_is_refused_without_a_trace(
    store: Store, redis: redis_py.Redis, worker: HandWorker, instance: Instance
) -> None:
    request = restart_from(store, worker, instance, 2)
    store.call(requests.restart(store.keys, instance).call)
    before = dump(redis)
    assert request.parse(store.call(request.call)) is False
    assert dump(redis) == before


def test_the_same_call_twice_cuts_once(
    store: Store, redis: redis_py.Redis, worker: HandWorker, instance: Instance
) -> None:
    """M2."""
    request = restart_from(store, worker, instance, 2)
    assert request.parse(store.call(request.call)) is True
    before = dump(redis)
    assert request.parse(store.call(request.call)) is True
    assert dump(redis) == before


@pytest.mark.parametrize("how", ["complete", "terminate"])
def test_an_ended_instance_goes_on_and_is_not_retired(
    store: Store, redis: redis_py.Redis, worker: HandWorker, instance: Instance, how: str
) -> None:
    """F55: what it ended with is behind its last entry and goes, with the end of its retention."""
    done(worker, instance, 2, "charge")
    if how == "complete":
        worker.complete(instance)
    else:
        store.call(requests.terminate(store.keys, instance).call)
    before = worker.entries(instance)
    store.call(restart_from(store, worker, instance, 2).call)
    blobs = redis.lrange(store.keys.journal(instance), 0, -1)
    assert len(blobs) == len(before) == start_of(worker, instance).cuts[-1].upto
    assert redis.zcard(store.keys.shard_key(0, "retire")) == 0
    assert worker.header(instance, "ended") == ""


def test_a_cut_before_a_former_one_takes_its_place(store: Store, worker: HandWorker, instance: Instance) -> None:
    """So there are never more cuts than steps. What is before it was first asked for in the first of these lives."""
    first = worker.header(instance, "gen")
    done(worker, instance, 2, "charge")
    store.call(restart_from(store, worker, instance, 2).call)
    second = worker.header(instance, "gen")
    worker.turn(instance, opened=[step(2, "charge"), step(3, "tell")])
    store.call(restart_from(store, worker, instance, 3).call)
    assert start_of(worker, instance).cuts == (Cut(3, 2, first), Cut(3, 3, second))
    store.call(restart_from(store, worker, instance, 1).call)
    assert start_of(worker, instance).cuts == (Cut(3, 1, first),)


def test_a_restart_from_the_beginning_knows_no_cuts(store: Store, worker: HandWorker, instance: Instance) -> None:
    store.call(restart_from(store, worker, instance, 2).call)
    store.call(requests.restart(store.keys, instance).call)
    assert worker.entries(instance) == [Start(start_of(worker, instance).at_ms, start_of(worker, instance).params)]


def test_the_first_decision_is_taken_over_all_that_was_kept(
    store: Store, worker: HandWorker, instance: Instance
) -> None:
    """Else a step whose answer is beyond the entries of one turn would be opened, and run, again."""
    done(worker, instance, 2, "charge")
    many = limits.TURN_ENTRIES + 10
    worker.turn(instance, opened=[step(2 + n, f"s{n}") for n in range(1, many)])
    for n in range(1, many):
        done(worker, instance, 2 + n, f"s{n}")
    store.call(restart_from(store, worker, instance, many).call)
    (member,) = worker.intents(instance)
    (task,) = claim(store, worker.name, [Intent.parse(member)], lambda known: None)
    assert (task.position, task.upto) == (0, len(worker.entries(instance)))


@pytest.mark.parametrize("before", ["pause", "restart"])
def test_it_is_possible_in_whatever_status(store: Store, worker: HandWorker, instance: Instance, before: str) -> None:
    ask: Callable[..., Request[Any]] = getattr(requests, before)
    worker.claim(instance, "a", 2)
    store.call(ask(store.keys, instance).call)
    assert store.call(restart_from(store, worker, instance, 1).call) == b"queued"
    assert worker.header(instance, "want") == ""
    assert worker.turn(instance, end=End("complete", asked=[])) == 2

"""What has failed or is parked, in groups, made by a worker by hand."""

from __future__ import annotations

from collections import Counter

import pytest
import redis as redis_py

from tests.driving import FIRE, HandClock, HandWorker, step, store_of, wait
from workflows.client import requests
from workflows.client.blocking import carry_out, send
from workflows.errors import EventTimeout, StepFailed
from workflows.health import error_groups as module
from workflows.health.error_groups import FailedStep, error_groups, troubles
from workflows.storage.intake import CreateItem, create_call
from workflows.storage.keys import Instance
from workflows.storage.store import Store, call_one
from workflows.values import codec


class Refused(Exception):
    pass


def create(store: Store, workflow: str, id: str) -> Instance:
    instance = store.keys.instance(workflow, id)
    params = codec.encode({}, what="params")
    store.call(create_call(store.keys, CreateItem(workflow, id, f"g-{id}", params, "default", 1000, 2000)))
    return instance


def fail_in(
    worker: HandWorker, instance: Instance, name: str, error: Exception, raised: Exception | None = None
) -> None:
    """A step of this name fails, and with it the instance, or with what ``run`` makes of it."""
    worker.turn(instance, opened=[step(1, name)])
    worker.settle(instance, 1, name, worker.claim(instance, "a", 1), error=error)
    worker.fail(instance, raised or error)


def test_instances_that_failed_in_the_same_step_with_the_same_error_are_one_group(
    store: Store, worker: HandWorker, clock: HandClock
) -> None:
    for number in range(3):
        clock.ms += 1_000
        fail_in(worker, create(store, "order", f"o{number}"), "charge", Refused(f"card {number}"))
    fail_in(worker, create(store, "order", "o3"), "pack", Refused("no box"))
    fail_in(worker, create(store, "order", "o4"), "charge", OSError("no way"))
    fail_in(worker, create(store, "refund", "r0"), "charge", Refused("card"))

    found = error_groups(store)

    assert Counter({(g.workflow, g.step, g.error): g.count for g in found.groups}) == {
        ("order", "charge", "Refused"): 3,
        ("order", "pack", "Refused"): 1,
        ("order", "charge", "OSError"): 1,
        ("refund", "charge", "Refused"): 1,
    }
    (cards,) = [group for group in found.groups if group.count == 3]
    assert (cards.message, cards.id) == ("card 2", "o2")
    assert cards.first is not None and cards.last is not None
    assert (cards.last - cards.first).total_seconds() == 2
    assert found.looked_at == 6 and not found.more


def test_an_error_of_run_itself_belongs_to_no_step(store: Store, worker: HandWorker) -> None:
    fail_in(worker, create(store, "order", "o"), "charge", Refused("card"), raised=ValueError("of run"))
    (group,) = error_groups(store).groups
    assert (group.step, group.error, group.message) == (None, "ValueError", "of run")


def test_an_error_that_was_raised_again_as_another_class_belongs_to_its_step(store: Store, worker: HandWorker) -> None:
    again = StepFailed('card (Refused: step "charge-1")', remote_name="Refused", remote_traceback="")
    fail_in(worker, create(store, "order", "o"), "charge", Refused("card"), raised=again)
    (group,) = error_groups(store).groups
    assert (group.step, group.error) == ("charge", "Refused")


def test_an_instance_that_failed_without_any_step_is_counted(store: Store, worker: HandWorker) -> None:
    worker.fail(create(store, "order", "o"), Refused())
    (group,) = error_groups(store).groups
    assert (group.step, group.error, group.message) == (None, "Refused", "")


def test_parked_ones_are_groups_of_their_own_and_paused_ones_are_none(store: Store, worker: HandWorker) -> None:
    worker.park(create(store, "order", "unfit"), "CorruptPayload: it has format 9", "corrupt")
    worker.park(create(store, "order", "other"), "The code ends, but has never asked for step A")
    send(store, requests.pause(store.keys, create(store, "order", "paused")))

    found = error_groups(store)

    assert {(g.is_parked, g.step, g.error, g.message) for g in found.groups} == {
        (True, None, "park.corrupt", "CorruptPayload: it has format 9"),
        (True, None, "park.mismatch", "The code ends, but has never asked for step A"),
    }


def test_only_one_workflow_is_looked_at_where_one_is_named(store: Store, worker: HandWorker) -> None:
    worker.fail(create(store, "order", "o"), Refused())
    worker.fail(create(store, "refund", "r"), Refused())
    assert [group.workflow for group in error_groups(store, workflow="refund").groups] == ["refund"]


def test_what_happened_before_is_left_out(store: Store, worker: HandWorker, clock: HandClock) -> None:
    worker.fail(create(store, "order", "old"), Refused())
    clock.ms += 60_000
    worker.fail(create(store, "order", "new"), Refused())
    (group,) = error_groups(store).groups
    assert group.last is not None
    (late,) = error_groups(store, since=group.last).groups
    assert (late.count, late.id) == (1, "new")


def test_the_newest_are_looked_at_however_they_lie_on_the_shards(
    redis: redis_py.Redis, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOKED_AT", 8)
    monkeypatch.setattr(module, "_SPARE", 0)
    store = store_of(redis, shards=4, clock=clock)
    worker = HandWorker(store)
    ids = [f"o{number}" for number in range(30)]
    for id in ids:
        clock.ms += 1
        worker.fail(create(store, "order", id), Refused(id))

    found = error_groups(store)

    assert found.more and 0 < found.looked_at <= 8
    (group,) = found.groups
    assert (group.count, group.message) == (found.looked_at, "o29")
    oldest = ids[-found.looked_at]
    assert group.first == carry_out(store, troubles(store.keys, [store.keys.instance("order", oldest)]))[0].at  # type: ignore[union-attr]
    assert found.scope.startswith(f"the newest {found.looked_at}")


def test_each_instance_says_what_is_wrong_with_it_and_others_say_nothing(store: Store, worker: HandWorker) -> None:
    failed, sound = create(store, "order", "failed"), create(store, "order", "sound")
    fail_in(worker, failed, "charge", Refused("card"))
    gone = store.keys.instance("order", "gone")

    one, *others = carry_out(store, troubles(store.keys, [failed, sound, gone]))

    assert one is not None
    assert one.step == FailedStep("do", "charge", 1)
    assert others == [None, None]


def test_a_wait_that_was_over_is_the_step_that_failed(store: Store, worker: HandWorker, clock: HandClock) -> None:
    late = create(store, "order", "late")
    worker.turn(late, opened=[wait(1, "wait for packing", "packed", ms=1_000)])
    clock.ms += 1_000
    (member,) = store.redis.zrange(store.keys.shard_key(0, "timers"), 0, -1)
    item = {"i": 1, "m": member, "k": "w", "g": worker.header(late, "gen"), "s": 1}
    store.call(call_one(store.keys, FIRE, late, {"items": [item]}))
    worker.fail(late, EventTimeout("Execution timed out after 1000ms"))
    (group,) = error_groups(store).groups
    assert (group.step, group.error) == ("wait for packing", "EventTimeout")


def test_a_long_message_is_cut_and_what_cannot_be_read_is_passed_over(store: Store, worker: HandWorker) -> None:
    worker.fail(create(store, "order", "long"), Refused("é" * 10_000))
    worker.fail(create(store, "order", "spoilt"), Refused("x"))
    spoilt = store.keys.of_instance(store.keys.instance("order", "spoilt"))
    store.redis.delete(spoilt[1])
    store.redis.set(spoilt[1], "no list")
    (group,) = error_groups(store).groups
    assert group.count == 1 and set(group.message) == {"é"} and len(group.message) < 300

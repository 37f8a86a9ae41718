"""Taking doorbells off a queue: what is not ours is never run, and a turn that comes alone is claimed at once."""

from __future__ import annotations

from collections.abc import Collection

import pytest
import redis as redis_py

from tests.scripts.world import STOPPED, World, do
from worker import claim
from worker.claim import PAGE_ALONE, Known, Popped, pop_call, popped
from workflows.storage import doorbell, journal, keys
from workflows.storage.keys import Intent


@pytest.fixture
def world(redis: redis_py.Redis) -> World:
    return World(redis)


def pop(
    world: World, most: int = 10, *, worker: str = "w1", known: Known | None = None, code: Collection[str] = ("job",)
) -> Popped:
    answer = world.store.call(pop_call(world.keys, "q", most, code, worker, "token"))
    return popped(world.store, answer, worker, "token", lambda instance: known)


def put(world: World, id: str, data: str | None) -> None:
    if data is not None:
        world.client.hset(keys.rq_job_prefix() + id, "data", data)
    world.client.rpush(keys.rq_queue("q"), id)


def put_attempt(world: World, n: int) -> str:
    """A doorbell for an attempt that nobody is asked for any more; its member."""
    member = f"a|job|a|g-a|{n}|n{n}|default"
    put(world, f"00-n{n}", doorbell.data("test", member))
    return member


def ring(world: World, kind: str = "t", seq: int = 0, *, id: str = "") -> Intent:
    """As whoever has made an intent does."""
    intent = Intent.parse(world.member(kind, seq))
    put(world, id or doorbell.job_id(0, intent), doorbell.data("test", intent.member))
    return intent


def is_claimed(world: World) -> bool:
    return world.all_held() == ["w1|t|job|a|g-a|0|token"]


# What is taken


def test_doorbells_are_taken_in_order_and_their_jobs_removed(world: World) -> None:
    members = [put_attempt(world, n) for n in (1, 2, 3)]
    assert [intent.member for intent in pop(world, 2).intents] == members[:2]
    assert [intent.member for intent in pop(world).intents] == members[2:]
    assert not world.client.keys(keys.rq_job_prefix() + "*")
    with world.unchanged():
        assert pop(world) == Popped([], None, [], [])


def test_the_handed_over_doorbell_comes_first(world: World) -> None:
    first, second = put_attempt(world, 1), put_attempt(world, 2)
    world.client.lmove(keys.rq_queue("q"), keys.rq_handover("q"), "RIGHT", "LEFT")
    assert [intent.member for intent in pop(world).intents] == [second, first]


def test_a_doorbell_whose_job_is_gone_is_passed_over(world: World) -> None:
    put(world, "00-n1", None)
    member = put_attempt(world, 2)
    assert [intent.member for intent in pop(world, 1).intents] == [member]


def test_a_queue_full_of_junk_is_looked_through_in_several_pops(world: World) -> None:
    """Otherwise 400,000 ids that name nothing would stop Redis for more than a second."""
    junk = 2 * claim.JUNK_PER_POP + 50
    world.client.rpush(keys.rq_queue("q"), *(f"junk{n}" for n in range(junk)))
    member = put_attempt(world, 1)
    assert [pop(world, 10).intents, pop(world, 10).intents] == [[], []]
    assert world.client.llen(keys.rq_queue("q")) == junk + 1 - 2 * (10 + claim.JUNK_PER_POP)
    assert [intent.member for intent in pop(world).intents] == [member]


def test_a_forged_job_is_put_aside(world: World) -> None:
    put(world, "bad", '["os.system", "rm"]')
    assert pop(world) == Popped([], None, ["bad"], [])
    assert world.client.hget(keys.rq_job_prefix() + "bad", "status") == b"failed"
    assert world.client.ttl(keys.rq_job_prefix() + "bad") > 0
    assert world.client.zrange(keys.rq_failed("q"), 0, -1) == [b"bad"]


def test_a_doorbell_for_no_intent_is_dropped(world: World) -> None:
    put(world, "00-n", doorbell.data("test", "no intent"))
    assert pop(world).intents == []


# What is claimed with it


def test_a_turn_that_comes_alone_is_claimed_by_the_call_that_takes_its_doorbell(world: World) -> None:
    ring(world)
    found = pop(world)
    task = found.task
    assert task is not None and found.intents == []
    assert (task.instance, task.kind, task.generation, task.token, task.worker) == (world.a, "t", "g-a", "token", "w1")
    assert (task.start, task.upto, task.position, task.blobs) == (0, 1, 0, world.journal())
    assert is_claimed(world)
    assert (world.header("turn"), world.header("st"), world.intents()) == ("h|w1|token", "running", [])
    assert world.commit("token") == 1


def test_several_are_left_to_a_claim_of_their_own(world: World) -> None:
    turn = ring(world)
    attempt = put_attempt(world, 1)
    found = pop(world)
    assert ([intent.member for intent in found.intents], found.task) == ([turn.member, attempt], None)
    assert world.all_held() == []


def test_an_attempt_is_left_to_a_claim_that_has_a_slot_for_it(world: World) -> None:
    world.open(do(1))
    intent = ring(world, "a", 1)
    assert pop(world) == Popped([intent], None, [], pytest.approx([0], abs=1000))
    assert world.all_held() == []


@pytest.mark.parametrize("code", [[], ["jo", "b"], ["another", "jobs"]])
def test_a_turn_of_code_that_the_worker_does_not_have_is_left(world: World, code: list[str]) -> None:
    intent = ring(world)
    assert pop(world, code=code).intents == [intent]
    assert world.all_held() == []


def test_a_worker_without_a_live_lease_claims_nothing_with_a_doorbell(world: World) -> None:
    intent = ring(world)
    world.expire("w1")
    assert pop(world).intents == [intent]
    assert (world.all_held(), world.intents()) == ([], [intent.member])


def test_a_long_journal_is_left_to_a_claim_that_says_what_the_worker_has_of_it(world: World) -> None:
    for n in range(PAGE_ALONE):
        world.client.rpush(world.keys.journal(world.a), b"\1E%08d" % n)
    intent = ring(world)
    assert pop(world).intents == [intent]
    assert world.all_held() == []


@pytest.mark.parametrize("id", ["01-{0}", "99-{0}", "00-another", "0-{0}", "job"])
def test_a_doorbell_whose_name_is_not_that_of_its_turn_is_left(world: World, id: str) -> None:
    intent = ring(world, id=id.format(Intent.parse(world.member("t")).nonce))
    assert pop(world).intents == [intent]
    assert (world.all_held(), world.intents()) == ([], [intent.member])


@pytest.mark.parametrize("cut_in", ["claimed", "pause", "terminate", "restart", "delete"])
def test_a_turn_that_is_there_no_more_is_not_claimed_with_an_old_doorbell(world: World, cut_in: str) -> None:
    ring(world)
    if cut_in == "claimed":
        world.held(name="w2")
    else:
        world.control(cut_in, cid="c", x=STOPPED, gen="g2")
    before = (world.all_held(), world.intents(), world.header("turn"))
    assert pop(world) == Popped([], None, [], pytest.approx([0], abs=1000))
    assert (world.all_held(), world.intents(), world.header("turn")) == before


# What the worker has of its journal


def fed(world: World) -> str:
    """An instance with two entries and a turn that is to be taken; the nonce of the first."""
    world.open(do(1))
    world.settle(1, world.held("a", 1))
    ring(world)
    return journal.nonce_of(world.journal()[0])


def test_what_the_worker_has_been_fed_is_not_fed_again(world: World) -> None:
    task = pop(world, known=Known("g-a", 1, fed(world))).task
    assert task is not None
    assert (task.start, task.blobs, task.hinted) == (1, world.journal()[1:], True)


@pytest.mark.parametrize("position", [1, 2, 9])
def test_what_the_worker_has_of_another_timeline_counts_for_nothing(world: World, position: int) -> None:
    fed(world)
    task = pop(world, known=Known("g-a", position, "elsewhe-")).task
    assert task is not None
    assert (task.start, task.blobs, task.hinted) == (0, world.journal(), True)


def test_what_the_worker_has_of_another_life_counts_for_nothing(world: World) -> None:
    task = pop(world, known=Known("g-b", 1, fed(world))).task
    assert task is not None
    assert (task.start, task.blobs, task.hinted) == (0, world.journal(), False)


def test_another_instance_is_not_touched(world: World) -> None:
    world.create(world.keys.instance("job", "b"))
    ring(world)
    pop(world)
    assert [Intent.parse(member).id for member in world.intents()] == ["b"]

"""What orchestrators call: each script looks again at what it acts on, so stale reads and rivals change nothing."""

from __future__ import annotations

from typing import Any

import pytest
import redis as redis_py

from tests.scripts.world import BROKEN, FAR, LEASE_MS, STOPPED, World, child, do, sleep, wait
from workflows import limits
from workflows.storage import keys
from workflows.values import codec

PARENT = {"wf": "job", "id": "p", "gen": "gp", "seq": 7}


@pytest.fixture
def world(redis: redis_py.Redis) -> World:
    return World(redis)


# own and alive


def test_a_shard_has_one_owner(world: World) -> None:
    assert world.call("own", t="one", ttl=LEASE_MS)[0] == 2
    assert world.call("own", t="one", ttl=LEASE_MS)[0] == 1
    with world.unchanged():
        assert world.call("own", t="two", ttl=LEASE_MS) == [0]


def test_since_stands_while_the_owner_stays(world: World) -> None:
    first = world.call("own", t="one", ttl=LEASE_MS)[1]
    assert world.call("own", t="one", ttl=LEASE_MS)[1] == first


def test_a_lease_that_ran_out_is_anybodys(world: World) -> None:
    world.call("own", t="one", ttl=-1)
    assert world.call("own", t="two", ttl=LEASE_MS)[0] == 2


def test_only_the_owner_can_leave(world: World) -> None:
    world.call("own", t="one", ttl=LEASE_MS)
    with world.unchanged():
        world.call("own", t="two", ttl=LEASE_MS, leave=True)
    world.call("own", t="one", ttl=LEASE_MS, leave=True)
    assert world.call("own", t="two", ttl=LEASE_MS)[0] == 2


def test_an_orchestrator_counts_those_alive(world: World) -> None:
    place = [world.keys.orchestrators]
    assert world.plain("alive", place, name="one", ttl=LEASE_MS) == 1
    assert world.plain("alive", place, name="two", ttl=LEASE_MS) == 2
    assert world.plain("alive", place, name="two", ttl=-1) == 2
    assert world.plain("alive", place, name="one", ttl=LEASE_MS) == 1
    assert world.plain("alive", place, name="one", ttl=LEASE_MS, leave=True) == 0


# dispatch and ring


def dispatch(world: World, token: str = "one") -> Any:
    return world.call("dispatch", t=token, n=100, u=10)


def test_nobody_but_the_owner_is_told_what_to_do(world: World) -> None:
    with world.unchanged():
        assert dispatch(world) == [b"lost"]
    world.call("own", t="one", ttl=LEASE_MS)
    with world.unchanged():
        assert dispatch(world, "two") == [b"lost"]


def test_what_is_handed_out_stays_until_it_is_claimed(world: World) -> None:
    world.call("own", t="one", ttl=LEASE_MS)
    member = world.member("t")
    assert dispatch(world)[1] == [member.encode()]
    assert world.intents() == [member]
    # Looked at again a while later only.
    assert dispatch(world)[1] == []


def test_one_look_shows_timers_dead_workers_messages_and_retention(world: World) -> None:
    world.call("own", t="one", ttl=LEASE_MS)
    world.open(sleep(1, 1_000), sleep(2, 5_000), child(3))
    due = world.clock.ms + 1_000
    assert dispatch(world)[2:4] == [[], due]
    world.clock.ms = due
    world.expire("w2")
    now, _, timers, following, dead, relayed, retiring, _, _, _ = dispatch(world)
    assert (now, timers, following) == (due, [b"s|job|a|g-a|1"], due + 4_000)
    assert (dead, relayed, retiring) == ([b"w2"], 1, [])
    world.control("terminate", cid="t", x=STOPPED)
    world.clock.ms += FAR
    assert dispatch(world)[6] == [b"job|a|g-a"]


def ring(world: World, *ids: str) -> int:
    declared = [keys.rq_queue("q"), keys.rq_queues(), *(keys.rq_job_prefix() + id for id in ids)]
    items = [{"id": id, "data": "[]", "what": "a turn"} for id in ids]
    pushed: int = world.plain("ring", declared, items=items, queue="q", old=60_000)
    return pushed


def queued(world: World) -> list[bytes]:
    found: list[bytes] = world.client.lrange(keys.rq_queue("q"), 0, -1)
    return found


def test_a_doorbell_is_an_rq_job_that_expires(world: World) -> None:
    assert ring(world, "j1", "j2") == 2
    assert queued(world) == [b"j1", b"j2"]
    assert world.client.scard(keys.rq_queues()) == 1
    assert 0 < world.client.ttl(keys.rq_job_prefix() + "j1") <= limits.DOORBELL_SECONDS


def test_a_standing_doorbell_is_not_rung_twice(world: World) -> None:
    ring(world, "j1", "j2")
    with world.unchanged():
        assert ring(world, "j1") == 0


def test_a_doorbell_lost_by_its_queue_is_rung_again(world: World) -> None:
    ring(world, "j1")
    world.client.delete(keys.rq_queue("q"))
    assert ring(world, "j1") == 1
    # In a queue that is not empty the search waits until the ring is old.
    ring(world, "j2")
    world.client.lrem(keys.rq_queue("q"), 0, "j1")
    assert ring(world, "j1") == 0
    world.client.hset(keys.rq_job_prefix() + "j1", "rung", 1)
    assert ring(world, "j1") == 1
    assert queued(world) == [b"j2", b"j1"]


def test_an_old_doorbell_that_still_stands_is_left_alone(world: World) -> None:
    ring(world, "j1")
    world.client.hset(keys.rq_job_prefix() + "j1", "rung", 1)
    assert ring(world, "j1") == 0
    assert queued(world) == [b"j1"]


# fire


@pytest.mark.parametrize(("spec", "kind"), [(sleep(1, 1_000), "T"), (wait(1, 1_000), "X")])
def test_a_due_timer_answers_its_step(world: World, spec: dict[str, Any], kind: str) -> None:
    world.open(spec)
    (member,) = world.timers()
    with world.unchanged():
        assert world.fire(member) == 0
    world.clock.ms += 999
    with world.unchanged():
        assert world.fire(member) == 0
    world.clock.ms += 1
    assert world.fire(member) == 1
    assert (world.kinds(), world.record(1), world.timers(), world.header("st")) == ("0" + kind, None, [], "running")
    with world.unchanged():
        assert world.fire(member) == 0


def test_a_due_back_off_hands_the_step_out(world: World) -> None:
    world.open(do(1))
    world.fail(1, world.held("a", 1), 1_000)
    (member,) = world.timers()
    world.clock.ms += 1_000
    assert world.fire(member, member) == 1
    assert (world.record(1).state, world.kinds()) == ("ready", "0")


def test_the_name_of_a_former_back_off_does_not_end_the_second_one(world: World) -> None:
    world.open(do(1))
    world.fail(1, world.held("a", 1), 1_000)
    (member,) = world.timers()
    world.clock.ms += 1_000
    world.fire(member)
    world.fail(1, world.held("a", 1), 50_000)
    world.clock.ms += 1_000
    with world.unchanged():
        assert world.fire(member) == 0


@pytest.mark.parametrize("cut_in", ["pause", "terminate", "restart", "delete"])
def test_a_stale_list_of_timers_fires_nothing(world: World, cut_in: str) -> None:
    world.open(sleep(1, 1_000), wait(2, 1_000))
    members = world.timers()
    world.control(cut_in, cid="c", x=STOPPED, gen="g2")
    world.clock.ms += 10_000
    with world.unchanged():
        assert world.fire(*members) == 0


def test_a_timer_whose_event_came_does_not_fire(world: World) -> None:
    world.open(wait(1, 1_000))
    (member,) = world.timers()
    world.send("hello")
    world.clock.ms += 10_000
    with world.unchanged():
        assert world.fire(member) == 0


# reap


def test_a_live_worker_is_not_reaped(world: World) -> None:
    world.held()
    with world.unchanged():
        assert world.reap("w1") == -1


def test_what_a_dead_worker_held_is_handed_out_under_a_new_nonce(world: World) -> None:
    world.open(do(1))
    before = world.member("a", 1)
    world.held("a", 1)
    world.expire("w1")
    assert world.reap("w1") == 0
    assert world.member("a", 1) != before
    assert (world.record(1).attempts, world.record(1).losses, world.header("act")) == (1, 1, "1")
    assert world.client.zscore(world.key("workers"), "w1") is None
    with world.unchanged():
        assert world.reap("w1") == 0


def test_the_lease_goes_last(world: World) -> None:
    """A worker that comes back between two batches must find itself dead."""
    world.open(do(1), do(2))
    world.held("a", 1)
    world.held("a", 2)
    world.expire("w1")
    assert world.reap("w1", world.all_held()[:1]) == 1
    assert world.client.zscore(world.key("workers"), "w1") is not None
    assert world.reap("w1") == 0
    assert world.client.zscore(world.key("workers"), "w1") is None


def _die(world: World, how: str, name: str, kind: str = "a", seq: int = 1) -> None:
    """Claim the step or turn under this name, and die of it."""
    world.renew(name, born=True)
    world.held(kind, seq if kind == "a" else 0, name)
    world.bury(name, how)
    world.reap(name)


def test_a_step_is_poison_when_two_processes_that_ran_nothing_else_were_seen_to_end(world: World) -> None:
    """The first death made it a suspect (F22)."""
    world.open(do(1))
    _die(world, "seen", "w1")
    assert world.record(1).deaths == 1
    _die(world, "seen", "t1")
    assert world.record(1).deaths == 2
    _die(world, "seen", "t2")
    assert (world.kinds(), world.record(1), world.header("act")) == ("0S", None, "0")
    assert world.header("turn").startswith("r|")


def test_deaths_beside_others_make_a_step_suspect_and_no_more(world: World) -> None:
    world.open(do(1))
    for _ in range(5):
        _die(world, "seen", "w1")
    assert (world.record(1).deaths, world.record(1).losses) == (1, 4)


@pytest.mark.parametrize("name", ["w1", "t1"])
def test_deaths_that_nobody_saw_count_only_when_there_are_many(world: World, name: str) -> None:
    """A machine takes everything with it, so they say little about a step."""
    world.open(do(1))
    for _ in range(9):
        _die(world, "gone", name)
    assert (world.record(1).deaths, world.record(1).losses) == (0, 9)
    _die(world, "gone", name)
    assert world.kinds() == "0S"
    assert b"ten workers were lost" in world.journal()[-1]


def test_a_worker_that_left_by_itself_is_no_death(world: World) -> None:
    """It holds a claim whose reply it never got: that attempt never ran."""
    world.open(do(1))
    world.held("a", 1)
    world.renew("w1", leave=True)
    world.bury("w1", "seen")
    assert world.reap("w1") == 0
    record = world.record(1)
    assert (record.attempts, record.deaths, record.losses) == (0, 0, 0)


def test_burying_ends_a_lease_at_once_and_wakes_the_owner(world: World) -> None:
    world.held()
    world.client.delete(world.key("wake"))
    assert world.bury("w1", "seen") == 1
    assert world.client.llen(world.key("wake")) == 1
    with world.unchanged():
        assert world.bury("w1", "gone") == 0
    assert world.reap("w1") == 0


def test_who_saw_a_death_has_the_say_over_who_found_it(world: World) -> None:
    """Until the reaper has been there."""
    world.open(do(1))
    world.held("a", 1)
    world.bury("w1", "gone")
    assert world.bury("w1", "seen") == 1
    world.reap("w1")
    assert (world.record(1).deaths, world.record(1).losses > 0) == (1, False)


def test_burying_who_has_no_lease_changes_nothing(world: World) -> None:
    with world.unchanged():
        assert world.bury("w9", "seen") == 0


def test_a_turn_that_kills_alone_three_times_ends_the_instance(world: World) -> None:
    for name in ("w1", "t1", "t2"):
        assert world.header("st") != "errored"
        _die(world, "seen", name, "t")
    assert world.header("st") == "errored"


def test_a_turn_among_others_is_not_blamed_for_their_deaths(world: World) -> None:
    for _ in range(5):
        _die(world, "seen", "w1", "t")
    assert (world.header("strikes"), world.header("lost")) == ("1", "4")
    world.renew("w1", born=True)
    world.commit(world.held())
    assert (world.header("strikes"), world.header("lost")) == ("0", "0")


def test_the_reaper_of_an_attempt_in_a_pausing_instance_pauses_it(world: World) -> None:
    world.open(do(1))
    world.held("a", 1)
    world.control("pause")
    world.expire("w1")
    world.reap("w1")
    assert (world.header("st"), world.intents()) == ("paused", [])


# sweep


def sweep(world: World) -> int:
    ((repaired, left),) = world.call("sweep", [world.a], items=[{"i": 1, "c": "0"}])
    assert left == b""
    return int(repaired)


def test_the_sweep_leaves_a_healthy_instance_alone(world: World) -> None:
    world.open(do(1), do(2), sleep(3), wait(4), child(5))
    world.held("a", 1)
    with world.unchanged():
        assert sweep(world) == 0
    world.control("pause")
    with world.unchanged():
        assert sweep(world) == 0


@pytest.mark.parametrize("lost", ["timers", "intents", "held", "workers", "index"])
def test_the_sweep_restores_what_the_shard_lost(world: World, lost: str) -> None:
    world.open(do(1), do(2), sleep(3))
    world.held("a", 1)
    before = {name: len(world._members(name)) for name in ("timers", "index")}
    world.client.delete(world.key(lost))
    assert sweep(world) == (lost != "index")
    assert {name: len(world._members(name)) for name in ("timers", "index")} == before
    waiting = 1 if lost in ("timers", "intents", "index") else 2
    assert len(world.intents()) == waiting
    assert world.header("act") == "2"
    with world.unchanged():
        assert sweep(world) == 0


def test_the_sweep_restores_a_lost_turn_and_its_counter(world: World) -> None:
    world.client.delete(world.key("intents"))
    world.client.hset(world.keys.header(world.a), "act", 5)
    assert sweep(world) == 1
    assert (len(world.intents()), world.header("act")) == (1, "0")


def test_the_sweep_ignores_what_has_ended(world: World) -> None:
    world.complete()
    with world.unchanged():
        assert sweep(world) == 0


# Across shards


def deliver(world: World, **more: Any) -> int:
    arguments = {"g": "g-a", "s": 1, "wf": "job", "id": "child", "v": codec.encode(5, what="v"), **more}
    answer: int = world.call("child_ended", [world.a], **arguments)
    return answer


def test_an_outcome_is_delivered_once(world: World) -> None:
    world.open(child(1))
    assert deliver(world) == 1
    assert (world.kinds(), world.record(1), world.header("st")) == ("0C", None, "running")
    with world.unchanged():
        assert deliver(world) == 0


@pytest.mark.parametrize("wrong", [{"g": "other"}, {"s": 2}, {"s": 9}], ids=str)
def test_an_outcome_for_somebody_else_is_dropped(world: World, wrong: dict[str, Any]) -> None:
    world.open(child(1), do(2))
    with world.unchanged():
        assert deliver(world, **wrong) == 0


@pytest.mark.parametrize("cut_in", ["terminate", "restart", "delete"])
def test_an_outcome_for_a_former_life_is_dropped(world: World, cut_in: str) -> None:
    world.open(child(1))
    world.control(cut_in, cid="c", x=STOPPED, gen="g2")
    with world.unchanged():
        assert deliver(world) == 0


def test_a_paused_parent_keeps_the_outcome_for_later(world: World) -> None:
    world.open(child(1))
    world.control("pause")
    assert deliver(world) == 1
    assert (world.kinds(), world.header("st"), world.header("turn")) == ("0C", "paused", "")


def watch(world: World, parent: dict[str, Any] = PARENT) -> bytes:
    failures = {"missing": BROKEN, "stopped": STOPPED, "full": BROKEN}
    answer: bytes = world.call("watch", [world.a], wf="job", id="a", parent=parent, most=3, **failures)
    return answer


def test_a_watched_instance_tells_its_end_to_each_watcher(world: World) -> None:
    assert watch(world) == b"watching"
    with world.unchanged():
        assert watch(world) == b"watching"
    watch(world, PARENT | {"seq": 8})
    world.complete()
    assert sorted(world.relayed()) == ["o|job|p|gp|7", "o|job|p|gp|8"]


def test_one_watcher_too_many_is_told_so(world: World) -> None:
    for seq in (7, 8, 9):
        assert watch(world, PARENT | {"seq": seq}) == b"watching"
    assert watch(world, PARENT | {"seq": 10}) == b"full"
    assert world.relayed()["o|job|p|gp|10"][b"x"] == BROKEN
    assert watch(world, PARENT | {"seq": 9}) == b"watching"


def test_an_instance_that_has_ended_tells_at_once(world: World) -> None:
    world.complete()
    assert watch(world) == b"told"
    (message,) = world.relayed().values()
    assert (message[b"st"], message[b"v"]) == (b"complete", codec.encode(None, what="v"))
    with world.unchanged():
        assert watch(world) == b"told"


def test_a_terminated_or_missing_instance_is_an_outcome_too(world: World) -> None:
    world.control("terminate", cid="t", x=BROKEN)
    watch(world)
    assert world.relayed()["o|job|p|gp|7"][b"x"] == STOPPED
    world.control("delete", x=BROKEN)
    assert watch(world) == b"unknown"
    assert world.relayed()["o|job|p|gp|7"][b"x"] == BROKEN


def test_a_delivered_message_goes_unless_another_took_its_place(world: World) -> None:
    world.client.hset(world.key("relay"), mapping={"one": "1", "two": "2"})
    place = [world.key("relay")]
    with world.unchanged():
        assert world.plain("acknowledge", place, ids=["one", "gone"], blobs=["old", ""]) == 0
    assert world.plain("acknowledge", place, ids=["one", "two"], blobs=["1", "2"]) == 2
    with world.unchanged():
        assert world.plain("acknowledge", place, ids=["one"], blobs=["1"]) == 0


# inbox and schedules


def test_an_applied_request_goes_and_a_refused_one_is_kept_once(world: World) -> None:
    place = [world.keys.inbox, world.keys.inbox_refused]
    good, bad = (world.client.xadd(world.keys.inbox, {"op": op}) for op in ("create", "nonsense"))
    items = [{"id": good, "reason": ""}, {"id": bad, "reason": "no such thing"}]
    assert world.plain("applied", place, items=items, keep=10, texts=32, cut=256) == 2
    with world.unchanged():
        assert world.plain("applied", place, items=items, keep=10, texts=32, cut=256) == 0
    (kept,) = world.client.xrange(world.keys.inbox_refused)
    assert kept[1] == {b"op": b"nonsense", b"reason": b"no such thing"}
    assert not world.client.exists(world.keys.inbox)


def test_a_backlog_is_looked_over_again_at_a_bounded_rate(world: World) -> None:
    """20,000 that only wait for a worker would otherwise be looked at ten thousand times a second."""
    world.call("own", t="one", ttl=LEASE_MS)
    backlog = {f"a|job|i{n}|g|1|n|default": 1.0 for n in range(1_000)}
    world.client.zadd(world.key("intents"), backlog)
    arguments = {"t": "one", "n": 500, "u": 10}
    begin = int(world.client.time()[0]) * 1_000
    assert len(world.call("dispatch", **arguments)[1]) == 500
    again = world.client.zscore(world.key("intents"), "a|job|i1|g|1|n|default")
    assert again is not None
    assert 19_000 <= again - begin <= 23_000
    world.client.zadd(world.key("intents"), {f"a|job|j{n}|g|1|n|default": 9e15 for n in range(9_000)})
    world.call("dispatch", **arguments)
    latest = world.client.zrangebyscore(world.key("intents"), begin + 58_000, begin + 65_000)
    assert len(latest) == 500


def test_of_several_orchestrators_one_moves_a_schedule(world: World) -> None:
    place = [world.keys.schedules]
    assert world.plain("schedule", place, id="s", **{"from": "", "to": "10"}) == 1
    with world.unchanged():
        assert world.plain("schedule", place, id="s", **{"from": "", "to": "10"}) == 0
    assert world.plain("schedule", place, id="s", **{"from": "10", "to": "20"}) == 1

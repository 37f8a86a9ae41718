"""What workers call: each script does its one thing, and a refused call leaves every byte in Redis as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis as redis_py

from tests.driving import PAGE
from tests.scripts.world import STOPPED, World, child, do, sleep, wait
from workflows.replay.decision import told_by_record
from workflows.storage import journal
from workflows.storage.records import Decision, End, GivenUp
from workflows.values import codec

END = Decision(end=End("complete", codec.encode(1, what="the output"), asked=[]))


@pytest.fixture
def world(redis: redis_py.Redis) -> World:
    return World(redis)


def opened(world: World, *specs: dict[str, Any]) -> str:
    """Step 1 is held by w1; its token."""
    world.open(do(1), *specs)
    return world.held("a", 1)


# What cuts in between a claim and what comes of it.
CUT_INS: dict[str, Callable[[World], object]] = {
    "terminate": lambda world: world.control("terminate", cid="t", x=STOPPED),
    "restart": lambda world: world.control("restart", cid="r", gen="g2"),
    "delete": lambda world: world.control("delete", x=STOPPED),
    "lease lost and reaped": lambda world: world.lose("w1"),
}


# claim


def test_a_claimed_turn_has_the_claimers_token_and_no_intent(world: World) -> None:
    answer, token = world.claim(world.member("t"))
    assert (answer[1], answer[2], len(answer[3]), answer[6]) == (0, 1, 1, 0)
    assert world.header("turn") == f"h|w1|{token}"
    assert (world.header("st"), world.intents()) == ("running", [])
    assert world.all_held() == [f"w1|t|job|a|g-a|0|{token}"]


def test_a_claimed_attempt_counts_up_and_brings_the_record(world: World) -> None:
    world.open(do(1))
    answer, token = world.claim(world.member("a", 1))
    assert answer[4]
    assert journal.decode_start(answer[3][0]).params == codec.encode({}, what="params")
    assert (world.record(1).attempts, world.record(1).token, world.header("act")) == (1, token, "1")


def test_the_second_claim_of_one_intent_finds_it_dead(world: World) -> None:
    member = world.member("t")
    world.claim(member)
    for name in ("w1", "w2"):
        with world.unchanged():
            assert world.claim(member, name)[0] == 0


@pytest.mark.parametrize("kind", ["t", "a"])
def test_a_claim_without_a_live_lease_is_refused(world: World, kind: str) -> None:
    if kind == "a":
        world.open(do(1))
    member = world.member(kind, int(kind == "a"))
    world.expire("w1")
    with world.unchanged():
        assert world.claim(member)[0] == b"no-lease"
    with world.unchanged():
        assert world.claim(member, "never born")[0] == b"no-lease"


@pytest.mark.parametrize("cut_in", ["pause", "terminate", "restart", "delete"])
def test_a_claim_that_comes_too_late_is_refused(world: World, cut_in: str) -> None:
    member = world.member("t")
    world.control(cut_in, cid="c", x=STOPPED, gen="g2")
    with world.unchanged():
        assert world.claim(member)[0] == 0


def test_a_claim_sends_only_the_entries_the_worker_lacks(world: World) -> None:
    world.open(wait(1))
    world.send("hello")
    item = world.claim_item(world.member("t"))
    item |= {"h": 1, "hn": world.journal()[0][2:10].decode()}
    answer = world.call("claim", [world.a], w="w1", items=[item], **PAGE)[0]
    assert (answer[1], answer[2], len(answer[3])) == (1, 2, 1)


def test_a_claim_by_a_worker_of_another_timeline_gets_everything(world: World) -> None:
    item = world.claim_item(world.member("t")) | {"h": 1, "hn": "elsewhere"[:8]}
    answer = world.call("claim", [world.a], w="w1", items=[item], **PAGE)[0]
    assert (answer[1], len(answer[3])) == (0, 1)


def test_a_claim_sends_no_more_than_a_page(world: World) -> None:
    answer = world.call("claim", [world.a], w="w1", items=[world.claim_item(world.member("t"))], **{**PAGE, "page": 0})[
        0
    ]
    assert (answer[2], answer[3]) == (1, [])


# commit


def test_a_commit_opens_what_was_asked_for(world: World) -> None:
    world.open(do(1), sleep(2), wait(3))
    assert [world.record(seq).kind for seq in (1, 2, 3)] == ["do", "sleep", "wait"]
    assert world.record(1).state == "ready"
    assert world.timers() == ["s|job|a|g-a|2", "w|job|a|g-a|3"]
    assert (world.header("pos"), world.header("turn"), world.header("act")) == ("1", "", "1")
    assert world.all_held() == []


def test_a_second_commit_of_one_turn_is_stale(world: World) -> None:
    token = world.held()
    assert world.commit(token, d=Decision(opened=[do(1)])) == 1
    with world.unchanged():
        assert world.commit(token, b=0, f=1, d=Decision(opened=[do(1)])) == 0


@pytest.mark.parametrize(
    "wrong", [{"t": "other"}, {"g": "other"}, {"b": 1}, {"f": 2}, {"n": "othernce"}, {"name": "w2"}], ids=str
)
def test_a_commit_with_anything_wrong_is_stale(world: World, wrong: dict[str, Any]) -> None:
    token = world.held()
    item: dict[str, Any] = {"token": token, "d": Decision(opened=[do(1)]), **wrong}
    with world.unchanged():
        assert world.commit(**item) == 0


@pytest.mark.parametrize("cut_in", [*CUT_INS, "pause"])
def test_a_commit_after_a_cut_in_is_stale(world: World, cut_in: str) -> None:
    token = world.held()
    nonce = world.journal()[0][2:10].decode()
    if cut_in == "pause":
        world.control("pause")
    else:
        CUT_INS[cut_in](world)
    decision = Decision(opened=[do(1)])
    with world.unchanged():
        assert (
            world.call(
                "commit",
                [world.a],
                w="w1",
                items=[{"i": 1, "g": "g-a", "t": token, "b": 0, "f": 1, "n": nonce, "d": decision.wire()}],
            )[0][0]
            == 0
        )


def test_a_commit_withdraws_what_was_given_up(world: World) -> None:
    token = opened(world, do(2), sleep(3))
    assert world.settle(1, token) == 1
    gone = [GivenUp(2, "do"), GivenUp(3, "sleep")]
    assert world.commit(world.held(), d=Decision(gone, [do(4)])) == 1
    assert world.kinds() == "0SWW"
    assert world.header("pos") == "4"
    assert (world.record(2), world.timers()) == (None, [])
    assert [member.split("|")[4] for member in world.intents()] == ["4"]


def test_a_wait_that_opens_takes_the_mail_that_came_before(world: World) -> None:
    world.send("early")
    world.open(wait(1))
    assert (world.kinds(), world.record(1), world.timers()) == ("0E", None, [])
    assert world.header("turn").startswith("r|")


def test_an_event_taken_by_a_cancelled_wait_goes_back_once(world: World) -> None:
    """It came after the turn was claimed, and its entry is fed only by the turn after that."""
    world.open(do(1), wait(2))
    world.settle(1, world.held("a", 1))
    turn = world.held()
    assert world.send("hello") == "delivered"
    nonce = world.journal()[1][2:10].decode()
    assert world.commit(turn, f=2, n=nonce, d=Decision([GivenUp(2, "wait")], [wait(3)])) == 1
    assert world.kinds() == "0SEE"
    # Replay finds the first of the two in vain only now, and says so again.
    assert world.commit(world.held(), d=Decision([GivenUp(2, "wait")], [do(4)])) == 1
    assert world.mailbox() == {b"n"}
    assert world.queues() == []


def test_an_event_taken_by_a_detached_wait_stays_until_it_is_fed(world: World) -> None:
    """The wait may be awaited again, and then the event is its own."""
    world.open(do(1), wait(2))
    world.settle(1, world.held("a", 1))
    turn = world.held()
    world.send("hello")
    nonce = world.journal()[1][2:10].decode()
    assert world.commit(turn, f=2, n=nonce, d=Decision([GivenUp(2, "wait", True)])) == 1
    assert world.mailbox() == {b"n"}


def test_a_step_born_held_needs_no_intent(world: World) -> None:
    assert world.commit(world.held(), d=Decision(opened=[do(1)]), ea="born") == 3
    assert (world.record(1).state, world.record(1).token) == ("held", "born")
    assert (world.intents(), world.all_held()) == ([], ["w1|a|job|a|g-a|1|born"])


@pytest.mark.parametrize("why", ["two steps", "no lease", "not a step", "undecided entries"])
def test_a_step_is_not_born_held_when(world: World, why: str) -> None:
    token = world.held()
    specs = {"two steps": [do(1), do(2)], "not a step": [sleep(1)]}.get(why, [do(1)])
    if why == "undecided entries":
        world.send("mail")
        specs = [do(1), wait(2)]
    if why == "no lease":
        world.expire("w1")
    assert world.commit(token, d=Decision(opened=specs), ea="born") == 1
    assert not [member for member in world.all_held() if member.endswith("|born")]


def test_an_end_leaves_nothing_open(world: World) -> None:
    token = opened(world, sleep(2), wait(3))
    world.settle(1, token)
    asked = [told_by_record(world.record(seq)) for seq in (2, 3)]
    assert world.commit(world.held(), d=ended(*asked)) == 2
    assert (world.header("st"), world.kinds()) == ("complete", "0SWWZ")
    assert (world.timers(), world.intents(), world.all_held()) == ([], [], [])
    assert world.client.zscore(world.key("retire"), "job|a|g-a") == world.clock.ms + 1000


def ended(*asked: str) -> Decision:
    """An end by code that has asked for these and not heard of them."""
    return Decision(end=End("complete", codec.encode(1, what="the output"), asked=list(asked)))


def test_an_end_is_refused_while_something_is_open_that_its_code_never_asked_for(world: World) -> None:
    token = opened(world, sleep(2), wait(3), do(4))
    world.settle(1, token)
    held = world.held()
    known = [told_by_record(world.record(seq)) for seq in (2, 3, 4)]
    with world.unchanged():
        for wrong in (known[:2], known[1:], [*known[:2], known[2] + "x"], [*known[:2], "5" + known[2][1:]]):
            assert world.commit(held, d=ended(*wrong)) == 4
    assert world.commit(held, d=ended(*known)) == 2


def test_an_end_is_refused_while_something_is_answered_that_its_code_never_asked_for(world: World) -> None:
    """It was answered after the turn had been claimed."""
    token = opened(world, wait(2))
    world.settle(1, token)
    held = world.held()
    known = told_by_record(world.record(2))
    nonce = world.journal()[1][2:10].decode()
    world.send("mail")
    with world.unchanged():
        assert world.commit(held, f=2, n=nonce, d=ended()) == 4
    assert world.commit(held, f=2, n=nonce, d=ended(known)) == 2


# settle


def test_an_end_that_is_refused_is_not_fused(world: World) -> None:
    token = opened(world, sleep(2))
    assert world.settle(1, token, b=1, d=ended()) == 1
    assert (world.kinds(), world.header("st")) == ("0S", "running")
    assert world.header("turn").startswith("r|")


def test_a_result_is_written_and_wakes_the_instance(world: World) -> None:
    token = opened(world)
    assert world.settle(1, token) == 1
    assert (world.kinds(), world.record(1), world.header("act")) == ("0S", None, "0")
    assert world.header("turn").startswith("r|")
    assert world.client.llen(world.key("wake")) == 1


def test_the_same_result_again_is_stale(world: World) -> None:
    token = opened(world)
    world.settle(1, token)
    with world.unchanged():
        assert world.settle(1, token) == 0


@pytest.mark.parametrize("wrong", [{"t": "other"}, {"g": "other"}, {"s": 2}, {"name": "w2"}], ids=str)
def test_a_result_with_anything_wrong_is_stale(world: World, wrong: dict[str, Any]) -> None:
    token = opened(world, do(2))
    with world.unchanged():
        assert world.settle(**{"seq": 1, "token": token, **wrong}) == 0


@pytest.mark.parametrize("cut_in", CUT_INS)
def test_a_result_after_a_cut_in_is_stale(world: World, cut_in: str) -> None:
    token = opened(world)
    item = world.settle_item(1, token)
    CUT_INS[cut_in](world)
    with world.unchanged():
        assert world.call("settle", [world.a], w="w1", items=[item])[0][0] == 0


def test_a_result_of_a_withdrawn_step_is_stale(world: World) -> None:
    token = opened(world, do(2))
    other = world.held("a", 2, "w2")
    world.settle(1, token)
    assert world.commit(world.held(), d=Decision([GivenUp(2, "do")])) == 1
    with world.unchanged():
        assert world.settle(2, other, "w2") == 0


def test_a_pausing_instance_takes_the_result_and_is_paused(world: World) -> None:
    token = opened(world)
    world.control("pause")
    assert world.header("st") == "waitingForPause"
    assert world.settle(1, token, b=1, d=Decision(opened=[do(2)]), ea="born") == 1
    assert (world.header("st"), world.kinds(), world.record(2)) == ("paused", "0S", None)
    assert (world.intents(), world.header("turn")) == ([], "")


def test_a_fused_turn_decides_in_the_same_breath(world: World) -> None:
    token = opened(world)
    assert world.settle(1, token, b=1, d=Decision(opened=[do(2)]), ea="born") == 3
    assert (world.header("pos"), world.record(2).token, world.intents()) == ("2", "born", [])


def test_a_fused_turn_over_an_unseen_entry_is_dropped_and_the_result_kept(world: World) -> None:
    token = opened(world, wait(2))
    world.send("first")
    assert world.settle(1, token, b=1, d=Decision(opened=[do(3)])) == 1
    assert (world.kinds(), world.record(3), world.header("pos")) == ("0ES", None, "1")


@pytest.mark.parametrize("base", [0, 2])
def test_a_fused_turn_at_another_position_is_dropped(world: World, base: int) -> None:
    token = opened(world)
    assert world.settle(1, token, b=base, d=Decision(opened=[do(2)])) == 1
    assert world.record(2) is None


def test_a_failure_to_be_retried_backs_off(world: World) -> None:
    assert world.fail(1, opened(world), 5_000) == 1
    assert (world.record(1).state, world.record(1).failed, world.timers()) == ("back", 1, ["b|job|a|g-a|1"])
    assert (world.header("st"), world.kinds(), world.header("act")) == ("waiting", "0", "0")


def test_a_failure_without_a_delay_is_handed_out_at_once(world: World) -> None:
    assert world.fail(1, opened(world), 0) == 1
    assert (world.record(1).state, world.header("st")) == ("ready", "running")


def test_a_failure_while_pausing_arms_nothing(world: World) -> None:
    token = opened(world)
    world.control("pause")
    world.fail(1, token, 5_000)
    assert (world.timers(), world.record(1).due - world.clock.ms, world.header("st")) == ([], 5_000, "paused")
    world.clock.ms += 1_000_000
    world.control("resume")
    assert world.client.zscore(world.key("timers"), "b|job|a|g-a|1") == world.clock.ms + 5_000


def test_only_the_last_ten_failures_are_kept(world: World) -> None:
    world.open(do(1))
    for _ in range(12):
        world.fail(1, world.held("a", 1), 0)
    assert (len(world.record(1).failures), world.record(1).failed) == (10, 12)


def test_items_of_one_instance_are_applied_in_order(world: World) -> None:
    """The second of two results in one call is looked at when the first has been written."""
    token = opened(world, do(2))
    other = world.held("a", 2)
    first, second = world.settle_item(1, token), world.settle_item(2, other, b=1, d=Decision(opened=[do(3)]))
    assert [code for code, _ in world.call("settle", [world.a], w="w1", items=[first, second, first])] == [1, 1, 0]
    assert world.kinds() == "0SS"


# release


def test_an_attempt_given_back_keeps_its_number(world: World) -> None:
    token = opened(world)
    assert world.release("a", 1, token) == 1
    assert (world.record(1).state, world.record(1).attempts, world.all_held()) == ("ready", 0, [])
    with world.unchanged():
        assert world.release("a", 1, token) == 0


def test_a_turn_given_back_is_handed_out_under_another_nonce(world: World) -> None:
    before = world.member("t")
    token = world.held()
    assert world.release("t", 0, token) == 1
    assert world.member("t") != before
    with world.unchanged():
        assert world.release("t", 0, token) == 0


@pytest.mark.parametrize("wrong", [{"token": "other"}, {"g": "other"}, {"name": "w2"}], ids=str)
@pytest.mark.parametrize("kind", ["t", "a"])
def test_nobody_gives_back_what_is_not_theirs(world: World, kind: str, wrong: dict[str, Any]) -> None:
    token = opened(world) if kind == "a" else world.held()
    with world.unchanged():
        assert world.release(**{"kind": kind, "seq": int(kind == "a"), "token": token, **wrong}) == 0


def test_a_parked_instance_says_why_and_can_be_resumed(world: World) -> None:
    assert world.release("t", 0, world.held(), "park") == 1
    assert (world.header("st"), world.header("reason"), world.intents()) == ("paused", "why", [])
    world.control("resume")
    assert (world.header("st"), world.header("reason")) == ("running", "")


def test_the_third_strike_ends_the_instance(world: World) -> None:
    for n in (1, 2, 3):
        assert world.header("st") != "errored"
        assert world.release("t", 0, world.held(), "strike") == 1
        assert world.header("strikes") == str(n)
    assert world.header("st") == "errored"


def test_a_committed_turn_forgives_the_strikes(world: World) -> None:
    world.release("t", 0, world.held(), "strike")
    world.open(do(1))
    assert world.header("strikes") == "0"


# renew


def test_a_lease_is_renewed_only_while_it_is_there(world: World) -> None:
    assert world.renew("w1") == [b"ok"]
    with world.unchanged():
        assert world.renew("unknown") == [b"lost"]


def test_a_renewal_names_what_was_taken_away(world: World) -> None:
    token = opened(world)
    (mine,) = world.all_held()
    assert world.renew("w1", held=[mine]) == [b"ok"]
    world.settle(1, token)
    assert world.renew("w1", held=[mine]) == [b"ok", mine.encode()]


def test_a_worker_that_leaves_has_no_lease(world: World) -> None:
    world.renew("w1", leave=True)
    assert world.client.zscore(world.key("workers"), "w1") is None
    with world.unchanged():
        world.renew("w1", leave=True)


def test_what_a_leaving_worker_still_holds_is_left_to_the_reaper(world: World) -> None:
    world.held()
    world.renew("w1", leave=True)
    assert world.client.zscore(world.key("workers"), "w1") == 0
    assert world.reap("w1") == 0
    assert world.client.zscore(world.key("workers"), "w1") is None
    assert world.header("turn").startswith("r|")


# decline


def test_a_declined_intent_comes_again_later(world: World) -> None:
    member = world.member("t")
    before = world.client.zscore(world.key("intents"), member)
    assert before is not None
    assert world.call("decline", [world.a], items=[{"i": 1, "m": member}], delay=5_000) == 1
    assert (world.client.zscore(world.key("intents"), member) or 0) >= before + 5_000


def test_declining_what_is_gone_brings_nothing_back(world: World) -> None:
    member = world.member("t")
    world.held()
    with world.unchanged():
        assert world.call("decline", [world.a], items=[{"i": 1, "m": member}], delay=5_000) == 0


def test_a_child_is_asked_for_by_a_message(world: World) -> None:
    world.open(child(1))
    (message,) = world.relayed().values()
    assert (message[b"op"], message[b"pseq"], message[b"pgen"]) == (b"invoke", 1, b"g-a")
    assert world.header("st") == "waiting"


# taking over


def _take_over(world: World, kind: str, token: str, **wrong: Any) -> Any:
    item = {"i": 1, "k": kind, "g": "g-a", "s": 1 if kind == "a" else 0, "fw": "w1", "ft": token, "t": "new", "h": 0}
    return world.call("claim", [world.a], w="w2", items=[item | {"hn": ""} | wrong], **PAGE)[0]


@pytest.mark.parametrize("kind", ["a", "t"])
def test_what_is_held_passes_to_the_one_who_takes_it_over(world: World, kind: str) -> None:
    if kind == "a":
        world.open(do(1))
    token = world.held(kind, 1 if kind == "a" else 0)
    assert _take_over(world, kind, token) != 0
    assert [member for member in world.all_held() if f"|{kind}|" in member] == [
        f"w2|{kind}|job|a|g-a|{1 if kind == 'a' else 0}|new"
    ]
    assert (world.header("act") or "0") == ("1" if kind == "a" else "0")
    if kind == "a":
        assert world.record(1).attempts == 1
        assert world.settle(1, token) == 0
        assert world.settle(1, "new", "w2") == 1
    else:
        assert world.commit(token) == 0
        assert world.commit("new", "w2") == 1


@pytest.mark.parametrize("kind", ["a", "t"])
@pytest.mark.parametrize("wrong", [{"ft": "another"}, {"g": "another"}, {"fw": "w2"}, {"s": 9, "ft": "another"}])
def test_what_is_not_held_cannot_be_taken_over(world: World, kind: str, wrong: dict[str, Any]) -> None:
    if kind == "a":
        world.open(do(1))
    token = world.held(kind, 1 if kind == "a" else 0)
    with world.unchanged():
        assert _take_over(world, kind, token, **wrong) == 0


def test_taking_over_twice_is_refused(world: World) -> None:
    world.open(do(1))
    token = world.held("a", 1)
    _take_over(world, "a", token)
    with world.unchanged():
        assert _take_over(world, "a", token) == 0

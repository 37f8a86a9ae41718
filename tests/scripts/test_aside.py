"""Whatever stands in one key, only its own instance suffers (I11): what each script does with garbage it meets."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
import redis as redis_py

from orchestrator import unfinished
from tests.driving import PAGE
from tests.scripts.world import LEASE_MS, World, child, do, load, sleep, wait
from workflows.storage import keys
from workflows.storage.keys import Instance, Timer
from workflows.storage.records import Decision
from workflows.storage.store import call_on, unpackb

MANY = b"\x91" * 10_000
GARBAGE = [b"", b"\xff\xfe", b"\xc1", b"text", MANY, msgpack.packb([1, 2]), msgpack.packb({"s": 1})]


@pytest.fixture
def world(redis: redis_py.Redis) -> World:
    return World(redis)


def notes(world: World) -> list[tuple[str, str, str]]:
    """Key (behind the shard's tag), member and reason of everything that was set aside."""
    found: list[Any] = [unpackb(entry) for entry in world.client.zrange(world.key("aside"), 0, -1)]
    return [
        (key.decode().partition(":")[2], member.decode(errors="replace"), why.decode()) for key, member, why in found
    ]


def of(world: World, instance: Instance, field: str) -> str:
    value = world.client.hget(world.keys.header(instance), field)
    return value.decode() if isinstance(value, bytes) else ""


def neighbour(world: World) -> Instance:
    """A second instance in the same shard."""
    b = world.keys.instance("job", "b")
    assert world.create(b) == "created"
    return b


def both_asleep(world: World) -> tuple[Instance, list[dict[str, Any]]]:
    """Two instances with a due sleep each; what fires both in one call, the first one first."""
    b = neighbour(world)
    a, world.a = world.a, b
    (turn,) = [m for m in world.intents() if m.startswith("t|job|b|")]
    token = world.call("claim", [b], w="w1", items=[world.claim_item(turn)], **PAGE) and f"token{world.tokens}"
    assert world.commit(token, d=Decision(opened=[sleep(1, 1)])) == 1
    world.a = a
    world.open(sleep(1, 1))
    world.clock.ms += 1_000
    members = sorted(world.timers())
    timers = [Timer.parse(member) for member in members]
    return b, [
        {"i": place + 1, "m": member, "k": timer.kind, "g": timer.generation, "s": timer.seq}
        for place, (member, timer) in enumerate(zip(members, timers, strict=True))
    ]


@pytest.mark.parametrize("blob", GARBAGE)
def test_an_open_record_that_cannot_be_read_parks_its_instance_and_no_other(world: World, blob: bytes) -> None:
    """A neighbour's timer fires although it stands behind it in the same batch."""
    b, items = both_asleep(world)
    world.client.hset(world.keys.of_instance(world.a)[2], "1", blob)
    assert world.call("fire", [world.a, b], items=items) == 1
    assert (of(world, b, "st"), world.header("st"), world.header("want")) == ("running", "paused", "park")
    assert world.header("reason") == "its open record 1 cannot be read"
    assert ("i:job:a:o", "1", "its open record 1 cannot be read") in notes(world)
    assert world.timers() == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("st", "asleep"),
        ("gen", "a|b"),
        ("pos", "many"),
        ("turn", "\x00"),
        ("act", "1e99"),
        ("queue", "a|b"),
        ("strikes", "-"),
        ("created", "yesterday"),
        ("keep_ok", "\n"),
    ],
)
def test_a_header_that_cannot_be_read_makes_its_instance_as_good_as_absent(
    world: World, field: str, value: str
) -> None:
    b, items = both_asleep(world)
    world.client.hset(world.keys.header(world.a), field, value)
    assert world.call("fire", [world.a, b], items=items) == 1
    assert of(world, b, "st") == "running"
    ((key, _, why),) = notes(world)
    assert key == "i:job:a:h"
    assert why.startswith(("the field", "its header"))
    assert world.header(field) == value
    assert world.control("pause") == b"unreadable"
    assert world.send("e1") == "unreadable"
    assert world.create(world.a) == "exists"


def test_a_header_without_a_status_is_not_overwritten(world: World) -> None:
    world.client.hdel(world.keys.header(world.a), "st")
    assert world.create(world.a) == "exists"
    assert notes(world) == [("i:job:a:h", "", "its header has no field st")]


@pytest.mark.parametrize("place", ["h", "j"])
def test_a_header_or_journal_of_another_type_stays_until_it_is_deleted(world: World, place: str) -> None:
    b, items = both_asleep(world)
    key = world.keys.of_instance(world.a)[keys.INSTANCE_KEY_NAMES.index(place)]
    world.client.set(key, "garbage")
    assert world.call("fire", [world.a, b], items=items) == 1
    assert of(world, b, "st") == "running"
    assert world.client.get(key) == b"garbage"
    assert (f"i:job:a:{place}", "", f"its {'header' if place == 'h' else 'journal'} is a string") in notes(world)
    assert world.control("delete", x=b"")[0] == b"deleted"
    assert not any(world.client.exists(name) for name in world.keys.of_instance(world.a))


@pytest.mark.parametrize("place", ["o", "m", "q"])
def test_open_records_or_mail_of_another_type_park_their_instance(world: World, place: str) -> None:
    world.open(wait(1))
    key = world.keys.of_instance(world.a)[keys.INSTANCE_KEY_NAMES.index(place)]
    world.client.delete(key)
    world.client.rpush(key, "garbage")
    world.send("e1")
    if place == "o":
        world.fire(*world.timers())
    assert (world.header("st"), world.header("reason")) == ("paused", "was a list and has been removed")
    assert (f"i:job:a:{place}", "", "was a list and has been removed") in notes(world)


def test_one_whose_open_records_are_lost_does_not_wait_for_nothing_after_a_resume(world: World) -> None:
    world.open(wait(1))
    key = world.keys.of_instance(world.a)[2]
    world.client.delete(key)
    world.client.rpush(key, "garbage")
    world.control("pause")
    for _ in range(2):
        world.control("resume")
        assert (world.header("st"), world.header("want")) == ("paused", "park")
    assert world.header("reason") == "what it waited for is gone: restart or delete it"


@pytest.mark.parametrize("name", ["index", "held"])
def test_a_key_of_another_type_is_noticed_in_a_shard_in_which_nothing_moves(world: World, name: str) -> None:
    world.client.delete(world.key(name))
    world.client.set(world.key(name), "garbage")
    world.call("own", t="one", ttl=LEASE_MS)
    answer = world.call("dispatch", t="one", n=100, u=10)
    assert answer[8] == world.client.hget(world.key("owner"), "mend")
    assert (name, "", "was a string and has been removed") in notes(world)


@pytest.mark.parametrize("name", keys.SHARD_KEY_NAMES)
def test_a_key_of_a_shard_of_another_type_is_removed_by_the_script_that_meets_it(world: World, name: str) -> None:
    """Nothing is written in halves, and the shard's owner hears that there is something to derive anew."""
    world.open(sleep(1, 1_000), do(2), wait(3), child(4))
    world.client.delete(world.key(name))
    world.client.set(world.key(name), "garbage")
    b = neighbour(world)
    world.renew("w1", born=True)
    (turn,) = [m for m in world.intents() if m.startswith("t|job|b|")]
    assert world.call("claim", [b], w="w1", items=[world.claim_item(turn)], **PAGE)[0] != 0
    world.call("set_aside", items=[], notes=[["somewhere", "", "bad"]])
    world.call("own", t="one", ttl=LEASE_MS)
    world.call("dispatch", t="one", n=100, u=10)
    world.control("pause")
    world.control("resume")
    world.control("terminate", cid="t", x=b"")
    assert (world.header("st"), of(world, b, "st")) == ("terminated", "running")
    assert world.client.type(world.key(name)) in (b"none", b"zset", b"hash", b"list")
    if name != "aside":
        assert (name, "", "was a string and has been removed") in notes(world)
        assert world.client.hget(world.key("owner"), "mend") is not None


def test_an_event_that_cannot_be_read_parks_its_instance(world: World) -> None:
    world.send("e1")
    world.client.hset(world.keys.of_instance(world.a)[3], "e:1", b"\xc1")
    world.open(wait(1))
    assert (world.header("st"), world.header("reason")) == ("paused", "an event of its mailbox cannot be read")


def test_an_intent_that_nothing_stands_behind_goes_with_its_first_claim(world: World) -> None:
    """It would be rung again and again."""
    world.client.zadd(world.key("intents"), {"t|job|ghost|abc|0|n|default": 1, "t|job|a|old|0|n|default": 1})
    for member in ("t|job|ghost|abc|0|n|default", "t|job|a|old|0|n|default"):
        place = world.keys.instance("job", member.split("|")[2])
        item = world.claim_item(member)
        assert world.call("claim", [place], w="w1", items=[item], **PAGE) == [0]
    assert [member.split("|")[2:4] for member in world.intents()] == [["a", "g-a"]]


def test_a_lease_longer_than_leases_are_does_not_stop_a_shard(world: World) -> None:
    world.client.hset(world.key("owner"), mapping={"token": "x", "expiry": "9e99", "since": "abc"})
    assert world.call("own", t="one", ttl=LEASE_MS)[0] == 2
    world.client.hset(world.key("owner"), "since", "abc")
    assert world.call("own", t="one", ttl=LEASE_MS)[0] == 1


def test_orchestrators_that_live_for_ever_are_not_counted(world: World) -> None:
    world.client.zadd(world.keys.orchestrators, {f"ghost-{n}": 9e17 for n in range(50)})
    assert world.plain("alive", [world.keys.orchestrators], name="one", ttl=5_000) == 1


def test_notes_are_bounded_in_number_and_size(world: World) -> None:
    found = [[f"key-{n}", b"x" * 100_000, "bad"] for n in range(1_200)]
    for at in range(0, 1_200, 100):
        world.call("set_aside", items=[], notes=found[at : at + 100])
    assert world.client.zcard(world.key("aside")) == 1_000
    assert max(len(entry) for entry in world.client.zrange(world.key("aside"), 0, -1)) < 400
    assert 0 < world.client.ttl(world.key("aside")) <= 30 * 86_400


def test_what_is_met_again_is_noted_once(world: World) -> None:
    world.client.hset(world.keys.header(world.a), "pos", "x")
    for _ in range(3):
        world.control("pause")
    assert len(notes(world)) == 1


def test_after_a_shard_has_lost_a_key_everything_is_derived_from_the_headers(world: World) -> None:
    world.open(sleep(1), do(2), wait(3), child(4))
    kept = {name: dict(world.client.zrange(world.key(name), 0, -1, withscores=True)) for name in ("timers", "index")}
    intents = world.intents()
    for name in ("timers", "intents", "index", "relay"):
        world.client.delete(world.key(name))
    items = [{"i": 1, "c": "0"}]
    assert world.store.call(call_on(world.keys, load("sweep"), 0, [world.a], {"items": items, "all": True})) == [
        [1, b""]
    ]
    for name, found in kept.items():
        assert dict(world.client.zrange(world.key(name), 0, -1, withscores=True)) == found
    assert world.intents() == intents
    (message,) = world.relayed().values()
    assert (message[b"op"], message[b"id"], message[b"pseq"]) == (b"watch", b"child", 4)


def test_waits_whose_queue_was_lost_hear_of_events_again(world: World) -> None:
    world.open(wait(1))
    world.client.delete(world.keys.of_instance(world.a)[5])
    assert world.send("e1") == "buffered"
    assert world.call("sweep", [world.a], items=[{"i": 1, "c": "0"}]) == [[1, b""]]
    assert world.kinds().endswith("E")


def test_the_end_of_retention_is_derived_too(world: World) -> None:
    world.complete()
    before = world.client.zrange(world.key("retire"), 0, -1, withscores=True)
    for name in ("retire", "index"):
        world.client.delete(world.key(name))
    world.store.call(call_on(world.keys, load("sweep"), 0, [world.a], {"items": [{"i": 1, "c": "0"}], "all": True}))
    assert world.client.zrange(world.key("retire"), 0, -1, withscores=True) == before
    assert len(world.client.zrange(world.key("index"), 0, -1)) == 1


def test_a_line_of_the_index_without_its_instance_goes_with_the_sweep(world: World) -> None:
    ghost = world.keys.instance("job", "ghost")
    member = "waiting|job|1|ghost"
    world.client.zadd(world.key("index"), {member: 0})
    world.call("sweep", [ghost], items=[{"i": 1, "c": "0", "m": member}])
    assert [line.split(b"|")[3] for line in world.client.zrange(world.key("index"), 0, -1)] == [b"a"]


@pytest.mark.parametrize("member", [b"\xff", b"i|job", b"y|job|a|g-a", b"i|job|ghost|g", b"x|job|a|g-a|gone"])
def test_an_unfinished_line_that_nothing_stands_behind_goes_with_the_next_look(world: World, member: bytes) -> None:
    world.client.zadd(world.key("unfinished"), {member: 1})
    unfinished.go_on(world.store, 0, [member])
    assert not world.client.exists(world.key("unfinished"))


@pytest.mark.parametrize("blob", [b"\xc1", b"text", msgpack.packb([1]), msgpack.packb(["", "x", "", "", "", "", ""])])
def test_what_is_left_over_and_cannot_be_read_is_noted_and_dropped(world: World, blob: bytes) -> None:
    world.open(sleep(1))
    world.client.hset(world.keys.header(world.a), "rest", blob)
    world.control("pause")
    world.control("resume")
    assert (world.header("st"), world.timers()) == ("waiting", ["s|job|a|g-a|1"])
    assert ("i:job:a:h", "rest", "what is left over in it cannot be read") in notes(world)


def test_remains_of_another_type_are_removed(world: World) -> None:
    key = world.keys.remains(world.a, "t")
    world.client.set(key, "garbage")
    world.client.zadd(world.key("unfinished"), {"x|job|a|g-old|t": 1})
    unfinished.go_on(world.store, 0, [b"x|job|a|g-old|t"])
    assert not world.client.exists(key, world.key("unfinished"))


def test_values_that_were_stored_are_read_as_before(world: World) -> None:
    """Garbage is what no script writes: an instance that has been through everything has none."""
    world.send("e1")
    world.open(do(1), sleep(2), wait(3), child(4))
    world.settle(1, world.held("a", 1))
    world.control("pause")
    world.control("resume")
    assert notes(world) == []

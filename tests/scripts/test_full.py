"""When the memory of Redis is full (F45): what is refused is refused as a whole, and what must go on goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis as redis_py

from tests.scripts.world import LEASE_MS, World, do, sleep, wait
from workflows.dev.embedded import EmbeddedRedis
from workflows.dev.servers import ServerProgram, find_servers
from workflows.storage.outage import is_full
from workflows.storage.records import Decision


@pytest.fixture(scope="module", params=list(find_servers()), ids=lambda server: ".".join(map(str, server.version)))
def client(request: pytest.FixtureRequest) -> Iterator[redis_py.Redis]:
    """Of every server program there is: this hangs on how Redis checks its scripts, which no documentation promises."""
    server: ServerProgram = request.param
    with EmbeddedRedis(server=server.path) as started, redis_py.Redis.from_url(started.url) as client:
        yield client


@pytest.fixture
def world(client: redis_py.Redis) -> World:
    client.flushall()
    return World(client)


@contextmanager
def full(world: World) -> Iterator[None]:
    world.client.config_set("maxmemory", "1")
    try:
        yield
    finally:
        world.client.config_set("maxmemory", "0")


def refused(call: Callable[[], Any]) -> None:
    with pytest.raises(redis_py.ResponseError) as error:
        call()
    assert is_full(error.value)


def test_a_script_that_has_begun_to_write_is_never_stopped(world: World) -> None:
    """Whether there is room is asked once, before a script begins, and counts for its first write: none is done by
    halves, however much it writes."""
    used = world.client.info("memory")["used_memory"]
    world.client.config_set("maxmemory", used + 1_000_000)
    write = "for n = 1, 100 do redis.call('HSET', KEYS[1], n, string.rep('x', 100000)) end return 'done'"
    try:
        assert world.client.eval(write, 1, "large") == b"done"
        refused(lambda: world.client.eval(write, 1, "other"))
    finally:
        world.client.config_set("maxmemory", "0")
    assert world.client.hlen("large") == 100
    assert not world.client.exists("other")


def test_what_brings_more_is_refused_as_a_whole(world: World) -> None:
    world.open(wait())
    other = world.keys.instance("job", "b")
    with full(world), world.unchanged():
        refused(lambda: world.create(other))
        refused(lambda: world.send("e1"))
        refused(lambda: ring(world))


def test_no_attempt_begins_although_its_doorbell_has_come(world: World) -> None:
    world.open(do(1))
    member = world.member("a", 1)
    with full(world), world.unchanged():
        refused(lambda: world.claim(member))
    assert world.claim(member)[0] != 0


def ring(world: World) -> Any:
    item = {"id": "1", "data": "d", "what": "w"}
    return world.plain("ring", ["q", "qs", "j"], items=[item], queue="q", old=60_000)


def test_proofs_of_life_are_renewed(world: World) -> None:
    own = {"t": "mine", "ttl": 5_000, "p": ""}
    with full(world):
        assert world.call("own", [], **own)[0] == 2
        assert world.call("own", [], **own)[0] == 1
        assert world.plain("alive", ["orchestrators"], name="o", ttl=5_000) == 1
        assert world.renew("new", born=True) == [b"ok"]
        assert world.renew("w1") == [b"ok"]
        assert world.plain("process", ["processes"], put={"w1": "here"}, drop=[]) == 0
        assert world.bury("w2", "seen") == 1
    assert world.client.zscore(world.key("workers"), "w1") > LEASE_MS


def test_an_owner_sees_what_there_is_to_do(world: World) -> None:
    world.call("own", [], t="mine", ttl=5_000, p="")
    look = {"t": "mine", "n": 10, "u": 10}
    world.call("dispatch", [], **look)  # so that nothing is left that it would remove before it writes
    world.client.zadd(world.key("intents"), {world.member("t"): 0}, xx=True)
    with full(world):
        found = world.call("dispatch", [], **look)
    assert found[1] == [world.member("t").encode()]


def test_what_came_of_an_attempt_is_kept(world: World) -> None:
    """Whoever held on to it would hold it in memory only, and the step would run again elsewhere after a crash."""
    world.open(do(1), do(2))
    first, second = world.held("a", 1), world.held("a", 2)
    with full(world):
        assert world.settle(1, first) == 1
        assert world.fail(2, second, 1_000) == 1
        assert world.settle(1, first) == 0
    assert world.kinds() == "0S"
    assert (world.record(1), world.record(2).state) == (None, "back")


def test_no_chunk_of_a_stream_is_taken_in(world: World) -> None:
    world.open(do(1))
    attempt = {"w": "w1", "g": "g-a", "s": 1, "t": world.held("a", 1)}
    assert world.call("stream", [world.a], n=0, d=b"one", ttl=60_000, **attempt) == b"taken"
    with full(world):
        with world.unchanged():
            refused(lambda: world.call("stream", [world.a], n=1, d=b"two", ttl=60_000, **attempt))
        assert world.call("stream", [world.a], **attempt) == b"removed"
    assert world.client.keys("*:b*") == []


def test_no_step_is_born(world: World) -> None:
    """With room it would begin at once, held by its asker: so an instance could go on for ever."""
    token = world.held()
    with full(world):
        assert world.commit(token, d=Decision(opened=[do(1)]), ea="born") == 1
    assert world.record(1).state == "ready"
    token = world.held("a", 1)
    with full(world):
        assert world.settle(1, token, b=1, d=Decision(opened=[do(2)]), ea="born") == 2
    assert world.record(2).state == "ready"
    token = world.held("a", 2)
    assert world.settle(2, token, b=2, d=Decision(opened=[do(3)]), ea="born") == 3
    assert world.record(3).token == "born"


def test_what_has_begun_comes_to_an_end(world: World) -> None:
    world.open(sleep(1, 1), do(2), do(3))
    given = world.held("a", 2)
    world.held("a", 3, "w2")
    world.clock.ms += 1_000
    with full(world):
        assert world.fire(*world.timers()) == 1
        assert world.release("a", 2, given) == 1
    world.expire("w2")
    with full(world):
        assert world.reap("w2") == 0
    assert world.kinds() == "0T"
    assert (world.record(2).state, world.record(3).state) == ("ready", "ready")


def test_an_instance_ends_and_is_removed_after_its_retention(world: World) -> None:
    with full(world):
        world.complete()
    world.clock.ms += 10_000
    (member,) = [found.decode() for found in world.client.zrange(world.key("retire"), 0, -1)]
    with full(world):
        answer = world.control("delete", x=b"", gen=world.header("gen"), retire=member)
    assert answer[0] == b"deleted"
    assert not world.client.exists(*world.keys.of_instance(world.a))


def test_users_can_make_room(world: World) -> None:
    world.open(wait())
    with full(world):
        assert world.control("pause") == b"paused"
        assert world.control("terminate", x=b"", cid="c1") == b"terminated"
        assert world.control("delete", x=b"")[0] == b"deleted"


def test_a_sweep_goes_on(world: World) -> None:
    world.client.delete(world.key("index"), world.key("intents"))
    with full(world):
        assert world.call("sweep", [world.a], items=[{"i": 1, "c": "0"}]) == [[1, b""]]
    assert world.member("t")


def test_notes_of_what_cannot_be_read_stay(world: World) -> None:
    """They were of no use to anybody if the next one, for which there is no room, took them away."""
    world.call("set_aside", [], items=[], notes=[["k", "m", "first"]])
    world.client.hset(world.keys.header(world.a), "pos", "garbage")
    with full(world):
        refused(lambda: world.send("e1"))
        assert world.client.zcard(world.key("aside")) == 1
        world.call("set_aside", [], items=[], notes=[["k", "m", "second"]])
    assert world.client.zcard(world.key("aside")) == 2

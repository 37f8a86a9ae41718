"""Chunks of results that are streams: who may write them, how often they count, and when they go."""

from __future__ import annotations

from typing import Any

import pytest
import redis as redis_py

from tests.scripts.world import World, do
from workflows import limits

TTL_MS = 100_000


@pytest.fixture
def world(redis: redis_py.Redis) -> World:
    world = World(redis)
    world.open(do(1), do(2))
    return world


def write(world: World, token: str, n: int, chunk: bytes = b"chunk", *, seq: int = 1, worker: str = "w1") -> str:
    arguments = {"g": world.header("gen"), "s": seq, "t": token, "n": n, "d": chunk, "ttl": TTL_MS}
    answer: bytes = world.call("stream", [world.a], w=worker, **arguments)
    return answer.decode()


def withdraw(world: World, token: str, *, seq: int = 1) -> str:
    answer: bytes = world.call("stream", [world.a], w="w1", g=world.header("gen"), s=seq, t=token)
    return answer.decode()


def chunks(world: World, token: str) -> list[bytes]:
    found: list[bytes] = world.client.lrange(world.keys.chunks(world.a, token), 0, -1)
    return found


def index(world: World) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = world.client.hgetall(world.keys.streams(world.a))
    return found


def test_a_chunk_counts_once_however_often_it_is_sent(world: World) -> None:
    token = world.held("a", 1)
    assert [write(world, token, n, b"%d" % n) for n in (0, 1)] == ["taken", "taken"]
    with world.unchanged():
        assert write(world, token, 1, b"1") == "taken"
    assert chunks(world, token) == [b"0", b"1"]
    assert index(world) == {b"1": f"{token}|2|2|w".encode()}
    assert 0 < world.client.pttl(world.keys.chunks(world.a, token)) <= TTL_MS


def test_a_result_keeps_its_chunks_and_nothing_takes_them_from_it(world: World) -> None:
    token = world.held("a", 1)
    write(world, token, 0)
    assert world.settle(1, token, st=(1, 5)) == 1
    assert world.client.pttl(world.keys.chunks(world.a, token)) == -1
    with world.unchanged():
        assert withdraw(world, token) == "removed"
        assert write(world, token, 1) == "stale"
    assert index(world) == {b"1": f"{token}|1|5|k".encode()}


def test_a_result_that_lacks_chunks_is_none(world: World) -> None:
    """Whoever holds the step goes on holding it, and says that it has failed."""
    token = world.held("a", 1)
    write(world, token, 0)
    with world.unchanged():
        assert world.settle(1, token, st=(2, 10)) == 4
    assert world.fail(1, token, 1_000) == 1


def test_a_chunk_behind_one_that_is_lost_is_refused(world: World) -> None:
    token = world.held("a", 1)
    write(world, token, 0)
    world.client.delete(world.keys.chunks(world.a, token))
    assert write(world, token, 1) == "lost"


def test_only_who_holds_the_step_writes(world: World) -> None:
    """I1: another worker, another token, and one whose step was taken back."""
    token = world.held("a", 1)
    with world.unchanged():
        assert write(world, token, 0, worker="w2") == "stale"
        assert write(world, "other", 0) == "stale"
        assert write(world, token, 0, seq=2) == "stale"
    world.lose("w1")
    with world.unchanged():
        assert write(world, token, 0) == "stale"


def test_the_next_attempt_removes_what_the_one_before_it_has_written(world: World) -> None:
    first = world.held("a", 1)
    write(world, first, 0)
    world.lose("w1")
    second = world.held("a", 1, "w2")
    assert write(world, second, 0, worker="w2") == "taken"
    assert chunks(world, first) == []
    assert index(world) == {b"1": f"{second}|1|5|w".encode()}


def test_what_a_failed_attempt_has_written_is_removed(world: World) -> None:
    token = world.held("a", 1)
    write(world, token, 0)
    assert withdraw(world, token) == "removed"
    assert (chunks(world, token), index(world)) == ([], {})


def test_an_instance_has_no_more_bytes_and_streams_than_it_may(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has expired does not count, and neither does what an attempt before has written."""
    one, two = world.held("a", 1), world.held("a", 2)
    written = {b"7": b"old|1|999999999999|w", b"8": b"kept|1|%d|k" % (limits.STREAMS_BYTES - 12)}
    world.client.hset(world.keys.streams(world.a), mapping=written)
    assert write(world, one, 0) == "taken"
    assert b"7" not in index(world)
    assert write(world, two, 0, seq=2) == "taken"
    assert write(world, two, 1, seq=2) == "full"
    assert write(world, two, 1, b"..", seq=2) == "taken"
    many = {str(seq): b"kept|1|0|k" for seq in range(100, 100 + limits.STREAMS)}
    world.client.hset(world.keys.streams(world.a), mapping=many)
    assert write(world, one, 1, b"") == "full"


@pytest.mark.parametrize("verb", ["restart", "delete"])
def test_what_is_no_index_of_streams_keeps_nobody_from_removing_an_instance(world: World, verb: str) -> None:
    """I11."""
    world.client.set(world.keys.streams(world.a), "garbage")
    more: dict[str, Any] = {"cid": "c", "gen": "g2"} if verb == "restart" else {"x": b""}
    answer = world.control(verb, **more)
    assert (answer if verb == "restart" else answer[0]) in (b"queued", b"deleted")
    assert not world.client.exists(world.keys.streams(world.a))

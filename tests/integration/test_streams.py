"""Results that are streams of bytes: written while a callback yields, read by whoever has the handle."""

from __future__ import annotations

import asyncio
import hashlib
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from tests.deployment import PATIENCE_SECONDS, Deployment
from workflows import App, AsyncClient, ByteStream, NonRetryableError, StreamLost, WorkflowEntrypoint, limits
from workflows.clock import monotonic
from workflows.errors import (
    InvalidStepReadableStreamError,
    OversizedStreamChunkError,
    StreamOutputStorageLimitError,
    UnsupportedStreamChunkError,
)

Deploy = Callable[[App], Deployment]
BLOCK = bytes(range(256)) * 400  # 100 KiB, so that chunks as they are yielded are not those that are stored
SECONDS = "20 seconds"


def keys_of(redis: redis_py.Redis, kind: str = "b") -> list[str]:
    """The keys of streams: which there are, and their chunks."""
    return sorted(key.decode() for key in redis.scan_iter(f"*:i:*:*:{kind}*"))


def until(reached: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE_SECONDS
    while not reached():
        assert monotonic() < deadline
        threading.Event().wait(0.02)


def returning(app: App, run: Callable[..., Any], name: str = "flow") -> type:
    """A workflow around ``async def run(self, event, step)``."""
    workflow: type = app.workflow(name=name)(type("Flow", (WorkflowEntrypoint,), {"run": run}))
    return workflow


def blocks(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield BLOCK


async def slow_blocks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        await asyncio.sleep(0)
        yield BLOCK


async def opened(count: int) -> AsyncIterator[bytes]:
    return slow_blocks(count)


async def listed(count: int) -> Iterator[bytes]:
    return blocks(count)


def digest(stream: ByteStream) -> str:
    found = hashlib.sha256()
    for chunk in stream:
        found.update(chunk)
    return found.hexdigest()


async def digest_awaited(stream: ByteStream) -> str:
    found = hashlib.sha256()
    async for chunk in stream:
        found.update(chunk)
    return found.hexdigest()


@pytest.mark.parametrize("source", [blocks, slow_blocks, opened, listed], ids=lambda source: source.__name__)
def test_what_a_callback_yields_is_read_by_steps_by_run_and_by_clients(
    source: Any, deploy: Deploy, redis: redis_py.Redis, redis_url: str
) -> None:
    """Of either sort, returned or awaited: a megabyte, which is no limit here."""
    app = App("streams")

    async def run(self: Any, event: Any, step: Any) -> Any:
        stream = await step.do("download", source, 11)
        plain = await step.do("digest", digest, stream)
        awaited = await step.do("digest", digest_awaited, stream)
        here = hashlib.sha256(b"".join(stream)).hexdigest()
        assert [len(chunk) async for chunk in stream] == [len(chunk) for chunk in stream]
        assert plain == awaited == here
        return stream

    returning(app, run)
    deployment = deploy(app)
    deployment.engine(warm=0)  # each turn begins anew, and so does each reading
    instance = deployment.client.workflow("flow").create()
    stream = instance.result(timeout=SECONDS)
    assert (stream.size, stream.chunks) == (len(BLOCK) * 11, 5)
    assert b"".join(deployment.client.chunks(stream)) == BLOCK * 11
    sizes = [len(chunk) for chunk in deployment.client.chunks(stream)]
    assert sizes == [limits.STORED_CHUNK_BYTES] * 4 + [stream.size - 4 * limits.STORED_CHUNK_BYTES]

    async def fetched() -> bytes:
        async with AsyncClient("streams", redis_url) as client:
            return b"".join([chunk async for chunk in client.chunks(stream)])

    assert asyncio.run(fetched()) == BLOCK * 11
    assert instance.status().steps[0].output == stream
    assert instance.status().as_dict()["output"] == "stream of 1,126,400 bytes in 5 chunks"
    chunks = [key for key in keys_of(redis) if not key.endswith(":b")]
    assert [redis.ttl(key) for key in chunks] == [-1]
    instance.delete()
    assert keys_of(redis) == []
    with pytest.raises(StreamLost, match="was deleted or restarted"):
        list(deployment.client.chunks(stream))


def test_a_file_and_an_empty_stream_are_streams_too(deploy: Deploy, redis: redis_py.Redis, tmp_path: Path) -> None:
    app = App("files")
    (tmp_path / "lines").write_bytes(b"one\ntwo\n")

    async def run(self: Any, event: Any, step: Any) -> Any:
        file = await step.do("file", lambda: (tmp_path / "lines").open("rb"))
        memory = await step.do("memory", lambda: io.BytesIO(b"x" * 10))
        empty = await step.do("empty", blocks, 0)
        return [b"".join(file), b"".join(memory), b"".join(empty), empty.size, empty.chunks]

    returning(app, run)
    deployment = deploy(app)
    deployment.engine()
    instance = deployment.client.workflow("flow").create()
    assert instance.result(timeout=SECONDS) == [b"one\ntwo\n", b"x" * 10, b"", 0, 0]
    assert len(keys_of(redis)) == 3  # which there are, and two lists


def too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STREAM_BYTES", len(BLOCK))


def used_up() -> Iterator[bytes]:
    iterator = blocks(1)
    list(iterator)
    return iterator


@pytest.mark.parametrize(
    ("callback", "error", "said"),
    [
        (lambda: iter(["text"]), UnsupportedStreamChunkError, "It yielded a str; yield bytes."),
        (lambda: iter([b"fine", 7]), UnsupportedStreamChunkError, "It yielded an int; yield bytes."),
        (
            lambda: iter([bytes(limits.STREAM_CHUNK_BYTES + 1)]),
            OversizedStreamChunkError,
            "It yielded 16,777,217 bytes at once, and one chunk may have 16,777,216.",
        ),
        (used_up, InvalidStepReadableStreamError, "The generator has been read already; return a new one."),
        (lambda: blocks(2), StreamOutputStorageLimitError, "has more than 102,400 bytes"),
    ],
)
def test_a_stream_that_cannot_be_stored_fails_its_step_at_once_and_leaves_nothing(
    callback: Any,
    error: type[NonRetryableError],
    said: str,
    deploy: Deploy,
    redis: redis_py.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Repeating it would give the same."""
    app = App("refused")
    if error is StreamOutputStorageLimitError:
        too_much(monkeypatch)

    async def run(self: Any, event: Any, step: Any) -> Any:
        try:
            await step.do("download", callback)
        except error as failed:
            return str(failed)

    returning(app, run)
    deployment = deploy(app)
    deployment.engine()
    instance = deployment.client.workflow("flow").create()
    told = instance.result(timeout=SECONDS)
    assert said in told and '"download-1"' in told
    assert instance.status().steps[0].attempts == 1
    until(lambda: keys_of(redis) == [])


def test_a_stream_of_a_failed_attempt_is_removed_and_the_next_one_begins_anew(
    deploy: Deploy, redis: redis_py.Redis
) -> None:
    app = App("again")
    seen: list[list[str]] = []

    def flaky(ctx: Any) -> Iterator[bytes]:
        yield bytes([ctx.attempt]) * limits.STORED_CHUNK_BYTES
        if ctx.attempt == 1:
            raise RuntimeError("cut off")
        seen.append(keys_of(redis, "b:"))

    async def run(self: Any, event: Any, step: Any) -> Any:
        return await step.do("download", flaky, retries={"limit": 1, "delay": 0})

    returning(app, run)
    deployment = deploy(app)
    deployment.engine()
    stream = deployment.client.workflow("flow").create().result(timeout=SECONDS)
    assert b"".join(deployment.client.chunks(stream)) == b"\x02" * limits.STORED_CHUNK_BYTES
    assert [len(keys) for keys in seen] == [1]
    assert len(keys_of(redis, "b:")) == 1


def test_the_chunks_of_a_killed_worker_expire_and_the_next_attempt_removes_them(
    deploy: Deploy, redis: redis_py.Redis
) -> None:
    """Nobody tells of the end, and the reader sees one attempt only."""
    app = App("killed")
    half, go_on = threading.Event(), threading.Event()

    def halves(ctx: Any) -> Iterator[bytes]:
        yield bytes([ctx.attempt]) * limits.STORED_CHUNK_BYTES
        half.set()
        assert go_on.wait(PATIENCE_SECONDS)
        yield bytes([ctx.attempt]) * limits.STORED_CHUNK_BYTES

    async def run(self: Any, event: Any, step: Any) -> Any:
        return await step.do("download", halves, timeout="5 minutes")

    returning(app, run)
    deployment = deploy(app)
    engine = deployment.engine(lease_ms=1_000)
    instance = deployment.client.workflow("flow").create()
    assert half.wait(PATIENCE_SECONDS)
    (orphan,) = keys_of(redis, "b:")
    assert 5 * 60 < redis.ttl(orphan) <= 6 * 60
    engine.kill()
    deployment.engines.remove(engine)
    go_on.set()
    deployment.engine()
    stream = instance.result(timeout=SECONDS)
    assert b"".join(deployment.client.chunks(stream)) == b"\x02" * limits.STORED_CHUNK_BYTES * 2
    assert orphan not in keys_of(redis, "b:")
    assert len(keys_of(redis, "b:")) == 1


def test_a_stream_that_times_out_is_an_attempt_that_does(deploy: Deploy, redis: redis_py.Redis) -> None:
    """Its time is that of the whole stream (DO5)."""
    app = App("late")
    ended = threading.Event()

    async def drips(ctx: Any) -> AsyncIterator[bytes]:
        try:
            while ctx.attempt == 1:
                yield BLOCK * 3
                await asyncio.sleep(0.05)
            yield b"in time"
        finally:
            ended.set()

    async def run(self: Any, event: Any, step: Any) -> Any:
        return b"".join(await step.do("drip", drips, timeout=500, retries={"limit": 1, "delay": 0}))

    returning(app, run)
    deployment = deploy(app)
    deployment.engine()
    instance = deployment.client.workflow("flow").create()
    assert instance.result(timeout=SECONDS) == b"in time"
    assert [failure.error.name for failure in instance.status().steps[0].failures] == ["StepTimeout"]
    assert ended.wait(PATIENCE_SECONDS)
    until(lambda: len(keys_of(redis, "b:")) == 1)


def test_chunks_that_were_lost_before_the_result_are_a_failure_that_is_tried_again(
    deploy: Deploy, redis: redis_py.Redis
) -> None:
    """A Redis that drops what may expire, say: half a stream must not pass for a whole one."""
    app = App("evicted")

    def evicted(ctx: Any) -> Iterator[bytes]:
        yield b"x" * limits.STORED_CHUNK_BYTES
        if ctx.attempt == 1:
            redis.delete(*keys_of(redis, "b:"))

    async def run(self: Any, event: Any, step: Any) -> Any:
        stream = await step.do("download", evicted, retries={"limit": 1, "delay": 0})
        return stream.size

    returning(app, run)
    deployment = deploy(app)
    deployment.engine()
    instance = deployment.client.workflow("flow").create()
    assert instance.result(timeout=SECONDS) == limits.STORED_CHUNK_BYTES
    assert [failure.error.name for failure in instance.status().steps[0].failures] == ["StreamLost"]


def test_a_restart_removes_streams_and_one_from_a_step_keeps_those_before_it(
    deploy: Deploy, redis: redis_py.Redis
) -> None:
    app = App("restarts")

    async def run(self: Any, event: Any, step: Any) -> Any:
        first = await step.do("first", blocks, 3)
        second = await step.do("second", blocks, 3)
        return [first.token, second.token, len(b"".join(first))]

    returning(app, run)
    deployment = deploy(app)
    deployment.engine()
    instance = deployment.client.workflow("flow").create()
    before = instance.result(timeout=SECONDS)
    instance.restart(from_={"name": "second"})
    after = instance.result(timeout=SECONDS)
    assert after[0] == before[0]
    assert {key.rpartition(":")[2] for key in keys_of(redis, "b:")} == {before[0], after[1]}
    instance.restart()
    last = instance.result(timeout=SECONDS)
    assert {key.rpartition(":")[2] for key in keys_of(redis, "b:")} == set(last[:2])
    assert not {*last[:2]} & {*before[:2], *after[:2]}


def test_another_life_begins_without_the_streams_of_the_one_before_it(deploy: Deploy, redis: redis_py.Redis) -> None:
    app = App("lives")

    async def run(self: Any, event: Any, step: Any) -> Any:
        stream = await step.do("download", blocks, 3)
        if not event.payload.get("last"):
            step.continue_as({"last": True})
        return stream.token

    returning(app, run)
    deployment = deploy(app)
    deployment.engine()
    token = deployment.client.workflow("flow").create().result(timeout=SECONDS)
    assert [key.rpartition(":")[2] for key in keys_of(redis, "b:")] == [token]


def test_a_stream_is_no_part_of_another_value_and_is_not_handed_to_other_instances(deploy: Deploy) -> None:
    app = App("parts")

    async def run(self: Any, event: Any, step: Any) -> Any:
        stream = await step.do("download", blocks, 1)
        try:
            step.continue_as({"stream": stream})
        except Exception as error:
            return f"{type(error).__name__} {error}"

    returning(app, run)
    deployment = deploy(app)
    deployment.engine()
    told = deployment.client.workflow("flow").create().result(timeout=SECONDS)
    assert told.startswith("PayloadNotSerializable") and "ByteStream" in told


def test_what_is_gone_when_run_reads_it_parks_the_instance_and_no_code_of_run_learns_of_it(
    deploy: Deploy, redis: redis_py.Redis
) -> None:
    """A failure to read is nothing the journal knows of, so ``run`` must not decide anything by it."""
    app = App("lost")

    async def run(self: Any, event: Any, step: Any) -> Any:
        stream = await step.do("download", blocks, 1)
        await step.do("spoil", lambda: redis.delete(*keys_of(redis, "b:")))
        try:
            return b"".join(stream)
        except BaseException:
            return "swallowed"

    returning(app, run)
    deployment = deploy(app)
    deployment.engine()
    instance = deployment.client.workflow("flow").create()
    until(lambda: instance.status().status == "paused")
    (reason, *_) = instance.why()
    assert instance.status().output is None
    assert "The stream is not there any more" in f"{reason.sentence} {reason.facts}"

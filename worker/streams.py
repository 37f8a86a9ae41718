"""Results that are streams: written chunk by chunk while the callback yields, and read by callbacks and by ``run``.

All of it goes through a few threads with connections of their own, made for the first stream: the engine's thread and
the callbacks' loop never wait for a chunk, except that ``run`` waits for those it reads.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import redis

from worker.attempt import Attempt, Outcome
from workflows import limits
from workflows.clock import monotonic
from workflows.errors import (
    InvalidStepReadableStreamError,
    OversizedStreamChunkError,
    StreamLost,
    StreamOutputStorageLimitError,
    UnsupportedStreamChunkError,
)
from workflows.storage.store import Store, call_one, script
from workflows.storage.streams import chunk_command, chunk_of
from workflows.values.byte_stream import ByteStream
from workflows.values.codec import encode_stream

_STREAM = script(Path(__file__).with_name("stream.lua"))

# Chunks on their way at a time, of all streams of a process.
THREADS: Final = 4
# An outage of Redis is waited through for as long as a client does, and no longer than the attempt may take.
PAUSE_SECONDS: Final = 0.5

_BYTES: Final = (bytes, bytearray, memoryview)


class Unwanted(BaseException):
    """Nobody waits for what the attempt gives any more."""


class Streams:
    """All streams that one worker process reads and writes; any thread may call.

    Args:
        connect: makes a new store.
    """

    def __init__(self, connect: Callable[[], Store]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._made: tuple[Store, ThreadPoolExecutor] | None = None

    def close(self) -> None:
        with self._lock:
            made, self._made = self._made, None
        if made is not None:
            made[1].shutdown(wait=False, cancel_futures=True)

    def _parts(self) -> tuple[Store, ThreadPoolExecutor]:
        with self._lock:
            if self._made is None:
                self._made = self._connect(), ThreadPoolExecutor(THREADS, thread_name_prefix="chunks")
            return self._made

    # Reading: a ChunkSource -------------------------------------------------------------------------------------------

    def read(self, stream: ByteStream, n: int) -> bytes:
        """The n-th chunk. Raises: StreamLost; redis.RedisError."""
        store, pool = self._parts()
        return pool.submit(_read, store, stream, n).result()

    async def fetch(self, stream: ByteStream, n: int) -> bytes:
        """The same for the callbacks' loop."""
        store, pool = self._parts()
        return await asyncio.get_running_loop().run_in_executor(pool, _read, store, stream, n)

    # Writing ----------------------------------------------------------------------------------------------------------

    async def store(self, attempt: Attempt, result: Any) -> Outcome:
        """Write what an iterator of either sort yields, on the callbacks' loop. Raises: what the iterator raises, and
        see ``_Writing``.
        """
        if not isinstance(result, AsyncIterable):
            return await _in_a_thread(lambda: self.store_plainly(attempt, result))
        store, pool = self._parts()
        loop = asyncio.get_running_loop()
        writing = _Writing(store, attempt)
        chunks = aiter(result)
        try:
            _check_fresh(attempt, result)
            async for chunk in chunks:
                for ready in writing.ready(chunk):
                    await loop.run_in_executor(pool, writing.send, ready)
            return await loop.run_in_executor(pool, writing.finish)
        except BaseException:
            # Not awaited: it may be the loop's end, or a cancellation that is repeated.
            pool.submit(writing.withdraw)
            raise
        finally:
            close = getattr(chunks, "aclose", None)
            if callable(close):
                await close()

    def store_plainly(self, attempt: Attempt, result: Iterator[Any]) -> Outcome:
        """The same in a callback's thread."""
        store, pool = self._parts()
        writing = _Writing(store, attempt)
        try:
            _check_fresh(attempt, result)
            for chunk in result:
                for ready in writing.ready(chunk):
                    pool.submit(writing.send, ready).result()
            return pool.submit(writing.finish).result()
        except BaseException:
            pool.submit(writing.withdraw)
            raise
        finally:
            close = getattr(result, "close", None)  # of a generator or a file
            if callable(close):
                close()


class _Writing:
    """One stream on its way, by one attempt.

    Raises (all of it): Unwanted; UnsupportedStreamChunkError, OversizedStreamChunkError, StreamOutputStorageLimitError,
    StreamLost; redis.RedisError after an outage that took too long.
    """

    def __init__(self, store: Store, attempt: Attempt) -> None:
        self._store = store
        self._attempt = attempt
        self._rest = bytearray()
        self._size = 0
        self._chunks = 0

    def ready(self, chunk: Any) -> Iterator[bytes]:
        """What is to be stored now that one more chunk was yielded: pieces of the stored size."""
        if not isinstance(chunk, _BYTES):
            raise UnsupportedStreamChunkError(_invalid(self._attempt, f"It yielded {_told(chunk)}; yield bytes."))
        view = memoryview(chunk)
        view = view.cast("B") if view.c_contiguous else memoryview(view.tobytes())
        if len(view) > limits.STREAM_CHUNK_BYTES:
            raise OversizedStreamChunkError(
                _invalid(
                    self._attempt,
                    f"It yielded {len(view):,} bytes at once, and one chunk may have {limits.STREAM_CHUNK_BYTES:,}.",
                )
            )
        self._size += len(view)
        if self._size > limits.STREAM_BYTES:
            raise _too_large(self._attempt, f"has more than {limits.STREAM_BYTES:,} bytes, the most a stream may have")
        at = 0
        while len(self._rest) + len(view) - at >= limits.STORED_CHUNK_BYTES:
            upto = at + limits.STORED_CHUNK_BYTES - len(self._rest)
            yield bytes(self._rest) + bytes(view[at:upto])
            self._rest.clear()
            at = upto
        self._rest += view[at:]

    def send(self, chunk: bytes) -> None:
        """Store one, in one of the threads."""
        attempt = self._attempt
        ttl = attempt.config.timeout_ms + limits.STREAM_KEPT_MS
        answer = self._call({"n": self._chunks, "d": chunk, "ttl": ttl})
        if answer == b"stale":
            raise Unwanted
        if answer == b"lost":
            raise StreamLost(f'Chunks of the stream of step "{attempt.name}-{attempt.count}" were lost before its end.')
        if answer == b"full":
            raise _too_large(
                attempt,
                f"does not fit: an instance may have {limits.STREAMS:,}, of {limits.STREAMS_BYTES:,} bytes in all",
            )
        self._chunks += 1

    def finish(self) -> Outcome:
        """Store what is left. The outcome counts as soon as it is settled, and until then nothing of it."""
        if self._rest:
            self.send(bytes(self._rest))
            self._rest.clear()
        attempt, instance = self._attempt, self._attempt.instance
        stream = ByteStream(instance.workflow, instance.id, attempt.token, self._size, self._chunks)
        return Outcome(value=encode_stream(stream), stream=(self._chunks, self._size))

    def withdraw(self) -> None:
        """Nothing comes of it. Should this be lost, the next attempt removes it, or the end of its time."""
        if self._chunks:
            with suppress(redis.RedisError):
                self._ask({})

    def _call(self, more: dict[str, Any]) -> Any:
        until = min(self._attempt.deadline, monotonic() + limits.OUTAGE_SECONDS)
        while True:
            if self._attempt.context.cancelled.is_set():
                raise Unwanted
            try:
                return self._ask(more)
            except (redis.ConnectionError, redis.TimeoutError):
                if monotonic() >= until:
                    raise
            self._attempt.context.cancelled.wait(PAUSE_SECONDS)

    def _ask(self, more: dict[str, Any]) -> Any:
        attempt = self._attempt
        who = {"w": attempt.worker, "g": attempt.generation, "s": attempt.seq, "t": attempt.token}
        return self._store.call(call_one(self._store.keys, _STREAM, attempt.instance, {**who, **more}))


def _read(store: Store, stream: ByteStream, n: int) -> bytes:
    return chunk_of(stream, store.command(*chunk_command(store.keys, stream, n)))


def _check_fresh(attempt: Attempt, result: Any) -> None:
    ended = inspect.isgenerator(result) and inspect.getgeneratorstate(result) == inspect.GEN_CLOSED
    if ended or (inspect.isasyncgen(result) and result.ag_frame is None):
        raise InvalidStepReadableStreamError(
            _invalid(attempt, "The generator has been read already; return a new one.")
        )


async def _in_a_thread(call: Callable[[], Outcome]) -> Outcome:
    """In one of its own: an iterator may take any time, and those of the pool are for chunks."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Outcome] = loop.create_future()

    def deliver(outcome: Outcome | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        elif outcome is not None:
            future.set_result(outcome)

    def work() -> None:
        try:
            outcome = call()
        except StopIteration as error:  # a future does not take it
            loop.call_soon_threadsafe(deliver, None, RuntimeError(f"StopIteration: {error}"))
        except BaseException as error:
            loop.call_soon_threadsafe(deliver, None, error)
        else:
            loop.call_soon_threadsafe(deliver, outcome, None)

    threading.Thread(target=work, name="stream", daemon=True).start()
    return await future


def _invalid(attempt: Attempt, detail: str) -> str:
    return f'The step "{attempt.name}-{attempt.count}" returned an invalid stream output. {detail}'


def _too_large(attempt: Attempt, why: str) -> StreamOutputStorageLimitError:
    return StreamOutputStorageLimitError(
        f'The stream of step "{attempt.name}-{attempt.count}" {why}. Store it in your bucket and return its key.'
    )


def _told(chunk: Any) -> str:
    name = type(chunk).__qualname__
    return f"an {name}" if name[:1] in "aeioAEIO" else f"a {name}"

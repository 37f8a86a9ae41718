"""Streams: what stands for one in values, how it is read, and into which chunks it is cut."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any
from unittest import mock

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.attempt import Attempt
from worker.streams import Streams
from workflows import limits
from workflows.authoring.callback import Callback
from workflows.authoring.context import StepContext, StepName
from workflows.authoring.retries import StepConfig
from workflows.errors import (
    ConfigError,
    CorruptPayload,
    OversizedStreamChunkError,
    PayloadNotSerializable,
    StreamOutputStorageLimitError,
    UnsupportedStreamChunkError,
)
from workflows.storage.keys import Keyspace
from workflows.storage.store import Call
from workflows.values import codec
from workflows.values.byte_stream import ByteStream, is_stream, source

KEYS = Keyspace("shop")
STREAM = ByteStream("order", "o-1", "t1", 5, 1)

names = st.from_regex(r"[A-Za-z0-9_-]{1,100}", fullmatch=True)
streams = st.integers(0, 2**53).flatmap(
    lambda size: st.builds(ByteStream, names, names, names, st.just(size), st.integers(0, size))
)
pieces = st.lists(st.binary(max_size=20), max_size=12)


# As a value


@given(streams)
def test_a_stream_is_read_as_it_was_written(stream: ByteStream) -> None:
    assert codec.decode(codec.encode_stream(stream)) == stream
    assert hash(ByteStream.unpack(stream.pack())) == hash(stream)


@given(streams, streams)
def test_two_streams_are_equal_when_everything_of_them_is(one: ByteStream, other: ByteStream) -> None:
    values = [(of.workflow, of.id, of.token, of.size, of.chunks) for of in (one, other)]
    assert (one == other) == (values[0] == values[1])


@given(st.binary() | st.lists(st.integers(-(2**63), 2**64 - 1) | st.text() | st.none()).map(msgpack.packb))
def test_any_bytes_are_a_stream_or_refused(body: bytes) -> None:
    try:
        stream = ByteStream.unpack(body)
    except CorruptPayload:
        return
    assert ByteStream.unpack(stream.pack()) == stream


@pytest.mark.parametrize(
    "wrong",
    [
        ("a b", "i", "t", 1, 1),
        ("w", "", "t", 1, 1),
        ("w", "i", "t" * 101, 1, 1),
        ("w", "i", 7, 1, 1),
        ("w", "i", "t", -1, -1),
        ("w", "i", "t", 1, 2),
        ("w", "i", "t", True, True),
        ("w", "i", "t", 1.0, 1),
        ("w", "i", "t", 1),
        ("w", "i", "t", 1, 1, 1),
    ],
    ids=str,
)
def test_what_no_stream_has_is_refused(wrong: Sequence[Any]) -> None:
    with pytest.raises(CorruptPayload, match="malformed stream"):
        ByteStream.unpack(msgpack.packb(wrong))


@pytest.mark.parametrize("value", [[STREAM], {"stream": STREAM}, (1, STREAM)], ids=["list", "dict", "tuple"])
def test_a_stream_is_no_part_of_another_value(value: Any) -> None:
    with pytest.raises(PayloadNotSerializable):
        codec.encode(value, what="the result")


@pytest.mark.parametrize(
    ("size", "chunks", "text"),
    [
        (0, 0, "stream of 0 bytes in 0 chunks"),
        (5, 1, "stream of 5 bytes in 1 chunk"),
        (2_300_000, 9, "stream of 2,300,000 bytes in 9 chunks"),
    ],
)
def test_a_stream_says_how_large_it_is_and_not_what_is_in_it(size: int, chunks: int, text: str) -> None:
    assert str(ByteStream("w", "i", "t", size, chunks)) == text


@pytest.mark.parametrize("value", [iter([b"a"]), (b"a" for _ in "a"), io.BytesIO(b"a")], ids=["1", "2", "3"])
def test_what_is_an_iterator_is_to_be_stored_as_a_stream(value: Any) -> None:
    assert is_stream(value)


@pytest.mark.parametrize("value", [b"a", "a", [b"a"], {b"a": 1}, (b"a",), range(2), None, STREAM], ids=repr)
def test_what_only_has_an_iterator_is_a_value(value: Any) -> None:
    assert not is_stream(value)


# Reading


class Shelf:
    """A source of chunks, that notes which were read."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self.chunks = chunks
        self.read_so_far: list[int] = []

    def read(self, stream: ByteStream, n: int) -> bytes:
        self.read_so_far.append(n)
        return self.chunks[n]

    async def fetch(self, stream: ByteStream, n: int) -> bytes:
        await asyncio.sleep(0)
        return self.read(stream, n)


@contextmanager
def shelf(chunks: Sequence[bytes]) -> Iterator[tuple[Shelf, ByteStream]]:
    """In ``run``, or a callback, with a stream of these chunks."""
    made = Shelf(chunks)
    token = source.set(made)
    try:
        yield made, ByteStream("order", "o-1", "t1", sum(map(len, chunks)), len(chunks))
    finally:
        source.reset(token)


async def awaited(stream: ByteStream) -> list[bytes]:
    return [chunk async for chunk in stream]


@given(pieces)
def test_a_stream_gives_its_chunks_in_their_order_as_often_as_it_is_read(chunks: list[bytes]) -> None:
    with shelf(chunks) as (_, stream):
        assert list(stream) == list(stream) == asyncio.run(awaited(stream)) == chunks


@given(st.lists(st.booleans(), max_size=20))
def test_two_who_read_one_stream_do_not_disturb_each_other(turns: list[bool]) -> None:
    with shelf([b"a", b"b", b"c"]) as (_, stream):
        readers, found = (iter(stream), iter(stream)), ([], [])  # type: tuple[Any, Any], tuple[list[Any], list[Any]]
        for turn in turns:
            found[turn].extend(chunk for chunk in [next(readers[turn], None)] if chunk)
    for read in found:
        assert read == [b"a", b"b", b"c"][: len(read)]


def test_a_chunk_is_read_when_somebody_wants_it() -> None:
    with shelf([b"a", b"b", b"c"]) as (made, stream):
        next(iter(stream))
    assert made.read_so_far == [0]


def test_a_stream_that_is_read_elsewhere_says_where_it_can_be() -> None:
    with pytest.raises(ConfigError, match=r"client\.chunks"):
        list(STREAM)
    with pytest.raises(ConfigError, match=r"client\.chunks"):
        asyncio.run(awaited(STREAM))


# Writing


class Stored:
    """A store that takes every chunk."""

    keys = KEYS

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.is_withdrawn = False

    def call(self, call: Call) -> bytes:
        chunk = call.arguments.get("d")
        if chunk is None:
            self.is_withdrawn = True
        else:
            assert call.arguments["n"] == len(self.chunks)
            self.chunks.append(chunk)
        return b"ok"


def write(*yielded: Any) -> tuple[Stored, ByteStream]:
    """What comes of a callback that yields this, where a stored chunk has 8 bytes, and a stream 100 at most."""
    stored = Stored()
    with (
        closing(Streams(lambda: stored)) as streams,  # type: ignore[arg-type, return-value]
        mock.patch.multiple(limits, STORED_CHUNK_BYTES=8, STREAM_CHUNK_BYTES=50, STREAM_BYTES=100),
    ):
        step = StepContext(StepName("pages", 1), 1, StepConfig(), "key")
        at = KEYS.instance("order", "o-1")
        call = Callback(lambda: None)
        attempt = Attempt(at, "g", 1, "t1", "w", "pages", 1, StepConfig(), None, call, step, 0)
        outcome = streams.store_plainly(attempt, iter(yielded))
    assert outcome.value is not None
    return stored, codec.decode(outcome.value)


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_whatever_is_yielded_is_stored_whole_in_chunks_of_one_size_but_for_the_last(yielded: list[bytes]) -> None:
    stored, stream = write(*yielded)
    assert b"".join(stored.chunks) == b"".join(yielded)
    assert {len(chunk) for chunk in stored.chunks[:-1]} <= {8}
    assert all(0 < len(chunk) <= 8 for chunk in stored.chunks)
    assert (stream.size, stream.chunks) == (len(b"".join(yielded)), len(stored.chunks))


@pytest.mark.parametrize(
    "chunk", [bytearray(b"abc"), memoryview(b"abc"), memoryview(b"a.b.c.")[::2]], ids=["1", "2", "3"]
)
def test_what_is_yielded_may_be_bytes_in_another_form(chunk: Any) -> None:
    assert write(chunk)[0].chunks == [b"abc"]


@pytest.mark.parametrize(
    ("yielded", "error", "text"),
    [
        ([b"a", "text"], UnsupportedStreamChunkError, "It yielded a str; yield bytes"),
        ([b"a", 7], UnsupportedStreamChunkError, "It yielded an int"),
        ([b"a" * 51], OversizedStreamChunkError, "51 bytes at once"),
        ([b"a" * 40, b"a" * 40, b"a" * 21], StreamOutputStorageLimitError, "more than 100 bytes"),
    ],
    ids=["text", "a number", "too much at once", "too much"],
)
def test_what_cannot_be_stored_says_so(yielded: list[Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        write(*yielded)

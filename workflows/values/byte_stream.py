"""A step's result that is a stream of bytes: what stands for it in values, and how it is read where it is met.

Its chunks stand in Redis one by one, under the token of the attempt that wrote them, and never change. So ``run`` may
read them: a replay reads the same. Who reads them for it is no business of the value's: ``source`` says so, which is
set in ``run`` and in callbacks and nowhere else. Outside, ``client.chunks`` reads them.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any, Final, Protocol

import msgpack

from workflows.errors import ConfigError, CorruptPayload

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")


class ByteStream:
    """What ``step.do`` returns where its callback returns or is a stream of bytes: an iterator or a generator of bytes,
    of either sort.

    ``async for chunk in stream`` reads it, or plain ``for`` where there is no event loop, as often as you like; chunks
    come as they are stored, of ``limits.STORED_CHUNK_BYTES`` each but for the last. It may be an argument of a
    callback, the result of another step and what ``run`` returns, but not a part of another value.

    Attributes:
        size: bytes.
        chunks: how many.
        workflow, id: the instance that has it, and with whose keys it goes.
        token: of the attempt that has written it.
    Raises (when it is read): StreamLost; ConfigError outside of ``run`` and of callbacks.
    """

    __slots__ = ("chunks", "id", "size", "token", "workflow")

    def __init__(self, workflow: str, id: str, token: str, size: int, chunks: int) -> None:
        self.workflow = workflow
        self.id = id
        self.token = token
        self.size = size
        self.chunks = chunks

    @classmethod
    def unpack(cls, body: bytes) -> ByteStream:
        """Raises:
        CorruptPayload: it is none.
        """
        try:
            workflow, id, token, size, chunks = msgpack.unpackb(body)
            named = all(_NAME.fullmatch(name) for name in (workflow, id, token))
            if named and type(size) is type(chunks) is int and 0 <= chunks <= size:
                return cls(workflow, id, token, size, chunks)
        except (TypeError, ValueError):
            pass
        raise CorruptPayload("Stored value holds a malformed stream")

    def pack(self) -> bytes:
        body: bytes = msgpack.packb((self.workflow, self.id, self.token, self.size, self.chunks))
        return body

    def __iter__(self) -> Iterator[bytes]:
        return _Blocking(self, _source_of())

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Awaited(self, _source_of())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByteStream) and self.pack() == other.pack()

    def __hash__(self) -> int:
        return hash(self.pack())

    def __str__(self) -> str:
        """As everybody is shown it who looks at an instance."""
        return f"stream of {self.size:,} bytes in {self.chunks:,} chunk{'' if self.chunks == 1 else 's'}"

    def __repr__(self) -> str:
        return f"<ByteStream of {self.workflow}/{self.id}: {self.size:,} bytes>"


class ChunkSource(Protocol):
    """Who reads chunks where a stream is met.

    Raises: StreamLost.
    """

    def read(self, stream: ByteStream, n: int) -> bytes:
        """The n-th chunk, from 0."""

    async def fetch(self, stream: ByteStream, n: int) -> bytes:
        """The same without blocking a loop."""


source: ContextVar[ChunkSource | None] = ContextVar("workflows.chunks", default=None)


def _source_of() -> ChunkSource:
    found = source.get()
    if found is None:
        raise ConfigError("A stream is read in run() and in callbacks of steps. Elsewhere read client.chunks(stream).")
    return found


# Not generators: one that is left behind half read would be finished by the loop of ``run``, which has no hooks for it.


class _Blocking:
    def __init__(self, stream: ByteStream, source: ChunkSource) -> None:
        self._stream = stream
        self._source = source
        self._next = 0

    def __iter__(self) -> _Blocking:
        return self

    def __next__(self) -> bytes:
        if self._next >= self._stream.chunks:
            raise StopIteration
        chunk = self._source.read(self._stream, self._next)
        self._next += 1
        return chunk


class _Awaited:
    def __init__(self, stream: ByteStream, source: ChunkSource) -> None:
        self._stream = stream
        self._source = source
        self._next = 0

    def __aiter__(self) -> _Awaited:
        return self

    async def __anext__(self) -> bytes:
        if self._next >= self._stream.chunks:
            raise StopAsyncIteration
        chunk = await self._source.fetch(self._stream, self._next)
        self._next += 1
        return chunk


def is_stream(value: Any) -> bool:
    """Whether the result of a callback is a stream that is yet to be stored: an iterator, not just what has one."""
    kind = type(value)
    return kind is not ByteStream and (hasattr(kind, "__aiter__") or hasattr(kind, "__next__"))

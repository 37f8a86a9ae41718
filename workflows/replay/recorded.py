"""Streams as ``run`` reads them: from what is recorded, so that every replay reads the same."""

from __future__ import annotations

from collections.abc import Callable

from workflows.errors import CorruptPayload, StreamLost, Suspended
from workflows.sandbox import guard
from workflows.values.byte_stream import ByteStream

ReadChunk = Callable[[ByteStream, int], bytes]
"""Reads the n-th chunk of a stream, from 0; blocks. Raises: StreamLost, or anything."""


class Recorded:
    """A ``ChunkSource`` for ``run``: it waits for each chunk, and learns of no failure.

    Attributes:
        failure: why a chunk could not be read. That is nothing the journal knows of, so ``run`` must not go on from it:
            whoever has fed the replay raises it.
    """

    def __init__(self, read: ReadChunk) -> None:
        self._read = read
        self.failure: Exception | None = None

    def read(self, stream: ByteStream, n: int) -> bytes:
        if self.failure is None:
            try:
                with guard.inside(None):
                    return self._read(stream, n)
            except StreamLost as error:
                self.failure = CorruptPayload(str(error))
            except Exception as error:
                self.failure = error
        raise Suspended

    async def fetch(self, stream: ByteStream, n: int) -> bytes:
        return self.read(stream, n)

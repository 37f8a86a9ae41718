"""Chunks of results that are streams, read one by one: see ``parts/streams.lua``."""

from __future__ import annotations

from typing import Any

from workflows.errors import StreamLost
from workflows.storage.keys import Keyspace
from workflows.values.byte_stream import ByteStream


def chunk_command(keys: Keyspace, stream: ByteStream, n: int) -> list[Any]:
    """What asks for the n-th chunk, from 0."""
    return ["LINDEX", keys.chunks(keys.instance(stream.workflow, stream.id), stream.token), n]


def chunk_of(stream: ByteStream, answer: Any) -> bytes:
    """The chunk of an answer.

    Raises:
        StreamLost: it is not there.
        redis.RedisError: the answer to one of several commands is one.
    """
    if isinstance(answer, Exception):
        raise answer
    if answer is None:
        raise StreamLost(
            f'The stream is not there any more: instance "{stream.id}" of workflow "{stream.workflow}", whose step it '
            "is the result of, was deleted or restarted, or has gone on in another life."
        )
    chunk: bytes = answer
    return chunk

"""Garbage in a key, as anybody may write it who reaches Redis."""

from __future__ import annotations

import random
from typing import NamedTuple

import redis as redis_py

from workflows.health import namespace as diagnosis
from workflows.storage import keys

GARBAGE_BYTES = 40
SCORES = (0.0, 1.0, -1.0, 1e300)
PLACES = 9_999
FIELDS = 99


class Spoilt(NamedTuple):
    """What is done to a key. Drawn before anybody looks at what keys there are, which differs from time to time.

    place, field: which key, and which of its fields, counted around.
    """

    place: int
    garbage: bytes
    other_type: bool
    score: float
    field: int


def drawn(rng: random.Random) -> Spoilt:
    """Any of them."""
    garbage = rng.randbytes(rng.randint(0, GARBAGE_BYTES))
    return Spoilt(rng.randint(0, PLACES), garbage, rng.random() < 0.5, rng.choice(SCORES), rng.randint(0, FIELDS))


def spoil(redis: redis_py.Redis, key: bytes, spoilt: Spoilt) -> bool:
    """Put garbage into a key: of another type, or as a member, an element or a field. Returns: whether a person has to
    hear of it, because nothing can be made of it."""
    kind = redis.type(key)
    if spoilt.other_type:
        with redis.pipeline() as transaction:
            transaction.delete(key)
            transaction.sadd(key, spoilt.garbage)
            transaction.execute()
        # RQ's jobs come and go, and its sets are sets.
        return kind != b"set" and not key.startswith(keys.rq_job_prefix().encode())
    if kind == b"zset":
        redis.zadd(key, {spoilt.garbage: spoilt.score})
    elif kind == b"hash":
        fields = [spoilt.garbage, *sorted(redis.hkeys(key))]
        redis.hset(key, fields[spoilt.field % len(fields)], spoilt.garbage)
    elif kind == b"list":
        redis.rpush(key, spoilt.garbage)
    return key.rpartition(b":")[2].decode() in diagnosis.PARTS and not _reads(key, spoilt.garbage)


def _reads(key: bytes, member: bytes) -> bool:
    try:
        diagnosis.PARTS[key.rpartition(b":")[2].decode()](member)
    except ValueError:
        return False
    return True

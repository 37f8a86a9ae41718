"""Random names for calls, entries, tokens and lives: never counted, because a counter would repeat itself after Redis
lost its last second (F42).

They must be unique, not secret: whoever can read them in Redis can write there too. So they come from a generator
seeded once per process, which unlike the system's source of randomness never gives the interpreter lock away in a hot
loop.
"""

from __future__ import annotations

import binascii
import os
import random

_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_generator = random.Random(os.urandom(32))
os.register_at_fork(after_in_child=lambda: _generator.seed(os.urandom(32)))


def call() -> str:
    """Ten characters, from which a script makes the nonces of one call."""
    return binascii.b2a_base64(_generator.getrandbits(64).to_bytes(8, "big"))[:10].translate(_URL_SAFE).decode()


def entry() -> str:
    """The nonce of a journal entry that a worker writes: eight characters."""
    return f"{_generator.getrandbits(32):08x}"


def token() -> str:
    """The token of a claimed attempt or turn, and the id of a command that was given none."""
    return f"{_generator.getrandbits(64):016x}"


def generation() -> str:
    """The name of one life of an instance."""
    return f"{_generator.getrandbits(48):012x}"

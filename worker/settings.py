"""How a worker process works: what its command line, its tests and its parent may choose."""

from __future__ import annotations

from dataclasses import dataclass

from workflows import limits


@dataclass(frozen=True, slots=True)
class Settings:
    """How a worker process works.

    Attributes:
        queues: logical names of the queues it serves; one blocking connection each.
        concurrency: attempts at once, and threads for plain callbacks.
        warm: suspended replays kept; 0 replays every turn from scratch.
        warm_bytes: bytes of journal they may have been fed.
        recheck: replay from the start although a replay is kept, as often as takes time in proportion to the journal,
            and always before an instance ends. For tests.
        grace_seconds: how long a drain waits for attempts in flight.
        stall_seconds: how long ``run`` may block before it is interrupted, and again before the process gives up.
        lease_ms: how long after its last sign of life a worker is taken for dead.
        shared_lead: whether a thread that has run a callback goes on with the engine's work. False is for tests.
        claims_at_once: whether a turn that comes alone is claimed together with its doorbell. False is for tests.
        alone: this process runs one step or turn that somebody else has claimed, and nothing else.
    """

    queues: tuple[str, ...] = ("default",)
    concurrency: int = limits.CONCURRENCY
    warm: int = limits.WARM
    warm_bytes: int = 256 * 1024 * 1024
    recheck: bool = False
    grace_seconds: float = 10.0
    stall_seconds: float = 2.0
    lease_ms: int = 10_000
    shared_lead: bool = True
    claims_at_once: bool = True
    alone: bool = False

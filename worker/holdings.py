"""What Redis says a worker holds: compared with what the worker knows of, and given back before a process ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable

import redis

from worker.arrivals import Finished
from worker.claim import held_by
from worker.lease import Lease
from worker.rounds import Round
from workflows.storage.keys import Held, Instance
from workflows.storage.store import Store

_log = logging.getLogger("workflows.worker")


def holdings(store: Store, identities: Iterable[str]) -> list[Held]:
    """What is held under these names, in all shards."""
    names = list(identities)
    return [held for shard in range(store.keys.shards) for name in names for held in held_by(store, shard, name)]


def give_back_unknown(store: Store, identities: Iterable[str], known: Collection[str]) -> None:
    """Give back what is held under another token than those that are ``known``: a reply was lost.

    Raises:
        redis.RedisError: any of it may or may not have happened.
    """
    round = Round()
    for held in holdings(store, identities):
        if held.token not in known:
            round.release(store.keys.instance(held.workflow, held.id), held)
    round.send(store)


def rescue(
    store: Store,
    lease: Lease,
    finished: Iterable[Finished],
    begun: Collection[str],
    stuck: Instance | None,
    claiming: threading.Lock,
) -> None:
    """Before a process that cannot go on ends: settle what has finished, blame the ``run`` that blocks, give back the
    rest. Without turns, because whoever leads the engine may be stuck.

    Left to the reaper, every instance with a turn here would be blamed for the one that blocks.

    Args:
        store: on a connection that nobody else uses.
        begun: tokens of attempts that may have had effects.
        stuck: whose ``run`` blocks.
        claiming: held while something is being claimed.
    """
    round = Round()
    for item in finished:
        attempt = item.attempt
        settlement = attempt.settlement(item.outcome, item.ended_ms)
        round.settle(attempt.worker, attempt.instance, settlement, lambda _: None)
    try:
        round.send(store)
        round = Round()
        # A claim on its way comes back in a moment, unless its connection hangs.
        claiming.acquire(timeout=1)
        for held in holdings(store, lease.identities):
            instance = store.keys.instance(held.workflow, held.id)
            if held.kind == "t" and instance == stuck:
                round.strike(instance, held)
            else:
                round.release(instance, held, "drain" if held.token in begun else "back")
        round.send(store)
    except redis.RedisError:
        _log.warning("left to the reaper")

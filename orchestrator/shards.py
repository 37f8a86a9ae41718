"""Which shards this orchestrator tends: owner leases, shared fairly with the other orchestrators.

A lease saves work and decides who bridges pub/sub; no safety depends on it (M6). An orchestrator
that dies is replaced after its leases run out.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workflows.storage.store import Call, Store, call_on, script

_OWN = script(Path(__file__).with_name("own.lua"))
_ALIVE = script(Path(__file__).with_name("alive.lua"))
_log = logging.getLogger("workflows.orchestrator")

LEASE_MS = 5_000
RENEW_SECONDS = 1.0


@dataclass
class Shards:
    """The shards in hand.

    Attributes:
        token: this orchestrator's fence; new after every reconnect, so a forgotten twin is refused (F8).
        in_hand: shard -> server ms since when it is owned without a gap.
        former: the token before the last reconnect, which leases in Redis may still name.
        permit: with which whoever makes an intent rings by itself (``doorbell.permit``); None: only the owner rings.
    """

    store: Store
    name: str
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    in_hand: dict[int, int] = field(default_factory=dict)
    former: str = ""
    permit: bytes | None = None

    def maintain(self) -> list[int]:
        """Renew, take what is free up to a fair share, give up what is more. Returns: shards newly in hand."""
        keys = self.store.keys
        alive = self.store.call(Call(_ALIVE, [keys.orchestrators], {"name": self.name, "ttl": LEASE_MS}))
        share = -(-keys.shards // max(1, alive))
        wanted = sorted(self.in_hand)[:share]
        surplus = sorted(set(self.in_hand) - set(wanted))
        self.store.call_all([self._leaving(shard) for shard in surplus])
        for shard in surplus:
            self.in_hand.pop(shard)
        new = self._take(wanted)
        # Those of others are refused, so go on until the share is full or none is left: a shard that nobody owns
        # stands still.
        start = secrets.randbelow(keys.shards)
        others = [
            shard for shard in ((start + n) % keys.shards for n in range(keys.shards)) if shard not in self.in_hand
        ]
        while others and len(self.in_hand) < share:
            missing = share - len(self.in_hand)
            new += self._take(others[:missing])
            others = others[missing:]
        return new

    def _take(self, wanted: list[int]) -> list[int]:
        """Renew or acquire leases, in one round trip. Returns: shards newly in hand."""
        keys = self.store.keys
        new: list[int] = []
        arguments: dict[str, Any] = {"t": self.token, "ttl": LEASE_MS, "p": self.former}
        if self.permit is not None:
            arguments["permit"] = self.permit
        calls = [call_on(keys, _OWN, shard, [], arguments) for shard in wanted]
        for shard, answer in zip(wanted, self.store.call_all(calls), strict=True):
            if answer[0] == 0:
                if self.in_hand.pop(shard, None) is not None:
                    _log.warning("shard lost", extra={"shard": shard})
                continue
            if answer[0] == 2 or shard not in self.in_hand:
                new.append(shard)
            self.in_hand[shard] = int(answer[1])
        return new

    def forget(self) -> None:
        """After a reconnect nothing is known any more: new token, nothing in hand (M8)."""
        if self.in_hand:
            self.former = self.token
        self.token = secrets.token_hex(8)
        self.in_hand.clear()

    def leave(self) -> None:
        """Give everything up, so that others need not wait for the leases to run out."""
        gone = Call(_ALIVE, [self.store.keys.orchestrators], {"name": self.name, "ttl": 0, "leave": True})
        self.store.call_all([*map(self._leaving, self.in_hand), gone])
        self.in_hand.clear()

    def _leaving(self, shard: int) -> Call:
        return call_on(self.store.keys, _OWN, shard, [], {"t": self.token, "ttl": LEASE_MS, "leave": True})

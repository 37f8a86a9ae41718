"""The instances of a storm: created, told what they wait for, and asked for what came of them."""

from __future__ import annotations

import random
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tests.invariants.simulation.violation import demand
from workflows.client import Client, WorkflowInstance
from workflows.errors import InstanceEnded, InstanceError, InstanceNotFound, ResultTimeout, ServerUnavailable

LOOKS = 40
"""How many are asked at a time."""
BATCH = 100
TELL_SECONDS = 1.0


@dataclass(slots=True)
class Member:
    """One instance.

    Attributes:
        expected: what it has to return.
        event: it waits for ``go``, which is sent until it has ended, under one id.
        hurt: somebody wrote garbage into it.
    """

    workflow: str
    id: str
    params: dict[str, Any]
    expected: Any
    event: bool = False
    hurt: bool = False
    created: bool = False
    told_at: float = 0.0
    ended_at: float | None = None


class Crowd:
    """All of them."""

    def __init__(self, client: Client, rng: random.Random) -> None:
        self.members: dict[str, Member] = {}
        self.ended = 0
        self.lost = 0
        self._client = client
        self._rng = rng
        self._pending: deque[Member] = deque()
        self._forgotten_at = 0.0

    @property
    def pending(self) -> int:
        return len(self._pending)

    @property
    def pending_ones(self) -> list[Member]:
        """Those that have not ended, the one that has been asked least recently first."""
        return list(self._pending)

    def add(self, workflow: str, expected: Any, *, event: bool = False, **params: Any) -> Member:
        member = Member(workflow, f"{workflow}-{len(self.members)}", params | {"event": event}, expected, event)
        self.members[member.id] = member
        self._pending.append(member)
        return member

    def feed(self, count: int) -> None:
        """Some more small ones."""
        for _ in range(count):
            if self._rng.random() < 0.2:
                self.add("racing", "raced")
            else:
                steps, event = self._rng.randint(2, 6), self._rng.random() < 0.3
                total = 3 * sum(range(steps)) + (1_000 if event else 0)
                self.add("branches", total, event=event, steps=steps, seconds=0.1)
        self.create()

    def of(self, member: Member) -> WorkflowInstance:
        return self._client.workflow(member.workflow).get(member.id)

    def create(self) -> None:
        """Those that are not there yet; what Redis has no room for stays for the next time."""
        missing = [one for one in self._pending if not one.created]
        for workflow in sorted({one.workflow for one in missing}):
            group = [one for one in missing if one.workflow == workflow]
            for at in range(0, len(group), BATCH):
                batch = group[at : at + BATCH]
                # Only what exists already keeps the life it was given first.
                entries = [{"id": one.id, "params": one.params | {"life": self._life()}} for one in batch]
                try:
                    self._client.workflow(workflow).create_batch(entries)
                except ServerUnavailable:
                    return
                for one in batch:
                    one.created = True

    def tend(self) -> None:
        """Ask some of them how they are."""
        self.create()
        for _ in range(min(LOOKS, len(self._pending))):
            member = self._pending.popleft()
            try:
                ended = not member.created or self._look(member)
            except ServerUnavailable:
                ended = False
            except BaseException:
                self._pending.append(member)
                raise
            if member.created and ended:
                member.ended_at = time.time()
                self.ended += 1
            else:
                self._pending.append(member)

    def rewound(self, since: float) -> None:
        """Redis has come back in the state of that moment: what was seen to end later may not have."""
        self._forgotten_at = time.time()
        for member in self.members.values():
            if member.ended_at is not None and member.ended_at >= since and not member.hurt:
                member.ended_at = None
                self.ended -= 1
                self._pending.append(member)

    def leave_out(self, member: Member) -> None:
        """Nobody asks for this one any more."""
        if member in self._pending:
            self._pending.remove(member)

    def hurt(self, id: str) -> Member | None:
        """Its end is nobody's business any more. Returns: which one it is; None for one that is not known."""
        member = self.members.get(id)
        if member is not None:
            member.hurt = True
            self.leave_out(member)
        return member

    def stuck(self) -> str:
        """What can be said of some that have not ended."""
        return "; ".join(self.said(member) for member in self.pending_ones[:5])

    def _look(self, member: Member) -> bool:
        try:
            found = self._outcome(member)
        except ResultTimeout:
            return False
        except InstanceNotFound:
            demand(self._forgotten_at > 0, f"{member.id} is gone, although Redis has lost nothing")
            member.created = False
            self.lost += 1
            return False
        demand(found == member.expected, f"{member.id} ended with {found!r} instead of {member.expected!r}")
        return True

    def _outcome(self, member: Member) -> Any:
        instance = self.of(member)
        if member.event and time.monotonic() - member.told_at > TELL_SECONDS:
            member.told_at = time.monotonic()
            with suppress(InstanceEnded):
                instance.send_event("go", 1_000, id=f"go-{member.id}")
        try:
            return instance.result(timeout=0)
        except (ResultTimeout, InstanceNotFound, ServerUnavailable):
            raise
        except Exception as error:
            return error

    def said(self, member: Member) -> str:
        """Which one it is, its status and the reason."""
        try:
            status = self.of(member).status()
        except InstanceError as error:
            return f"{member.id}: {error}"
        return f"{member.id}: {status.status}, {status.reason}"

    def _life(self) -> str:
        return f"{self._rng.getrandbits(48):012x}"

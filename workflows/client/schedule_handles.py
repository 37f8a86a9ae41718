"""``client.schedules``: the verbs on schedules, blocking and for asyncio. A workflow's only schedule needs no ``line``.

All of them raise UnknownWorkflow, ConfigError or BadSchedule when there is no such schedule; the message names those
there are.
"""

from __future__ import annotations

import builtins
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from workflows.client import schedules
from workflows.client.batches import Plan
from workflows.client.schedules import ScheduleStatus
from workflows.storage.keys import Keyspace


class Schedules:
    """The schedules of all published workflows."""

    def __init__(self, keys: Keyspace, carry_out: Callable[[Plan[Any]], Any]) -> None:
        self._keys = keys
        self._carry_out = carry_out

    def list(self) -> builtins.list[ScheduleStatus]:
        """All of them, by workflow."""
        found: builtins.list[ScheduleStatus] = self._carry_out(schedules.schedules(self._keys))
        return found

    def pause(self, workflow: str, line: str | None = None) -> bool:
        """Let one fire no more until it is resumed, whoever is restarted or deployed meanwhile; instances go on.

        Returns: whether it was not paused before.
        """
        return bool(self._carry_out(schedules.set_paused(self._keys, workflow, line, True)))

    def resume(self, workflow: str, line: str | None = None) -> bool:
        """Let one fire again, from now on. Returns: whether it was paused."""
        return bool(self._carry_out(schedules.set_paused(self._keys, workflow, line, False)))

    def trigger(self, workflow: str, line: str | None = None) -> str:
        """Create an instance as if the schedule had fired now, whatever still runs. Returns: its id."""
        return str(self._carry_out(schedules.trigger(self._keys, workflow, line)))

    def backfill(
        self, workflow: str, start: datetime, end: datetime, line: str | None = None, *, dry_run: bool = False
    ) -> builtins.list[str]:
        """Create the instances of past firings that are not there, at once, whatever overlaps.

        Args:
            start, end: from the one on and before the other, at most 1,000 firings. Without a zone of their own they
                are meant as the schedule's clock shows them.
            dry_run: create nothing.
        Returns: the ids of what is new; with ``dry_run`` of all firings.
        Raises: ConfigError: it reaches into the future, or there are too many.
        """
        plan = schedules.backfill(self._keys, workflow, line, start, end, dry_run=dry_run)
        ids: builtins.list[str] = self._carry_out(plan)
        return ids


class AsyncSchedules:
    """The same for asyncio; see ``Schedules``."""

    def __init__(self, carry_out: Callable[[Callable[[Keyspace], Plan[Any]]], Awaitable[Any]]) -> None:
        self._carry_out = carry_out

    async def list(self) -> builtins.list[ScheduleStatus]:
        """See ``Schedules.list``."""
        found: builtins.list[ScheduleStatus] = await self._carry_out(schedules.schedules)
        return found

    async def pause(self, workflow: str, line: str | None = None) -> bool:
        """See ``Schedules.pause``."""
        return bool(await self._carry_out(lambda keys: schedules.set_paused(keys, workflow, line, True)))

    async def resume(self, workflow: str, line: str | None = None) -> bool:
        """See ``Schedules.resume``."""
        return bool(await self._carry_out(lambda keys: schedules.set_paused(keys, workflow, line, False)))

    async def trigger(self, workflow: str, line: str | None = None) -> str:
        """See ``Schedules.trigger``."""
        return str(await self._carry_out(lambda keys: schedules.trigger(keys, workflow, line)))

    async def backfill(
        self, workflow: str, start: datetime, end: datetime, line: str | None = None, *, dry_run: bool = False
    ) -> builtins.list[str]:
        """See ``Schedules.backfill``."""
        ids: builtins.list[str] = await self._carry_out(
            lambda keys: schedules.backfill(keys, workflow, line, start, end, dry_run=dry_run)
        )
        return ids

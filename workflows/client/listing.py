"""The instances of a workflow, newest or oldest first, in pages made of every shard's answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, overload

from workflows import limits
from workflows.client import history
from workflows.client.requests import Request
from workflows.errors import ConfigError
from workflows.storage.keys import Keyspace
from workflows.storage.status import Status
from workflows.storage.store import call_on, script

_LIST = script(Path(__file__).parent / "list.lua")
_CURSOR = re.compile(r"([0-9]{1,17}):([A-Za-z0-9_][A-Za-z0-9_-]{0,99})")


@dataclass(frozen=True, slots=True)
class InstanceSummary:
    """One line of a listing."""

    workflow: str
    id: str
    status: Status
    created_at: datetime


@dataclass(frozen=True, slots=True)
class InstancePage(Sequence[InstanceSummary]):
    """A page of a listing: a sequence of summaries; ``cursor`` asks for the next page and is None at the end."""

    items: tuple[InstanceSummary, ...]
    cursor: str | None = None

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, place: int) -> InstanceSummary: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[InstanceSummary, ...]: ...

    def __getitem__(self, place: int | slice) -> InstanceSummary | tuple[InstanceSummary, ...]:
        return self.items[place]

    def __iter__(self) -> Iterator[InstanceSummary]:
        return iter(self.items)


def list_instances(
    keys: Keyspace,
    workflow: str,
    *,
    status: str | Iterable[str] | None = None,
    limit: int = limits.LIST_PAGE,
    cursor: str | None = None,
    oldest_first: bool = False,
) -> tuple[list[Request[list[tuple[str, str]]]], Callable[[list[list[tuple[str, str]]]], InstancePage]]:
    """List a workflow's instances. Returns: one request per shard, and what makes a page of their answers.

    Raises:
        ConfigError: no such status, a bad limit or cursor.
    """
    statuses = _statuses(status)
    if not 1 <= limit <= limits.LIST_PAGE_MAX:
        raise ConfigError(f"limit is {limit!r}; it must be a number from 1 to {limits.LIST_PAGE_MAX}")
    after = ""
    if cursor is not None:
        match = _CURSOR.fullmatch(cursor)
        if match is None:
            raise ConfigError(f"{cursor!r:.100} is not a cursor; use the one that came with the page before")
        after = f"{match[1]}|{match[2]}"
    # One more than asked for tells whether there is a next page.
    arguments: dict[str, Any] = {"wf": workflow, "statuses": statuses, "n": limit + 1, "after": after}
    if oldest_first:
        arguments["oldest"] = True
    requests = [Request(call_on(keys, _LIST, shard, [], arguments), _lines) for shard in range(keys.shards)]

    def page(answers: list[list[tuple[str, str]]]) -> InstancePage:
        lines = sorted((line for answer in answers for line in answer), reverse=not oldest_first)
        items = tuple(_summary(workflow, *line) for line in lines[:limit])
        more = len(lines) > limit
        return InstancePage(items, lines[limit - 1][0].replace("|", ":") if more else None)

    return requests, page


def _statuses(status: str | Iterable[str] | None) -> list[str]:
    wanted = [status] if isinstance(status, str) else list(Status) if status is None else list(status)
    known = {str(one) for one in Status}
    for one in wanted:
        if one not in known:
            raise ConfigError(f"There is no status {one!r:.100}; there are: {', '.join(Status)}")
    return [str(one) for one in wanted]


def _lines(answer: list[list[bytes]]) -> list[tuple[str, str]]:
    return [(place.decode(), status.decode()) for place, status in answer]


def _summary(workflow: str, place: str, status: str) -> InstanceSummary:
    created, id = place.split("|")
    at = history.moment(created)
    assert at is not None
    return InstanceSummary(workflow, id, Status(status), at)

"""The instances of a workflow, newest or oldest first, in pages made of every shard's answer.

A page reads a range of each shard's index. What the index does not say is read from the headers of those found there,
and then a page may be short although more follow: it looks at so many instances and no more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, overload

from workflows import limits
from workflows.client import history
from workflows.client.batches import Plan
from workflows.client.requests import Request
from workflows.client.selection import Selection
from workflows.errors import ConfigError
from workflows.storage.batches import portions
from workflows.storage.keys import Instance, Keyspace
from workflows.storage.status import Status
from workflows.storage.store import call_on, script
from workflows.values.metadata import Metadata

_LIST = script(Path(__file__).with_name("list.lua"))
_PEEK = script(Path(__file__).with_name("peek.lua"))
_CURSOR = re.compile(r"[0-9]{1,17}:[A-Za-z0-9_][A-Za-z0-9_-]{0,99}(?::m)?")
_PLACE = re.compile(rb"([0-9]{1,15})\|([A-Za-z0-9_-]{1,100})(\|m)?")
_FIELDS = ("st", "ended", "meta")


@dataclass(frozen=True, slots=True)
class InstanceSummary:
    """One line of a listing."""

    workflow: str
    id: str
    status: Status
    created_at: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InstancePage(Sequence[InstanceSummary]):
    """A page of a listing: a sequence of summaries; ``cursor`` asks for the next page and is None at the end.

    Instances that come, go or change their status between two pages do not move the others.
    """

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


class _Line(NamedTuple):
    """A line of the index; ``place`` orders it among all of the workflow. No status: it was found by a tag."""

    place: bytes
    status: str


class _Candidate(NamedTuple):
    """What such a line says."""

    place: bytes
    status: str
    instance: Instance
    created: bytes
    has_metadata: bool

    def summary(self, status: str, metadata: Mapping[str, str]) -> InstanceSummary:
        at = history.moment(self.created)
        assert at is not None
        return InstanceSummary(self.instance.workflow, self.instance.id, Status(status), at, metadata)


class _Header(NamedTuple):
    """What the index does not say."""

    status: str
    ended: bytes
    metadata: Metadata


def list_instances(
    keys: Keyspace,
    workflow: str,
    selected: Selection,
    *,
    limit: int = limits.LIST_PAGE,
    cursor: str | None = None,
    oldest_first: bool = False,
) -> Plan[InstancePage]:
    """List a page of a workflow's instances.

    Raises, before anything is sent:
        ConfigError: a bad limit or cursor.
    """
    if not 1 <= limit <= limits.LIST_PAGE_MAX:
        raise ConfigError(f"limit is {limit!r}; it must be a number from 1 to {limits.LIST_PAGE_MAX}")
    if cursor is not None and _CURSOR.fullmatch(cursor) is None:
        raise ConfigError(f"{cursor!r:.100} is not a cursor; use the one that came with the page before")
    after = None if cursor is None else cursor.replace(":", "|").encode()
    return _page(keys, workflow, selected, limit, after, oldest_first)


def _page(
    keys: Keyspace, workflow: str, selected: Selection, limit: int, after: bytes | None, oldest_first: bool
) -> Plan[InstancePage]:
    items: list[InstanceSummary] = []
    cursor: bytes | None = None
    at_a_time = max(limit, limits.LIST_PAGE) if selected.needs_headers else limit
    looked, more = 0, True
    while more and len(items) < limit and looked + at_a_time <= limits.LIST_LOOKED:
        # One more than wanted tells whether there is a next page.
        answers = yield _lines_of(keys, workflow, selected, after, oldest_first, at_a_time + 1)
        lines = sorted((line for answer in answers for line in answer), reverse=not oldest_first)
        more = len(lines) > at_a_time
        lines = lines[:at_a_time]
        looked += len(lines)
        after = lines[-1].place if lines else after
        found = [one for line in lines if (one := _candidate(keys, workflow, line)) is not None]
        summaries = yield from _summaries(keys, selected, found)
        for one, summary in zip(found, summaries, strict=True):
            if len(items) == limit:
                more = True
                break
            cursor = one.place
            if summary is not None:
                items.append(summary)
    return InstancePage(tuple(items), cursor.decode().replace("|", ":") if more and cursor is not None else None)


def _lines_of(
    keys: Keyspace, workflow: str, selected: Selection, after: bytes | None, oldest_first: bool, most: int
) -> list[Request[list[_Line]]]:
    arguments = _range(workflow, selected, after, oldest_first) | {"n": most}
    if oldest_first:
        arguments["oldest"] = True
    return [Request(call_on(keys, _LIST, shard, [], arguments), _lines) for shard in range(keys.shards)]


def _range(
    workflow: str, selected: Selection, after: bytes | None = None, oldest_first: bool = False
) -> dict[str, Any]:
    start, stop = selected.bounds()
    low, high = b"[" + start, b"(" + stop
    if after is not None:
        nearer = b"(" + after
        if oldest_first:
            low = max(low, nearer, key=lambda bound: bound[1:])
        else:
            high = min(high, nearer, key=lambda bound: bound[1:])
    asked = {"wf": workflow, "statuses": [str(one) for one in selected.statuses], "low": low, "high": high}
    return asked | ({"tags": selected.tags} if selected.metadata else {})


def _lines(answer: list[list[bytes]]) -> list[_Line]:
    return [_Line(place, status.decode()) for place, status in answer]


def _candidate(keys: Keyspace, workflow: str, line: _Line) -> _Candidate | None:
    """None: somebody else has written it."""
    match = _PLACE.fullmatch(line.place)
    if match is None:
        return None
    return _Candidate(*line, keys.instance(workflow, match[2].decode()), match[1], match[3] is not None)


def _summaries(keys: Keyspace, selected: Selection, found: Sequence[_Candidate]) -> Plan[list[InstanceSummary | None]]:
    """How they are shown, None for what is not meant: by their headers, where the index does not say all of it."""
    asked = [one.instance for one in found if selected.needs_headers or one.has_metadata]
    headers = (yield from _headers(keys, asked)) if asked else {}
    shown: list[InstanceSummary | None] = []
    for one in found:
        header = headers.get(one.instance)
        if not selected.needs_headers:
            shown.append(one.summary(one.status, {} if header is None else header.metadata.values))
        elif header is not None and selected.fits(*header):
            shown.append(one.summary(header.status, header.metadata.values))
        else:
            shown.append(None)
    return shown


def _headers(keys: Keyspace, instances: Sequence[Instance]) -> Plan[dict[Instance, _Header]]:
    """Of those that are there and can be read."""
    by_shard: dict[int, list[Instance]] = {}
    for one in instances:
        by_shard.setdefault(one.shard, []).append(one)
    asked = [some for all_ in by_shard.values() for some in portions(all_, lambda _: 1, lambda _: 0)]
    answers = yield [
        Request(call_on(keys, _PEEK, some[0].shard, some, {"fields": _FIELDS}), lambda answer: answer) for some in asked
    ]
    return {
        one: _Header(values[0].decode(errors="replace"), values[1] or b"", Metadata.of(values[2]))
        for some, answer in zip(asked, answers, strict=True)
        for one, values in zip(some, answer, strict=True)
        if values and values[0]
    }


def count(keys: Keyspace, workflow: str, selected: Selection) -> Plan[int]:
    """How many instances there are, from the index alone: as many at most, where headers have a say as well."""
    arguments = _range(workflow, selected) | {"count": True}
    answers = yield [Request(call_on(keys, _LIST, shard, [], arguments), int) for shard in range(keys.shards)]
    return sum(answers)

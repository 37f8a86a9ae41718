"""The instances of a workflow, page by page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from starlette.responses import Response

from workflows.client.listing import InstancePage, InstanceSummary
from workflows.client.selection import Where
from workflows.errors import InstanceNotFound, WorkflowError
from workflows.health.catalogue import manifest_of
from workflows.health.sub_status import LOOKED_AT, WORDS, SubStatus, find, sub_statuses
from workflows.storage.status import Status
from workflows.ui.bulk_orders import Filter
from workflows.ui.context import Context
from workflows.ui.pages.bulk import possible
from workflows.ui.refusals import RequestRefused

PER_PAGE: Final = 50
_MOMENTS: Final = ("created_from", "created_before", "ended_from", "ended_before")


@dataclass(frozen=True, slots=True)
class Listing:
    """What somebody wants to see, as the address says it.

    Attributes:
        doing: a word of ``sub_status.WORDS``; '': whatever they do.
        moments: by the names of ``Where``, as they were written.
        metadata: ``key=value``; '' for any.
    """

    statuses: tuple[str, ...]
    doing: str
    moments: dict[str, str]
    metadata: str
    oldest_first: bool
    cursor: str | None

    @classmethod
    def of(cls, context: Context) -> Listing:
        query = context.query
        moments = {name: query[name].strip() for name in _MOMENTS if query.get(name, "").strip()}
        return cls(
            statuses=tuple(one for one in query.getlist("status") if one),
            doing=query.get("doing", ""),
            moments=moments,
            metadata=query.get("metadata", "").strip(),
            oldest_first=query.get("order") == "oldest",
            cursor=query.get("cursor") or None,
        )

    @property
    def is_narrowed(self) -> bool:
        """Whether it is about fewer than all."""
        return bool(self.statuses or self.doing or self.moments or self.metadata)

    def where(self) -> Where:
        """Raises: RequestRefused: something of it cannot be read."""
        where: Any = {name: _moment(name, text) for name, text in self.moments.items()}
        if self.metadata:
            key, equals, value = self.metadata.partition("=")
            if not equals:
                raise RequestRefused(422, "BadFilter", "Metadata is given as name=text.")
            where["metadata"] = {key.strip(): value.strip()}
        return where  # type: ignore[no-any-return]

    def query(self, **other: Any) -> dict[str, Any]:
        """The same as an address has it; ``other`` in place of what it says."""
        same: dict[str, Any] = {
            "status": self.statuses,
            "doing": self.doing or None,
            "metadata": self.metadata or None,
            "order": "oldest" if self.oldest_first else None,
            **self.moments,
        }
        return same | other


def _moment(name: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise RequestRefused(422, "BadFilter", f"{name} is {text!r:.100}, no moment such as 2026-11-27T09:30") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def instances(context: Context) -> Response:
    """A page of them. What cannot be looked for is said above the filters.

    Raises: UnknownWorkflow: nobody has it, and there are no instances of it.
    """
    asked = Listing.of(context)
    rows: Sequence[tuple[InstanceSummary, SubStatus]] = ()
    cursor, problem = None, None
    try:
        rows, cursor = _found(context, asked)
    except (RequestRefused, WorkflowError) as error:
        if isinstance(error, InstanceNotFound):
            raise
        problem = str(error)
    if not rows and problem is None and not asked.is_narrowed:
        manifest_of(context.client).workflow(context.path["name"])  # a slip of the pen, more often than not
    return context.render(
        "instances.html",
        status=200 if problem is None else 422,
        name=context.path["name"],
        asked=asked,
        rows=rows,
        cursor=cursor,
        problem=problem,
        statuses=[str(status) for status in Status],
        words=WORDS,
        looked_at=LOOKED_AT,
        bulk_actions=possible(context),
        matching=json.dumps(_matching(context, asked)) if problem is None else "",
        with_metadata=any(one.metadata for one, _ in rows),
    )


def _matching(context: Context, asked: Listing) -> dict[str, Any]:
    return Filter(context.path["name"], asked.statuses or None, asked.where()).as_dict()


def _found(context: Context, asked: Listing) -> tuple[list[tuple[InstanceSummary, SubStatus]], str | None]:
    workflow, where = context.workflow, asked.where()
    if asked.doing and asked.doing not in WORDS:
        raise RequestRefused(422, "BadFilter", f"Nothing is {asked.doing!r:.60}; there are: {', '.join(WORDS)}")
    statuses = list(asked.statuses)
    if asked.doing:
        statuses = [str(one) for one in WORDS[asked.doing] if not statuses or str(one) in statuses]
        if not statuses:
            return [], None

    def listed(limit: int, cursor: str | None) -> InstancePage:
        return workflow.list(statuses or None, limit, cursor, oldest_first=asked.oldest_first, **where)

    if asked.doing:
        return find(context.store, listed, asked.doing, PER_PAGE, asked.cursor)
    page = listed(PER_PAGE, asked.cursor)
    return list(zip(page, sub_statuses(context.store, page), strict=True)), page.cursor

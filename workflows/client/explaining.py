"""Saying why an instance stands where it stands: what is read for it, described once for both clients.

An explanation is a generator: it yields a request, or commands for one round trip, is sent what came of it (an answer
may be an error), and returns the reasons.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, Final, TypeAlias, TypeVar

from workflows.client import reading
from workflows.client.reading import Reading
from workflows.client.requests import Request
from workflows.errors import InstanceError, InstanceNotFound
from workflows.insight.reason import Reason
from workflows.insight.standing import Standing
from workflows.insight.stopped import missing, unreadable
from workflows.insight.surroundings import Surroundings, look
from workflows.insight.waiting import with_childs_reason
from workflows.insight.why import is_quiet, needs_surroundings, why
from workflows.storage.keys import Instance, Keyspace
from workflows.storage.outage import server_errors
from workflows.storage.store import AsyncStore, Store

Found = TypeVar("Found")
Explanation: TypeAlias = Generator[Request[Any] | list[list[Any]], Any, Found]

LOOKS: Final = 3
CHILDREN_ASKED: Final = 3
_FLEETING: Final = frozenset({"stuck", "lease.lost", "queue.unreachable", "timer.late"})
"""An instance and what it depends on are read at two moments, and what has gone on between them looks like this."""


def reasons(keys: Keyspace, instance: Instance) -> Explanation[list[Reason]]:
    """Why it stands where it stands, what blocks most first; with the first reason of those it waits for."""
    found = yield from _own(keys, instance)
    asked = 0
    for place, one in enumerate(found):
        if (
            one.code == "wait.child"
            and "workflow" in one.facts
            and not one.facts["starting"]
            and asked < CHILDREN_ASKED
        ):
            asked += 1
            childs = yield from _own(keys, keys.instance(one.facts["workflow"], one.facts["id"]))
            found[place] = with_childs_reason(one, childs[0])
    return found


def are_fleeting(found: Iterable[Reason]) -> bool:
    """Whether another look may show something else."""
    return not _FLEETING.isdisjoint(one.code for one in found)


def _own(keys: Keyspace, instance: Instance) -> Explanation[list[Reason]]:
    for left in reversed(range(LOOKS)):
        seen = yield reading.read_standing(keys, instance)
        if isinstance(seen, InstanceNotFound):
            return [missing(instance)]
        if isinstance(seen, InstanceError):
            return [unreadable(instance)]
        found = why(seen, (yield from look(keys, [seen])) if seen.moves else None)
        if not left or not are_fleeting(found):
            break
    return found


def remark(keys: Keyspace, reading_: Reading) -> Explanation[str | None]:
    """What is worth saying about an instance whose status is asked. Looks around only where something is overdue."""
    seen, around = reading_.standing(), None
    if is_quiet(seen):
        return None
    if needs_surroundings(seen):
        if seen.is_partial:
            whole = yield reading.read_standing(keys, seen.instance)
            if isinstance(whole, InstanceError):
                return None
            seen = whole
        around = yield from look(keys, [seen])
    return next((one.sentence for one in why(seen, around) if one.is_remarkable), None)


def explain(store: Store, explanation: Explanation[Found]) -> Found:
    """Carry it out.

    Raises:
        ServerUnavailable: Redis does not answer.
    """
    answer: Any = None
    try:
        while True:
            asked = explanation.send(answer)
            with server_errors(store.redis):
                answer = asked.outcome(store.call(asked.call)) if isinstance(asked, Request) else store.answers(asked)
    except StopIteration as end:
        found: Found = end.value
        return found


async def explain_async(store: AsyncStore, explanation: Explanation[Found]) -> Found:
    """The same for asyncio."""
    answer: Any = None
    try:
        while True:
            asked = explanation.send(answer)
            with server_errors(store.redis):
                if isinstance(asked, Request):
                    answer = asked.outcome(await store.call(asked.call))
                else:
                    answer = await store.answers(asked)
    except StopIteration as end:
        found: Found = end.value
        return found


def surroundings(store: Store, instances: Iterable[Standing] = (), queues: Iterable[str] = ()) -> Surroundings:
    """What these instances depend on, and who serves these queues; see ``insight.surroundings.look``.

    Raises:
        ServerUnavailable: Redis does not answer.
    """
    return explain(store, look(store.keys, instances, queues))


async def surroundings_async(
    store: AsyncStore, instances: Iterable[Standing] = (), queues: Iterable[str] = ()
) -> Surroundings:
    """The same for asyncio."""
    return await explain_async(store, look(store.keys, instances, queues))

"""Saying why an instance stands where it stands: what is read for it, by either client."""

from __future__ import annotations

from collections.abc import Iterable

from workflows.insight.standing import Standing
from workflows.insight.surroundings import Surroundings, look
from workflows.storage.outage import server_errors
from workflows.storage.store import AsyncStore, Store


def surroundings(store: Store, instances: Iterable[Standing] = (), queues: Iterable[str] = ()) -> Surroundings:
    """What these instances depend on, and who serves these queues; see ``insight.surroundings.look``.

    Raises:
        ServerUnavailable: Redis does not answer.
    """
    looking, answers = look(store.keys, instances, queues), None
    try:
        while True:
            commands = next(looking) if answers is None else looking.send(answers)
            with server_errors(store.redis):
                answers = store.answers(commands)
    except StopIteration as end:
        found: Surroundings = end.value
        return found


async def surroundings_async(
    store: AsyncStore, instances: Iterable[Standing] = (), queues: Iterable[str] = ()
) -> Surroundings:
    """The same for asyncio."""
    looking, answers = look(store.keys, instances, queues), None
    try:
        while True:
            commands = next(looking) if answers is None else looking.send(answers)
            with server_errors(store.redis):
                answers = await store.answers(commands)
    except StopIteration as end:
        found: Surroundings = end.value
        return found

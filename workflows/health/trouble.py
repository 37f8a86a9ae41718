"""Which instances have a problem, of those that have not ended: ``why`` asked of one page of them after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from workflows import limits
from workflows.client import Client, explaining
from workflows.client.explaining import explain
from workflows.client.reading import read_standing
from workflows.errors import InstanceError, InstanceNotFound
from workflows.health.namespace import orphans
from workflows.insight.reason import Reason
from workflows.insight.standing import Standing
from workflows.insight.stopped import unreadable
from workflows.insight.why import why
from workflows.storage.keys import Instance
from workflows.storage.manifest import load_manifest
from workflows.storage.outage import server_errors
from workflows.storage.status import LIVE
from workflows.storage.store import Store

LOOKED_AT: Final = 1_000
"""Instances of one workflow, the newest first, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Troubled:
    """An instance that has a problem; ``reasons`` are its problems, what blocks most first."""

    workflow: str
    id: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Troubles:
    """What was found of one workflow.

    Attributes:
        looked_at: how many instances, of those that have not ended.
        is_whole: whether these were all.
    """

    workflow: str
    looked_at: int
    is_whole: bool
    found: tuple[Troubled, ...]

    def by_code(self) -> dict[str, int]:
        """How many instances have which problem first."""
        return dict(Counter(one.reasons[0].code for one in self.found).most_common())


def workflows_of(client: Client) -> list[str]:
    """All that have instances or might have some, also those that no app has any more."""
    store = client.store
    with server_errors(store.redis):
        manifest = load_manifest(store)
        return sorted({*manifest.workflows, *orphans(store, manifest)})


def troubles(client: Client, workflow: str, most: int = LOOKED_AT) -> Troubles:
    """Look at the newest instances of a workflow that have not ended.

    Raises:
        BadName: no workflow can have this name.
        ServerUnavailable: Redis does not answer.
    """
    handle, store = client.workflow(workflow), client.store
    found: list[Troubled] = []
    looked_at, cursor = 0, None
    while looked_at < most:
        page = handle.list([str(status) for status in LIVE], min(limits.LIST_PAGE, most - looked_at), cursor)
        looked_at, cursor = looked_at + len(page), page.cursor
        found += _of(store, [store.keys.instance(handle.name, one.id) for one in page])
        if cursor is None:
            break
    return Troubles(handle.name, looked_at, cursor is None, tuple(found))


def _of(store: Store, instances: Sequence[Instance]) -> Iterator[Troubled]:
    asked = [read_standing(store.keys, instance) for instance in instances]
    with server_errors(store.redis):
        answers = store.call_all([request.call for request in asked])
    seen = [request.outcome(answer) for request, answer in zip(asked, answers, strict=True)]
    around = explaining.surroundings(store, [one for one in seen if isinstance(one, Standing) and one.moves])
    for instance, one in zip(instances, seen, strict=True):
        match one:
            case InstanceNotFound():
                continue
            case InstanceError():
                reasons = [unreadable(instance)]
            case Standing():
                reasons = why(one, around)
                if explaining.are_fleeting(reasons):
                    reasons = explain(store, explaining.reasons(store.keys, instance))
        problems = tuple(reason for reason in reasons if reason.is_problem)
        if problems and reasons[0].code != "missing":
            yield Troubled(instance.workflow, instance.id, problems)

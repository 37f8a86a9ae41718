"""What ``step.map`` makes of items of which some may fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, Required, TypedDict, TypeVar

from workflows.authoring.asking import StepFuture
from workflows.authoring.retries import Retry, Semantics, Sensitive
from workflows.errors import BadStepConfig
from workflows.values.durations import Duration

T = TypeVar("T")

MapReason = Literal["all_completed", "min_successful_reached", "too_many_failures"]


class MapOptions(TypedDict, total=False):
    """What every form of ``step.map`` takes."""

    concurrency: int | None
    item_name: Callable[[Any], str] | None
    config: Mapping[str, Any] | None
    retries: Retry | Mapping[str, Any] | None
    timeout: Duration | None
    queue: str | None
    sensitive: Sensitive | None
    semantics: Semantics | None
    rollback: Callable[..., Any] | None
    rollback_config: Mapping[str, Any] | None


class EnoughOptions(MapOptions, total=False):
    """What the form takes that is over when enough have succeeded."""

    min_successful: Required[int]
    max_failures: int | float | None


class BearableOptions(MapOptions, total=False):
    """What the form takes that is over when too many have failed."""

    max_failures: Required[int | float]


@dataclass(frozen=True, slots=True)
class ItemOutcome(Generic[T]):
    """What became of one item.

    Attributes:
        index: of the item.
        name: of its step.
        status: ``"cancelled"`` for one that had no outcome, or was never started, when the others sufficed.
        result: what its step returned; None unless it succeeded.
        error: what its last attempt raised; None unless it failed.
    """

    index: int
    name: str
    status: Literal["succeeded", "failed", "cancelled"]
    result: T | None = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class MapResult(Generic[T]):
    """What became of all items.

    Attributes:
        outcomes: one for each item, in the order of the items.
        reason: why it is over: every item has its outcome, as many as were asked for have succeeded, or more have
            failed than may.
    """

    outcomes: list[ItemOutcome[T]]
    reason: MapReason

    @property
    def results(self) -> list[T]:
        """What those returned that have succeeded, in the order of the items."""
        return [outcome.result for outcome in self.outcomes if outcome.status == "succeeded"]  # type: ignore[misc]

    @property
    def failed(self) -> list[ItemOutcome[T]]:
        """Those that have failed, in the order of the items."""
        return [outcome for outcome in self.outcomes if outcome.status == "failed"]

    def raise_if_too_many_failed(self) -> None:
        """Raise what the first of the items that failed has raised, if more have failed than may."""
        if self.reason == "too_many_failures":
            error = self.failed[0].error
            assert error is not None
            raise error


@dataclass(frozen=True, slots=True)
class Policy:
    """When it is over before every item has its outcome.

    Attributes:
        enough: so many have succeeded. None: only when all have ended.
        bearable: more than so many have failed. None: however many.
    """

    enough: int | None
    bearable: int | None

    @classmethod
    def of(cls, name: str, items: int, min_successful: int | None, max_failures: int | float | None) -> Policy | None:
        """None where nothing is said, which means that the first failure is raised.

        Raises: BadStepConfig.
        """
        if min_successful is None and max_failures is None:
            return None
        enough: Any = min_successful
        if enough is not None and (isinstance(enough, bool) or not isinstance(enough, int) or enough < 1):
            raise BadStepConfig(f'step.map "{name}" has min_successful={enough!r}; use a whole number of 1 or more.')
        most: Any = max_failures
        if isinstance(most, float) and 0 <= most <= 1:
            return cls(enough, int(most * items + 1e-9))
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 0):
            raise BadStepConfig(
                f'step.map "{name}" has max_failures={most!r}; use a whole number, or a share of the items from 0.0 to '
                "1.0."
            )
        return cls(enough, most)

    def reason(self, items: int, succeeded: int, failed: int) -> MapReason | None:
        """Why it is over; None while it is not."""
        if self.bearable is not None and failed > self.bearable:
            return "too_many_failures"
        if self.enough is not None and succeeded >= self.enough:
            return "min_successful_reached"
        return "all_completed" if succeeded + failed == items else None


async def as_many_as_needed(
    start: Callable[[int], StepFuture[Any]], names: list[str], concurrency: int | None, policy: Policy
) -> MapResult[Any]:
    """Start items, ``concurrency`` at a time (None: all), until the policy says that it is over; cancel the rest.

    Callbacks and no tasks: ten thousand items cost what their steps cost.
    """
    items = len(names)
    ended: dict[int, ItemOutcome[Any]] = {}
    running: dict[int, StepFuture[Any]] = {}
    left = iter(range(items))
    over: asyncio.Future[MapReason] = asyncio.get_running_loop().create_future()
    failed = 0

    def begin(index: int) -> None:
        future = running[index] = start(index)
        future.add_done_callback(partial(note, index))

    def note(index: int, future: asyncio.Future[Any]) -> None:
        nonlocal failed
        if over.done() or future.cancelled():
            return
        del running[index]
        error = future.exception()
        if error is None:
            ended[index] = ItemOutcome(index, names[index], "succeeded", future.result())
        else:
            ended[index] = ItemOutcome(index, names[index], "failed", error=error)
            failed += 1
        reason = policy.reason(items, len(ended) - failed, failed)
        if reason is not None:
            over.set_result(reason)
        elif (following := next(left, None)) is not None:
            try:
                begin(following)
            except BaseException as refused:  # raised where the items are awaited, not in the loop
                over.set_exception(refused)

    try:
        for _ in range(items if concurrency is None else min(concurrency, items)):
            begin(next(left))
        reason = await over if items else "all_completed"
    finally:
        for future in running.values():
            future.cancel()
    outcomes = [ended.get(index) or ItemOutcome(index, names[index], "cancelled") for index in range(items)]
    return MapResult(outcomes, reason)

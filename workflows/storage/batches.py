"""What goes into one script call: instances, each once and named by its 1-based place, and no more than is bearable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from workflows import limits
from workflows.storage.keys import Instance

One = TypeVar("One")


def numbered(instances: Iterable[Instance]) -> tuple[list[Instance], list[int]]:
    """The distinct instances, and for each one given its place among them."""
    places: dict[Instance, int] = {}
    numbers = [places.setdefault(instance, len(places) + 1) for instance in instances]
    return list(places), numbers


def portions(items: Iterable[One], elements: Callable[[One], int], size: Callable[[One], int]) -> Iterator[list[One]]:
    """Items in order, in lists that each hold no more than one call takes up; one item is always taken."""
    batch: list[One] = []
    count = weight = 0
    for one in items:
        count += elements(one)
        weight += size(one)
        if batch and (count > limits.SCRIPT_ELEMENTS or weight > limits.SCRIPT_BYTES):
            yield batch
            batch, count, weight = [], elements(one), size(one)
        batch.append(one)
    if batch:
        yield batch

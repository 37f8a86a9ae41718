"""Instances of one script call: each once, named by its 1-based place."""

from __future__ import annotations

from collections.abc import Iterable

from workflows.keys import Instance


def numbered(instances: Iterable[Instance]) -> tuple[list[Instance], list[int]]:
    """The distinct instances, and for each one given its place among them."""
    places: dict[Instance, int] = {}
    numbers = [places.setdefault(instance, len(places) + 1) for instance in instances]
    return list(places), numbers

"""What is said when something that must always hold does not."""

from __future__ import annotations


class Violation(AssertionError):
    """Something that must always hold did not."""


def demand(condition: object, what: str) -> None:
    if not condition:
        raise Violation(what)

"""Members of a shard's keys: how they are put in order, and how they are told."""

from __future__ import annotations


def stable(member: str) -> tuple[str, ...]:
    """Order members by what a seed determines: their nonces are random."""
    parts = member.split("|")
    return (parts[0], *parts[1:3], parts[4])


def short(member: str) -> str:
    parts = member.split("|")
    return f"{parts[0]}{parts[4]}@{parts[2]}"

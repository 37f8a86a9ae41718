"""Why an instance stands where it stands: one reason, in words, with the way out; and which reasons there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Level = Literal["ordinary", "problem"]

CATALOGUE: Final[Mapping[str, Level]] = {
    "done": "ordinary",
    "rollback.failed": "problem",
    "missing": "problem",
    "unreadable": "problem",
    "redis.memory": "problem",
    "park.mismatch": "problem",
    "park.params": "problem",
    "park.corrupt": "problem",
    "park.other": "problem",
    "pause.user": "ordinary",
    "pause.draining": "ordinary",
    "stall": "problem",
    "orchestrator.none": "problem",
    "shard.unowned": "problem",
    "queue.no-worker": "problem",
    "queue.declined": "problem",
    "queue.unreachable": "problem",
    "queue.overdue": "problem",
    "queue.busy": "ordinary",
    "lease.lost": "problem",
    "timer.late": "problem",
    "limit.unpublished": "problem",
    "limit.concurrency": "ordinary",
    "run.turn": "ordinary",
    "run.settling": "ordinary",
    "run.unfinished": "ordinary",
    "run.step": "ordinary",
    "step.suspect": "ordinary",
    "wait.retry": "ordinary",
    "wait.poll": "ordinary",
    "wait.event": "ordinary",
    "wait.child": "ordinary",
    "wait.sleep": "ordinary",
    "cancel.running": "ordinary",
    "rollback.running": "ordinary",
    "stuck": "problem",
    "hint.event-type": "ordinary",
    "hint.retries-over": "ordinary",
}
"""Every code, with whether somebody has to do something about it. Of several reasons, those that keep an instance from
moving come first; hints stand with the reason they are about."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason why an instance stands where it stands.

    Attributes:
        code: one of ``CATALOGUE``; what programs go by.
        level: ``problem`` when it will not pass by itself, or not soon; else ``ordinary``.
        sentence: the same for people: one line, without its code.
        way_out: what to do about it, with commands to copy; None: nothing has to be done.
        facts: what the sentence is made of, as JSON can hold it. Moments are ISO 8601 texts in UTC.
        hints: what else is worth knowing about it.
    """

    code: str
    level: Level
    sentence: str
    way_out: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    hints: tuple[Reason, ...] = ()

    @classmethod
    def of(cls, code: str, sentence: str, way_out: str | None = None, /, *hints: Reason, **facts: Any) -> Reason:
        """One with the level that the catalogue gives it. Raises KeyError: there is no such code."""
        return cls(code, CATALOGUE[code], sentence, way_out, facts, hints)

    @property
    def is_problem(self) -> bool:
        """Whether somebody has to do something about it."""
        return self.level == "problem"

    @property
    def is_remarkable(self) -> bool:
        """Whether it is more than work, or a wait that ``run`` has asked for."""
        return self.is_problem or self.code == "limit.concurrency"

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "code": self.code,
            "level": self.level,
            "sentence": self.sentence,
            "way_out": self.way_out,
            "facts": dict(self.facts),
            "hints": [hint.as_dict() for hint in self.hints],
        }

    def lines(self) -> Iterator[str]:
        """As the command line shows it: the sentence with its code, hints, and the way out."""
        yield f"{self.sentence}   {self.code}"
        for hint in self.hints:
            yield f"  {hint.sentence}   {hint.code}"
        for one in (self, *self.hints):
            if one.way_out:
                yield f"  → {one.way_out}"

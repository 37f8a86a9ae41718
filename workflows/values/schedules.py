"""A schedule: a cron line, where its clock hangs, and what to do when a firing is late or the one before still runs."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from workflows import limits
from workflows.errors import BadSchedule
from workflows.values.cron import checked_line, checked_zone
from workflows.values.durations import Duration, parse_ms

Overlap = Literal["allow", "skip", "queue", "cancel"]
OVERLAPS: Final[tuple[Overlap, ...]] = get_args(Overlap)


@dataclass(frozen=True)
class CronSchedule:
    """One schedule of a workflow: ``@app.workflow(schedules=CronSchedule("0 9 * * MON-FRI", timezone="Europe/Rome"))``.

    Args:
        cron: minute, hour, day, month, weekday (0 and 7 are Sunday), and seconds as a sixth field if there is one.
        timezone: whose clock it is compared with, by its name in the time zone database.
        overlap: when a firing is due and the instance of the one before has not ended:

            - ``allow``: both run.
            - ``skip``: there is none for this firing.
            - ``queue``: it is created when the one before has ended; of several that wait so, the first.
            - ``cancel``: the one before is terminated first.
        catch_up: how late a firing may be created, after an outage say; those that are later are skipped. None: up to
            a minute, and of those that are later only the last. At least ten seconds: schedules are looked at every
            second.
        jitter: each firing is created up to this much later than its line says, by a time that is its own and does not
            change; at most a day. ``event.scheduled_time`` is what the line says.
    Raises: BadSchedule, BadDuration.
    """

    cron: str
    timezone: str = "UTC"
    overlap: Overlap = "allow"
    catch_up: Duration | None = None
    jitter: Duration = 0
    catch_up_ms: int | None = field(init=False, repr=False, compare=False)
    jitter_ms: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "cron", checked_line(self.cron))
        checked_zone(self.timezone)
        if self.overlap not in OVERLAPS:
            raise BadSchedule(f"A schedule has the overlap {self.overlap!r:.40}; use one of {', '.join(OVERLAPS)}.")
        catch_up = self.catch_up
        if catch_up is not None:
            catch_up = parse_ms(catch_up, what="catch_up of a schedule", minimum_ms=limits.CATCH_UP_MS_MIN)
        put(self, "catch_up_ms", catch_up)
        put(self, "jitter_ms", parse_ms(self.jitter, what="jitter of a schedule", maximum_ms=limits.JITTER_MS_MAX))

    @property
    def line(self) -> str:
        """By which it is known among those of its workflow, and shown: the cron line, and the zone unless it is UTC."""
        return self.cron if self.timezone == "UTC" else f"{self.cron} {self.timezone}"

    def instance_id(self, at_ms: int) -> str:
        """Same firing, same id; the line itself has characters that ids cannot have."""
        return f"cron-{zlib.crc32(self.line.encode()):08x}-{at_ms}"

    def due_ms(self, at_ms: int) -> int:
        """When a firing is to be created: chance decides how much later, the same chance for whoever asks (F38)."""
        if not self.jitter_ms:
            return at_ms
        return at_ms + zlib.crc32(f"{self.line} {at_ms}".encode()) % self.jitter_ms

    def wire(self) -> str | dict[str, Any]:
        """As a manifest has it: the line alone, where nothing else is said."""
        wire: dict[str, Any] = {"cron": self.cron}
        if self.timezone != "UTC":
            wire["timezone"] = self.timezone
        if self.overlap != "allow":
            wire["overlap"] = self.overlap
        if self.catch_up_ms is not None:
            wire["catch_up_ms"] = self.catch_up_ms
        if self.jitter_ms:
            wire["jitter_ms"] = self.jitter_ms
        return wire if len(wire) > 1 else self.cron

    @classmethod
    def of(cls, wire: object) -> CronSchedule:
        """Raises ConfigError, ValueError: it is none that can be read here, by a zone that is not known say."""
        if isinstance(wire, str):
            return cls(wire)
        if not isinstance(wire, Mapping):
            raise BadSchedule(f"not a schedule: {wire!r:.100}")
        settings = {name: wire[name] for name in ("timezone", "overlap") if name in wire}
        catch_up = wire.get("catch_up_ms")
        return cls(wire.get("cron", ""), **settings, catch_up=catch_up, jitter=wire.get("jitter_ms", 0))


def checked_schedules(given: Any, where: str) -> tuple[CronSchedule, ...]:
    """One cron line or schedule, or several, each once. Raises: BadSchedule, BadDuration."""
    listed = [given] if isinstance(given, str | CronSchedule) else list(given)
    if isinstance(given, list) and not listed:
        raise BadSchedule(f"The {where} has an empty list of schedules. Leave it out, or give a cron expression.")
    found = []
    for one in listed:
        found.append(one if isinstance(one, CronSchedule) else CronSchedule(checked_line(one, where)))
    if len({one.line for one in found}) != len(found):
        raise BadSchedule(f"The {where} has the same schedule twice.")
    return tuple(found)

"""Types of options that several commands share."""

from __future__ import annotations

import math
from typing import Any, Final

import click

from workflows import limits


class Seconds(click.FloatRange):
    """A number of seconds within bounds. ``nan``, which no bound keeps out, is refused as well."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See ``ParamType``."""
        seconds = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


LOG_LEVEL: Final = click.Choice(("DEBUG", "INFO", "WARNING", "ERROR"), case_sensitive=False)
SHARDS: Final = click.IntRange(1, limits.SHARDS_MAX)
CONCURRENCY: Final = click.IntRange(1, limits.CONCURRENCY_MAX)
PROCESSES: Final = click.IntRange(1, limits.PROCESSES_MAX)
GRACE: Final = Seconds(0, limits.GRACE_SECONDS_MAX)
LEASE: Final = Seconds(limits.LEASE_SECONDS_MIN, limits.LEASE_SECONDS_MAX)

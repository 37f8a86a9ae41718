"""Types of options that several commands share."""

from __future__ import annotations

import math
from typing import Any, Final

import click

from workflows import limits
from workflows.process.logs import FORMATS


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
LOG_FORMAT: Final = click.option(
    "--log-format",
    type=click.Choice(FORMATS),
    envvar="WORKFLOWS_LOG_FORMAT",
    default="text",
    show_default=True,
    help="How a line looks. Also WORKFLOWS_LOG_FORMAT.",
)
SHARDS: Final = click.IntRange(1, limits.SHARDS_MAX)
CONCURRENCY: Final = click.IntRange(1, limits.CONCURRENCY_MAX)
PROCESSES: Final = click.IntRange(1, limits.PROCESSES_MAX)
GRACE: Final = Seconds(0, limits.GRACE_SECONDS_MAX)
METRICS_PORT: Final = click.option(
    "--metrics-port",
    type=click.IntRange(0, 65_535),
    envvar="WORKFLOWS_METRICS_PORT",
    help="Serve metrics for Prometheus there; 0 = any free port. Also WORKFLOWS_METRICS_PORT. Default: not at all.",
)
METRICS_HOST: Final = click.option(
    "--metrics-host",
    envvar="WORKFLOWS_METRICS_HOST",
    default="127.0.0.1",
    show_default=True,
    help="The address to serve them on. Also WORKFLOWS_METRICS_HOST.",
)
LEASE: Final = Seconds(limits.LEASE_SECONDS_MIN, limits.LEASE_SECONDS_MAX)

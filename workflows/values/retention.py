"""How long an instance may take, and an ended one stays readable: one reading for ``@app.workflow`` and ``create``.

Source: https://developers.cloudflare.com/workflows/build/workers-api/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from workflows.errors import ConfigError
from workflows.values.durations import parse_ms

_PLACES: Final = {
    "success": 0,
    "successRetention": 0,
    "success_retention": 0,
    "error": 1,
    "errorRetention": 1,
    "error_retention": 1,
}


def retention_ms(value: object, success_ms: int, error_ms: int, *, where: str = "") -> tuple[int, int]:
    """How long an instance stays readable after success, and after an error or termination, in ms.

    Args:
        value: None for the defaults, a duration for both, or a mapping with ``success`` and ``error`` (Cloudflare's
            spellings ``successRetention`` and ``errorRetention`` are taken too).
        success_ms, error_ms: the defaults.
        where: what the error names besides, such as ``of workflow "order"``.
    Raises:
        BadDuration, ConfigError.
    """
    of = f" {where}" if where else ""
    if value is None:
        return success_ms, error_ms
    if not isinstance(value, Mapping):
        both = parse_ms(value, what=f"the retention{of}")
        return both, both
    kept = [success_ms, error_ms]
    for key, duration in value.items():
        if key not in _PLACES:
            raise ConfigError(f'The retention{of} does not know {key!r:.100}. Its keys are "success" and "error".')
        kept[_PLACES[key]] = parse_ms(duration, what=f"the {key} retention{of}")
    return kept[0], kept[1]


def deadline_ms(value: object, default_ms: int | None, *, where: str = "") -> int | None:
    """How long an instance may take, in ms; None: as long as it takes.

    Args:
        value: a duration; None for the default.
        where: what the error names besides.
    Raises:
        BadDuration.
    """
    if value is None:
        return default_ms
    return parse_ms(value, what="the deadline" + (f" {where}" if where else ""), minimum_ms=1)

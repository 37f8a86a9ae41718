"""Log lines are events with fields: ``time level event key=value …``."""

from __future__ import annotations

import logging
import sys

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class EventFormatter(logging.Formatter):
    """Appends the record's own fields, control characters escaped."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        fields = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        return line + "".join(f" {key}={ascii(value) if isinstance(value, str) else value}" for key, value in fields.items())


def configure(level: str = "INFO") -> None:
    """Send this library's log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EventFormatter("%(asctime)s %(levelname)-7s %(name)s %(message)s"))
    logger = logging.getLogger("workflows")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False

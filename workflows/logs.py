"""Log lines are events with fields: ``time level event key=value …``; and a logger for ``run``, silent on replay."""

from __future__ import annotations

import logging
import sys

from workflows import guard

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class EventFormatter(logging.Formatter):
    """Appends the record's own fields, control characters escaped."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        fields = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        return line + "".join(
            f" {key}={ascii(value) if isinstance(value, str) else value}" for key, value in fields.items()
        )


def configure(level: str = "INFO") -> None:
    """Send this library's log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EventFormatter("%(asctime)s %(levelname)-7s %(name)s %(message)s"))
    logger = logging.getLogger("workflows")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


class _LiveOnly(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return getattr(guard.current(), "live", True)


def get_logger(name: str = "run") -> logging.Logger:
    """A logger for use in ``run``: what a replay says again is dropped, so each line appears once.

    A line can appear twice when a worker dies between logging and committing. Inside callbacks, and outside of workers,
    it is a logger like any other; its name is ``workflows.<name>``.
    """
    logger = logging.getLogger(f"workflows.{name}")
    if not any(isinstance(one, _LiveOnly) for one in logger.filters):
        logger.addFilter(_LiveOnly())
    return logger

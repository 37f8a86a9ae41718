"""Log lines are events with fields: ``time level event key=value …``; and a logger for ``run``, silent on replay."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from workflows import guard
from workflows.context import running

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_FORMAT = "%(asctime)s %(levelname)-7s %(name)s %(message)s"
INSTANCES = "workflows.instances"
SHOW_INSTANCES = "WORKFLOWS_LOG_INSTANCES"


class EventFormatter(logging.Formatter):
    """Appends the record's own fields, control characters escaped; a traceback of user code follows, indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the name the standard library calls
        fields = {key: value for key, value in vars(record).items() if key not in _STANDARD and key != "traceback"}
        line = super().formatMessage(record) + "".join(
            f" {key}={ascii(value) if isinstance(value, str) else value}" for key, value in fields.items()
        )
        traceback = str(getattr(record, "traceback", "") or "")
        return line + "".join(f"\n    {_printable(part)}" for part in traceback.splitlines())


def _printable(line: str) -> str:
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in line)


def configure(level: str = "INFO") -> None:
    """Send this library's log to standard error. Instances that begin and end are in it if the environment says
    ``WORKFLOWS_LOG_INSTANCES=1``.
    """
    logger = logging.getLogger("workflows")
    logger.handlers[:] = [_handler()]
    logger.setLevel(level.upper())
    logger.propagate = False
    logging.getLogger(INSTANCES).setLevel("INFO" if os.environ.get(SHOW_INSTANCES) == "1" else "WARNING")


def configure_others(level: str = "INFO") -> None:
    """Send everybody else's log there too, unless the app, which is loaded by now, has set up logging of its own."""
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(_handler())
        root.setLevel(level.upper())
        # The work loop of RQ is not used here, and what it says of itself would only confuse.
        logging.getLogger("rq").setLevel("WARNING")


def _handler() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EventFormatter(_FORMAT))
    handler.addFilter(_labelled)
    return handler


def labels() -> dict[str, Any]:
    """Whose code is running here: workflow and instance, in a callback the step and attempt as well; else nothing."""
    replay = guard.current()
    if replay is not None:
        return getattr(replay, "labels", {})
    context = running.get()
    return {} if context is None else context.labels


def _labelled(record: logging.LogRecord) -> bool:
    for name, value in labels().items():
        if name not in vars(record):
            setattr(record, name, value)
    return True


class _LiveOnly(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return getattr(guard.current(), "live", True) and _labelled(record)


def get_logger(name: str = "run") -> logging.Logger:
    """A logger for use in ``run``: what a replay says again is dropped, so each line appears once.

    A line can appear twice when a worker dies between logging and committing. Inside callbacks, and outside of workers,
    it is a logger like any other; its name is ``workflows.<name>``. Its records carry ``workflow`` and ``instance``,
    those of a callback ``step`` and ``attempt`` as well.
    """
    logger = logging.getLogger(f"workflows.{name}")
    if not any(isinstance(one, _LiveOnly) for one in logger.filters):
        logger.addFilter(_LiveOnly())
    return logger

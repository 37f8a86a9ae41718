"""Log lines are events with fields: ``time level event key=value …``."""

from __future__ import annotations

import logging
import os
import sys
from typing import Final

from workflows.authoring.logger import labelled

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s %(message)s"
INSTANCES: Final = "workflows.instances"
SHOW_INSTANCES: Final = "WORKFLOWS_LOG_INSTANCES"


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
    handler.addFilter(labelled)
    return handler

"""Log lines are events with fields: ``time level event key=value …``, or one JSON object each.

The events of this library are a closed list (``workflows/telemetry/events.py``).
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Final, Literal

import click

from workflows.authoring.logger import ContextFilter, labelled
from workflows.values.failure import Failure

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s %(message)s"
# For machines only: no person knows which life of an instance that is.
_UNSHOWN: Final = frozenset({"traceback", "generation"})
INSTANCES: Final = "workflows.instances"
SHOW_INSTANCES: Final = "WORKFLOWS_LOG_INSTANCES"

Format = Literal["text", "json"]
FORMATS: Final[tuple[Format, ...]] = ("text", "json")

_log = logging.getLogger("workflows.process")


class EventFormatter(logging.Formatter):
    """Appends the record's own fields. Control characters are escaped, and further lines, as of a traceback, set in: so
    no text of a stranger moves a cursor or passes for a line of the log."""

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        return "\n    ".join(_printable(part) for part in super().format(record).split("\n"))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the name the standard library calls
        line = super().formatMessage(record) + "".join(
            f" {key}={_text(value)}" for key, value in _fields(record).items() if key not in _UNSHOWN
        )
        said = str(getattr(record, "traceback", "") or "").rstrip("\n")
        return f"{line}\n{said}" if said else line


class JsonFormatter(logging.Formatter):
    """One object a line: ``ts`` (ISO 8601, UTC), ``level``, ``logger``, ``event``, and the record's own fields. Of an
    error, ``error`` has ``name``, ``message`` and ``traceback``; what JSON does not know is there as text."""

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        fields = {key: _plain(value) for key, value in _fields(record).items() if key != "traceback"}
        error = _error(record)
        line = {
            **fields,
            **({} if error is None else {"error": error}),
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
        }
        first = ("ts", "level", "logger", "event")
        return json.dumps({**{key: line[key] for key in first}, **line})


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _error(record: logging.LogRecord) -> dict[str, str | None] | None:
    error = getattr(record, "error", None)
    said = getattr(record, "traceback", None) or None
    if record.exc_info and record.exc_info[1] is not None:
        error, said = record.exc_info[1], "".join(traceback.format_exception(*record.exc_info))
    if error is None:
        return None
    if isinstance(error, Failure):
        return {"name": error.name, "message": error.message, "traceback": said}
    name = type(error).__name__ if isinstance(error, BaseException) else None
    return {"name": name, "message": _safely(error), "traceback": said}


def _text(value: Any) -> str:
    return ascii(str(value)) if isinstance(value, (str, Failure, BaseException)) else f"{value}"


def _plain(value: Any) -> Any:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return _safely(value)
    return value


def _safely(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # of user code
        return f"<{type(value).__name__}>"


def _printable(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in line)


def configure(level: str = "INFO", form: Format = "text") -> None:
    """Send this library's log to standard error. Instances that begin and end are in it if the environment says
    ``WORKFLOWS_LOG_INSTANCES=1``.
    """
    logger = logging.getLogger("workflows")
    logger.handlers[:] = [_handler(form)]
    logger.setLevel(level.upper())
    logger.propagate = False
    logging.getLogger(INSTANCES).setLevel("INFO" if os.environ.get(SHOW_INSTANCES) == "1" else "WARNING")


def configure_others(level: str = "INFO", form: Format = "text") -> None:
    """Send everybody else's log there too, unless the app, which is loaded by now, has set up logging of its own: then
    its handlers are given what is known of whose line it is."""
    root = logging.getLogger()
    for handler in root.handlers:
        handler.addFilter(ContextFilter())
    if not root.handlers:
        root.addHandler(_handler(form))
        root.setLevel(level.upper())
        # The work loop of RQ is not used here, and what it says of itself would only confuse.
        logging.getLogger("rq").setLevel("WARNING")


def say(text: str) -> None:
    """A sentence for whoever has started this process: as it is, or as an event where those who read want JSON."""
    if any(isinstance(one.formatter, JsonFormatter) for one in logging.getLogger("workflows").handlers):
        _log.warning("notice", extra={"text": text})
    else:
        click.echo(text, err=True)


def _handler(form: Format) -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        handler.setFormatter(JsonFormatter())
        handler.addFilter(ContextFilter())
    else:
        handler.setFormatter(EventFormatter(_FORMAT))
        handler.addFilter(labelled)
    return handler

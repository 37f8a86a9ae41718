"""A logger for ``run``, silent on replay, and the fields that say whose code a line comes from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from workflows.authoring.context import running
from workflows.sandbox import guard

_of_process: dict[str, str] = {}


def this_process(**fields: str) -> None:
    """What every line says that ``ContextFilter`` sees, from now on: ``namespace``, ``worker``."""
    _of_process.update(fields)


def labels() -> dict[str, Any]:
    """Whose code is running here: workflow, instance and generation, in a callback the step and attempt as well; else
    nothing."""
    replay = guard.current()
    if replay is not None:
        return getattr(replay, "labels", {})
    context = running.get()
    return {} if context is None else context.labels


def labelled(record: logging.LogRecord) -> bool:
    """A filter that lets every record pass, with those fields that it does not have yet."""
    _give(record, labels())
    return True


def _give(record: logging.LogRecord, fields: Mapping[str, Any]) -> None:
    said = vars(record)
    for name, value in fields.items():
        said.setdefault(name, value)


class ContextFilter(logging.Filter):
    """Lets every record pass and has it say where it comes from, for a handler of one's own.

    In callbacks and in ``run`` that is ``workflow``, ``instance`` and ``generation`` (which life of it), in callbacks
    ``step`` and ``attempt`` as well; in a worker everywhere ``namespace`` and ``worker``. What a record says already
    stays. ``handler.addFilter(ContextFilter())``: on a logger it would see that logger's own records only.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """See ``logging.Filter``."""
        _give(record, labels())
        _give(record, _of_process)
        return True


class _LiveOnly(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return getattr(guard.current(), "live", True) and labelled(record)


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

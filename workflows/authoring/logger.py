"""A logger for ``run``, silent on replay, and the fields that say whose code a line comes from."""

from __future__ import annotations

import logging
from typing import Any

from workflows.authoring.context import running
from workflows.sandbox import guard


def labels() -> dict[str, Any]:
    """Whose code is running here: workflow and instance, in a callback the step and attempt as well; else nothing."""
    replay = guard.current()
    if replay is not None:
        return getattr(replay, "labels", {})
    context = running.get()
    return {} if context is None else context.labels


def labelled(record: logging.LogRecord) -> bool:
    """A filter that lets every record pass, with those fields that it does not have yet."""
    for name, value in labels().items():
        if name not in vars(record):
            setattr(record, name, value)
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

"""Threads that a worker cannot do without: when one dies, the process says so and goes.

A worker that has lost one of them would look alive for ever, with its lease renewed, and serve nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import NoReturn

_log = logging.getLogger("workflows.worker")


def vital(thread: str, work: Callable[[], None], on_death: Callable[[str], None]) -> Callable[[], None]:
    """What a thread is to run in place of ``work``.

    Args:
        thread: what it is called in the log.
        on_death: called with the reason when an exception, of whatever kind, has ended the work.
    """

    def run() -> None:
        try:
            work()
        except BaseException as error:
            _log.critical("thread died", exc_info=True, extra={"thread_name": thread})
            on_death(f"the {thread} thread died: {type(error).__name__}")

    return run


def leave(rescue: Callable[[], None], reason: str) -> NoReturn:
    """End this process, which cannot go on; its parent sees it. ``rescue`` saves what can be saved."""
    try:
        rescue()
    finally:
        # Also when Redis held something that could not be read: a process that stayed would serve nothing.
        _log.critical("exit", extra={"reason": reason})
        os._exit(os.EX_SOFTWARE)

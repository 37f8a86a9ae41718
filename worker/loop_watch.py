"""Notices when a callback keeps the loop from all others, and knows whose it is."""

from __future__ import annotations

import asyncio
import sys
import sysconfig
import threading
import weakref
from collections.abc import Coroutine, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from worker.attempt import Attempt
from worker.patience import Patience
from workflows.authoring.context import StepContext, running
from workflows.sandbox import guard

ASK_SECONDS = 0.2

_OURS = str(Path(guard.__file__).parents[1])  # time.sleep() passes through it before Python 3.13
_PASSED_OVER = (sysconfig.get_paths()["stdlib"], _OURS, "<")


class LoopWatch:
    """Asks the loop for a sign of life now and then. Used by one thread, which is not the loop's.

    Args:
        loop: watched; every task that a callback makes on it is noted with the attempt it belongs to.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._whose: weakref.WeakKeyDictionary[asyncio.Task[Any], StepContext] = weakref.WeakKeyDictionary()
        self._patience = Patience()
        self._blocker: asyncio.Task[Any] | None = None
        self._is_asked = False
        self._ask_at = 0.0
        make: Any = self._make_task
        loop.set_task_factory(make)

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coroutine, loop=loop, **options)
        scope = options.get("context")
        context = running.get() if scope is None else scope.get(running)
        if context is not None:
            self._whose[task] = context
        return task

    def look(self, now: float) -> float:
        """For how long one task has kept the loop to itself, in seconds; 0 while the loop goes round."""
        if not self._is_asked:
            if now >= self._ask_at:
                self._is_asked, self._blocker, self._ask_at = True, None, now + ASK_SECONDS
                self._patience.begin(now)
                self._loop.call_soon_threadsafe(self._answer)
            return 0.0
        task = asyncio.current_task(self._loop)
        if task is not self._blocker:
            self._blocker = task
            self._patience.begin(now)
        return self._patience.look(now)

    def _answer(self) -> None:
        self._is_asked = False

    def blocker(self, attempts: Iterable[Attempt]) -> StepContext | None:
        """Whose task it is; None if it is none of these attempts', and was made by none."""
        task = self._blocker
        if task is None:
            return None
        own = next((attempt.context for attempt in attempts if attempt.handle is task), None)
        return own or self._whose.get(task)


def place_of(thread: threading.Thread) -> str:
    """Where the code of a thread is, in the user's own words: what libraries do on its behalf is passed over."""
    innermost: FrameType | None = sys._current_frames().get(thread.ident or 0)
    frame = innermost
    while frame is not None:
        path = frame.f_code.co_filename
        if not path.startswith(_PASSED_OVER) and "site-packages" not in path:
            break
        frame = frame.f_back
    shown = frame or innermost
    return "" if shown is None else f"{shown.f_code.co_filename}:{shown.f_lineno}"

"""Shows a failed test without the frames of the engine that lie between the test and what went wrong.

What a test gets from ``result()`` was raised in a step, and what the engine refuses is explained by its message: the
way through the engine is no news in either case. An error of the engine itself is shown with all of its frames, and so
is everything with ``--full-trace``.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from pathlib import Path
from types import TracebackType
from typing import Final

import pytest

from workflows.values.failure import ENGINE, is_explained

# A call of ours in an async test passes through these.
_PLUMBING: Final = tuple(f"{Path(module.__path__[0])}/" for module in (asyncio, concurrent.futures))


def hide(excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    """Leave the engine's frames out of what pytest will show of an error and its causes."""
    # Rebuilt, because pytest cuts the beginning off and follows the links from there; a debugger still sees them all.
    excinfo.traceback = type(excinfo.traceback)(_without_ours(excinfo.value, excinfo.tb))
    seen = {id(excinfo.value)}
    error = excinfo.value.__cause__ or excinfo.value.__context__
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if error.__traceback__ is not None:
            error.__traceback__ = _without_ours(error, error.__traceback__)
        error = error.__cause__ or error.__context__


def _without_ours(error: BaseException, whole: TracebackType) -> TracebackType:
    entries, entry = [], whole
    while True:
        entries.append(entry)
        if entry.tb_next is None:
            break
        entry = entry.tb_next
    if _is_in(entries[-1], ENGINE) and not is_explained(error):
        return whole
    kept: TracebackType | None = None
    is_hidden = False
    for entry in reversed(entries):
        is_hidden = _is_in(entry, ENGINE) or (is_hidden and _is_in(entry, _PLUMBING))
        if not is_hidden:
            kept = TracebackType(kept, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return kept or whole


def _is_in(entry: TracebackType, folders: tuple[str, ...]) -> bool:
    return entry.tb_frame.f_code.co_filename.startswith(folders)

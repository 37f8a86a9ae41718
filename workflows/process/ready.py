"""What can be read or written without waiting.

``select.select`` refuses descriptors of 1,024 and more, which a process that has many connections gets.
"""

from __future__ import annotations

import selectors
from collections.abc import Collection, Iterable
from typing import Any


def ready(reading: Iterable[Any], writing: Iterable[Any], seconds: float) -> Collection[Any]:
    """Those of them that are ready; waits for the first for ``seconds`` at most.

    Args:
        reading: what has a ``fileno`` and is to be read; none of it stands in ``writing`` too.
        writing: what is to be written to.
    """
    with selectors.PollSelector() as selector:
        for one in reading:
            selector.register(one, selectors.EVENT_READ)
        for one in writing:
            selector.register(one, selectors.EVENT_WRITE)
        return [key.fileobj for key, _ in selector.select(seconds)]

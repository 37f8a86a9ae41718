"""A sign of life for whoever watches a process from outside, a container engine say.

An orchestrator's loop, and the loop of a worker's parent as long as its workers come up, touch the file named by
``WORKFLOWS_HEALTH_FILE``. An old file means that something is stuck, and not that Redis is away: a process that waits
for it is as alive as ever, and starting it anew would help nobody.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

from workflows.clock import monotonic

VARIABLE: Final = "WORKFLOWS_HEALTH_FILE"
TOUCH_SECONDS: Final = 1.0

_log = logging.getLogger("workflows.health")


class Health:
    """Touches the file, if one is named."""

    def __init__(self) -> None:
        named = os.environ.get(VARIABLE)
        self._file = Path(named) if named else None
        self._touch_at = 0.0

    def alive(self) -> None:
        """To be called in every round of a loop; the file is touched once a second."""
        if self._file is None or monotonic() < self._touch_at:
            return
        self._touch_at = monotonic() + TOUCH_SECONDS
        try:
            self._file.touch()
        except OSError as error:
            _log.error("no sign of life", extra={"file": str(self._file), "error": error})
            self._file = None

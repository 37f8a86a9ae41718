"""Whether processes are still there."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def is_there(process: int) -> bool:
    """Also when it has ended and nobody has collected it."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def lives(process: int | None) -> bool:
    """One that nobody has collected yet has ended all the same, where the system tells."""
    assert process is not None
    if not is_there(process):
        return False
    if sys.platform != "linux":
        return True
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # collected since it was asked, before or after it was opened
        return False
    return status.rpartition(")")[2].split()[0] != "Z"

"""How the commands of a second terminal find the server of a running ``workflows dev``."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = ".workflows"
STATE_FILE: Final = "dev.json"


@dataclass(frozen=True, slots=True)
class Running:
    """What a second terminal needs to know of a running ``workflows dev``."""

    url: str
    namespace: str
    pid: int


def find_running(folder: Path) -> Running | None:
    """The ``workflows dev`` that runs in this folder, or None.

    A state file that others could have written is not believed: it says where to send data.
    """
    path = folder / FOLDER / STATE_FILE
    try:
        status = path.stat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            return None
        state = json.loads(path.read_text(encoding="utf-8"))
        running = Running(str(state["url"]), str(state["namespace"]), int(state["pid"]))
        os.kill(running.pid, 0)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return running

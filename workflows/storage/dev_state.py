"""How the commands of a second terminal find the server of a running ``workflows dev``."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from workflows.errors import ConfigError
from workflows.storage.private import why_not_private

FOLDER: Final = ".workflows"
STATE_FILE: Final = "dev.json"


@dataclass(frozen=True, slots=True)
class Running:
    """What a second terminal needs to know of a running ``workflows dev``."""

    url: str
    namespace: str
    pid: int


def prepare(folder: Path) -> Path:
    """Make ``.workflows``, where data and state of ``workflows dev`` are kept, or take the one that is there.

    Raises:
        ConfigError: others can write there, so that anything may be in it, or it is a link to somewhere else.
    """
    made = folder / FOLDER
    try:
        made.mkdir(mode=0o700, exist_ok=True)
        reason = why_not_private(made)
    except OSError as error:
        raise ConfigError(f"{made.absolute()} cannot be used: {error}") from error
    if reason:
        raise ConfigError(f"{made.absolute()} {reason}.")
    ignore = made / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
    return made


def find_running(folder: Path) -> Running | None:
    """The ``workflows dev`` that runs in this folder, or None.

    A state file that others could have written or put there is not believed: it says where to send data.
    """
    path = folder / FOLDER / STATE_FILE
    try:
        if why_not_private(path.parent) or why_not_private(path, folder=False):
            return None
        state = json.loads(path.read_text(encoding="utf-8"))
        running = Running(str(state["url"]), str(state["namespace"]), int(state["pid"]))
        os.kill(running.pid, 0)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return running

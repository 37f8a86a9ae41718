"""Folders and files in which only their owner can have put something: they say where to send data, and hold it."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def why_not_private(path: Path, *, folder: bool = True) -> str | None:
    """Why others may have had their hands in it, as the rest of a sentence; None when they cannot have.

    Args:
        folder: which others may look into, but not write to; a file must be out of their sight as well.
    Raises:
        OSError: it is not there, or cannot be looked at.
    """
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return "is a symbolic link, which may lead anywhere; put a real folder there"
    if not (stat.S_ISDIR(status.st_mode) if folder else stat.S_ISREG(status.st_mode)):
        return f"is no {'folder' if folder else 'regular file'}; move it away"
    if status.st_uid != os.geteuid():
        return "belongs to another user; choose one of your own"
    if status.st_mode & (0o022 if folder else 0o077):
        return f"is open to other users, who may have put anything there; look into it, then `chmod go-rwx {path}`"
    return None

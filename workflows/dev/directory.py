"""The directory of an embedded server: private, and used by one program at a time.

The file that says whose the server is carries the lock, which is held by whoever may still write there: the owner's
keeper, and so for as long as the server may live.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import tempfile
import time
from pathlib import Path
from typing import Self

from workflows.clock import monotonic
from workflows.dev import keeper as keeper_process
from workflows.errors import ConfigError
from workflows.storage.private import why_not_private

SOCKET_PATH_BYTES_MAX = 103
"""Longest path of a unix socket that every system takes: macOS allows 104 bytes with the final zero, Linux 108."""
LOCK_TIMEOUT_S = keeper_process.GRACE_S + 5
"""How long to wait for the server of an owner that has died, which its keeper is still stopping."""
POLL_S = 0.01
SOCKET_FILE = "redis.sock"
STATE_FILE = "server.json"
"""Locked while a server uses the directory; says how to reach it."""


def private_directory(directory: Path) -> Path:
    """Make it, or check that nobody else can have filled it. Returns: its absolute path. Raises: ConfigError."""
    directory = directory.absolute()
    existed = directory.exists()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.lstat()
        reason = why_not_private(directory)
        ours = status.st_uid == os.geteuid() and stat.S_ISDIR(status.st_mode)
        if ours and status.st_mode & 0o022 and not any(directory.iterdir()):
            directory.chmod(0o700)
            if not any(directory.iterdir()):  # nobody was faster
                reason = why_not_private(directory)
        above = directory.parent.stat()
    except OSError as error:
        raise ConfigError(f"The directory {directory} for the embedded Redis cannot be used: {error}") from error
    if reason:
        raise ConfigError(f"The directory {directory} for the embedded Redis {reason}.")
    if above.st_mode & 0o002 and not above.st_mode & stat.S_ISVTX:
        raise ConfigError(
            f"Anybody may replace the directory {directory} for the embedded Redis, because {directory.parent} is "
            f"writable for all; choose another place, or `chmod o-w {directory.parent}`."
        )
    if status.st_mode & 0o077:
        # Closing a folder which others use for other things would be a surprise.
        if any(directory.iterdir()) and not (directory / STATE_FILE).exists():
            raise ConfigError(
                f"The directory {directory} holds other files and is open to other users; "
                "choose a new or an empty directory for the embedded Redis."
            )
        directory.chmod(0o700)
    if not existed:
        # It lies in a project as often as not, and is never meant to be committed.
        (directory / ".gitignore").write_text("*\n", encoding="utf-8")
    return directory


def short_directory() -> Path:
    """A temporary one whose path leaves room for a socket. Raises: ConfigError."""
    for parent in (None, "/tmp"):  # noqa: S108 - mkdtemp makes a name nobody can foresee, with mode 0700
        path = Path(tempfile.mkdtemp(prefix="workflows-", dir=parent))
        if len(os.fsencode(path / SOCKET_FILE)) <= SOCKET_PATH_BYTES_MAX:
            return path
        path.rmdir()
    raise ConfigError("No directory with a path short enough for a unix socket; set TMPDIR to a short one.")


class Lock:
    """The open, locked state file; closing gives up this process's share of the lock only."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def locked(directory: Path) -> Lock:
    """Take the directory, waiting for a server that is ending. Raises ConfigError: another program uses it."""
    descriptor = os.open(directory / STATE_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = monotonic() + LOCK_TIMEOUT_S
    try:
        while not _try_lock(descriptor):
            owner = _owner_of(directory)
            # An owner that has died leaves a server which is just ending; a living one will not give way.
            if (owner is not None and _lives(owner)) or monotonic() > deadline:
                raise ConfigError(
                    f"Another embedded Redis, of process {owner or 'unknown'}, uses the directory {directory}; "
                    "stop that one or choose another directory."
                )
            time.sleep(POLL_S)
    except BaseException:
        os.close(descriptor)
        raise
    return Lock(descriptor)


def _owner_of(directory: Path) -> int | None:
    try:
        return int(json.loads((directory / STATE_FILE).read_text(encoding="utf-8"))["owner"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

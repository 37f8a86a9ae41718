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

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import redis

from workflows.clock import monotonic
from workflows.dev import keeper as keeper_process
from workflows.dev.directory import (
    POLL_S,
    SOCKET_FILE,
    SOCKET_PATH_BYTES_MAX,
    STATE_FILE,
    Lock,
    locked,
    private_directory,
    short_directory,
)
from workflows.dev.servers import find_server
from workflows.errors import ConfigError, ServerUnavailable
from workflows.storage.connection import connection

START_TIMEOUT_S = 15.0
LOADING_TIMEOUT_S = 300.0
"""A server that reads its data back has proved that it works; it may take this long."""
ANSWER_TIMEOUT_S = 5
"""How long one answer of a server that is starting may take."""
PORT_ATTEMPTS = 5
LOG_BYTES_MAX = 4 * 1024 * 1024
"""A larger log is emptied at the next start."""

LOG_FILE = "redis.log"


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
                home = private_directory(self._directory)
            path = home / SOCKET_FILE
            if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
                remove.append(short_directory())
                path = remove[-1] / SOCKET_FILE
            self._port = _free_port() if self._wanted_port == 0 else self._wanted_port
            self._home, self._socket = home, path
            with locked(home) as lock:
                self._start_keeper(server, lock, remove)
        except BaseException:
            self._home = self._socket = None
            for made in remove:
                shutil.rmtree(made, ignore_errors=True)
            raise

    def _start_keeper(self, server: Path, lock: Lock, remove: list[Path]) -> None:
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
        deadline = monotonic() + START_TIMEOUT_S
        loading = False
        error: Exception | None = None
        client = connection(self.url, socket_timeout=ANSWER_TIMEOUT_S, socket_connect_timeout=ANSWER_TIMEOUT_S)
        with client:
            while status["pid"] is not None and monotonic() < deadline:
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
                        loading, deadline = True, monotonic() + LOADING_TIMEOUT_S
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _quoted(value: str) -> str:
    if any(character in value for character in "\r\n\0"):
        raise ConfigError(f"A line of the Redis configuration cannot hold {value!r}.")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

"""Redis as a group: a primary, replicas, and the Sentinels that watch them, as real processes on this machine.

with Group(folder) as group:
    client = connection(group.url)
    group.kill_primary()
    group.wait_for_failover()
"""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import redis as redis_py

from workflows.dev.embedded import find_server

SERVICE = "main"
PASSWORD = "server-secret"
SENTINEL_PASSWORD = "sentinel-secret"
SENTINELS = 3
QUORUM = 2
DOWN_AFTER_MS = 1_000
WAIT_SECONDS = 20.0
POLL_SECONDS = 0.02


class Member:
    """One server or Sentinel."""

    def __init__(self, folder: Path, name: str, port: int, lines: list[str], *options: str) -> None:
        self.port = port
        self._folder = folder / name
        self._folder.mkdir()
        file = self._folder / "redis.conf"
        own = [f"port {port}", "bind 127.0.0.1", f'dir "{self._folder}"', f'logfile "{self._folder / "log"}"']
        file.write_text("\n".join([*own, *lines]) + "\n")
        self._command = [str(find_server()), str(file), *options]
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        nothing = subprocess.DEVNULL
        return subprocess.Popen(self._command, cwd=self._folder, stdin=nothing, stdout=nothing, stderr=nothing)

    def start(self) -> None:
        """Start it again, on what it has kept."""
        self.process = self._start()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(WAIT_SECONDS)

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def client(self, password: str) -> redis_py.Redis:
        """A connection of redis-py's own, which nothing leads elsewhere."""
        return redis_py.Redis(port=self.port, password=password, socket_timeout=2, retry=None)

    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")


class Group:
    """A primary with replicas under three Sentinels.

    Args:
        settings: more lines for the servers' files.
    """

    def __init__(self, folder: Path, *, replicas: int = 1, settings: tuple[str, ...] = ()) -> None:
        self._folder = folder
        self._replicas = replicas
        self._settings = settings
        self.servers: list[Member] = []
        self.sentinels: list[Member] = []

    def __enter__(self) -> Self:
        ports = free_ports(1 + self._replicas + SENTINELS)
        common = [
            f"requirepass {PASSWORD}",
            f"masterauth {PASSWORD}",
            "appendonly yes",
            'save ""',
            "repl-diskless-sync-delay 0",
            "repl-diskless-load disabled",
            *self._settings,
        ]
        first = ports[0]
        try:
            for number, port in enumerate(ports[: 1 + self._replicas]):
                following = [] if number == 0 else [f"replicaof 127.0.0.1 {first}"]
                self.servers.append(Member(self._folder, f"server-{number}", port, common + following))
            wait_until(lambda: self._has_replicas(self._replicas), "the replicas are in step")
            for number, port in enumerate(ports[1 + self._replicas :]):
                self.sentinels.append(self._sentinel(number, port, first))
            wait_until(self._is_watched, "the Sentinels know each other and the replicas")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for member in [*self.sentinels, *self.servers]:
            member.kill()

    def _sentinel(self, number: int, port: int, primary: int) -> Member:
        lines = [
            f"requirepass {SENTINEL_PASSWORD}",
            f"sentinel sentinel-pass {SENTINEL_PASSWORD}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary} {QUORUM}",
            f"sentinel auth-pass {SERVICE} {PASSWORD}",
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {SERVICE} 5000",
        ]
        sentinel = Member(self._folder, f"sentinel-{number}", port, lines, "--sentinel")
        time.sleep(0)
        if sentinel.process.poll() is not None:
            pytest.skip(f"this server cannot be a Sentinel: {sentinel.log()[-300:]}")
        return sentinel

    @property
    def places(self) -> str:
        return ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)

    @property
    def url(self) -> str:
        return f"redis+sentinel://:{PASSWORD}@{self.places}/{SERVICE}?db=0&sentinel_password={SENTINEL_PASSWORD}"

    @property
    def primary(self) -> Member:
        """The server that most Sentinels name."""
        named = [self._state(one).get("port") for one in self.sentinels if one.process.poll() is None]
        return next(one for one in self.servers if named.count(one.port) * 2 > len(named))

    def fail_over(self) -> None:
        """What an operator asks for: nothing has failed. Returns once another one is the primary for all Sentinels."""
        former = self.primary
        with self.sentinels[0].client(SENTINEL_PASSWORD) as client:
            client.execute_command("SENTINEL", "FAILOVER", SERVICE)
        self.wait_for_failover(former)

    def wait_for_failover(self, former: Member) -> None:
        """Until all Sentinels name another primary."""
        wait_until(
            lambda: all(self._state(one).get("port") not in (former.port, None) for one in self.sentinels),
            "another primary is elected",
        )

    def wait_until_replicated(self) -> None:
        """Until what was written has reached every replica."""
        with self.primary.client(PASSWORD) as client:
            assert client.execute_command("WAIT", self._replicas, int(WAIT_SECONDS * 1000)) >= self._replicas

    def wait_until_whole(self) -> None:
        """Until everything that runs follows the primary, so that the next failover has a candidate."""
        wait_until(lambda: self._has_replicas(sum(one.process.poll() is None for one in self.servers) - 1), "replicas")
        wait_until(self._is_watched, "the Sentinels see the replicas")

    def _has_replicas(self, count: int) -> bool:
        server = self.servers[0] if not self.sentinels else self.primary
        try:
            with server.client(PASSWORD) as client:
                info = client.info("replication")
        except redis_py.RedisError:
            return False
        shown = [info[f"slave{number}"] for number in range(info["connected_slaves"])]
        return sum(one["state"] == "online" for one in shown) >= count

    def _is_watched(self) -> bool:
        states = [self._state(one) for one in self.sentinels]
        return all(
            state.get("num-other-sentinels") == SENTINELS - 1
            and int(state["num-slaves"]) >= min(1, self._replicas)
            and state["flags"] == "master"
            for state in states
        )

    def _state(self, sentinel: Member) -> dict[str, Any]:
        try:
            with sentinel.client(SENTINEL_PASSWORD) as client:
                return dict(client.sentinel_master(SERVICE))
        except redis_py.RedisError:
            return {}


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def wait_until(condition: Callable[[], object], what: str, seconds: float = WAIT_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(POLL_SECONDS)

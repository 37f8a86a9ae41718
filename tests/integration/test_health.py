"""Do the health checks of compose.yaml tell a stuck process from a healthy one? Their own commands, no containers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.paths import ROOT, packages
from workflows.dev.embedded import EmbeddedRedis

APP = """
from workflows import App

app = App("shop")
"""
COMMANDS = {
    "orchestrator": ["orchestrator", "--namespace", "shop"],
    "worker": ["worker", "app:app"],
}
PATIENCE_SECONDS = 30.0
SOON = "2 seconds ago"
"""In the place of the time that compose.yaml allows, so that a test does not take as long."""


def check_of(service: str) -> str:
    kind, command = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"][service]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    assert "15 seconds ago" in command
    return str(command).replace("$$", "$").replace("15 seconds ago", SOON)


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as server:
        yield server


class Service:
    """A process with the sign of life that compose.yaml asks for."""

    def __init__(self, name: str, folder: Path, url: str) -> None:
        (folder / "app.py").write_text(APP)
        self._check = check_of(name)
        self._environment = {
            **os.environ,
            "PYTHONPATH": packages(),
            "WORKFLOWS_REDIS_URL": url,
            "WORKFLOWS_HEALTH_FILE": str(folder / "alive"),
        }
        command = [sys.executable, "-P", "-m", *COMMANDS[name]]
        self.process = subprocess.Popen(command, cwd=folder, env=self._environment, stdin=subprocess.DEVNULL)

    def is_healthy(self) -> bool:
        checked = subprocess.run(["sh", "-c", self._check], env=self._environment, capture_output=True, check=False)
        return checked.returncode == 0


@pytest.fixture(params=COMMANDS)
def service(request: pytest.FixtureRequest, tmp_path: Path, server: EmbeddedRedis) -> Iterator[Service]:
    service = Service(request.param, tmp_path, server.url)
    yield service
    service.process.send_signal(signal.SIGCONT)
    service.process.terminate()
    service.process.wait(PATIENCE_SECONDS)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_a_process_that_is_stuck_is_not_healthy(service: Service) -> None:
    assert not service.is_healthy()
    wait_until(service.is_healthy)
    service.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: not service.is_healthy())
    service.process.send_signal(signal.SIGCONT)
    wait_until(service.is_healthy)


@pytest.mark.slow
def test_a_process_that_waits_for_redis_is_healthy(service: Service, server: EmbeddedRedis, tmp_path: Path) -> None:
    wait_until(service.is_healthy)
    server.kill()
    gone = time.time()
    wait_until(lambda: (tmp_path / "alive").stat().st_mtime > gone + 3)
    assert service.is_healthy()
    server.start()

"""``workflows ui`` as a process: where it listens, who is let in, how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.commands import Run, run_in
from tests.paths import packages
from workflows.cli import dashboard
from workflows.client import Client
from workflows.dev.embedded import EmbeddedRedis
from workflows.ui.standalone import PORT, StandaloneSettings, listening

Start: TypeAlias = Callable[..., tuple[subprocess.Popen[str], str]]


@pytest.fixture
def start(shop: Client, redis_server: EmbeddedRedis, tmp_path: Path) -> Iterator[Start]:
    """Starts one; returns it and its address."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-P", "-m", "workflows.cli", "ui", "--namespace", "shop", "--json", *options]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": packages(), "WORKFLOWS_REDIS_URL": redis_server.url, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        return process, json.loads(process.stdout.readline())["dashboard"]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def ui(redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The verb in this process, whose log stays as it is."""
    monkeypatch.setattr(dashboard, "configure", lambda *_: None)
    return run_in(redis_server.url, "shop", "ui")


def get(address: str, **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def test_it_serves_until_it_is_told_to_stop(start: Start) -> None:
    process, address = start("--port", "0")
    assert address.startswith("http://127.0.0.1:")
    status, page = get(address)
    assert (status, "<h1>Overview</h1>" in page) == (200, True)
    assert get(address, Host="evil.example")[0] == 403
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0


def test_with_a_token_each_write_is_told_with_the_name_that_came_with_it(start: Start, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    process, address = start("--port", "0", "--token-file", "token", "--prefix", "/workflows")
    assert address.endswith("/workflows/")
    assert get(address)[0] == 401
    basic = {"Authorization": "Basic YW5uOnMzY3JldA=="}  # ann:s3cret
    made = urllib.request.Request(f"{address}api/workflows/order/instances", b"{}", basic, method="POST")
    with urllib.request.urlopen(made) as answer:
        id = json.load(answer)["result"]["id"]
    process.terminate()
    _, said = process.communicate(timeout=20)
    assert f"ui_action user='ann' action='create' instance='order/{id}' outcome='done'" in said


def test_a_port_that_is_taken_is_left_for_the_next_one() -> None:
    with socket.socket() as taken:
        try:
            taken.bind(("127.0.0.1", PORT))
            taken.listen()
        except OSError:
            pass  # somebody else has it, which does as well
        with listening(StandaloneSettings()) as opened:
            assert PORT < opened.getsockname()[1] < PORT + 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "needs a token there"),
        (["--token-file", "nowhere"], "the token cannot be read"),
        (["--token-file", os.devnull], "is empty"),
        (["--host", "203.0.113.1", "--token-file", __file__], "cannot listen on 203.0.113.1"),
    ],
)
def test_what_is_wrong_is_one_line(ui: Run, options: list[str], message: str) -> None:
    outcome = ui(*options, code=1)
    assert message in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


def test_a_port_of_ones_own_that_is_taken_is_an_error(ui: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        outcome = ui("--port", port, code=1)
    assert f"cannot listen on 127.0.0.1, port {port}" in outcome.stderr

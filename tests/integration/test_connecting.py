"""Does every process say in one line what is wrong with Redis or with the way to it, and wait where waiting helps?"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis as redis_py

from tests.paths import packages
from workflows.client import Client
from workflows.client.aio import AsyncClient
from workflows.dev.embedded import EmbeddedRedis
from workflows.errors import ConfigError, ServerUnavailable
from workflows.process import parent
from workflows.storage import outage
from workflows.storage.connection import connection
from workflows.storage.store import open_keyspace

APP = """
from workflows import App, WorkflowEntrypoint

app = App("shop")


@app.workflow
class Order(WorkflowEntrypoint):
    async def run(self, event, step):
        return 1
"""
PYTHON = [sys.executable, "-P", "-m"]
PROCESSES = {
    "orchestrator": [*PYTHON, "orchestrator", "--namespace", "shop"],
    "worker": [*PYTHON, "worker", "app:app"],
    "command line": [*PYTHON, "workflows.cli", "--namespace", "shop", "list"],
    "doctor": [*PYTHON, "workflows.cli", "--namespace", "shop", "doctor"],
    "register": [*PYTHON, "workflows.cli", "register", "app:app"],
    "dev": [*PYTHON, "workflows.cli", "dev", "app:app"],
}


@pytest.fixture(scope="module")
def guarded() -> Iterator[EmbeddedRedis]:
    """A server with a password, on a port."""
    with EmbeddedRedis(port=0) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def environment(url: str, **more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": packages(), "WORKFLOWS_REDIS_URL": url, **more}


def complaint(command: list[str], folder: Path, url: str) -> str:
    """What a process says that cannot go on: it ends with an error, in one line."""
    done = subprocess.run(
        command, cwd=folder, env=environment(url), capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 1, (done.stdout, done.stderr)
    (line,) = done.stderr.strip().splitlines()
    return line


def wrong(url: str) -> str:
    return url.replace("default:", "default:not-")


@pytest.mark.parametrize("name", PROCESSES)
def test_a_wrong_password_is_called_one(name: str, guarded: EmbeddedRedis, folder: Path) -> None:
    line = complaint(PROCESSES[name], folder, wrong(guarded.url))
    assert "refuses the credentials in the URL" in line
    assert "answer" not in line
    assert "not-" not in line


@pytest.mark.parametrize("name", PROCESSES)
def test_an_unreadable_url_is_one_line(name: str, folder: Path) -> None:
    line = complaint(PROCESSES[name], folder, "redis://:se/cret@127.0.0.1:6379/0")
    assert "Cannot read the Redis URL: its password seems to hold" in line
    assert "cret" not in line


@pytest.mark.parametrize("name", PROCESSES)
def test_an_option_that_the_engine_cannot_work_with_is_named(name: str, guarded: EmbeddedRedis, folder: Path) -> None:
    line = complaint(PROCESSES[name], folder, f"{guarded.url}?decode_responses=true")
    assert "decode_responses cannot be used here, because values are bytes" in line


def clients(url: str) -> dict[str, Callable[[], object]]:
    def blocking() -> None:
        with Client("shop", url) as client:
            client.workflows()

    async def look() -> None:
        async with AsyncClient("shop", url) as client:
            await client.workflows()

    return {"Client": blocking, "AsyncClient": lambda: asyncio.run(look())}


@pytest.mark.parametrize("name", ["Client", "AsyncClient"])
def test_the_clients_say_the_same(name: str, guarded: EmbeddedRedis) -> None:
    def said(url: str, error: type[Exception]) -> str:
        with pytest.raises(error) as caught:
            clients(url)[name]()
        return str(caught.value)

    assert "refuses the credentials in the URL" in said(wrong(guarded.url), ServerUnavailable)
    bare = guarded.url.rpartition("@")[2]
    assert "wants a password" in said(f"redis://{bare}", ServerUnavailable)
    assert "answer to TLS in time; if this port" in said(f"rediss://{bare}?socket_timeout=3", ServerUnavailable)
    assert "has no database of this number" in said(guarded.url[:-1] + "999", ServerUnavailable)
    assert "decode_responses" in said(f"{guarded.url}?decode_responses=true", ConfigError)
    clients(guarded.url)[name]()


@pytest.mark.parametrize("problem", ["wrong password", "no permission"])
def test_what_waiting_does_not_mend_is_not_waited_for(problem: str, guarded: EmbeddedRedis) -> None:
    bare = guarded.url.rpartition("@")[2]
    url = wrong(guarded.url)
    if problem == "no permission":
        with connection(guarded.url) as client:
            client.execute_command("ACL", "SETUSER", "guest", "on", ">pw", "~*", "+info", "-evalsha")
        url = f"redis://guest:pw@{bare}"
    with connection(url) as client, pytest.raises(ServerUnavailable) as caught:
        open_keyspace(client, "shop")
    assert not caught.value.passing


def test_who_has_a_parent_waits_for_redis_and_says_so_once() -> None:
    said: list[str] = []
    answers = iter([ServerUnavailable("it is away"), ServerUnavailable("still"), 7])

    def attempt() -> int:
        answer = next(answers)
        if isinstance(answer, ServerUnavailable):
            answer.passing = True
            raise answer
        return answer

    assert parent.patiently(attempt, os.getppid(), said.append) == 7
    assert said == ["waiting for Redis: it is away"]


def test_who_has_no_parent_is_told_at_once() -> None:
    away = ServerUnavailable("it is away")
    away.passing = True

    def attempt() -> None:
        raise away

    with pytest.raises(ServerUnavailable):
        parent.patiently(attempt, None, print)
    with pytest.raises(SystemExit):  # nor does it outlive a parent that is gone
        parent.patiently(attempt, 1 if os.getppid() != 1 else 2, lambda text: None)


CHILDREN = {
    "orchestrator": ("orchestrator", "--namespace", "shop"),
    "worker's parent": ("worker", "app:app"),
    "worker": ("worker", "app:app", "--child", str(os.getpid())),
}


@pytest.mark.parametrize("name", CHILDREN)
def test_a_child_that_is_started_while_redis_is_away_waits(name: str, folder: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [*PYTHON, *CHILDREN[name]],
        cwd=folder,
        env=environment(f"redis://127.0.0.1:{port}/0", WORKFLOWS_PARENT=str(os.getpid())),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert line.startswith(f"waiting for Redis: Redis at 127.0.0.1:{port} does not answer"), line
        with EmbeddedRedis(tmp_path / "redis", config={"port": str(port)}) as server:
            assert server.alive
            words = {"orchestrator": "orchestrator ", "worker": "worker ready", "worker's parent": "worker ready"}[name]
            while words not in (line := process.stderr.readline()):
                assert line, process.poll()
            process.send_signal(signal.SIGTERM)
            rest = process.stderr.read()
            assert process.wait(30) == 0, rest
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def arguments_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("form", ["--redis-url={}", "--redis-url {}"])
def test_the_url_is_on_no_childs_command_line(form: str, guarded: EmbeddedRedis, folder: Path) -> None:
    process = subprocess.Popen(
        [*PYTHON, "worker", *form.format(guarded.url).split(), "app:app"],
        cwd=folder,
        env=environment("redis://127.0.0.1:1/0"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        while "worker ready" not in (line := process.stderr.readline()):
            assert line, process.poll()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert children
        for child in children:
            assert "--child" in arguments_of(int(child))
            assert "redis:" not in arguments_of(int(child))
    finally:
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        assert process.wait(30) == 0
        process.stderr.close()


@pytest.mark.parametrize("text", outage._WORDS)
def test_the_words_of_a_server_are_understood(text: str) -> None:
    assert outage.unavailable(redis_py.ResponseError(f"{text} and so on")) == outage._WORDS[text]
    assert outage.unavailable(redis_py.ResponseError("ERR something else")) is None

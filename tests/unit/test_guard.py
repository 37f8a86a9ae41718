"""The guard: effects in ``run`` are refused on its thread, and nowhere else."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.replaying import Driver
from workflows import get_logger
from workflows.errors import ForbiddenInRun
from workflows.sandbox import guard
from workflows.storage.journal import Start

EFFECTS: dict[str, Any] = {
    "socket": lambda path: socket.socket(),
    "getaddrinfo": lambda path: socket.getaddrinfo("localhost", 80),
    "process": lambda path: subprocess.run(["true"]),
    "system": lambda path: os.system("true"),
    "fork": lambda path: os.fork(),
    "spawn": lambda path: os.posix_spawn("/bin/true", ["true"], {}),
    "sleep": lambda path: time.sleep(0.001),
    "thread": lambda path: threading.Thread(target=print).start(),
    "sqlite": lambda path: sqlite3.connect(":memory:"),
    "url": lambda path: urllib.request.urlopen("http://localhost:1"),
    "write": lambda path: (path / "new").write_text("x"),
    "append": lambda path: open(path / "new", "a"),  # noqa: SIM115
    "descriptor": lambda path: os.open(path / "new", os.O_CREAT | os.O_WRONLY),
    "mkdir": lambda path: (path / "folder").mkdir(),
    "unlink": lambda path: (path / "kept").unlink(),
    "rename": lambda path: (path / "kept").rename(path / "other"),
}


@pytest.mark.parametrize("effect", EFFECTS.values(), ids=EFFECTS)
def test_effects_in_run_are_refused(effect: Any, tmp_path: Path) -> None:
    (tmp_path / "kept").touch()

    async def run(self: Any, event: Any, step: Any) -> None:
        effect(tmp_path)

    with pytest.raises(ForbiddenInRun, match=r"outside a step.*step\.(do|sleep)"):
        _ = Driver(run).start().result
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]


def test_reading_and_importing_are_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("[1]")
    (tmp_path / "imported_in_run.py").write_text("import threading\nt = threading.Thread(target=int)\nt.start()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)

    async def run(self: Any, event: Any, step: Any) -> Any:
        import imported_in_run  # type: ignore[import-not-found]

        imported_in_run.t.join()
        return json.loads((tmp_path / "config.json").read_text())

    assert Driver(run).start().result == [1]


class _Eventful(logging.Handler):
    """Does all that handlers out there do: looks up its server, starts its thread, writes its file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def emit(self, record: logging.LogRecord) -> None:
        socket.getaddrinfo("localhost", 80)
        time.sleep(0.001)
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        with self.path.open("a") as file:
            file.write(f"{self.format(record)}\n")


def _delayed(path: Path) -> logging.Handler:
    return logging.FileHandler(path, delay=True)


def _watched(path: Path) -> logging.Handler:
    handler = logging.handlers.WatchedFileHandler(path)
    path.rename(path.with_suffix(".1"))  # as logrotate does
    return handler


def _rotating(path: Path) -> logging.Handler:
    return logging.handlers.RotatingFileHandler(path, maxBytes=30, backupCount=100)


@pytest.mark.parametrize("make", [_delayed, _watched, _rotating, _Eventful])
@pytest.mark.parametrize("logger", [logging.getLogger("guarded"), get_logger("guarded")], ids=["own", "get_logger"])
def test_a_log_call_in_run_may_do_what_its_handler_needs_and_no_record_is_lost(
    make: Any, logger: logging.Logger, tmp_path: Path
) -> None:
    """A handler that opens its file, rotates it, or connects again when it is run() that logs."""
    handler = make(tmp_path / "log")
    logger.addHandler(handler)

    async def run(self: Any, event: Any, step: Any) -> str:
        for number in range(20):
            logger.warning("line %d", number)
        return "ok"

    driver = Driver(run)
    try:
        driver.replay.feed([Start(driver.at_ms)], live=True)
        assert driver.result == "ok"
    finally:
        logger.removeHandler(handler)
        handler.close()
    lines = [line for path in tmp_path.iterdir() for line in path.read_text().splitlines()]
    assert sorted(lines) == sorted(f"line {number}" for number in range(20))


def test_an_exporter_of_traces_may_connect_in_run(tmp_path: Path) -> None:
    exporter: dict[str, Any] = {"__name__": "opentelemetry.sdk.trace.export"}
    exec("def export(path): path.write_text('span')", exporter)

    async def run(self: Any, event: Any, step: Any) -> str:
        exporter["export"](tmp_path / "spans")
        return "ok"

    assert Driver(run).start().result == "ok"
    assert (tmp_path / "spans").read_text() == "span"


def test_what_an_instrumentation_wraps_is_refused_as_ever(tmp_path: Path) -> None:
    wrapper: dict[str, Any] = {"__name__": "opentelemetry.instrumentation.files"}
    exec("def wrapped(path): path.write_text('x')", wrapper)

    async def run(self: Any, event: Any, step: Any) -> None:
        logging.getLogger("guarded").info("before")
        wrapper["wrapped"](tmp_path / "new")

    with pytest.raises(ForbiddenInRun):
        _ = Driver(run).start().result
    assert not list(tmp_path.iterdir())


def test_other_threads_and_callbacks_are_left_alone(tmp_path: Path) -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        return await step.do("write", (tmp_path / "new").write_text, "x")

    assert Driver(run).start().perform("write").result == 1
    with guard.inside(object()):
        failures: list[BaseException] = []
        done = threading.Event()
    worker = threading.Thread(target=lambda: ((tmp_path / "other").write_text("x"), done.set()))
    with guard.inside(object()):
        pass
    worker.start()
    worker.join()
    assert done.is_set() and not failures


def test_the_flag_belongs_to_one_thread_and_is_taken_back() -> None:
    replay = object()
    seen: list[object] = []
    look = threading.Thread(target=lambda: seen.append(guard.current()))
    with guard.inside(replay):
        assert guard.current() is replay
        inner = object()
        with guard.inside(inner):
            assert guard.current() is inner
        assert guard.current() is replay
    look.start()
    look.join()
    assert guard.current() is None and seen == [None]


def test_a_flag_left_behind_by_an_interrupt_goes_when_that_replay_is_entered_again() -> None:
    replay = object()
    guard.inside(replay).__enter__()
    with guard.inside(replay):
        pass
    assert guard.current() is None


def test_an_effect_caught_by_user_code_still_did_not_happen(tmp_path: Path) -> None:
    async def run(self: Any, event: Any, step: Any) -> str:
        try:
            (tmp_path / "new").write_text("x")
        except Exception:
            return "caught"
        return "written"

    assert Driver(run).start().result == "caught"
    assert not (tmp_path / "new").exists()

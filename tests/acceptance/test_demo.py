"""``python -m examples.demo``, as somebody who has just cloned the project would start it."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import termios
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples.app import PATTERNS
from tests.acceptance.processes import ROOT

LIMIT_SECONDS = 60.0


@dataclass(frozen=True)
class Played:
    """A demo that has ended, and the folder it had for temporary files."""

    status: int
    output: str
    folder: Path
    page: str


def _start(module: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start it with a folder of its own for temporary files."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    # Short, because a unix socket's path is: pytest's own folders would not do on every system.
    return tempfile.TemporaryDirectory(prefix="demo-")


@pytest.fixture(scope="module")
def demo() -> Iterator[Played]:
    """One that stays until somebody has looked at the dashboard."""
    with _temporary_folder() as folder, _start("examples.demo", Path(folder), "--stay") as process:
        assert process.stdout is not None
        output, page = "", ""
        for line in process.stdout:
            output += line
            if found := re.match(r"Dashboard: (\S+)", line):
                with urllib.request.urlopen(found[1]) as answer:
                    page = answer.read().decode()
                process.send_signal(signal.SIGINT)
        yield Played(process.wait(LIMIT_SECONDS), output, Path(folder), page)


def _left_behind(folder: Path) -> list[str]:
    """Files in the folder, and processes that have it in their environment or command line."""
    shown = subprocess.run(["ps", "axeww", "-o", "pid=,command="], capture_output=True, text=True, check=True).stdout
    processes = [line[:200] for line in shown.splitlines() if str(folder) in line]
    return [*(str(path) for path in folder.iterdir()), *processes]


@pytest.mark.timeout(LIMIT_SECONDS + 30)
def test_the_demo_succeeds(demo: Played) -> None:
    assert demo.status == 0, demo.output
    found = re.search(r"(\d+) of (\d+) instances ended as promised", demo.output)
    assert found is not None, demo.output
    assert found[1] == found[2]


@pytest.mark.timeout(LIMIT_SECONDS + 30)
def test_the_demo_shows_the_timeline_of_every_instance(demo: Played) -> None:
    """Its end and, below, the steps with when they began and ended."""
    timelines = dict(re.findall(r"^(\S+)/\S+  complete\n((?:  +.*\n)+)", demo.output, re.MULTILINE))
    assert len(PATTERNS) == 10
    assert set(timelines) == {
        "image-processing-workflow",
        "user-lifecycle-workflow",
        "data-pipeline-workflow",
        "approval-workflow",
        "fan-out-workflow",
        "parent-workflow",
        "race-workflow",
        "daily-workflow",
        "weekly-report-workflow",
        "live-progress-workflow",
        "trip-workflow",
    }
    assert re.search(r"^trip-workflow/to-oslo  errored\n(?:  +.*\n)+? .*rollback  car: complete\n", demo.output, re.M)
    assert re.search(
        r"^ +\d+ ms -> +\d+ ms  do +extract: complete, 3 attempts$", timelines["data-pipeline-workflow"], re.M
    )
    assert re.search(r"^ +\d+ ms -> +\d+ ms  sleep +wait 7 days: complete$", timelines["daily-workflow"], re.M)


@pytest.mark.timeout(LIMIT_SECONDS + 30)
def test_a_demo_that_stays_shows_its_instances_on_the_dashboard(demo: Played) -> None:
    assert "trip-workflow" in demo.page


@pytest.mark.timeout(LIMIT_SECONDS + 30)
def test_the_demo_fits_a_terminal_of_80_columns(demo: Played) -> None:
    assert [line for line in demo.output.splitlines() if len(line) > 80] == []


@pytest.mark.timeout(LIMIT_SECONDS + 30)
def test_the_picture_on_a_narrow_terminal_takes_one_line_for_each_instance() -> None:
    """Played on a terminal of 50 columns: no line may wrap, or the next picture would not cover it."""
    main, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (40, 50))
    said = bytearray()
    with _temporary_folder() as name:
        process = subprocess.Popen(
            [sys.executable, "-m", "examples.approval"],
            cwd=ROOT,
            # The variables speak of another terminal, where there are any, and go before what this one says.
            env={key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")} | {"TMPDIR": name},
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=terminal,
        )
        os.close(terminal)
        with contextlib.suppress(OSError):  # how a terminal ends on Linux
            while chunk := os.read(main, 4096):
                said += chunk
        os.close(main)
        assert process.wait(LIMIT_SECONDS) == 0, said
    pictures = re.findall(r"\x1b\[2K([^\r\n]*)", said.decode())
    assert len(pictures) > 1
    assert max(map(len, pictures)) < 50


@pytest.mark.timeout(LIMIT_SECONDS + 30)
def test_the_demo_leaves_no_process_and_no_file_behind(demo: Played) -> None:
    assert _left_behind(demo.folder) == []


@pytest.mark.timeout(LIMIT_SECONDS + 30)
def test_a_pattern_that_is_stopped_halfway_leaves_nothing_behind_either() -> None:
    """One pattern alone, stopped with SIGTERM after the first instance has ended."""
    with _temporary_folder() as name, _start("examples.approval", Path(name)) as process:
        folder = Path(name)
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "=> complete" in line:
                break
        assert "approval-workflow" in lines[-1], lines
        assert len(_left_behind(folder)) >= 5
        process.terminate()
        process.communicate(timeout=LIMIT_SECONDS)
        assert process.returncode == 143
        assert _left_behind(folder) == []

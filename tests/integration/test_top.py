"""``workflows top``: a process on a terminal of its own, and what it draws."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tests.commands import Run, run_in
from tests.driving import PublishedApp
from tests.paths import packages
from workflows.cli.top_screen import View, drawn
from workflows.client import Client
from workflows.clock import monotonic
from workflows.dev.embedded import EmbeddedRedis
from workflows.health.overview import EndedRate, Overview
from workflows.health.queues import QueueState
from workflows.health.server import Finding
from workflows.storage.manifest import publish_manifest
from workflows.storage.status import Status

PATIENCE_SECONDS = 20.0
WIDTH, HEIGHT = 80, 24
HEADS = ["queued", "running", "waiting", "pausing", "paused", "complete", "errored", "terminated"]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def run(client: Client, redis_url: str) -> Run:
    return run_in(redis_url, "shop", "top")


class Terminal:
    """A process on a terminal of 80 by 24, and all it has written there."""

    def __init__(self, url: str, *arguments: str) -> None:
        self._screen, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workflows.cli", "--redis-url", url, "--namespace", "shop", "top", *arguments],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env={**os.environ, "PYTHONPATH": packages(), "TERM": "xterm-256color"},
        )
        os.close(inner)
        self._written = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while written := os.read(self._screen, 65_536):
                self._written += written.decode(errors="replace")
        except OSError:
            return  # the last one who had it open has gone

    @property
    def text(self) -> str:
        return _ESCAPES.sub("", self._written)

    def wait_for(self, pattern: str, behind: int = 0) -> int:
        """Returns: where the text ends in which it was found."""
        deadline = monotonic() + PATIENCE_SECONDS
        while (found := re.search(pattern, self.text[behind:])) is None:
            assert monotonic() < deadline and self.process.poll() is None, self.text
            threading.Event().wait(0.02)
        return behind + found.end()

    def press(self, keys: bytes) -> None:
        os.write(self._screen, keys)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(PATIENCE_SECONDS)
        os.close(self._screen)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    made: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        made.append(Terminal(*arguments))
        return made[-1]

    yield start
    for one in made:
        one.close()


def test_it_follows_what_happens_goes_on_through_an_outage_and_leaves_the_terminal_as_it_was(
    terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server:
        with Client("shop", server.url) as client:
            publish_manifest(client.store, PublishedApp())
            client.workflow("order").create(id="o-1")
            shown = terminal(server.url, "--interval", "0.5")
            at = shown.wait_for(r"no orchestrator is running.*order +1 ".replace(".*", r"[\s\S]*"))
            client.workflow("order").create(id="o-2")
            at = shown.wait_for(r"order +2 ", at)
        server.kill()
        at = shown.wait_for("Redis does not answer, and what stands here is of", at)
        server.restart()
        with Client("shop", server.url) as client:
            client.workflow("order").create(id="o-3")
        shown.wait_for(r"order +3 ", at)
        shown.press(b"q")
        assert shown.process.wait(PATIENCE_SECONDS) == 0
        assert shown.text.count("\n") and "\x1b[?1049l" in shown._written


def test_ctrl_c_ends_it_like_q(client: Client, redis_url: str, terminal: Callable[..., Terminal]) -> None:
    shown = terminal(redis_url)
    shown.wait_for("workflow")
    shown.process.send_signal(signal.SIGINT)
    assert shown.process.wait(PATIENCE_SECONDS) == 0


def test_once_it_prints_the_same_and_ends(client: Client, run: Run) -> None:
    client.workflow("order").create(id="o-1")
    said = run("--once").stdout
    assert re.search(r"^shop +\d{4}-.* UTC$", said, re.MULTILINE)
    assert "1 instance, 1 of them live" in said
    assert re.search(r"^error +no orchestrator is running: start `workflows orchestrator`$", said, re.MULTILINE)
    assert re.search(r"^workflow +queued +running +waiting +complete +errored", said, re.MULTILINE)
    assert re.search(r"^order +1 +0 +0 +0 +0", said, re.MULTILINE)


def test_machines_are_given_one_object(client: Client, run: Run) -> None:
    client.workflow("order").create(id="o-1")
    found = json.loads(run("--json").stdout)
    assert found["instances"]["order"]["queued"] == found["totals"]["queued"] == 1
    assert found["queues"]["default"]["unclaimed"] == 1 and found["queues"]["default"]["workers"] == 0
    assert "no orchestrator is running" in found["attention"][0]["message"]
    assert (found["namespace"], found["orchestrators"], found["workers"]) == ("shop", [], [])


def test_without_a_terminal_it_says_what_there_is_instead(run: Run) -> None:
    assert "--once prints it once" in run(code=2).output


def test_without_rich_it_says_where_it_comes_from_and_prints_json_all_the_same(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    assert "pip install 'rq-workflows[ui]'" in run("--once", code=1).output
    assert json.loads(run("--json").stdout)["namespace"] == "shop"


def test_the_command_line_loads_rich_for_this_verb_only() -> None:
    program = "import sys, workflows.cli.main; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": packages()}).returncode == 0


# What is drawn --------------------------------------------------------------------------------------------------------


def seen(at: datetime = NOON, **counts: dict[str, int]) -> Overview:
    instances = {name: {str(status): given.get(status, 0) for status in Status} for name, given in counts.items()}
    return Overview("shop", at, instances, {"default": QueueState(workers=("w",))}, ("o",), ())


def lines(view: View, width: int = WIDTH) -> list[str]:
    console = Console(file=StringIO(), width=width, height=HEIGHT, color_system=None)
    console.print(drawn(console, view))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def test_eighty_columns_hold_every_status_however_many_there_are() -> None:
    full = {**{str(status): 999_999 for status in Status}, "terminated": 1_234_567}
    drawn_lines = lines(View(seen(**{"a-workflow-with-a-long-name": full}), EndedRate()))
    assert max(map(len, drawn_lines)) <= WIDTH
    head, row = drawn_lines[-2:]
    assert head.split() == ["workflow", *HEADS]
    assert row.split()[1:] == ["999,999"] * 7 + ["1.23M"] and row.startswith("a-")


def test_what_does_not_fit_on_the_screen_is_counted_and_what_is_live_comes_first() -> None:
    many = {f"w-{n:03}": {"running": int(n == 77)} for n in range(100)}
    findings = tuple(Finding("warning", f"finding {n}") for n in range(9))
    overfull = replace(seen(**many), attention=findings, queues={f"q-{n}": QueueState() for n in range(20)})
    drawn_lines = lines(View(overfull, EndedRate(), outage="gone", height=HEIGHT))
    assert len(drawn_lines) <= HEIGHT
    text = "\n".join(drawn_lines)
    first = text.index("w-077")
    assert first < text.index("w-000") < text.index("w-001")
    assert re.search(r"and \d+ more: workflows doctor[\s\S]*and \d+ more[\s\S]*and \d+ more: workflows list", text)


def test_nothing_that_strangers_write_moves_the_cursor_or_colours_the_screen() -> None:
    hostile = "\x1b[2J[red]x\n\u202e"
    finding = Finding("error", f"cannot be read: {hostile}")
    said = replace(seen(), attention=(finding,), queues={hostile: QueueState(unclaimed=1)})
    text = "\n".join(lines(View(replace(said, instances={hostile: dict.fromkeys(Status, 0)}), EndedRate(), "\x1b[2J")))
    assert "\x1b" not in text and "\u202e" not in text
    assert "[red]x" in text


def test_the_rate_counts_what_has_ended_and_nothing_that_was_removed() -> None:
    rate = EndedRate()
    assert rate.per_second == 0
    for second, complete, errored in ((0, 100, 0), (2, 110, 0), (4, 10, 4), (10, 16, 4)):
        rate.add(seen(NOON + timedelta(seconds=second), order={"complete": complete, "errored": errored}))
    # 10, then 4 while 100 were removed, then 6.
    assert (rate.seconds, rate.per_second) == (10, 2.0)

"""A worker's parent with two processes and an orchestrator, scraped as Prometheus does it; and their log as JSON."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.commands import run_in
from tests.paths import packages
from workflows import Client
from workflows.dev.embedded import EmbeddedRedis
from workflows.health import namespace
from workflows.health.stages import stage_profile
from workflows.telemetry import metrics

APP = """
import logging

from workflows import App, NonRetryableError, WorkflowEntrypoint

app = App("metered", queues=["default", "gpu"])


@app.workflow
class Order(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.do("charge", lambda: 1)
        await step.do("cut", {"retries": {"limit": 1, "delay": 1}}, fail_once, queue="gpu")
        await step.wait_for_event("packed", {"type": "packed"})
        if event.payload:
            raise NonRetryableError("asked for")


def fail_once(ctx):
    if ctx.attempt == 1:
        logging.getLogger("shop").warning("about to fail", extra={"blade": "dull"})
        raise ValueError("once")
"""
PATIENCE_SECONDS = 30.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Processes:
    """A worker's parent and an orchestrator, each with a port."""

    def __init__(self, folder: Path, url: str) -> None:
        (folder / "app.py").write_text(APP)
        self._folder = folder
        self._environment = {**os.environ, "PYTHONPATH": packages(), "WORKFLOWS_REDIS_URL": url}
        self.logs = {name: folder / f"{name}.log" for name in ("worker", "orchestrator")}
        self.ports = {name: free_port() for name in self.logs}
        self.processes = {
            "worker": self._start("worker", "app:app", "-p", "2", "-c", "10", "--grace", "1", "--lease", "3"),
            "orchestrator": self._start("orchestrator", "--namespace", "metered"),
        }

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        options = ["--metrics-port", str(self.ports[name]), "--log-format", "json"]
        with self.logs[name].open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", name, *arguments, *options],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stderr=log,
            )

    def text(self, name: str) -> str:
        answer = httpx2.get(f"http://127.0.0.1:{self.ports[name]}/metrics", timeout=10)
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        return answer.raise_for_status().text

    def samples(self, name: str) -> dict[str, float]:
        found = {}
        for line in self.text(name).splitlines():
            if not line.startswith("#"):
                series, _, value = line.rpartition(" ")
                found[series] = float(value)
        return found

    def lines(self, name: str) -> list[dict[str, Any]]:
        # What comes last may not be whole yet.
        return [json.loads(line) for line in self.logs[name].read_text().splitlines(keepends=True) if line[-1] == "\n"]

    def children(self) -> list[int]:
        parent = self.processes["worker"].pid
        return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]

    def wait_for(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                if holds():
                    return
            except httpx2.HTTPError:
                pass  # not up yet
            assert time.monotonic() < deadline, self.text("worker")
            time.sleep(0.05)


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as server:
        yield server


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, server: EmbeddedRedis) -> Iterator[Processes]:
    running = Processes(tmp_path_factory.mktemp("metered"), server.url)
    try:
        running.wait_for(
            lambda: running.samples("orchestrator").get('workflows_workers{namespace="metered",queue="gpu"}') == 2
        )
        yield running
    finally:
        for process in running.processes.values():
            process.terminate()
        for process in running.processes.values():
            process.wait(PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def client(server: EmbeddedRedis, running: Processes) -> Iterator[Client]:
    with Client("metered", server.url) as client:
        yield client


@pytest.fixture(scope="module")
def work(running: Processes, client: Client) -> None:
    """Six orders that end, two of them with an error, and one that waits."""
    for n in range(7):
        client.workflow("order").create(f"o-{n}", params=n < 2)
    for n in range(6):
        client.workflow("order").get(f"o-{n}").send_event("packed", None)
    ended = 'workflows_instances_ended_total{workflow="order",outcome="%s"}'
    running.wait_for(
        lambda: (
            [running.samples("worker").get(ended % outcome) for outcome in ("complete", "errored")] == [4, 2]
            and running.samples("worker").get('workflows_instances_begun_total{workflow="order"}') == 7
            and running.samples("worker").get('workflows_attempts_total{workflow="order",queue="gpu",outcome="ok"}')
            == 7
        )
    )


pytestmark = pytest.mark.usefixtures("work")


def test_attempts_are_counted_by_queue_and_what_became_of_them(running: Processes) -> None:
    found = running.samples("worker")
    attempts = {
        re.sub(r".*queue=\"(\w+)\",outcome=\"(\w+)\".*", r"\1 \2", series): value
        for series, value in found.items()
        if series.startswith("workflows_attempts_total")
    }
    assert attempts == {"default ok": 7, "gpu retry": 7, "gpu ok": 7}
    assert found['workflows_attempt_seconds_count{workflow="order",queue="gpu"}'] == 14
    assert found['workflows_attempt_seconds_bucket{workflow="order",queue="gpu",le="+Inf"}'] == 14


def test_events_turns_and_waiting_on_queues_are_counted(running: Processes) -> None:
    found = running.samples("worker")
    assert found['workflows_events_total{workflow="order"}'] == 6
    assert sum(value for series, value in found.items() if series.startswith("workflows_turns_total")) >= 7 + 6
    assert found['workflows_queue_seconds_count{queue="default"}'] >= 7
    assert found['workflows_instance_seconds_count{workflow="order",outcome="complete"}'] == 4


def test_each_stage_of_a_step_is_timed_and_the_doctor_tells_of_all_processes(
    running: Processes, server: EmbeddedRedis, client: Client
) -> None:
    # Each process says so when it renews its lease.
    running.wait_for(lambda: stage_profile(client.store).since_start.steps == 21)
    doctor = run_in(server.url, "metered", "doctor", "--stages")
    profile = json.loads(doctor("--json").stdout)
    assert (profile["processes"], profile["silent"]) == (2, 0)
    assert profile["since_start"]["steps"] == 21
    for span in (profile["lately"], profile["since_start"]):
        found = {one["stage"]: one for one in span["stages"]}
        passes = {name: one["passes"] for name, one in found.items()}
        assert list(found) == ["queue", "claim", "thread", "callback", "outcome", "run", "engine", "redis"]
        assert passes["thread"] == passes["callback"] == passes["outcome"] == span["steps"]
        assert passes["redis"] <= passes["engine"]
    assert passes["queue"] >= 7 + 6 and passes["run"] >= 21 and passes["redis"] > 0
    assert all(one["seconds"] > 0 for name, one in found.items() if name not in ("queue", "claim"))
    assert 0 < span["busy"] < 1
    assert running.samples("worker")['workflows_stage_passes_total{stage="callback"}'] == 21
    said = doctor().stdout.splitlines()
    assert said[0].startswith("In the last minute: ") and said[1].startswith("Since they started: 21 steps; ")
    assert [line.split()[0] for line in said[4:]] == list(found)


def test_the_slots_of_all_processes_are_added_up(running: Processes) -> None:
    assert running.samples("worker")["workflows_slots"] == 20
    assert running.samples("worker")["workflows_slots_used"] == 0


def test_the_state_is_what_the_facts_say(running: Processes, client: Client) -> None:
    running.wait_for(
        lambda: (
            running.samples("orchestrator")[
                'workflows_instances{namespace="metered",workflow="order",status="waiting"}'
            ]
            == 1
        )
    )
    found = running.samples("orchestrator")
    for status, count in namespace.count_instances(client.store, "order").items():
        assert found[f'workflows_instances{{namespace="metered",workflow="order",status="{status}"}}'] == count
    assert found['workflows_redis_up{namespace="metered"}'] == 1
    assert found['workflows_orchestrators{namespace="metered"}'] == 1
    assert found['workflows_shards_unowned{namespace="metered"}'] == 0


def test_nothing_is_served_that_is_not_in_the_table_and_no_label_says_what_has_been_done(running: Processes) -> None:
    for source in ("worker", "orchestrator"):
        text = running.text(source)
        named = re.findall(r"^# TYPE (\w+) (\w+)$", text, flags=re.MULTILINE)
        kinds = dict(named)
        assert len(kinds) == len(named)
        assert all(metrics.BY_NAME[name].kind == kind for name, kind in kinds.items())
        for series, labels in re.findall(r"^(\w+)\{(.*)\} ", text, flags=re.MULTILINE):
            name = next(one for one in (series, series.rpartition("_")[0]) if one in kinds)
            given = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)
            assert {label for label, _ in given} <= {*metrics.BY_NAME[name].labels, "le"}
            assert not {"o-0", "o-6", "charge", "cut", "packed"} & {value for _, value in given}


def test_what_is_no_scrape_is_refused_and_harms_nobody(running: Processes) -> None:
    base = f"http://127.0.0.1:{running.ports['worker']}"
    assert httpx2.get(f"{base}/other").status_code == 404
    assert httpx2.post(f"{base}/metrics").status_code == 405
    for nonsense in (b"\x00" * 10_000, b"GET\r\n\r\n", b"\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", running.ports["worker"])) as raw:
            raw.sendall(nonsense)
            assert running.samples("worker")["workflows_slots"] == 20


WHERE = {"namespace", "worker", "workflow", "instance", "generation", "step", "attempt"}


def test_every_line_of_a_log_is_an_object_that_says_whose_it_is(running: Processes) -> None:
    lines = running.lines("worker")
    assert all({"ts", "level", "logger", "event", "namespace"} <= line.keys() for line in lines)
    mine = [line for line in lines if line["logger"] == "shop"]
    assert len(mine) == 7
    failed = [line for line in lines if line["event"] == "attempt failed"]
    assert len(failed) == 7
    assert all(line.keys() >= WHERE for line in (*mine, *failed))
    assert {line["blade"] for line in mine} == {"dull"}
    assert [(line["error"]["name"], line["error"]["message"]) for line in failed] == [("ValueError", "once")] * 7
    ended = [line for line in lines if line["event"] == "instance errored"]
    assert all('raise NonRetryableError("asked for")' in line["error"]["traceback"] for line in ended)
    assert {line["event"] for line in running.lines("orchestrator")} >= {"notice", "metrics served"}


def test_a_killed_process_takes_nothing_with_it_that_has_been_told(running: Processes) -> None:
    before = running.samples("worker")
    dead = running.children()[0]
    os.kill(dead, signal.SIGKILL)
    running.wait_for(lambda: running.samples("worker")["workflows_worker_deaths_total"] == 1)
    after = running.samples("worker")
    gone = {series: value for series, value in before.items() if "slots" not in series and after[series] < value}
    assert not gone
    running.wait_for(lambda: running.samples("worker")["workflows_slots"] == 20)

"""Where the time of a step goes: ``python -m benchmarks.stages``.

On servers and processes of its own it says two things that nothing in the running system has to count:

- **The way of one step**, create → result: when each script is called for the first time after ``create``, as MONITOR
  sees it, at the median of a few hundred instances. What lies between two is the Python of whoever calls the next.
- **The time of Redis by script**, in microseconds of each step, as SLOWLOG says it: with one step at a time, with many
  instances, with a row and with a fan-out.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import threading
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import redis

from benchmarks.harness import Driver
from benchmarks.subjects import OURS
from benchmarks.workloads import WORKLOADS, units
from workflows.storage.store import Script

PLAYED = ("one-step", "many", "sequence", "fan-out")
END = "end of the watch"
KEPT = 1_000_000
"""More calls than a case has."""


def names() -> dict[str, str]:
    """Of all scripts by their hashes."""
    for module in ("orchestrator.loop", "worker.engine", "workflows.client"):
        importlib.import_module(module)
    rooms = ("orchestrator", "worker", "workflows")
    modules = [module for name, module in sys.modules.items() if name.startswith(rooms)]
    values = [value for module in modules for value in vars(module).values()]
    listed = [one for value in values if isinstance(value, list) for one in value]
    return {one.sha: one.name for one in [*values, *listed] if isinstance(one, Script)}


def way(driver: Driver, line: redis.Redis, scripts: dict[str, str]) -> dict[str, float]:
    """Milliseconds after ``create`` until each script is called, in that order."""
    seen: list[tuple[float, str]] = []
    with line.monitor() as monitor:

        def watch() -> None:
            for one in monitor.listen():
                if END in one["command"]:
                    return
                if one["command"].startswith("EVALSHA"):
                    seen.append((one["time"], scripts.get(one["command"].split()[1], "?")))

        watching = threading.Thread(target=watch)
        watching.start()
        driver.play("one-step", WORKLOADS["one-step"].arguments)
        line.echo(END)
        watching.join()
    offsets: dict[str, list[float]] = defaultdict(list)
    first: dict[str, float] = {}
    for at, name in [*seen, (0.0, "create")]:
        if name == "create":
            for what, when in first.items():
                offsets[what].append((when - first["create"]) * 1000)
            first = {}
        if first or name == "create":
            first.setdefault(name, at)
    usual = [(median(times), name) for name, times in offsets.items() if len(times) > len(offsets["create"]) / 2]
    return {name: offset for offset, name in sorted(usual)}


def redis_time(
    driver: Driver, line: redis.Redis, scripts: dict[str, str], workload: str
) -> dict[str, tuple[float, float]]:
    """Calls for each step, and microseconds, by script; the dearest first."""
    line.slowlog_reset()
    driver.play(workload, WORKLOADS[workload].arguments)
    log: list[Any] = line.slowlog_get(KEPT)
    found: dict[str, list[int]] = defaultdict(list)
    for one in log:
        command, sha, *_ = [*one["command"].split(), b""]
        if command == b"EVALSHA":
            found[scripts.get(sha.decode(), "?")].append(one["duration"])
    count = units(WORKLOADS[workload].arguments)
    dearest = sorted(found.items(), key=lambda item: -sum(item[1]))
    return {name: (len(took) / count, sum(took) / count) for name, took in dearest}


def main() -> None:
    """Measure and print."""
    scripts = names()
    with (
        tempfile.TemporaryDirectory() as folder,
        Driver.open(OURS["ours"], Path(folder)) as driver,
        redis.Redis.from_url(driver.url) as line,
    ):
        print("one step, create → result: when each script is called first, ms")
        before = 0.0
        for name, offset in way(driver, line, scripts).items():
            print(f"  {name:20} {offset:6.2f}  (+{offset - before:.2f})")
            before = offset
        line.config_set("slowlog-max-len", KEPT)
        line.config_set("slowlog-log-slower-than", 0)
        for workload in PLAYED:
            found = redis_time(driver, line, scripts, workload)
            whole = sum(spent for _, spent in found.values())
            print(f"\n{WORKLOADS[workload].title}: {whole:.0f} µs of scripts in Redis for each")
            for name, (calls, spent) in found.items():
                print(f"  {name:20} {spent:7.1f} µs in {calls:.3f} calls")


if __name__ == "__main__":
    main()

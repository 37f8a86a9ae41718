"""One run: a deployment of real processes under load, and what the moves need to do things to it."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from redis.exceptions import RedisError

from tests.acceptance.processes import Cluster, Process
from tests.invariants.simulation.violation import demand
from tests.torture import checks
from tests.torture.crowd import Crowd
from tests.torture.faults import LEASE_SECONDS, Faults, Repeat, Rewind, repeats, unexplained_ends
from tests.torture.ledger import Ledger
from tests.torture.situation import situation
from workflows.dev.servers import find_servers
from workflows.errors import ServerUnavailable

WAIT_SECONDS = 60.0
LOOK_SECONDS = 0.03
ORCHESTRATORS = WORKERS = 2
USUAL_SECONDS_MIN = 4.0
"""A small instance takes a tenth of this; less would measure the machine."""
USUAL_TIMES = 10
STUCK_SHOWN = 3


class Storm:
    """Two orchestrators and two workers of two processes each, a crowd of instances, and what was done to them.

    Args:
        seed: of everything that is chosen here. What the processes make of it is never the same twice.
        folder: for logs and the ledger; empty.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        self.rng = random.Random(seed)
        self.server = self.rng.choice(list(find_servers()))
        self.fsync = self.rng.choice(("always", "everysec"))
        self.cluster = Cluster(folder, "tests.torture.apps:app", server=self.server.path)
        self.ledger = Ledger(folder)
        self.faults = Faults()
        self.moves: list[tuple[float, str]] = []
        self.repeats: list[Repeat] = []
        self.checked: Counter[str] = Counter()
        self.slowest = 0.0
        self.usual = 0.0
        self._ended: set[str] = set()
        self._told = time.monotonic()
        self.began = time.monotonic()

    def __enter__(self) -> Self:
        self.cluster.__enter__()
        self.crowd = Crowd(self.cluster.client, self.rng)
        self.set_up_redis()
        self.fill_up()
        self._file_is_written_anew()
        self.usual = sorted(self.probe() for _ in range(9))[4]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cluster.__exit__(kind, error, traceback)

    # Processes

    @property
    def orchestrators(self) -> list[Process]:
        return [one for one in self.cluster.processes if one.name.startswith("orch") and one.name not in self._ended]

    @property
    def workers(self) -> list[Process]:
        return [one for one in self.cluster.processes if one.name.startswith("worker") and one.name not in self._ended]

    def fill_up(self) -> None:
        """Start what is missing, and wait until it serves: what is started by hand and finds no Redis ends at once."""
        started = {self.cluster.orchestrator(): "for namespace" for _ in range(ORCHESTRATORS - len(self.orchestrators))}
        options = ("-p", "2", "-c", "32", "--lease", str(LEASE_SECONDS), "--unsafe")
        started |= {self.cluster.worker(*options): "worker ready" for _ in range(WORKERS - len(self.workers))}
        self.until(lambda: all(said in one.text() for one, said in started.items()), "new processes serve")

    def kill(self, process: Process) -> None:
        """SIGKILL for a process with all that it has started."""
        self._ended.add(process.name)
        self.faults.killing([process.pid, *process.children])
        process.kill()
        self.faults.killing([process.pid, *process._ever])

    def ask_to_stop(self, process: Process) -> None:
        """SIGTERM, as a supervisor would."""
        self._ended.add(process.name)
        self.faults.asking([process.pid, *process.children])
        process.ask_to_stop()

    def serving(self) -> list[int]:
        """The processes of workers that have run several things: none that is alone with a suspect."""
        self.ledger.read()
        works = Counter(pid for pid, _ in {(line.pid, line.work) for line in self.ledger.lines})
        return [pid for worker in self.workers for pid in worker.children if works[pid] > 5]

    # Redis

    def set_up_redis(self) -> None:
        """Its file is written anew after a start only, so that an earlier state is a shorter file."""
        self.cluster.redis.config_set("auto-aof-rewrite-percentage", 0)
        self.cluster.redis.config_set("appendfsync", self.fsync)

    def _file_is_written_anew(self) -> None:
        """By an orchestrator. A crash before may bring back the half of a script that the last one has torn (F57)."""
        told = "aof_last_rewrite_time_sec"
        self.until(lambda: self.cluster.redis.info("persistence")[told] >= 0, "the file is written anew")

    def redis_is_back(self, to: float) -> None:
        """It was started again, on a file of that moment; or on one of two seconds before, which a disk that is busy
        may hold back unless Redis writes before it answers."""
        to -= 0.0 if self.fsync == "always" else 2.0
        self.faults.rewinds.append(Rewind(to, time.time()))
        self.crowd.rewound(to)
        self.set_up_redis()
        self._file_is_written_anew()

    # Load

    def probe(self) -> float:
        """Run a small instance. Returns: seconds from its creation until its result is there."""
        member = self.crowd.add("branches", 9, steps=3, seconds=0.0)
        begin = time.monotonic()
        self.crowd.create()
        self.until(lambda: member.ended_at, "a small instance ends")
        return time.monotonic() - begin

    def goes_on_as_usual(self, beside: str) -> None:
        took = self.probe()
        most = max(USUAL_SECONDS_MIN, USUAL_TIMES * self.usual)
        demand(took < most, f"a small instance took {took:.1f} s {beside}, {self.usual:.2f} s is usual")
        self.slowest = max(self.slowest, took)
        self.checked["small instances beside a large one"] += 1

    def lines_more(self, count: int) -> None:
        """Wait until that much more was noted."""
        wanted = len(self.ledger.lines) + count
        self.until(lambda: self.ledger.read() >= wanted, f"{count} more happenings")

    def pass_time(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end, "time passes")

    def until(self, holds: Callable[[], object], what: str, seconds: float = WAIT_SECONDS) -> None:
        """Wait for a condition, and look after everything meanwhile."""
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() >= deadline:
                self._tell_of_stuck_ones()
                raise AssertionError(f"not within {seconds:.0f} s: {what}. {self.crowd.stuck()}")
            try:
                self.crowd.tend()
            except (ServerUnavailable, RedisError):
                pass
            self.ledger.read()
            self._tell()
            self._all_alive()
            time.sleep(LOOK_SECONDS)

    def _tell_of_stuck_ones(self) -> None:
        """All that may say why; the logs follow by themselves."""
        store = self.cluster.client.store
        for member in self.crowd.pending_ones[:STUCK_SHOWN]:
            instance = store.keys.instance(member.workflow, member.id)
            print(situation(store, instance, self.cluster.processes), file=sys.stderr)

    # In the end

    def calm_down(self) -> None:
        """Everything comes to its end, everybody stops politely, and the books are balanced."""
        self.fill_up()
        self.until(lambda: not self.crowd.pending, "every instance ends")
        for process in [*self.workers, *self.orchestrators]:
            self.ask_to_stop(process)
        for process in self.cluster.processes:
            if process.pid not in self.faults.killed:
                demand(process.wait() == 0, f"{process.name} ended badly")
        self.balance()

    def balance(self) -> None:
        self.ledger.read()
        lines = self.ledger.lines
        hurt = [one.id for one in self.crowd.members.values() if one.hurt]
        self.checked["idempotency keys, each of one step"] = checks.keys_stand_for_one_step(lines)
        self.checked["settled steps, none run again"] = checks.settled_is_settled(lines, self.faults, hurt)
        self.repeats = list(repeats([one for one in lines if one.step[1] not in hurt], self.faults))
        wrong = [one for one in self.repeats if not one.cause]
        demand(not wrong, f"{len(wrong)} run again without a reason: {wrong[:3]}")
        asked = self.faults.asked
        self.checked["steps ended by who was to stop"] = sum(
            line.what == "end" and line.at > asked.get(line.pid, line.at) for line in lines
        )
        left = unexplained_ends(self.cluster.processes, self.faults, lines)
        demand(not left, f"processes ended by themselves: {left}")
        self.cluster.check_logs()

    def _all_alive(self) -> None:
        for process in [*self.workers, *self.orchestrators]:
            demand(process.alive, f"{process.name} has ended by itself")

    def _tell(self) -> None:
        if time.monotonic() - self._told > 1 and sys.stdout.isatty():
            self._told = time.monotonic()
            print(f"\r{self.sum()}", end="", flush=True)

    @property
    def version(self) -> str:
        return f"{'.'.join(map(str, self.server.version))}, appendfsync {self.fsync}"

    def report(self) -> list[str]:
        """What was done, what it cost, and what was looked at."""
        causes = Counter(one.cause for one in self.repeats)
        again = ", ".join(f"{count} after {cause}" for cause, count in sorted(causes.items())) or "none"
        made = Counter(name for _, name in self.moves)
        during = Counter(self._move_at(one.line.at) for one in self.repeats)
        return [
            *(f"{count:4} x {name:32} {during[name]:6} steps run again" for name, count in sorted(made.items())),
            f"no violation: {self.crowd.ended} instances ended well, {self.crowd.lost} of them created once more",
            f"steps run again: {again}; without one of these, as after drains: none",
            f"a small instance took {self.slowest:.2f} s at most beside others, {self.usual:.2f} s is usual",
            f"checked: {', '.join(f'{count} {what}' for what, count in sorted(self.checked.items()))}",
        ]

    def _move_at(self, moment: float) -> str:
        return next((name for begin, name in reversed(self.moves) if begin <= moment), "")

    def sum(self) -> str:
        seconds = time.monotonic() - self.began
        crowd = self.crowd
        return f"{seconds:5.1f} s  {crowd.ended} ended, {crowd.pending} under way, {len(self.ledger.lines)} happenings"

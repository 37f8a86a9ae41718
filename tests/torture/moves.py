"""What is done to the processes, to Redis and to instances in a storm. Each waits until the storm has got over it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from redis.exceptions import RedisError

from tests.processes import is_there
from tests.spoiling import drawn, spoil
from tests.torture.crowd import Member
from tests.torture.faults import LEASE_SECONDS
from tests.torture.storm import Storm
from workflows.client import WorkflowInstance
from workflows.errors import InstanceError, PayloadError, ResultTimeout
from workflows.health import namespace as diagnosis
from workflows.storage.status import FINAL

FULL_BYTES = 200_000
BALLAST = "x" * 100_000
GRACE_EXIT_SECONDS = 40.0

Move = Callable[[Storm], None]


# Processes


def kill_process(storm: Storm) -> None:
    """SIGKILL for one process of a worker: its parent starts another."""
    storm.crowd.feed(40)
    storm.lines_more(60)
    pid = storm.rng.choice(storm.serving())
    storm.faults.killing([pid])
    _send(pid, signal.SIGKILL)
    storm.crowd.feed(10)
    storm.lines_more(60)


def kill_worker(storm: Storm) -> None:
    """SIGKILL for a worker with its parent, and another takes its place."""
    storm.crowd.feed(40)
    storm.lines_more(60)
    storm.kill(storm.rng.choice(storm.workers))
    storm.crowd.feed(10)
    storm.lines_more(30)
    storm.fill_up()


def kill_orchestrator(storm: Storm) -> None:
    storm.crowd.feed(20)
    storm.kill(storm.rng.choice(storm.orchestrators))
    storm.crowd.feed(10)
    storm.lines_more(30)
    storm.fill_up()


def freeze(storm: Storm) -> None:
    """SIGSTOP for a worker with its processes, sometimes for longer than its lease."""
    storm.crowd.feed(40)
    storm.lines_more(40)
    worker = storm.rng.choice(storm.workers)
    pids = [worker.pid, *worker.children]
    begin = time.time()
    worker.freeze()
    storm.pass_time(storm.rng.choice((0.5, LEASE_SECONDS + 1.5)))
    worker.thaw()
    for pid in pids:
        # What it had in hand may come to light a little later.
        storm.faults.frozen.setdefault(pid, []).append((begin, time.time() + LEASE_SECONDS))
    storm.crowd.feed(10)
    storm.lines_more(20)


def drain(storm: Storm) -> None:
    """SIGTERM for a worker while many turns and eager births are under way: it ends well, nothing is repeated."""
    storm.crowd.feed(80)
    storm.lines_more(100)
    leaving = storm.rng.choice(storm.workers)
    storm.ask_to_stop(leaving)
    storm.crowd.feed(20)
    storm.until(lambda: not leaving.alive, f"{leaving.name} ends", GRACE_EXIT_SECONDS)
    storm.fill_up()


def drain_process(storm: Storm) -> None:
    """The same for a single process, behind the back of its parent."""
    storm.crowd.feed(80)
    storm.lines_more(100)
    pid = storm.rng.choice(storm.serving())
    storm.faults.asking([pid])
    _send(pid, signal.SIGTERM)
    storm.until(lambda: not is_there(pid), f"process {pid} ends", GRACE_EXIT_SECONDS)
    storm.crowd.feed(10)
    storm.lines_more(20)


def two_killers(storm: Storm) -> None:
    """Two steps that end their process beside healthy long ones: only they are blamed."""
    rng = storm.rng
    ours = [storm.crowd.add("long", "well", seconds=rng.uniform(2, 4), plain=rng.random() < 0.5) for _ in range(6)]
    ours += [storm.crowd.add("killer", "PoisonError", how=rng.choice(("exit", "signal"))) for _ in range(2)]
    storm.crowd.feed(20)
    _all_end(storm, ours, "killers and those beside them")
    storm.checked["healthy steps beside killers"] += 6


# Redis


def crash_redis(storm: Storm) -> None:
    """SIGKILL for the server, which reads its file back: with ``always`` in it is all that was ever answered."""
    storm.crowd.feed(40)
    storm.lines_more(60)
    killed = time.time()
    storm.cluster.crash_redis()
    storm.redis_is_back(killed)
    storm.crowd.feed(20)
    storm.lines_more(40)


def rewind(storm: Storm) -> None:
    """The server is killed, and its file is as long as it was a moment ago; sometimes all workers die with it."""
    storm.crowd.feed(60)
    storm.lines_more(40)
    file = append_only_file(storm.cluster.redis_server.directory)
    then, length = time.time(), file.stat().st_size
    storm.crowd.feed(30)
    storm.pass_time(storm.rng.uniform(0.2, 1.5))
    storm.cluster.redis_server.kill()
    os.truncate(file, min(file.stat().st_size, length + storm.rng.choice((0, storm.rng.randint(0, 50_000)))))
    if storm.rng.random() < 0.3:
        for worker in storm.workers:
            storm.kill(worker)
    storm.cluster.redis_server.start()
    storm.redis_is_back(then)
    storm.fill_up()
    storm.crowd.feed(20)
    storm.lines_more(40)


def full_redis(storm: Storm) -> None:
    """No room for a while: what is under way waits, and a worker or an orchestrator is killed or stopped meanwhile."""
    storm.crowd.feed(60)
    storm.lines_more(40)
    redis = storm.cluster.redis
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] + FULL_BYTES)
    try:
        _fill(storm)
        if storm.rng.random() < 0.3:
            storm.ask_to_stop(storm.rng.choice(storm.workers))
        storm.pass_time(storm.rng.uniform(1, 4))
    finally:
        redis.config_set("maxmemory", 0)
    storm.fill_up()
    storm.probe()


def _fill(storm: Storm) -> None:
    for _ in range(50):
        member = storm.crowd.add("branches", 9, steps=3, seconds=0.0, ballast=BALLAST)
        storm.crowd.create()
        if not member.created:
            storm.checked["refusals of a full Redis"] += 1
            return
    raise AssertionError("Redis takes more than it has room for")


# Instances


def garbage(storm: Storm) -> None:
    """Random bytes or another type in any one key: at most the instance suffers whose key it is, and that is told."""
    storm.crowd.feed(40)
    storm.lines_more(40)
    key, spoilt = _any_key(storm), drawn(storm.rng)
    victim = _owner_of(storm, key)
    was = storm.crowd.said(victim) if victim else ""
    if victim is None:
        storm.faults.garbage.append(time.time())
    spoil(storm.cluster.redis, key, spoilt)
    what = f"garbage in {key!r} ({spoilt}, {was})"
    storm.checked["garbage in an instance" if victim else "garbage elsewhere"] += 1
    others = [storm.crowd.add("branches", 1_009, event=True, steps=3, seconds=0.05) for _ in range(5)]
    _all_end(storm, others, f"everybody else, with {what},")
    if victim is not None:
        # Nobody but its readers meets what stands in one that has ended.
        readers = any(f": {status}, " in was for status in FINAL)
        storm.until(lambda: _is_told_or_unhurt(storm, victim, readers), f"{what} is told of")
        storm.crowd.of(victim).delete()


def _any_key(storm: Storm) -> bytes:
    """Of an instance, mostly of one that is under way, as often as of a shard, the namespace or RQ."""
    names = sorted(storm.cluster.redis.scan_iter(count=1_000))
    ours = [name for name in names if b"}:i:" in name]
    live = {member.id.encode() for member in storm.crowd.members.values() if not member.ended_at}
    under_way = [name for name in ours if name.partition(b"}:i:")[2].split(b":")[1] in live]
    others = [name for name in names if b"}:i:" not in name]
    return storm.rng.choice(storm.rng.choice([kind for kind in (under_way or ours, others) if kind]))


def _owner_of(storm: Storm, key: bytes) -> Member | None:
    _, _, rest = key.decode(errors="replace").partition("}:i:")
    return storm.crowd.hurt(rest.split(":")[1]) if rest else None


def _is_told_or_unhurt(storm: Storm, victim: Member, readers: bool) -> bool:
    try:
        said = [one.message for one in diagnosis.report(storm.cluster.client.store).findings()]
    except RedisError:
        return False  # somebody took a key away while it looked
    if any(f"/{victim.id} is paused" in line or f":{victim.id}:" in line for line in said):
        return True
    try:
        if victim.event and not readers:
            storm.crowd.of(victim).send_event("go", 1_000, id=f"go-{victim.id}")
        # What it does not need again may be whatever it is.
        return storm.crowd.of(victim).result(timeout=0) == victim.expected
    except ResultTimeout:
        return False
    except (InstanceError, PayloadError):
        return readers


def large(storm: Storm) -> None:
    """One large instance is paused, resumed, restarted, ended or deleted; small ones take as long as ever."""
    of = storm.rng.choice(("waits", "steps", "bytes", "mail"))
    count = {"waits": 3_000, "steps": 1_500, "bytes": 1_040_000, "mail": 1_500}[of]
    expected = sum(range(count)) if of == "mail" else count
    member = storm.crowd.add("large", expected, of=of, count=count)
    storm.crowd.create()
    instance = storm.crowd.of(member)
    storm.until(lambda: instance.status().status != "queued", "a large instance begins")
    storm.goes_on_as_usual(f"beside {count} {of}")
    if of == "mail":
        _write_to(storm, instance, count)
    for verb in storm.rng.sample(("pause", "restart", "pause"), storm.rng.randint(1, 3)):
        _steer(storm, instance, verb, f"of {count} {of}")
    if of == "waits" or storm.rng.random() < 0.4:
        storm.crowd.leave_out(member)
        for verb in storm.rng.choice((("terminate", "delete"), ("delete",))):
            _steer(storm, instance, verb, f"of {count} {of}")
        return
    if of == "mail":
        _write_to(storm, instance, count)
        instance.send_event("read")
    _all_end(storm, [member], f"{count} {of}")


def _steer(storm: Storm, instance: WorkflowInstance, verb: str, of: str) -> None:
    try:
        getattr(instance, verb)()
        storm.goes_on_as_usual(f"at the {verb} {of}")
        if verb == "pause":
            instance.resume()
            storm.goes_on_as_usual(f"when it was resumed {of}")
    except InstanceError as error:
        # It may have come to its end by itself.
        if instance.status().status not in ("complete", "errored"):
            raise AssertionError(f"{verb} {of}: {error}") from error
    storm.checked[f"{verb} of a large instance"] += 1


def _write_to(storm: Storm, instance: WorkflowInstance, count: int) -> None:
    """A long mailbox, through the inbox."""
    redis, inbox = storm.cluster.redis, f"{storm.cluster.namespace}:inbox"
    with redis.pipeline(transaction=False) as pipeline:
        for n in range(count):
            fields = {"op": "event", "workflow": instance.workflow, "id": instance.id, "type": "mail", "payload": n}
            pipeline.xadd(inbox, fields)
        pipeline.execute()
    storm.until(lambda: not redis.exists(inbox), f"{count} events are taken from the inbox")


def append_only_file(home: Path) -> Path:
    """The one that grows, in a server's directory: of Redis 6.2 there is one, of later versions the last one counts."""
    several = sorted((home / "appendonlydir").glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[-3]))
    return several[-1] if several else home / "appendonly.aof"


def _all_end(storm: Storm, members: list[Member], who: str) -> None:
    storm.crowd.create()
    storm.until(lambda: all(one.ended_at for one in members), f"{who} end")


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # It has ended by itself meanwhile.


MOVES: Final[dict[str, Move]] = {
    "a process killed": kill_process,
    "a worker killed with its parent": kill_worker,
    "an orchestrator killed": kill_orchestrator,
    "a worker frozen": freeze,
    "a worker drained": drain,
    "a process drained": drain_process,
    "two killers": two_killers,
    "Redis killed": crash_redis,
    "Redis rewound": rewind,
    "Redis full": full_redis,
    "garbage": garbage,
    "a large instance": large,
}

"""Everything that decides whether an instance moves, as it stands in Redis: for the report of one that does not."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from tests.acceptance.processes import Process, alive
from workflows.storage import doorbell, keys
from workflows.storage.keys import Instance, Intent
from workflows.storage.records import open_record
from workflows.storage.store import Store, unpackb

SHOWN = 20
MOMENTS = 1e12
"""Scores from here on are milliseconds since the epoch, and shown by how far off they are."""


def situation(store: Store, instance: Instance, running: list[Process]) -> str:
    """The instance, its shard, its doorbells, and who is there to do something about it."""
    lines = [f"--- {instance.workflow}/{instance.id}, shard {instance.shard}, at {time.time():.3f}"]
    for part in (_of_instance, _of_shard, _of_doorbells, _of_namespace):
        try:
            lines += part(store, instance, _server_ms(store))
        except Exception as error:  # Whatever is wrong there, it is the rest that may say why.
            lines.append(f"{part.__name__}: {error}")
    lines += [f"{one.name} pid {one.pid}: {'alive' if one.alive else 'ended'}, {_states(one)}" for one in running]
    return "\n".join(lines)


def _of_instance(store: Store, instance: Instance, now: int) -> Iterator[str]:
    header, journal, records, _, _, queues = store.keys.of_instance(instance)
    yield f"header: {_hash(store, header, now)}"
    entries = store.commands([["LRANGE", journal, 0, -1]])[0]
    yield f"journal: {len(entries)}, {[entry[:60] for entry in entries[:SHOWN]]}"
    for seq, blob in list(store.fields(records).items())[:SHOWN]:
        yield f"open {seq.decode()}: {open_record(unpackb(blob))}"
    yield f"queues: {_scored(store, queues, now)}"


def _of_shard(store: Store, instance: Instance, now: int) -> Iterator[str]:
    for name in ("timers", "intents", "held", "workers", "retire", "aside", "unfinished", "index"):
        yield f"{name}: {_scored(store, store.keys.shard_key(instance.shard, name), now)}"
    for name in ("owner", "relay"):
        yield f"{name}: {_hash(store, store.keys.shard_key(instance.shard, name), now)}"
    yield f"wake: {store.command('LRANGE', store.keys.shard_key(instance.shard, 'wake'), 0, -1)}"


def _of_doorbells(store: Store, instance: Instance, now: int) -> Iterator[str]:
    members = store.command("ZRANGE", store.keys.shard_key(instance.shard, "intents"), 0, SHOWN - 1)
    intents = [Intent.parse(member) for member in members]
    for name in sorted({store.keys.queue(queue) for queue in ("default", *(one.queue for one in intents))}):
        for key in (keys.rq_queue(name), keys.rq_handover(name)):
            yield f"{key}: {store.command('LLEN', key)}, {store.command('LRANGE', key, 0, SHOWN - 1)}"
    for intent in intents:
        id = doorbell.job_id(instance.shard, intent)
        yield f"doorbell {id}: {_hash(store, keys.rq_job_prefix() + id, now)}"


def _of_namespace(store: Store, instance: Instance, now: int) -> Iterator[str]:
    yield f"orchestrators: {_scored(store, store.keys.orchestrators, now)}"
    for shard in range(store.keys.shards):
        workers, owner = (store.keys.shard_key(shard, name) for name in ("workers", "owner"))
        yield f"shard {shard}: owner {_hash(store, owner, now)}, workers {_scored(store, workers, now)}"
    yield f"worker processes: {_hash(store, store.keys.processes, now)}"
    server: Mapping[str, Any] = store.redis.info("server")  # type: ignore[assignment]
    yield f"Redis up for {server['uptime_in_seconds']} s, run {server['run_id']}"


def _server_ms(store: Store) -> int:
    seconds, micros = store.command("TIME")
    return int(seconds) * 1000 + int(micros) // 1000


def _scored(store: Store, key: str, now: int) -> str:
    count, found = store.commands([["ZCARD", key], ["ZRANGE", key, 0, SHOWN - 1, "WITHSCORES"]])
    shown = [f"{member.decode(errors='replace')} {_moment(score, now)}" for member, score in found]
    return f"{count} {shown}"


def _hash(store: Store, key: str, now: int) -> dict[str, str]:
    return {name.decode(errors="replace"): _moment(value, now) for name, value in store.fields(key).items()}


def _moment(value: bytes | float, now: int) -> str:
    """As it is; a moment by how far off it is."""
    text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else f"{value:g}"
    try:
        number = float(value)
    except ValueError:
        return text[:200]
    return f"{(number - now) / 1000:+.3f} s" if number > MOMENTS else text


def _states(process: Process) -> str:
    return ", ".join(f"{pid} {'alive' if alive(pid) else 'ended'}" for pid in process.children)

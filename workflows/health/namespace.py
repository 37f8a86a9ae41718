"""What moves the instances of a namespace, and what stands in their way: the second half of ``workflows doctor``.

Reads only. RQ's own look-ups of workers and registries tidy up while they look, so its sets are read directly
(``queues.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import redis

from workflows.health.counts import count_by_workflow, counted
from workflows.health.queues import QueueState, service
from workflows.health.server import Finding, Level
from workflows.storage import aside
from workflows.storage.keys import (
    Held,
    Intent,
    Keyed,
    Listed,
    Retiring,
    Stream,
    Timer,
    Unfinished,
    checked_name,
    index_line,
    relay_parent,
)
from workflows.storage.manifest import Manifest, OtherCode, load_manifest, other_code
from workflows.storage.status import LIVE, Status
from workflows.storage.store import Store
from workflows.values.durations import format_ms

# Looked at per shard: enough to see what is wrong, bounded on a shard with a million of them.
PAUSED_PER_SHARD: Final = 100
PAUSED_SHOWN: Final = 20
NOTES_PER_SHARD: Final = 100
ASIDE_SHOWN: Final = 20
WAY_OUT: Final = "Find out who wrote it; mend or delete the instance if it names one. Notes go after 30 days"
WORKFLOWS_PER_SHARD: Final = 1000
# Of each of a shard's keys, at either end.
MEMBERS_LOOKED_AT: Final = 100
PARTS: Final[Mapping[str, Callable[[bytes], object]]] = {
    "timers": Timer.parse,
    "intents": Intent.parse,
    "held": Held.parse,
    "workers": checked_name,
    "relay": relay_parent,
    "index": index_line,
    "retire": Retiring.parse,
    "unfinished": Unfinished.parse,
    "keyed": Keyed.parse,
}
# An intent is due again two seconds after it was handed out; one overdue for this long is not handed out at all.
OVERDUE_MS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Requests:
    """A stream of requests.

    Attributes:
        waiting: those that no orchestrator has taken yet.
        refused: the refused ones that are kept, and where; ``reason``: that of the newest.
    """

    waiting: int
    refused: int
    refused_key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Parked:
    """A paused instance that says why."""

    workflow: str
    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """A namespace at one moment.

    Attributes:
        orchestrators: names of those alive.
        shards, owned_shards: how many there are, and how many some orchestrator tends.
        queues: what waits on each queue, and who serves it; without the namespace.
        code: code version by app.
        other_code: code that is at work although another version of its app is published.
        unreadable: apps whose manifest this version cannot read.
        instances: how many there are in each status.
        orphans: the same by workflow, for workflows that no registered app has.
        inboxes: the shared stream of requests and those of the producers, by key.
        parked: instances that are paused with a reason, some of them when there are many.
        notes: what could not be read, the newest of each shard.
        whole: False when some key was of the wrong type, so that nothing but ``notes`` is known.
        channel: where plain PUBLISH is listened to, and ``listeners``: by how many orchestrators.
    """

    namespace: str
    orchestrators: tuple[str, ...]
    shards: int
    owned_shards: int
    queues: Mapping[str, QueueState]
    code: Mapping[str, str]
    other_code: tuple[OtherCode, ...]
    unreadable: tuple[str, ...]
    instances: Mapping[str, int]
    orphans: Mapping[str, Mapping[str, int]]
    inboxes: Mapping[str, Requests]
    parked: tuple[Parked, ...]
    notes: tuple[aside.Note, ...]
    channel: str
    listeners: int
    whole: bool = True

    def findings(self) -> list[Finding]:
        """What is worth saying, each with the way out."""
        if not self.whole:
            return self._aside()
        return [
            *self._code(),
            *self._orchestrators(),
            *self._workers(),
            Finding("ok", f"published events: channel {self.channel}, {self.listeners} listening"),
            *self._inboxes(),
            *self._unclaimed(),
            *self._instances(),
            *self._orphans(),
            *self._aside(),
            *(
                Finding(
                    "warning",
                    f"{one.workflow}/{one.id} is paused: {one.reason.rstrip('.')}. Resume it when that is mended",
                )
                for one in self.parked[:PAUSED_SHOWN]
            ),
        ]

    def _aside(self) -> list[Finding]:
        newest = sorted(self.notes, key=lambda note: -note.at_ms)
        found = [Finding("warning", f"cannot be read: {note}. {WAY_OUT}") for note in newest[:ASIDE_SHOWN]]
        if len(newest) > ASIDE_SHOWN:
            found.append(Finding("warning", f"{len(newest) - ASIDE_SHOWN} more things cannot be read"))
        return found

    @property
    def _live(self) -> int:
        return sum(self.instances.get(status, 0) for status in LIVE)

    def _code(self) -> list[Finding]:
        if self.unreadable:
            apps = ", ".join(self.unreadable)
            return [Finding("error", f"the manifest of {apps} cannot be read by this version: register it again")]
        if not self.code:
            way_out = "start a worker, or run `workflows register`"
            return [Finding("warning", f"namespace {self.namespace} has no registered app: {way_out}")]
        return [
            *(Finding("ok", f"app {app}, code version {version}") for app, version in self.code.items()),
            *(
                Finding(
                    "warning",
                    f"workers with code version {one.code} of app {one.app} are at work as well: that should pass with "
                    "a deploy; otherwise deploy the same code everywhere, or `workflows register` what shall count",
                )
                for one in self.other_code
            ),
        ]

    def _orchestrators(self) -> list[Finding]:
        if not self.orchestrators:
            level: Level = "error" if self._live else "warning"
            return [Finding(level, "no orchestrator is running: start `workflows orchestrator`")]
        found = [Finding("ok", f"orchestrators: {', '.join(self.orchestrators)}")]
        if self.owned_shards < self.shards:
            idle = self.shards - self.owned_shards
            found.append(
                Finding("warning", f"{idle} of {self.shards} shards have no owner; that should pass within 10 seconds")
            )
        return found

    def _workers(self) -> list[Finding]:
        found = []
        for queue, state in sorted(self.queues.items()):
            if state.workers:
                found.append(Finding("ok", f"queue {queue}: served by {', '.join(state.workers)}"))
            else:
                level: Level = "error" if state.unclaimed else "warning"
                found.append(Finding(level, f"no worker serves queue {queue}: start `workflows worker APP -q {queue}`"))
        return found

    def _inboxes(self) -> list[Finding]:
        found = []
        for key, requests in self.inboxes.items():
            text = f"inbox {key}: {requests.waiting} waiting, {requests.refused} refused"
            if requests.refused:
                text += f" and kept in {requests.refused_key}, the newest because: {requests.reason.rstrip('.')}"
            found.append(Finding("warning" if requests.refused else "ok", text))
        return found

    def _unclaimed(self) -> list[Finding]:
        found = []
        for queue, state in sorted(self.queues.items()):
            if not state.unclaimed:
                continue
            late = state.overdue_ms > OVERDUE_MS
            text = f"queue {queue}: {state.unclaimed} unclaimed"
            if late:
                text += f", not handed out for {format_ms(state.overdue_ms // 1000 * 1000)}"
            found.append(Finding("warning" if late else "ok", text))
        return found

    def _instances(self) -> list[Finding]:
        return [Finding("ok", f"instances: {_listed(self.instances) or 'none'}")]

    def _orphans(self) -> list[Finding]:
        found = []
        for name, counts in sorted(self.orphans.items()):
            live = sum(counts.get(status, 0) for status in LIVE)
            text = f"workflow {name} is in no registered app, but has instances: {_listed(counts)}"
            if live:
                text += (
                    ". They cannot go on: start a worker whose code has it, or end them with "
                    f"`workflows instances terminate {name} ID` or `… delete {name} ID` "
                    f"(`workflows instances list {name}` shows the ids)"
                )
            found.append(Finding("error" if live else "ok", text))
        return found


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count)


def report(store: Store) -> Report:
    """Look at a namespace. While a key is of the wrong type, that is all it says: an orchestrator takes it away."""
    notes = _displaced(store, aside.types(store.keys))
    if notes:
        return _only(store, notes)
    kept = (note for shard in range(store.keys.shards) for note in aside.notes(store, shard, NOTES_PER_SHARD)[1])
    manifest = load_manifest(store)
    streams = store.keys.inboxes(manifest.producers)
    keys = {key: "stream" for stream in streams for key in (stream.key, stream.refused)}
    notes = (*kept, *_unreadable(store), *_displaced(store, keys))
    seen = service(store, manifest.queues())
    return Report(
        namespace=store.keys.namespace,
        orchestrators=tuple(seen.around.orchestrators),
        notes=notes,
        shards=store.keys.shards,
        owned_shards=seen.around.owned_shards,
        queues=seen.queues,
        code=_code(manifest),
        other_code=tuple(other_code(store, seen.around.now_ms)),
        unreadable=manifest.unreadable,
        instances=count_instances(store),
        orphans=orphans(store, manifest),
        inboxes={stream.key: _requests(store, stream) for stream in streams},
        parked=tuple(parked(store)),
        channel=store.events_channel,
        listeners=_listeners(store),
    )


def _displaced(store: Store, wanted: Mapping[str, str]) -> tuple[aside.Note, ...]:
    """Keys whose type is wrong at this moment."""
    found = store.commands([["TYPE", key] for key in wanted])
    kinds = [kind.decode() if isinstance(kind, bytes) else str(kind) for kind in found]
    return tuple(
        aside.Note(key, "", f"is a {kind} and should be a {type}; an orchestrator takes it away", 0)
        for (key, type), kind in zip(wanted.items(), kinds, strict=True)
        if kind not in ("none", type)
    )


def _unreadable(store: Store) -> list[aside.Note]:
    """Members that nobody can read and, where they stand, perhaps nobody will: a key that is read by prefix is not read
    as a whole. At both ends of each key, so that it costs little however much there is. What stands between is not
    named before the orchestrator meets it, when its turn comes, and sets it aside: then it is among the notes."""
    places = [
        (store.keys.keyed(n) if name == "keyed" else store.keys.shard_key(n, name), parse)
        for n in range(store.keys.shards)
        for name, parse in PARTS.items()
    ]
    with store.redis.pipeline(transaction=False) as pipeline:
        for key, _ in places:
            if key.endswith(":relay"):
                # Without their values, which may be large.
                pipeline.hrandfield(key, MEMBERS_LOOKED_AT)
            else:
                pipeline.zrange(key, 0, MEMBERS_LOOKED_AT - 1)
                pipeline.zrange(key, -MEMBERS_LOOKED_AT, -1)
        answers = iter(pipeline.execute())
    notes = []
    for key, parse in places:
        members = next(answers) if key.endswith(":relay") else dict.fromkeys([*next(answers), *next(answers)])
        for member in members:
            try:
                parse(member)
            except ValueError as error:
                notes.append(
                    aside.Note(key, aside.shown(member), f"{str(error).partition(':')[0]}, and stands there", 0)
                )
    return notes


def _only(store: Store, notes: tuple[aside.Note, ...]) -> Report:
    nothing: Any = {}
    return Report(
        namespace=store.keys.namespace,
        orchestrators=(),
        shards=store.keys.shards,
        owned_shards=0,
        queues=nothing,
        code=nothing,
        other_code=(),
        unreadable=(),
        instances=nothing,
        orphans=nothing,
        inboxes=nothing,
        parked=(),
        channel=store.events_channel,
        listeners=0,
        whole=False,
        notes=notes,
    )


def _requests(store: Store, stream: Stream) -> Requests:
    try:
        waiting, refused, newest = store.commands(
            [["XLEN", stream.key], ["XLEN", stream.refused], ["XREVRANGE", stream.refused, "+", "-", "COUNT", 1]]
        )
    except redis.ResponseError:
        return Requests(0, 0, stream.refused, "")  # of another type, as the notes say
    reason = (newest[0][1] or {}).get(b"reason", b"") if newest else b""
    return Requests(int(waiting), int(refused), stream.refused, aside.shown(reason))


def _listeners(store: Store) -> int:
    answer: Any = store.redis.pubsub_numsub(store.events_channel)
    return int(answer[0][1])


def count_instances(store: Store, workflow: str | None = None) -> dict[str, int]:
    """How many instances there are in each status, of one workflow or of all."""
    (counts,) = counted(store, [workflow])
    return counts


def orphans(store: Store, manifest: Manifest) -> dict[str, dict[str, int]]:
    """How many instances there are in each status, of workflows that no registered app has."""
    if manifest.unreadable:
        return {}  # they may be in what cannot be read
    strange = sorted(_workflows_with_instances(store) - set(manifest.workflows))
    return count_by_workflow(store, strange)


def _workflows_with_instances(store: Store) -> set[str]:
    """From the indexes, one look per workflow and status, however many instances there are."""
    found: set[str] = set()
    behind = {(shard, status): f"[{status}|".encode() for shard in range(store.keys.shards) for status in Status}
    for _ in range(WORKFLOWS_PER_SHARD):
        with store.redis.pipeline(transaction=False) as pipeline:
            for (shard, status), start in behind.items():
                end = f"({status}|".encode() + b"\xff"
                pipeline.zrangebylex(store.keys.shard_key(shard, "index"), start, end, 0, 1)
            firsts = dict(zip(behind, pipeline.execute(), strict=True))
        behind = {}
        for place, members in firsts.items():
            if members:
                name = members[0].split(b"|")[1] if members[0].count(b"|") else b""
                found.add(name.decode(errors="backslashreplace"))
                behind[place] = f"({place[1]}|".encode() + name + b"|\xff"
        if not behind:
            break
    return found


def server_ms(store: Store) -> int:
    """The server's time, by which leases are counted."""
    seconds, microseconds = store.redis.time()
    return int(seconds * 1000 + microseconds // 1000)


def _code(manifest: Manifest) -> dict[str, str]:
    return {app: str(body.get("code", "unknown")) for app, body in manifest.apps.items()}


def parked(store: Store) -> list[Parked]:
    """Those that are paused with a reason, among the first hundred paused ones of each shard."""
    prefix = f"{Status.PAUSED}|".encode()
    with store.redis.pipeline(transaction=False) as pipeline:
        for shard in range(store.keys.shards):
            index = store.keys.shard_key(shard, "index")
            pipeline.zrangebylex(index, b"[" + prefix, b"(" + prefix + b"\xff", 0, PAUSED_PER_SHARD)
        members = [member for found in pipeline.execute() for member in found]
    paused = []
    for member in members:
        with suppress(ValueError):  # the notes say what is wrong with it
            _, workflow, _, id = Listed.parse(member)
            paused.append(store.keys.instance(workflow, id))
    with store.redis.pipeline(transaction=False) as pipeline:
        for instance in paused:
            pipeline.hmget(store.keys.header(instance), "want", "reason")
        headers: Any = pipeline.execute(raise_on_error=False) if paused else []
    found = []
    for instance, header in zip(paused, headers, strict=True):
        if not isinstance(header, Exception) and header[0] == b"park":
            reason = header[1].decode(errors="backslashreplace") if header[1] else "parked"
            found.append(Parked(instance.workflow, instance.id, reason))
    return found

"""Every Redis key this library uses is built here, and nowhere else.

All keys of one shard carry the shard's hash tag, ``{namespace/07}``, so one script may touch an instance together
with its shard's indexes, and Redis Cluster stays possible. ``T`` below is that tag, ``I`` is ``T:i:<workflow>:<id>``.
Names cannot contain ``:``, ``|``, ``{`` or ``}`` (``names.py`` refuses them), so keys and members parse back exactly.

    key                     type    contents                                              gone when
    I:h                     hash    header: status, generation, position, times            retired, deleted
    I:j                     list    journal, one blob per entry                           restarted, retired, deleted
    I:o                     hash    open records by seq                                   empty at every end
    I:m                     hash    mailbox: events not yet matched, by number            ended, restarted, deleted
    I:c                     hash    command id -> answer (create: in I:h), pruned at 256  retired, deleted
    I:q                     zset    queues read by prefix: waits, mail, due (pump.lua)    ended, restarted, deleted
    I:x:<token>             hash    open records of a life of which nothing is kept       cleaned
    I:b                     hash    streams by seq of their step (streams.lua)            restarted, retired, deleted
    I:b:<token>             list    chunks of one, under its attempt's token; expires     the same
                                    unless it became the result
    T:timers                zset    due ms -> s|b|w timer of a record, d of an instance    fired, settled, paused, ended
    T:intents               zset    next ring ms -> unclaimed attempt or turn             claimed, paused, ended
    T:wake                  list    "there is something to hand out": one, rarely two     popped
    T:held                  zset    worker|kind|…|token, read by prefix                   settled, committed, reaped
    T:workers               zset    lease expiry ms -> worker                             reaped, drained
    T:relay                 hash    messages to other shards, by deterministic id         acknowledged
    T:index                 zset    status|workflow|created|id, read by prefix; and       retired, deleted
                                    #|workflow|tag|created|id for each tag of metadata
    T:retire                zset    end of retention ms -> instance                       retired, restarted, deleted
    T:owner                 hash    owner lease, its permit to ring, what is to be mended permanent
    T:aside                 zset    time ms -> what could not be read, at most 1,000      30 days after the last
    T:unfinished            zset    last slice ms -> instance, or what remains of a life   nothing is left over
    T:slots                 zset    instances that have a slot, read by prefix            freed
    T:slotq                 zset    those that wait for one, in order                     granted, freed
    T:keyed                 zset    open waits for a key, read by prefix                  answered, fired, ended
    {ns/meta}               hash    number of shards, format                              permanent
    {ns/manifest}           hash    app name -> manifest JSON                             permanent
    {ns/manifest}:versions  hash    app|hash of a manifest -> when first and last seen    permanent, old ones pruned
    {ns/schedules}          hash    schedule -> how far it has come (schedules.py)        no app has it any more
    {ns/limits}             hash    workflow -> limit that a person has set, JSON         permanent
    {ns/orchestrators}      zset    lease expiry ms -> orchestrator                       expires by score
    {ns/processes}          hash    worker -> on which machine, as which process          left, buried
    <ns>:inbox              stream  requests of producers without scripts                 applied
    <ns>:inbox:refused      stream  requests that could not be applied, about 1,000        trimmed
    {ns/inbox}:<producer>   stream  requests of one producer                              applied
    {ns/inbox}:<p>:refused  stream  those that could not be applied, about 1,000           trimmed
    {rq}… (RQ's own)        –       doorbells only; losing all of them loses nothing      popped
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from rq.defaults import RQ_KEY_PREFIX

from workflows import limits
from workflows.values import names

SHARD_KEY_NAMES: Final = (
    *("timers", "intents", "wake", "held", "workers", "relay", "index", "retire", "owner", "aside"),
    "unfinished",
)
INSTANCE_KEY_NAMES: Final = ("h", "j", "o", "m", "c", "q")

FORMAT: Final = 1
"""Of all that stands under these keys: a version that could not read what there is takes the next number."""

# Keys without an expiry that outlive every instance (I8). Everything else is removed by the script that ends its use.
PERMANENT: Final = ("owner", "meta", "manifest", "versions", "schedules", "limits")


class Instance(NamedTuple):
    """Which instance: enough to find all its keys. A tuple, because it is a dictionary key at every step."""

    shard: int
    workflow: str
    id: str


class Stream(NamedTuple):
    """A stream of requests, and the one with those of them that could not be applied."""

    producer: str
    key: str
    refused: str


def held_channel(worker: str) -> str:
    """Scripts publish here which held member they took from a worker; a hint (``pump.lua`` builds the same name)."""
    return f"workflows:held:{worker}"


class Keyspace:
    """The keys of one namespace.

    Args:
        namespace: the app's name; first part of every key.
        shards: how many shards the namespace was created with; never changes afterwards.
    """

    def __init__(self, namespace: str, shards: int = limits.SHARDS) -> None:
        self.namespace = names.check_namespace(namespace)
        self.shards = shards
        self._shard_keys = [[f"{{{namespace}/{n:02d}}}:{name}" for name in SHARD_KEY_NAMES] for n in range(shards)]

    def instance(self, workflow: str, id: str) -> Instance:
        """Where an instance lives: CRC32, because Python's ``hash()`` differs from process to process."""
        return Instance(zlib.crc32(f"{workflow}/{id}".encode()) % self.shards, workflow, id)

    def shard(self, number: int) -> list[str]:
        """The shard's keys, in the order scripts expect them."""
        return self._shard_keys[number]

    def shard_key(self, number: int, name: str) -> str:
        return self._shard_keys[number][SHARD_KEY_NAMES.index(name)]

    def of_instance(self, instance: Instance) -> list[str]:
        """The instance's keys, in the order scripts expect them."""
        base = f"{{{self.namespace}/{instance.shard:02d}}}:i:{instance.workflow}:{instance.id}:"
        return [base + name for name in INSTANCE_KEY_NAMES]

    @property
    def pattern(self) -> tuple[str, str, Sequence[str], Sequence[str]]:
        """For a script that builds the keys of a shard and an instance by itself (``pop.lua``): what stands before and
        behind the shard's number, and how those of each end."""
        return f"{{{self.namespace}/", "}:", SHARD_KEY_NAMES, INSTANCE_KEY_NAMES

    def remains(self, instance: Instance, token: str) -> str:
        """Where more open records are put than the call that ends a life can take back."""
        return f"{self.of_instance(instance)[0][:-1]}x:{token}"

    def streams(self, instance: Instance) -> str:
        """Which streams of bytes an instance has (``streams.lua`` builds this name and the next)."""
        return f"{self.of_instance(instance)[0][:-1]}b"

    def chunks(self, instance: Instance, token: str) -> str:
        """The chunks of the stream that an attempt has written."""
        return f"{self.streams(instance)}:{token}"

    def home(self, workflow: str, key: str) -> int:
        """The shard in which those are counted that run at a time, of a workflow and a key."""
        return zlib.crc32(f"{workflow}|{key}".encode()) % self.shards

    def slots(self, shard: int) -> list[str]:
        """Who has a slot, and who waits for one, of what is counted in a shard: behind its keys in scripts."""
        return [f"{{{self.namespace}/{shard:02d}}}:{name}" for name in ("slots", "slotq")]

    def keyed(self, shard: int) -> str:
        """Where open waits for a key are found (``record.lua`` builds the same name)."""
        return f"{{{self.namespace}/{shard:02d}}}:keyed"

    def headers_of(self, shard: int) -> str:
        """A pattern for the header keys of a shard. Names have no character that means something in a pattern."""
        return f"{{{self.namespace}/{shard:02d}}}:i:*:h"

    def instance_of_header(self, key: bytes) -> Instance | None:
        """Whose header this is; None when it is nobody's."""
        parts = key.decode("ascii", "replace").split(":")
        if len(parts) != 5 or not all(_WORD.fullmatch(name) for name in parts[2:4]):
            return None
        return self.instance(parts[2], parts[3])

    def header(self, instance: Instance) -> str:
        return self.of_instance(instance)[0]

    def journal(self, instance: Instance) -> str:
        return self.of_instance(instance)[1]

    @property
    def meta(self) -> str:
        return f"{{{self.namespace}/meta}}"

    @property
    def manifest(self) -> str:
        return f"{{{self.namespace}/manifest}}"

    @property
    def versions(self) -> str:
        """Which manifests of an app have been seen: in the slot of the manifest, because one script writes both."""
        return f"{self.manifest}:versions"

    @property
    def schedules(self) -> str:
        return f"{{{self.namespace}/schedules}}"

    @property
    def limits(self) -> str:
        """Limits on running instances that a person has set."""
        return f"{{{self.namespace}/limits}}"

    @property
    def orchestrators(self) -> str:
        return f"{{{self.namespace}/orchestrators}}"

    @property
    def processes(self) -> str:
        """Where the worker processes of the namespace live."""
        return f"{{{self.namespace}/processes}}"

    @property
    def inbox(self) -> str:
        """Short on purpose: people type it."""
        return f"{self.namespace}:inbox"

    @property
    def inbox_refused(self) -> str:
        """Requests that could not be applied, with the reason; the newest thousand."""
        return f"{self.namespace}:inbox:refused"

    def inbox_of(self, producer: str) -> Stream:
        """The stream of one producer, who needs the right to add to this key and to no other; '' is the shared one."""
        if not producer:
            return Stream("", self.inbox, self.inbox_refused)
        key = f"{{{self.namespace}/inbox}}:{names.check_producer_name(producer)}"
        return Stream(producer, key, f"{key}:refused")

    def inboxes(self, producers: Iterable[str]) -> list[Stream]:
        """The shared stream and those of the producers, by name."""
        return [self.inbox_of(producer) for producer in ("", *sorted(producers))]

    def events_channel(self, database: int) -> str:
        """Plain ``PUBLISH`` to this channel is bridged into mailboxes.

        With the database's number in it, because channels, unlike keys, are shared by all databases of a server: the
        environments of one app on two of them would both take one message.
        """
        return f"workflows:{self.namespace}:{database}:events"

    def notices_channel(self, database: int) -> str:
        """Scripts publish here how instances move, for apps that want it (``notices.lua`` builds the same name). With
        the database's number in it for the reason given at ``events_channel``.
        """
        return f"workflows:{self.namespace}:{database}:notifications"

    def ended_channel(self, instance: Instance, database: int) -> str:
        """Scripts publish the final status of an instance here; a hint for those who wait (``prelude.lua`` builds the
        same name). With the database's number in it for the reason given at ``events_channel``.
        """
        return f"{self.of_instance(instance)[0]}:{database}"

    def queue(self, name: str) -> str:
        """RQ queue names are global in a Redis, so ours carry the namespace."""
        return f"{self.namespace}.{name}"


def rq_queue(queue_name: str) -> str:
    """RQ's list of job ids."""
    return f"{RQ_KEY_PREFIX}:queue:{queue_name}"


def rq_handover(queue_name: str) -> str:
    """Where a blocked worker's wake-up is parked for the few microseconds until some worker's pop takes it."""
    return f"{RQ_KEY_PREFIX}:queue:{queue_name}:handover"


def rq_job_prefix() -> str:
    return f"{RQ_KEY_PREFIX}:job:"


def rq_worker(name: str) -> str:
    """RQ's record of a worker."""
    return f"{RQ_KEY_PREFIX}:worker:{name}"


def rq_queues() -> str:
    return f"{RQ_KEY_PREFIX}:queues"


def rq_failed(queue_name: str) -> str:
    """RQ's registry of failed jobs, where forged jobs are quarantined."""
    return f"{RQ_KEY_PREFIX}:failed:{queue_name}"


# What a member may be made of. The number fits wherever it goes to, msgpack and Lua's floats included.
_NAME, _NUMBER = r"[A-Za-z0-9_-]{1,100}", r"[0-9]{1,9}"
_WHO = rf"({_NAME})\|({_NAME})\|({_NAME})\|({_NUMBER})"
_INTENT = re.compile(rf"([at])\|{_WHO}\|({_NAME})\|({_NAME})")
_HELD = re.compile(rf"({_NAME})\|([at])\|{_WHO}\|({_NAME})")
_WORD = re.compile(_NAME)
_RELAYED = re.compile(rf"([cosg])\|{_WHO}")
_TIMER = re.compile(rf"([sbwd])\|{_WHO}")
_KEY = r"-|=[A-Za-z0-9_.~-]{0,100}"
_KEYED = re.compile(rf"({_NAME}=[A-Za-z0-9_.~-]{{0,100}})\|{_WHO}")
_HOLDER = re.compile(rf"({_NAME})\|({_KEY})\|({_NAME})\|({_NAME})\|({_NUMBER})")


def _parts(shape: re.Pattern[str], member: str | bytes, what: str) -> tuple[Any, ...]:
    """Raises ValueError: anybody who reaches Redis can write members, and one that is none may not stop the others."""
    match = shape.fullmatch(member if isinstance(member, str) else member.decode("ascii", "replace"))
    if match is None:
        raise ValueError(f"not {what}: {member!r:.100}")
    return match.groups()


@dataclass(frozen=True, slots=True)
class Intent:
    """One unclaimed attempt (``a``) or turn (``t``), as written into the shard's intents."""

    kind: str
    workflow: str
    id: str
    generation: str
    seq: int
    nonce: str
    queue: str

    @classmethod
    def parse(cls, member: str | bytes) -> Intent:
        """Raises ValueError when the text is not an intent."""
        kind, workflow, id, generation, seq, nonce, queue = _parts(_INTENT, member, "an intent")
        return cls(kind, workflow, id, generation, int(seq), nonce, queue)

    @property
    def member(self) -> str:
        return "|".join((self.kind, self.workflow, self.id, self.generation, str(self.seq), self.nonce, self.queue))


@dataclass(frozen=True, slots=True)
class Held:
    """One claimed attempt or turn, as written into the shard's held set."""

    worker: str
    kind: str
    workflow: str
    id: str
    generation: str
    seq: int
    token: str

    @classmethod
    def parse(cls, member: str | bytes) -> Held:
        """Raises ValueError when the text is not of that form."""
        worker, kind, workflow, id, generation, seq, token = _parts(_HELD, member, "a held attempt or turn")
        return cls(worker, kind, workflow, id, generation, int(seq), token)

    @property
    def member(self) -> str:
        return "|".join((self.worker, self.kind, self.workflow, self.id, self.generation, str(self.seq), self.token))


@dataclass(frozen=True, slots=True)
class Timer:
    """One armed timer: ``s`` sleep, ``w`` wait timeout, ``b`` retry back-off, ``d`` when an instance is to end."""

    kind: str
    workflow: str
    id: str
    generation: str
    seq: int

    @classmethod
    def parse(cls, member: str | bytes) -> Timer:
        """Raises ValueError when the text is not a timer."""
        kind, workflow, id, generation, seq = _parts(_TIMER, member, "a timer")
        return cls(kind, workflow, id, generation, int(seq))

    @property
    def member(self) -> str:
        return "|".join((self.kind, self.workflow, self.id, self.generation, str(self.seq)))


@dataclass(frozen=True, slots=True)
class Holder:
    """One line of ``slots``: a life of an instance that has a slot of its workflow and key, by its n-th asking."""

    workflow: str
    key: str
    id: str
    generation: str
    n: int

    @classmethod
    def parse(cls, member: str | bytes) -> Holder:
        """Raises ValueError when the text is none."""
        workflow, key, id, generation, n = _parts(_HOLDER, member, "the holder of a slot")
        return cls(workflow, key, id, generation, int(n))


@dataclass(frozen=True, slots=True)
class Unfinished:
    """One line of a shard's unfinished: an instance (``i``), or what remains of a life (``x``) under a token."""

    kind: str
    workflow: str
    id: str
    generation: str
    token: str

    @classmethod
    def parse(cls, member: str | bytes) -> Unfinished:
        """Raises ValueError when the text is none."""
        kind, workflow, id, generation, token = _parts(_UNFINISHED, member, "unfinished")
        if (kind == "x") != (token is not None):
            raise ValueError(f"not unfinished: {member!r:.100}")
        return cls(kind, workflow, id, generation, token or "")


_LISTED = re.compile(rf"([A-Za-z]{{1,20}})\|({_NAME})\|([0-9]{{1,15}})\|({_NAME})(?:\|m)?")
_TAGGED = re.compile(rf"#\|({_NAME})\|([0-9a-f]{{16}})\|([0-9]{{1,15}})\|({_NAME})\|m")
_UNFINISHED = re.compile(rf"([ix])\|({_NAME})\|({_NAME})\|({_NAME})(?:\|({_NAME}))?")
_RETIRING = re.compile(rf"({_NAME})\|({_NAME})\|({_NAME})")


class Listed(NamedTuple):
    """One line of the index: an instance in its status."""

    status: str
    workflow: str
    created: str
    id: str

    @classmethod
    def parse(cls, member: str | bytes) -> Listed:
        """Raises ValueError when the text is not a line of the index."""
        return cls(*_parts(_LISTED, member, "a line of the index"))


class Tagged(NamedTuple):
    """One line of the index: an instance under one tag of its metadata."""

    workflow: str
    tag: str
    created: str
    id: str

    @classmethod
    def parse(cls, member: str | bytes) -> Tagged:
        """Raises ValueError when the text is not such a line."""
        return cls(*_parts(_TAGGED, member, "a line of the index"))


def index_line(member: bytes) -> Listed | Tagged:
    """A line of either kind. Raises ValueError when the text is none."""
    return Tagged.parse(member) if member.startswith(TAGS) else Listed.parse(member)


class Keyed(NamedTuple):
    """An open wait for events that are sent to a key.

    Attributes:
        name: what it listens to (``listening.py``).
    """

    name: str
    workflow: str
    id: str
    generation: str
    seq: int

    @property
    def text(self) -> str:
        """As the shard has it."""
        return "|".join(map(str, self))

    @classmethod
    def parse(cls, member: str | bytes) -> Keyed:
        """Raises ValueError when the text is not one."""
        name, workflow, id, generation, seq = _parts(_KEYED, member, "a wait for a key")
        return cls(name, workflow, id, generation, int(seq))


class Retiring(NamedTuple):
    """One life of an instance whose retention ends."""

    workflow: str
    id: str
    generation: str

    @classmethod
    def parse(cls, member: str | bytes) -> Retiring:
        """Raises ValueError when the text is not one."""
        return cls(*_parts(_RETIRING, member, "an instance to be retired"))


def checked_name(member: bytes) -> str:
    """A name that can be part of keys and members. Raises ValueError when it cannot."""
    _parts(_WORD, member, "a name")
    return member.decode()


def relay_parent(id: bytes) -> Held | None:
    """The open step to which a message between shards belongs, by the message's id: ``c|`` for a child asked for,
    ``o|`` for an outcome. As something held by nobody, because the same names make it up. None: it is about a slot
    that is asked for (``s|``) or given (``g|``).

    Raises: ValueError.
    """
    kind, workflow, instance, generation, seq = _parts(_RELAYED, id, "a message between shards")
    return None if kind in "sg" else Held("", "a", workflow, instance, generation, int(seq), "")


TAGS: Final = b"#"
"""With which lines of the index begin that stand for tags."""


def index_prefix(status: str, workflow: str) -> str:
    return f"{status}|{workflow}|"

"""One description of each command: which script is called with what, and what its answer means.

``Client`` and ``AsyncClient`` are two thin ways of sending these requests. Everything that can be wrong with the
arguments of a command is found here, before Redis is touched. Commands that must not happen twice carry an id, made
once per request, so that a request whose reply was lost can be sent again (M2).
"""

from __future__ import annotations

import dataclasses
import re
import secrets
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, Protocol, TypeVar

from workflows import limits
from workflows.client import history
from workflows.client.history import Dumped, ErrorInfo, StepStatus, decoded, iso, readable
from workflows.errors import (
    BadParams,
    ConfigError,
    CorruptPayload,
    InstanceAlreadyExists,
    InstanceEnded,
    InstanceError,
    InstanceNotFound,
    InstanceTerminated,
    InvalidTransition,
    WorkflowError,
)
from workflows.storage import journal
from workflows.storage.batches import numbered, portions
from workflows.storage.keys import Instance, Keyspace
from workflows.storage.removal import CREATE, SEND_EVENT, delete_call, restart_call
from workflows.storage.status import FINAL, Status
from workflows.storage.store import Call, call_on, call_one, keyspace_call, keyspace_of, script, unpackb
from workflows.values import codec, failure, names
from workflows.values.codec import InstanceRef
from workflows.values.failure import Failure, Place
from workflows.values.retention import retention_ms

if TYPE_CHECKING:
    from workflows.authoring.app import App

Answer = TypeVar("Answer")
Steps = TypeVar("Steps", bound="ReadSteps")

_HERE = Path(__file__).parent
_PAUSE = script(_HERE / "pause.lua")
_RESUME = script(_HERE / "resume.lua")
_TERMINATE = script(_HERE / "terminate.lua")
_READ = script(_HERE / "read.lua", pump=False)
_LIST = script(_HERE / "list.lua", pump=False)

# result() lives through a restart of Redis that takes no longer than this.
OUTAGE_SECONDS: Final = 30.0
# Pub/sub loses messages while it reconnects, so those who wait also look once in a while.
POLL_SECONDS: Final = 1.0

PAGE_ENTRIES: Final = 200
PAGE_BYTES: Final = 1024 * 1024
LIST_LIMIT: Final = 100
LIST_LIMIT_MAX: Final = 1000
# Work that nobody has taken for this long deserves an explanation.
UNCLAIMED_MS: Final = 10_000

_FIELDS: Final = (
    *("st", "gen", "want", "turn", "queue", "strikes", "started", "created", "ended", "params", "sched", "out", "err"),
    *("warn", "reason", "paused_at", "declined", "stood"),
)
_CURSOR = re.compile(r"([0-9]{1,17}):([A-Za-z0-9_][A-Za-z0-9_-]{0,99})")


class ReadSteps(Protocol):
    """The steps of a status, of either client."""

    @property
    def known(self) -> Sequence[StepStatus]:
        """Those that can be had without waiting."""

    @property
    def complete(self) -> bool:
        """Whether these are all."""


class Target(Protocol):
    """What creating an instance needs to know of its workflow: a definition of an app, or a published one."""

    @property
    def name(self) -> str: ...

    @property
    def queue(self) -> str: ...

    @property
    def retention_success_ms(self) -> int: ...

    @property
    def retention_error_ms(self) -> int: ...

    def validate_params(self, params: Any, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class CreateOptions:
    """One entry of ``create_batch``.

    Attributes:
        id: 1 to 100 letters, digits, ``-`` and ``_``; None: a random UUID.
        params: what ``run`` gets as ``event.payload``; None: ``{}``.
        retention: how long the instance stays readable after its end; see ``WorkflowHandle.create``.
        command_id: creating again under the same one is answered like the first time; None: a random one.
    """

    id: str | None = None
    params: Any = None
    retention: object = None
    command_id: str | None = None


@dataclass(frozen=True, slots=True)
class Request(Generic[Answer]):
    """One command, ready to be sent, and how to read its answer (which may mean an error)."""

    call: Call
    parse: Callable[[Any], Answer]


@dataclass(frozen=True, slots=True)
class InstanceSummary:
    """One line of a listing."""

    workflow: str
    id: str
    status: Status
    created_at: datetime


@dataclass(frozen=True, slots=True)
class InstancePage(Sequence[InstanceSummary]):
    """A page of a listing: a sequence of summaries; ``cursor`` asks for the next page and is None at the end."""

    items: tuple[InstanceSummary, ...]
    cursor: str | None = None

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: Any) -> Any:
        return self.items[place]

    def __iter__(self) -> Iterator[InstanceSummary]:
        return iter(self.items)


def _output(stored: bytes | None) -> Any:
    return None if stored is None else codec.decode(stored)


def _warnings(stored: bytes | None) -> tuple[str, ...]:
    return tuple(codec.decode(stored)) if stored else ()


def _schedule(stored: bytes | None) -> tuple[str, datetime] | None:
    if not stored:
        return None
    found = unpackb(stored)
    at = history.moment(found[b"at"])
    assert at is not None
    return found[b"cron"].decode(), at


@dataclass(frozen=True)
class InstanceStatus(Dumped, Generic[Steps]):
    """How an instance is at one moment.

    Attributes:
        status: queued, running, waiting, waitingForPause, paused, complete, errored or terminated.
        reason: why it does not move, where that needs an explanation: parked because ``run`` and the journal disagree,
            stalled, or nobody there to do the work. None otherwise.
        error: why it errored.
        rollback: always None; there are no rollbacks yet.
        created_at, started_at, ended_at: aware moments in UTC; ``created_at`` survives a restart.
        paused_at: since when it is paused or pausing.
        steps: what it has done so far and what is open, in the order ``run`` asked for it; further pages are read
            when they are looked at.
        params: what it was created with.
        output: what ``run`` returned; None before.
        warnings: what ``run`` left undone when it returned.
        schedule: the cron line that created it, and the moment it stands for; None if none did.
        stored: params, output, warnings and schedule as bytes. They are decoded when they are looked at, which raises
            CorruptPayload when they cannot be read.

    ``as_dict`` is the form for JSON, and what pydantic and web frameworks make of it; ``dataclasses.asdict`` works too.
    """

    id: str
    workflow: str
    status: Status
    reason: str | None
    error: ErrorInfo | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    paused_at: datetime | None
    queue: str
    steps: Steps
    generation: str
    stored: dataclasses.InitVar[Mapping[str, bytes | None]]
    rollback: None = None
    params: Any = decoded("params", lambda status: codec.decode(status.stored["params"] or b""))  # noqa: RUF009
    output: Any = decoded("output", lambda status: _output(status.stored["out"]))  # noqa: RUF009
    warnings: tuple[str, ...] = decoded("warnings", lambda status: _warnings(status.stored["warn"]))
    schedule: tuple[str, datetime] | None = decoded("schedule", lambda one: _schedule(one.stored["sched"]))

    def __post_init__(self, stored: Mapping[str, bytes | None]) -> None:
        self.__dict__["stored"] = stored

    @property
    def has_output(self) -> bool:
        """Whether ``run`` has returned."""
        return self.__dict__["stored"]["out"] is not None

    def as_dict(self, *, outputs: bool = True) -> dict[str, Any]:
        """As JSON can hold it, with moments as text; the command line's ``--json`` prints this.

        Args:
            outputs: with the steps' outputs. A value that cannot be read is a text that says so.
        Returns: among others ``steps``, and ``steps_complete``: false for a status of ``AsyncClient`` with more steps
            than were read with it; ``await status.steps.all()`` reads the others.
        """
        schedule = self.schedule
        return {
            "workflow": self.workflow,
            "id": self.id,
            "status": str(self.status),
            "reason": self.reason,
            "queue": self.queue,
            "created_at": iso(self.created_at),
            "started_at": iso(self.started_at),
            "ended_at": iso(self.ended_at),
            "paused_at": iso(self.paused_at),
            "params": readable(lambda: self.params),
            "output": readable(lambda: self.output),
            "error": None if self.error is None else self.error.as_dict(),
            "rollback": self.rollback,
            "warnings": list(self.warnings),
            "schedule": None if schedule is None else {"cron": schedule[0], "scheduled_at": iso(schedule[1])},
            "steps": [step.as_dict(outputs=outputs) for step in self.steps.known],
            "steps_complete": self.steps.complete,
        }


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What ``read.lua`` saw: the header and, if asked for, a page of the journal."""

    instance: Instance
    now_ms: int
    header: Mapping[str, bytes | None]
    journal_length: int
    start: int
    entries: Sequence[bytes]
    records: Sequence[bytes]
    starting: Sequence[int] = ()
    cursor: str = ""

    def text(self, field: str) -> str:
        value = self.header.get(field)
        return value.decode() if value else ""

    @property
    def status(self) -> Status:
        return Status(self.text("st"))

    @property
    def stood_ms(self) -> int | None:
        """How far the instance's own time is behind by its pauses; None while it stands still."""
        return None if self.text("want") else int(self.text("stood") or 0)

    @property
    def end(self) -> int:
        """Where the next page begins."""
        return self.start + len(self.entries)

    @property
    def is_last(self) -> bool:
        return self.end >= self.journal_length and not self.cursor


class Mark(NamedTuple):
    """Where a page begins: an entry of the journal, and a cursor among the open records."""

    entry: int = 0
    cursor: str = "0"


class History:
    """Collects pages of one instance's journal and open records until all are read. A restart between begins anew."""

    def __init__(self, first: Snapshot) -> None:
        self._begin(first)

    def _begin(self, first: Snapshot) -> None:
        self._generation = first.text("gen")
        self._entries = list(first.entries)
        self._records = list(first.records)
        self._starting = set(first.starting)
        self.last = first

    @property
    def next_page(self) -> Mark | None:
        """What is still missing; None when nothing is. A step that is answered while its record is being looked for
        among others has its entry in a later page."""
        return None if self.last.is_last else Mark(len(self._entries), self.last.cursor)

    def entries(self) -> list[journal.Entry]:
        return [journal.decode(blob) for blob in self._entries]

    def add(self, page: Snapshot) -> None:
        if page.text("gen") != self._generation:
            if page.start:
                # The page belongs to the middle of another life; ask again from the start.
                page = dataclasses.replace(page, start=0, entries=(), records=(), starting=(), cursor="0")
            self._begin(page)
            return
        self._entries.extend(page.entries)
        self._records.extend(page.records)
        self._starting.update(page.starting)
        self.last = page

    def steps(self) -> list[StepStatus]:
        return history.steps_of(
            self.entries(),
            _records(self._records),
            self._starting,
            ended=self.last.status in FINAL,
            stood_ms=self.last.stood_ms,
        )


# Requests -----------------------------------------------------------------------------------------------------------


def keyspace(namespace: str, shards: int | None = None) -> Request[Keyspace]:
    """The namespace's keys, with the number of shards it was created with; see ``store.keyspace_call``."""
    return Request(keyspace_call(namespace, shards), lambda fixed: keyspace_of(namespace, shards, fixed))


def create(
    keys: Keyspace,
    target: Target,
    *,
    id: str | None = None,
    params: Any = None,
    retention: object = None,
    command_id: str | None = None,
) -> tuple[str, Request[None]]:
    """Create one instance. Returns: its id, and the request.

    Raises:
        BadName, BadParams, BadDuration, PayloadTooLarge, PayloadNotSerializable: nothing has been sent.
        InstanceAlreadyExists: from the answer.
    """
    instance, item = _item(keys, target, CreateOptions(id, params, retention, command_id))

    def parse(answers: list[bytes]) -> None:
        if answers[0] != b"created":
            raise InstanceAlreadyExists(
                f'(instance.already_exists) Workflow instance with id "{instance.id}" already exists'
            )

    return instance.id, Request(call_one(keys, CREATE, instance, {"items": [{"i": 1, **item}]}), parse)


def create_batch(
    keys: Keyspace, target: Target, entries: Iterable[CreateOptions | Mapping[str, Any]]
) -> tuple[list[str], list[Request[list[str]]]]:
    """Create 1 to 100 instances. Returns: the ids asked for, each once, and a request or more per shard.

    Each request answers with the ids it created; ids that were there already are left out.

    Raises:
        ConfigError, BadName, BadParams, BadDuration, PayloadError: one entry is wrong; nothing has been sent for any.
    """
    options = list(entries)
    if not options:
        raise ConfigError("batchCreate should have at least 1 instance")
    if len(options) > limits.BATCH:
        raise ConfigError(f"batchCreate only supports {limits.BATCH} instances at a time; {len(options)} were given")
    items: dict[Instance, dict[str, Any]] = {}
    for place, option in enumerate(options):
        try:
            instance, item = _item(keys, target, _options(option))
        except WorkflowError as error:
            raise type(error)(f"entry {place} of the batch: {error}") from error
        items.setdefault(instance, item)
    by_shard: dict[int, list[Instance]] = {}
    for instance in items:
        by_shard.setdefault(instance.shard, []).append(instance)
    requests = [
        _batch_of(keys, shard, some, items)
        for shard, all_ in by_shard.items()
        for some in portions(all_, lambda _: 1, lambda instance: len(items[instance]["p"]))
    ]
    return [instance.id for instance in items], requests


def _batch_of(
    keys: Keyspace, shard: int, some: list[Instance], items: Mapping[Instance, dict[str, Any]]
) -> Request[list[str]]:
    instances, places = numbered(some)
    arguments = {"items": [{"i": place, **items[instance]} for instance, place in zip(some, places, strict=True)]}

    def parse(answers: list[bytes]) -> list[str]:
        return [instance.id for instance, answer in zip(some, answers, strict=True) if answer == b"created"]

    return Request(call_on(keys, CREATE, shard, instances, arguments), parse)


def send_event(
    keys: Keyspace, instance: Instance, type: str, payload: Any = None, *, id: str | None = None
) -> Request[str]:
    """Send an event. The answer is ``"delivered"`` (a wait has it) or ``"buffered"`` (kept for a later wait).

    Args:
        id: the same id is accepted once; give one to make a sender that repeats itself safe. None: a random one.

    Raises:
        BadName, PayloadError: nothing has been sent.
        InstanceNotFound, InstanceEnded, InstanceError: from the answer; the last when its mailbox is full.
    """
    names.check_event_type(type)
    if id is not None:
        names.check_command_id(id, "An event id")
    blob = codec.encode(payload, what=f'the payload of event "{type}"')
    item = {"i": 1, "ev": id or uuid.uuid4().hex, "ty": type, "p": blob}

    def parse(answers: list[bytes]) -> str:
        answer = answers[0].decode()
        match answer:
            case "unknown":
                raise not_found(instance)
            case "unreadable":
                raise unreadable(instance)
            case "ended":
                raise InstanceEnded(
                    "(instance.in_finite_state) Instance reached a finite state, cannot send events to it: "
                    f'instance "{instance.id}" of workflow "{instance.workflow}"'
                )
            case "full":
                raise InstanceError(
                    f'The mailbox of instance "{instance.id}" of workflow "{instance.workflow}" holds '
                    f"{limits.MAILBOX_EVENTS:,} events that nothing waits for; it takes no more."
                )
        return answer

    return Request(call_one(keys, SEND_EVENT, instance, {"items": [item], "max": limits.MAILBOX_EVENTS}), parse)


def pause(keys: Keyspace, instance: Instance) -> Request[None]:
    """Pause; attempts in flight may finish. Without effect when paused or ended already."""
    return Request(call_one(keys, _PAUSE, instance, {}), _expect_known(instance))


def resume(keys: Keyspace, instance: Instance) -> Request[None]:
    """Let a paused, pausing or parked instance go on. Without effect in any other status."""
    return Request(call_one(keys, _RESUME, instance, {}), _expect_known(instance))


def terminate(keys: Keyspace, instance: Instance) -> Request[None]:
    """End an instance now.

    Raises, from the answer:
        InvalidTransition: it has ended already.
        InstanceNotFound.
    """
    stopped = f'instance "{instance.id}" of workflow "{instance.workflow}" was terminated'
    arguments = {"cid": uuid.uuid4().hex, "x": failure.make("InstanceTerminated", stopped)}

    def parse(answer: bytes) -> None:
        _expect_known(instance)(answer)
        if answer == b"cannot":
            raise InvalidTransition(
                f'(instance.cannot_terminate) Cannot terminate instance "{instance.id}" of workflow '
                f'"{instance.workflow}": it has ended already'
            )

    return Request(call_one(keys, _TERMINATE, instance, arguments), parse)


def restart(keys: Keyspace, instance: Instance) -> Request[None]:
    """Start an instance over, in whatever status: same id, params and timestamp; journal and events are erased."""
    arguments = {"cid": uuid.uuid4().hex, "gen": _generation()}
    return Request(restart_call(keys, instance, arguments), _expect_known(instance))


def delete(keys: Keyspace, instance: Instance) -> Request[list[tuple[str, str]]]:
    """Remove an instance, in whatever status. The answer: doorbells to take back, as (queue, intent nonce).

    That the instance exists is checked by a request before this one: an answer "unknown" may also be that of a request
    sent again after its reply was lost.
    """
    gone = f'instance "{instance.id}" of workflow "{instance.workflow}" was deleted'
    arguments = {"x": failure.make("InstanceNotFound", gone)}

    def parse(answer: list[Any]) -> list[tuple[str, str]]:
        return [(queue.decode(), nonce.decode()) for queue, nonce in answer[1:]]

    return Request(delete_call(keys, instance, arguments), parse)


def exists(keys: Keyspace, instance: Instance) -> Request[None]:
    """Raises InstanceNotFound, from the answer. One that cannot be read exists."""

    def parse(answer: Any) -> None:
        if answer is False:
            raise not_found(instance)

    return Request(call_one(keys, _READ, instance, {"fields": ["st"]}), parse)


def read(keys: Keyspace, instance: Instance, *, page: Mark | int | None = 0) -> Request[Snapshot]:
    """Read header and a page of the journal, which begins with entry ``page``; None: no journal.

    Raises, from the answer:
        InstanceNotFound.
    """
    arguments: dict[str, Any] = {"fields": _FIELDS}
    mark = Mark(page) if isinstance(page, int) else page or Mark()
    if page is not None:
        arguments |= {"from": mark.entry, "page": PAGE_ENTRIES, "bytes": PAGE_BYTES}
        arguments |= {"cursor": mark.cursor, "records": PAGE_ENTRIES}

    def parse(answer: Any) -> Snapshot:
        _known(instance, answer)
        now, values, length, entries, records, starting, cursor = answer
        header = {field: value or None for field, value in zip(_FIELDS, values, strict=True)}
        _check_header(instance, header)
        return Snapshot(instance, int(now), header, length, mark.entry, entries, records, starting, cursor.decode())

    return Request(call_one(keys, _READ, instance, arguments), parse)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an instance ended."""

    status: Status
    output: bytes | None
    error: bytes | None

    def unwrap(self, instance: Instance) -> Any:
        """The output.

        Raises:
            InstanceTerminated: it was terminated.
            Exception: what ``run`` raised, of its own class where that class is loaded, else StepFailed.
        """
        if self.status is Status.TERMINATED:
            raise InstanceTerminated(f'Instance "{instance.id}" of workflow "{instance.workflow}" was terminated.')
        if self.error is not None:
            raise Failure.from_blob(self.error).to_exception(Place(instance.workflow, instance.id))
        return None if self.output is None else codec.decode(self.output)


def outcome(keys: Keyspace, instance: Instance) -> Request[Outcome | Status]:
    """How the instance ended, or its status while it has not.

    Raises, from the answer:
        InstanceNotFound.
    """

    def parse(answer: Any) -> Outcome | Status:
        _known(instance, answer)
        status, output, error = answer[1]
        if status not in {state.encode() for state in Status}:
            raise unreadable(instance)
        now = Status(status.decode())
        return Outcome(now, output or None, error or None) if now in FINAL else now

    return Request(call_one(keys, _READ, instance, {"fields": ["st", "out", "err"]}), parse)


def list_instances(
    keys: Keyspace,
    workflow: str,
    *,
    status: str | Iterable[str] | None = None,
    limit: int = LIST_LIMIT,
    cursor: str | None = None,
    oldest_first: bool = False,
) -> tuple[list[Request[list[tuple[str, str]]]], Callable[[list[list[tuple[str, str]]]], InstancePage]]:
    """List a workflow's instances. Returns: one request per shard, and what makes a page of their answers.

    Raises:
        ConfigError: no such status, a bad limit or cursor.
    """
    statuses = _statuses(status)
    if not 1 <= limit <= LIST_LIMIT_MAX:
        raise ConfigError(f"limit is {limit!r}; it must be a number from 1 to {LIST_LIMIT_MAX}")
    after = ""
    if cursor is not None:
        match = _CURSOR.fullmatch(cursor)
        if match is None:
            raise ConfigError(f"{cursor!r:.100} is not a cursor; use the one that came with the page before")
        after = f"{match[1]}|{match[2]}"
    # One more than asked for tells whether there is a next page.
    arguments: dict[str, Any] = {"wf": workflow, "statuses": statuses, "n": limit + 1, "after": after}
    if oldest_first:
        arguments["oldest"] = True
    requests = [Request(call_on(keys, _LIST, shard, [], arguments), _lines) for shard in range(keys.shards)]

    def page(answers: list[list[tuple[str, str]]]) -> InstancePage:
        lines = sorted((line for answer in answers for line in answer), reverse=not oldest_first)
        items = tuple(_summary(workflow, *line) for line in lines[:limit])
        more = len(lines) > limit
        return InstancePage(items, lines[limit - 1][0].replace("|", ":") if more else None)

    return requests, page


# What an answer means ------------------------------------------------------------------------------------------------


def status_of(snapshot: Snapshot, steps: Steps, reason: str | None) -> InstanceStatus[Steps]:
    """The public form of what was read."""
    header = snapshot.header
    created = history.moment(header["created"])
    assert created is not None
    error = header["err"]
    return InstanceStatus(
        id=snapshot.instance.id,
        workflow=snapshot.instance.workflow,
        status=snapshot.status,
        reason=reason,
        error=None if error is None else ErrorInfo.from_blob(error),
        created_at=created,
        started_at=history.moment(header["started"]),
        ended_at=history.moment(header["ended"]),
        paused_at=history.moment(header["paused_at"]) if snapshot.text("want") else None,
        queue=snapshot.text("queue"),
        steps=steps,
        generation=snapshot.text("gen"),
        stored={name: header[name] for name in ("params", "out", "warn", "sched")},
    )


def known_reason(snapshot: Snapshot) -> str | None:
    """Why the instance does not move, as far as it says so itself."""
    reason = snapshot.text("reason")
    if snapshot.text("want") == "park":
        return reason or "parked"
    strikes = int(snapshot.text("strikes") or 0)
    if strikes and snapshot.status not in FINAL:
        return f"stalled {strikes} of 3 times{': ' * bool(reason)}{reason}"
    declined = int(snapshot.text("declined") or 0)
    if declined and unclaimed_queues(snapshot):
        return (
            f"put back {declined} times by workers that do not know the workflow: start a worker that has its code, "
            "or stop those with older code"
        )
    return None


def unclaimed_queues(snapshot: Snapshot) -> list[str]:
    """Queues, without the namespace, on which work of this instance has been waiting for longer than ten seconds."""
    if snapshot.status not in (Status.QUEUED, Status.RUNNING):
        return []
    records = _records(snapshot.records)
    moments = [float(snapshot.text(field) or 0) for field in ("created", "started")]
    with suppress(CorruptPayload):
        moments += [entry.at_ms for entry in map(journal.decode, snapshot.entries[-1:])]
    queues = set()
    if snapshot.text("turn").startswith("r|") and snapshot.now_ms - max(moments) > UNCLAIMED_MS:
        queues.add(snapshot.text("queue"))
    for record in records:
        last = max([record.get(b"at") or 0, *(failed[2] for failed in record.get(b"e") or ())])
        if record[b"st"] == b"ready" and snapshot.now_ms - last > UNCLAIMED_MS:
            queues.add(record[b"qu"].decode())
    return sorted(queues)


def nobody_there(keys: Keyspace, workers: Mapping[str, int], orchestrators: int) -> str | None:
    """The reason, when there is nobody to take work.

    Args:
        workers: how many serve each queue on which work waits, by its name without the namespace.
    """
    missing = [f"no worker serves queue {keys.queue(queue)}" for queue, count in workers.items() if not count]
    if not orchestrators:
        missing.append("no orchestrator is running")
    return "; ".join(missing) or None


def not_found(instance: Instance) -> InstanceNotFound:
    return InstanceNotFound(
        f'(instance.not_found) Instance does not exist: "{instance.id}" of workflow "{instance.workflow}"'
    )


def unreadable(instance: Instance) -> InstanceError:
    return InstanceError(
        f'What Redis holds of instance "{instance.id}" of workflow "{instance.workflow}" cannot be read, so nothing '
        "moves it. `workflows doctor` says what is wrong with it: mend that, or delete the instance."
    )


def reference(instance: Instance) -> InstanceRef:
    return InstanceRef(instance.workflow, instance.id)


# Redis ---------------------------------------------------------------------------------------------------------------


def workflow_name(app: App | None, namespace: str, workflow: str | type) -> str:
    """The name of a workflow that is given by its name, its binding or its class. A name need not be known.

    Raises: see ``Client.workflow``.
    """
    if isinstance(workflow, str):
        if app is not None:
            workflow = app.workflow_bindings.get(workflow, workflow)
        return names.check_workflow_name(workflow)
    if app is None:
        raise ConfigError(
            f"A client made from the name {namespace!r} knows workflows by name only; make it from the app"
        )
    return app.workflow_name(workflow)


def checked_connection(client: Any) -> Any:
    """A connection made by somebody else.

    Raises:
        ConfigError: it decodes replies to text, and values are bytes.
    """
    if client.get_encoder().decode_responses:
        raise ConfigError("The connection was made with decode_responses=True; values are bytes, make one without")
    return client


def _records(blobs: Iterable[bytes]) -> list[Mapping[bytes, Any]]:
    """The open records that can be read; one that cannot parks its instance, whose reason says so."""
    found = []
    for blob in blobs:
        with suppress(Exception):  # msgpack has no common root of what it raises
            record = unpackb(blob)
            history.check_record(record)
            found.append(record)
    return found


# Parts ---------------------------------------------------------------------------------------------------------------


def _generation() -> str:
    return secrets.token_hex(6)


def _item(keys: Keyspace, target: Target, options: CreateOptions) -> tuple[Instance, dict[str, Any]]:
    id = str(uuid.uuid4()) if options.id is None else names.check_instance_id(options.id)
    params = target.validate_params(options.params)
    success_ms, error_ms = retention_ms(options.retention, target.retention_success_ms, target.retention_error_ms)
    item = {
        "wf": target.name,
        "id": id,
        "gen": _generation(),
        "p": codec.encode(params, what=f'the params of workflow "{target.name}"'),
        "qu": target.queue,
        "ok": success_ms,
        "err": error_ms,
        "cid": uuid.uuid4().hex if options.command_id is None else names.check_command_id(options.command_id),
    }
    return keys.instance(target.name, id), item


def _options(entry: object) -> CreateOptions:
    if isinstance(entry, CreateOptions):
        return entry
    if not isinstance(entry, Mapping):
        raise BadParams(f"it is {entry!r:.100}; a dict with id, params and retention is needed, or CreateOptions")
    unknown = sorted(str(key) for key in entry if key not in ("id", "params", "retention"))
    if unknown:
        raise BadParams(f"{', '.join(unknown)} is unknown; an entry has id, params and retention")
    return CreateOptions(entry.get("id"), entry.get("params"), entry.get("retention"))


def _statuses(status: str | Iterable[str] | None) -> list[str]:
    wanted = [status] if isinstance(status, str) else list(Status) if status is None else list(status)
    known = {str(one) for one in Status}
    for one in wanted:
        if one not in known:
            raise ConfigError(f"There is no status {one!r:.100}; there are: {', '.join(Status)}")
    return [str(one) for one in wanted]


def _lines(answer: list[list[bytes]]) -> list[tuple[str, str]]:
    return [(place.decode(), status.decode()) for place, status in answer]


def _summary(workflow: str, place: str, status: str) -> InstanceSummary:
    created, id = place.split("|")
    at = history.moment(created)
    assert at is not None
    return InstanceSummary(workflow, id, Status(status), at)


def _check_header(instance: Instance, header: Mapping[str, bytes | None]) -> None:
    """What everything that reads a header relies on. Raises: InstanceError."""
    try:
        Status((header["st"] or b"").decode())
        for field in ("created", "started", "ended", "paused_at"):
            history.moment(header[field])
        for field in ("strikes", "declined", "stood"):
            int(header[field] or 0)
        for field in ("gen", "want", "turn", "queue", "reason"):
            (header[field] or b"").decode()
    except (ValueError, OverflowError, OSError):
        raise unreadable(instance) from None


def _known(instance: Instance, answer: Any) -> None:
    if answer is False:
        raise not_found(instance)
    if answer == b"unreadable":
        raise unreadable(instance)


def _expect_known(instance: Instance) -> Callable[[bytes], None]:
    def parse(answer: bytes) -> None:
        if answer == b"unknown":
            raise not_found(instance)
        if answer == b"unreadable":
            raise unreadable(instance)

    return parse

"""Runs ``run`` over a journal and says what it asks for next. Pure: no clock, no I/O, no threads.

Feeding one entry resolves one future and drains the loop; then comes the next entry. So the order of the journal alone
decides everything, races included, and it makes no difference whether a journal is fed at once or entry by entry (I7).

What surprised the author:

- An answer may arrive for a command that ``run`` has cancelled by then (the loser of a race). It is *void*: ignored,
  here and in every replay, because what cancelled it lies before it in the journal.
- A wait may be left behind without being cancelled: ``asyncio.wait(..., FIRST_COMPLETED)`` simply stops listening. It
  is *detached*: withdrawn like a cancelled one, so that it does not swallow the next event of its type, and asked for
  again if somebody awaits it again. A wait nobody has awaited yet is not detached.
- A void event has to go back to its mailbox, so a wait answered in vain counts as withdrawn once more (``delta``).
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any, Final, NamedTuple, NoReturn, cast

from workflows import limits
from workflows.authoring.asking import OwnApp, StepFuture
from workflows.authoring.callback import Callback
from workflows.authoring.commands import Command, Do, Undo, Wait, describe
from workflows.authoring.context import running
from workflows.authoring.event import ReceivedEvent, WorkflowEvent, moment
from workflows.authoring.retries import StepConfig
from workflows.authoring.step import WorkflowStep
from workflows.authoring.workflow import ExecutionContext, WorkflowEntrypoint
from workflows.errors import (
    BadEvent,
    DeadlineExceeded,
    EventTimeout,
    HeartbeatTimeout,
    InstanceTerminated,
    InvalidTransition,
    NonDeterminismError,
    NonRetryableError,
    StepLimitReached,
    Suspended,
    WorkflowCancelled,
    WorkflowTimeoutError,
)
from workflows.replay.published import Published
from workflows.replay.recorded import ReadChunk, Recorded
from workflows.replay.undoing import TERMINATED, Undoing
from workflows.sandbox import guard
from workflows.sandbox.loop import ReplayLoop, RunStalled, is_attended
from workflows.storage.cuts import generation_at
from workflows.storage.journal import (
    CancelRequested,
    ChildEnded,
    Cut,
    Entry,
    EventReceived,
    NoAnswer,
    RollingBack,
    Settled,
    Slept,
    Start,
    TimedOut,
    Undone,
    Withdrawn,
)
from workflows.values import codec, rejection
from workflows.values.byte_stream import source
from workflows.values.failure import Failure, Place, locate
from workflows.values.listening import AnswerToken
from workflows.values.models import named

__all__ = ["Continued", "Delta", "Raised", "Replay", "Returned", "RunStalled", "Snapshot", "delta"]

_Answer = Settled | Slept | TimedOut | EventReceived | ChildEnded
_WAITING: Final = ("sleep", "wait")
_DANGLING_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class Returned:
    """``run`` returned."""

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception left ``run``."""

    exception: BaseException


@dataclass(frozen=True, slots=True)
class Continued:
    """``run`` goes on in another life, with these params, a codec blob."""

    params: bytes


@dataclass(slots=True)
class Snapshot:
    """What is open at a position.

    Attributes:
        pending: commands waiting for their answer, in the order of asking. Empty once ``run`` has ended.
        gone: cancelled or detached, not answered, and no ``Withdrawn`` entry seen yet. After the end, everything that
            was still open.
        voids: waits and sleeps that were answered in vain, in the order of the journal.
        asked: how many commands have been asked for, if nobody has ever stopped listening to any, so that what was
            asked for once is pending until it is answered or cancelled. None: it may not be.
        published: how often it has published something.
    """

    pending: tuple[int, ...] = ()
    gone: frozenset[int] = frozenset()
    voids: tuple[int, ...] = ()
    asked: int | None = None
    published: int = 0


class Delta(NamedTuple):
    """What a turn changes, in ``seq`` order. Apply ``withdrawn`` first: a ``seq`` in both is to be opened anew."""

    opened: tuple[int, ...]
    withdrawn: tuple[int, ...]


def delta(before: Snapshot | None, after: Snapshot) -> Delta:
    """What ``run`` asked for, and gave up, between two positions; ``before=None`` is the very beginning.

    Never "what is open now and has no record yet": a result may have removed the record while it still lies undecided
    in the tail.
    """
    before = before or Snapshot(asked=0)
    if (
        before.asked is not None
        and after.asked is not None
        and not after.gone
        and len(after.voids) == len(before.voids)
    ):
        # Most turns, and at the cost of what is new: with thousands side by side each result is a turn.
        new = takewhile(before.asked.__lt__, reversed(after.pending))
        return Delta(tuple(new)[::-1], ())
    was_pending = frozenset(before.pending)
    voided = frozenset(after.voids[len(before.voids) :])
    opened = [seq for seq in after.pending if seq not in was_pending or seq in voided]
    withdrawn = (was_pending & after.gone) | voided
    return Delta(tuple(sorted(opened)), tuple(sorted(withdrawn)))


def seed(generation: str, counter: int) -> bytes:
    """32 bytes that depend on the two arguments only, on every machine and Python version."""
    return hashlib.blake2b(f"{generation}:{counter}".encode(), digest_size=32).digest()


@dataclass(slots=True)
class _Asked:
    command: Command
    future: StepFuture[Any]
    callback: Callback | None


class Replay:
    """One instance's ``run``, suspended between journal entries. Not thread-safe.

    Args:
        workflow_class: its constructor is called with ``(ctx, env)`` at the ``Start`` entry.
        event: handed to ``run`` as it is; validate params before.
        env: handed to the constructor, a ``LazyEnv``.
        generation: seeds ``step.random()`` and the like: the name of the life whose journal it is.
        cuts: of that journal. What ``run`` draws before it asks for a step is seeded by the life that first did so.
        defaults: the settings of steps that give none.
        step_limit: most calls of ``step.do``.
        app: for queues, workflow names and params of children; None accepts any.
        read: reads streams for ``run``; None: it cannot read any.
    """

    def __init__(
        self,
        workflow_class: type[WorkflowEntrypoint[Any]],
        event: WorkflowEvent[Any],
        *,
        env: object,
        generation: str,
        cuts: Sequence[Cut] = (),
        defaults: StepConfig | None = None,
        step_limit: int = limits.STEPS,
        app: OwnApp | None = None,
        read: ReadChunk | None = None,
    ) -> None:
        self.workflow_class = workflow_class
        self.defaults = defaults if defaults is not None else StepConfig()
        self.app = app
        # The same in every replay and different between instances, see workflows/sandbox/loop.py.
        self.loop = ReplayLoop(salt=int.from_bytes(seed(generation_at(cuts, 0, generation), -1)[:7], "big"))
        self._event = event
        self._env = env
        self._recorded = None if read is None else Recorded(read)
        self._generation = generation
        self._cuts = cuts
        self._step_limit = step_limit
        self._position = 0
        self._main: asyncio.Task[Any] | None = None
        self._end: Returned | Raised | Continued | None = None
        self._closed = False
        self.live = False
        self._now_ms = 0
        self._seeds = 0
        self._dos = 0
        self._ahead: frozenset[int] = frozenset()
        self._asked = 0
        self._counts: dict[tuple[str, str], int] = {}
        self._open: dict[int, _Asked] = {}
        self._waits: dict[int, StepFuture[Any]] = {}  # the part of _open that can be detached
        self._cancelled: dict[int, Command] = {}
        self._gone: set[int] = set()  # the part of _cancelled that nobody has acknowledged
        self._voids: tuple[int, ...] = ()
        self._dues: dict[int, int] = {}
        self._gone_frozen: frozenset[int] | None = frozenset()
        self._undoing: Undoing | None = None
        self.published: Published | None = None
        self._cancel: WorkflowCancelled | None = None

    # For the engine

    @property
    def position(self) -> int:
        """How many journal entries it has taken in, ``Withdrawn`` ones included."""
        return self._position

    @property
    def cost(self) -> int:
        """What another replay up to here would take: entries taken in, and commands asked for."""
        return self._position + self._asked

    @property
    def kept(self) -> int:
        """How many of the first entries were there before its life began, kept by a restart from a step."""
        return self._cuts[-1].upto if self._cuts else 0

    @property
    def created_at(self) -> datetime:
        """When its instance was created."""
        return self._event.timestamp

    @property
    def end(self) -> Returned | Raised | Continued | None:
        """How ``run`` ended; None while it has not, and while handlers undo what it did."""
        return self._end if self._undoing is None or self._next_undo is None else None

    @property
    def rollback(self) -> str | bytes | None:
        """What the end has to do with handlers, see ``records.End``."""
        undoing = self._undoing
        if undoing is None or not isinstance(self._end, Raised):
            return None
        return undoing.outcome if undoing.has_begun else "begin"

    @property
    def is_terminated(self) -> bool:
        """Whether it is rolled back because somebody wanted it to end."""
        return self._undoing is not None and self._undoing.is_terminated

    @property
    def cancelled_by(self) -> WorkflowCancelled | None:
        """What ended ``run``, if that is nothing but having been asked to end."""
        error = self._end.exception if isinstance(self._end, Raised) else None
        return self._cancel if isinstance(error, asyncio.CancelledError) else None

    @property
    def _next_undo(self) -> Undo | None:
        return None if self._undoing is None else self._undoing.next

    @property
    def labels(self) -> dict[str, str]:
        """What a log line of ``run`` says of it."""
        event = self._event
        return {"workflow": event.workflow_name, "instance": event.instance_id, "generation": self._generation}

    def feed(self, entries: Sequence[Entry | None], *, live: bool = False) -> None:
        """Take in the next entries of the journal. Those after the end of ``run`` are answers to what it had asked for.

        Args:
            entries: None for those that no longer count (``cuts.kept``).
            live: these entries have not been decided on before, so what ``run`` logs now is news, unless another life
                has logged it.
        Raises:
            NonDeterminismError: journal and code disagree. The replay is of no further use.
            CorruptPayload: a stored value cannot be read. Likewise.
            RunStalled: injected by the watchdog. Likewise.
            Exception: what has kept ``run`` from reading a stream. Likewise.
        """
        if self._closed:
            raise RuntimeError("this replay is closed")
        self._ahead = frozenset([entry.seq for entry in entries if type(entry) is Settled])
        self.live = live and not (self._cuts and self._position < self._cuts[-1].upto)
        with guard.inside(self), self.loop.running():
            for entry in entries:
                if entry is None:
                    pass
                elif self._end is None:
                    self._feed(entry)
                else:
                    self._feed_ended(entry)
                self._position += 1
        if self._recorded is not None and self._recorded.failure is not None:
            raise self._recorded.failure
        self._ahead = frozenset()

    def snapshot(self) -> Snapshot:
        """What is open now."""
        snapshot = self._snapshot()
        if self.published is not None:
            snapshot.published = self.published.number
        return snapshot

    def _snapshot(self) -> Snapshot:
        if self._end is not None:
            undo = self._next_undo
            if undo is not None:
                return Snapshot((undo.seq,), frozenset(), self._voids)
            return Snapshot((), frozenset(self._gone) | frozenset(self._open), self._voids)
        if self._gone_frozen is None:
            self._gone_frozen = frozenset(self._gone)
        detached = self._detached()
        if not detached:
            asked = None if self.loop.removals else self._asked
            return Snapshot(tuple(self._open), self._gone_frozen, self._voids, asked)
        pending = tuple([seq for seq in self._open if seq not in detached])
        return Snapshot(pending, self._gone_frozen | detached, self._voids)

    def command(self, seq: int) -> Command:
        """The command asked as number ``seq``, while it is not answered.

        Raises: KeyError.
        """
        asked = self._open.get(seq)
        if asked is not None:
            return asked.command
        undo = self._next_undo
        return undo if undo is not None and undo.seq == seq else self._cancelled[seq]

    def is_cancelled(self, seq: int) -> bool:
        """Whether ``seq`` was given up for good; a detached wait may still be awaited again."""
        return seq in self._cancelled

    def callback(self, seq: int) -> Callback | None:
        """What to run for the step ``seq``; None for other commands, and once it is answered or cancelled."""
        asked = self._open.get(seq)
        if asked is not None:
            return asked.callback
        undo = self._next_undo
        if self._undoing is None or undo is None or undo.seq != seq:
            return None
        return self._undoing.callback()

    def reopen_due(self, seq: int) -> int | None:
        """For a wait or sleep that is opened again after it was detached: when it was due, in ms."""
        return self._dues.get(seq)

    def dangling(self) -> tuple[str, ...]:
        """The steps that ``run`` left unanswered and not cancelled when it ended."""
        if self._end is None:
            return ()
        return tuple(_shown(asked.command) for asked in self._open.values())

    def vain_answers(self) -> list[str]:
        """Under which names answers by token may be kept for waits that were given up; the same in every life. Of one
        that was withdrawn before it had an answer none is taken any more."""
        maybe = self._gone.union(self._voids)
        given_up = [one for seq, one in self._cancelled.items() if seq in maybe]
        return [name for one in given_up if isinstance(one, Wait) and one.by_token for name in one.listens]

    def unanswered(self) -> list[Command]:
        """What ``run`` has asked for and what may still be open, or answered by an entry that was not fed."""
        if self._undoing is not None and self._undoing.has_begun:
            return []
        return [
            *[asked.command for asked in self._open.values()],
            *[self._cancelled[seq] for seq in sorted(self._gone)],
        ]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an operator should know although the instance goes on."""
        found = list(self.loop.problems)
        dangling = self.dangling()
        if dangling and not self.is_terminated:
            found.append(f"run() ended without waiting for {_named(dangling)}. Await every step, or cancel it.")
        return tuple(found)

    def close(self) -> None:
        """Drop everything, without another step being asked for."""
        if self._closed:
            return
        self._closed = True
        with guard.inside(self), self.loop.running():
            self.loop.drop()
        self._open.clear()
        self._waits.clear()
        self._main = None

    # For the steps (asking.OwnReplay)

    @property
    def now_ms(self) -> int:
        return self._now_ms

    def enter(self, name: object) -> None:
        if guard.current() is not self:
            attempt = running.get()
            if attempt is not None and attempt.forward is not None:
                raise NonRetryableError("Cannot execute steps during rollback phase")
            # Not retryable, so that the outer step fails at once with this text.
            raise NonRetryableError(
                f'The step "{name}" was asked for inside the callback of another step, or outside run(). Steps cannot '
                "be nested: return a value from the callback and ask for the next step in run()."
            )
        if self._closed or self._end is not None:
            raise Suspended

    def reserve(self, kind: str, name: str) -> tuple[int, int]:
        if kind == "do":
            self._dos += 1
            if self._dos > self._step_limit:
                self._end = Raised(
                    StepLimitReached(
                        f"The limit of {self._step_limit} steps has been reached. "
                        "This limit can be changed in your worker configuration."
                    )
                )
                raise self._end.exception
        self._asked += 1
        key = (kind, name)
        count = self._counts[key] = self._counts.get(key, 0) + 1
        return self._asked, count

    def is_answered_next(self) -> bool:
        return self._asked + 1 in self._ahead

    def ask(self, command: Command, callback: Callback | None) -> StepFuture[Any]:
        future: StepFuture[Any] = StepFuture(self, command)
        self._open[command.seq] = _Asked(command, future, callback)
        # What takes one answer by a token keeps no event from another wait, so it is not given up while nobody listens.
        if command.kind in _WAITING and not (type(command) is Wait and command.by_token):
            self._waits[command.seq] = future
        return future

    def token_of(self, command: Wait) -> AnswerToken:
        life = generation_at(self._cuts, command.seq, self._generation)
        event, (type,) = self._event, command.types
        return AnswerToken(event.workflow_name, event.instance_id, life, command.seq, type)

    def on_rollback(self, command: Do, callback: Callback, handler: Callback) -> None:
        if self._undoing is None:
            self._undoing = Undoing()
        self._undoing.handled(command, callback, handler)

    def publish(self, name: str, value: Any) -> None:
        if self.published is None:
            self.published = Published()
        self.published.put(name, value, self._now_ms)

    def continue_as(self, params: Any) -> NoReturn:
        if self._open:
            steps = _named([_shown(asked.command) for asked in self._open.values()])
            raise InvalidTransition(
                f"run() cannot continue as another life while it has asked for {steps}. Await every step, or cancel it."
            )
        what = "the params of continue_as"
        if self.app is not None:
            blob = self.app.encode_params(self._event.workflow_name, params, what=what)
        else:
            blob = codec.encode({} if params is None else params, what=what)
        self._end = Continued(blob)
        raise Suspended

    def cancelled(self, command: Command) -> None:
        if self._closed or self._end is not None:
            return
        if self._open.pop(command.seq, None) is not None:
            self._waits.pop(command.seq, None)
            self._cancelled[command.seq] = command
            self._gone.add(command.seq)
            self._gone_frozen = None

    def seed(self) -> bytes:
        self._seeds += 1
        generation = self._generation
        return seed(generation_at(self._cuts, self._asked, generation) if self._cuts else generation, self._seeds)

    # Entries

    def _feed(self, entry: Entry) -> None:
        kind = type(entry)
        if kind is Start:
            self._start(cast(Start, entry))
        elif self._main is None:
            raise NonDeterminismError(f"The journal holds {_told(entry)} before the start of the instance.")
        elif kind is Withdrawn:
            self._check_withdrawn(cast(Withdrawn, entry))
            return
        elif kind is RollingBack:
            self._roll_back(cast(RollingBack, entry))
            return
        elif kind is CancelRequested:
            self._ask_to_end(cast(CancelRequested, entry))
        elif not self._answer(cast(_Answer, entry)):
            return
        main = self._main
        assert main is not None
        self.loop.drain(main)
        if main.done():
            outcome = _outcome(main)
            self._end = self._end or outcome  # the limit of steps ends the run, whatever run() makes of the error
        if self._end is not None:
            self.loop.drop()  # what run() left running; it would never go on

    def _start(self, entry: Start) -> None:
        if self._main is not None:
            raise NonDeterminismError("The journal holds a second start of the instance.")
        self._now_ms = entry.at_ms
        step = WorkflowStep(self)
        execution = ExecutionContext(workflow_name=self._event.workflow_name, instance_id=self._event.instance_id)

        async def main() -> Any:
            return await self.workflow_class(execution, self._env).run(self._event, step)

        # An empty context, so that nothing set by whoever replays can be seen by run().
        context = contextvars.Context()
        if self._recorded is not None:
            context.run(source.set, self._recorded)
        self._main = self.loop.create_task(main(), name="run", context=context)

    def _ask_to_end(self, entry: CancelRequested) -> None:
        main = self._main
        assert main is not None
        if entry.at_ms > self._now_ms:
            self._now_ms = entry.at_ms
        self._cancel = DeadlineExceeded(entry.reason) if entry.is_late else WorkflowCancelled(entry.reason)
        main.cancel(self._cancel)
        main.uncancel()  # it was asked once; a TaskGroup that run() opens to clean up is not

    def _answer(self, entry: _Answer) -> bool:
        """Resolve the future of the command that ``entry`` answers; False if the entry is void."""
        asked = self._open.get(entry.seq)
        if type(entry) is Settled and entry.rollback:
            self._note_begun(entry)
        if asked is None:
            self._check_same(entry, self._withdrawn_command(entry))
            self._make_void(entry)
            return False
        self._check_same(entry, asked.command)
        if self._waits and entry.seq in self._waits:
            if self._is_detached(entry.seq):
                self._make_void(entry)
                return False
            del self._waits[entry.seq]
            self._dues.pop(entry.seq, None)
        value, error = self._result(entry, asked)
        del self._open[entry.seq]
        if entry.at_ms > self._now_ms:
            self._now_ms = entry.at_ms
        if error is None:
            asked.future.set_result(value)
        else:
            asked.future.set_exception(error)
        return True

    def _result(self, entry: Entry, asked: _Asked) -> tuple[Any, BaseException | None]:
        if type(entry) is Settled and entry.error is None:
            value = codec.decode(entry.value) if entry.value is not None else None
            return self._rebuilt(value, asked), None
        match entry:
            case ChildEnded(error=None, value=blob):
                return (codec.decode(blob) if blob is not None else None), None
            case Settled(error=blob) | ChildEnded(error=blob):
                assert blob is not None
                error = Failure.from_blob(blob).to_exception(self._place(entry, asked))
                # A future cannot carry StopIteration: it would end the coroutine that awaits it.
                return None, RuntimeError(f"StopIteration: {error}") if isinstance(error, StopIteration) else error
            case TimedOut(timeout_ms=timeout_ms, is_silent=is_silent):
                late: WorkflowTimeoutError = EventTimeout(f"Execution timed out after {timeout_ms}ms")
                if is_silent:
                    late = HeartbeatTimeout(f"Neither a heartbeat nor an answer for {timeout_ms}ms")
                locate(late, self._place(entry, asked))
                return None, late
            case EventReceived():
                payload = codec.decode(entry.payload) if entry.payload else None
                if entry.error is not None:
                    failed = rejection.decode(entry.error, entry.type, payload)
                    locate(failed, self._place(entry, asked))
                    return None, failed
                if self.app is not None:
                    payload = self._loaded(payload, entry.type, asked)
                return ReceivedEvent(payload, type=entry.type, timestamp=moment(entry.sent_at_ms)), None
        return None, None

    def _place(self, entry: Settled | TimedOut | EventReceived | ChildEnded, asked: _Asked) -> Place:
        if isinstance(entry, ChildEnded):
            return Place(entry.workflow, entry.id)
        command: Any = asked.command
        timeout_ms = command.config.timeout_ms if isinstance(entry, Settled) else command.timeout_ms
        if isinstance(entry, TimedOut) and entry.is_silent:
            timeout_ms = entry.timeout_ms
        attempts = entry.attempts if isinstance(entry, Settled) else None
        step = describe("step" if entry.kind == "do" else entry.kind, entry.name, entry.count)
        return Place(self._event.workflow_name, self._event.instance_id, step, attempts, timeout_ms)

    def _rebuilt(self, value: Any, asked: _Asked) -> Any:
        if asked.callback is None:
            return value
        try:
            return asked.callback.rebuild(value)
        except Exception as error:
            raise NonDeterminismError(
                f"The stored result of {_shown(asked.command)} does not fit the return annotation "
                f"{named(asked.callback.return_annotation)} of its callback: {error}. Let the annotation accept what "
                "older code stored."
            ) from error

    def _loaded(self, payload: Any, type: str, asked: _Asked) -> Any:
        assert self.app is not None
        try:
            return self.app.load_event(self._event.workflow_name, type, payload)
        except BadEvent as error:
            raise NonDeterminismError(
                f"{error}\nIt is what {_shown(asked.command)} received. Let the model accept what was sent."
            ) from error

    def _check_withdrawn(self, entry: Withdrawn) -> None:
        """Assert that what the journal says was given up is given up here too."""
        asked = self._open.get(entry.seq)
        command = asked.command if asked is not None else self._withdrawn_command(entry)
        self._check_same(entry, command)
        if entry.rollback:
            self._note_begun(entry)
        if entry.is_ended:
            return  # the next turn is about what comes before the end
        if asked is not None:
            # A detached wait may have been taken up again by an entry that came in before this one.
            if entry.seq not in self._waits or not self.loop.removals:
                raise NonDeterminismError(
                    f"The journal says that run() gave up {_shown(command)} by entry {self._position}, "
                    "but this code still waits for it. Run the code the instance was started with, or restart it."
                )
            if entry.due_ms is not None:
                self._dues[entry.seq] = entry.due_ms
        elif entry.seq in self._gone:
            self._gone.discard(entry.seq)
            self._gone_frozen = None

    # After the end of run

    def _feed_ended(self, entry: Entry) -> None:
        if isinstance(entry, RollingBack):
            self._roll_back(entry)
        elif isinstance(entry, CancelRequested):
            pass  # too late
        elif isinstance(entry, Undone):
            undoing, undo = self._undoing, self._next_undo
            if undoing is None or undo is None or undo.seq != entry.seq:
                raise NonDeterminismError(
                    f"The journal holds {_told(entry)} as step {entry.seq} (entry {self._position}), but by then there "
                    "is no such step to undo. Run the code the instance was started with, or restart it."
                )
            self._check_same(entry, undo)
            undoing.undone(entry)
        else:
            self._check_asked(entry)
            if isinstance(entry, Settled | Withdrawn) and entry.rollback:
                self._note_begun(entry)

    def _note_begun(self, entry: Settled | Withdrawn) -> None:
        if self._undoing is None:
            self._undoing = Undoing()
        self._undoing.note(entry)

    def _roll_back(self, entry: RollingBack) -> None:
        """From here on what was done is undone."""
        undoing = self._undoing = self._undoing or Undoing()
        if entry.is_terminated:
            self._end = Raised(InstanceTerminated(TERMINATED))
            self.loop.drop()
        if undoing.has_begun:
            raise NonDeterminismError(f"The journal says again, at entry {self._position}, that run() has failed.")
        if not isinstance(self._end, Raised):
            raise NonDeterminismError(
                f"The journal says that run() has failed by entry {self._position}, but this code "
                f"{'goes on' if self._end is None else 'has returned'}. Run the code the instance was started with, or "
                "restart it."
            )
        cuts, generation = self._cuts, self._generation
        undoing.begin(entry, self._end.exception, self._asked, lambda seq: generation_at(cuts, seq, generation))

    def _check_asked(self, entry: Entry) -> None:
        """After the end: refuse an entry about what this code has never asked for, so that code which was cut short
        does not pass for code which is done."""
        if isinstance(entry, NoAnswer):
            raise NonDeterminismError("The journal holds a second start of the instance.")
        asked = self._open.get(entry.seq)
        command = asked.command if asked is not None else self._cancelled.get(entry.seq)
        if command is not None:
            self._check_same(entry, command)
        elif entry.seq > self._asked:
            raise NonDeterminismError(
                f"The journal holds {_told(entry)} as step {entry.seq} (entry {self._position}), but the code has "
                f"ended by then, having asked for only {self._asked} steps. Run the code the instance was started "
                "with, or restart it."
            )

    def _withdrawn_command(self, entry: Entry) -> Command:
        """The cancelled command that ``entry`` speaks of; anything else is a disagreement."""
        assert not isinstance(entry, NoAnswer)
        command = self._cancelled.get(entry.seq)
        if command is not None:
            return command
        if entry.seq <= self._asked:
            raise NonDeterminismError(
                f"The journal holds {_told(entry)} at entry {self._position}, but this step has its answer already."
            )
        last = max(self._open, default=None)
        waiting = f"; the last it waits for is {_shown(self._open[last].command)}" if last is not None else ""
        raise NonDeterminismError(
            f"The journal holds {_told(entry)} as step {entry.seq} (entry {self._position}), but the code asked for "
            f"only {self._asked} steps by then{waiting}. Run the code the instance was started with, or restart it."
        )

    def _check_same(self, entry: Entry, command: Command) -> None:
        assert not isinstance(entry, NoAnswer)
        kind = entry.command if isinstance(entry, Withdrawn) else entry.kind
        if kind != command.kind or entry.name != command.name or entry.count != command.count:
            raise NonDeterminismError(
                f"The journal holds {describe(kind, entry.name, entry.count)} as step {entry.seq} "
                f"(entry {self._position}), but the code asked for {_shown(command)} there. "
                "Run the code the instance was started with, or restart it."
            )

    def _make_void(self, entry: _Answer) -> None:
        if entry.kind in _WAITING:
            self._voids = (*self._voids, entry.seq)
        if isinstance(entry, Slept | TimedOut):
            self._dues[entry.seq] = entry.at_ms
        if entry.seq in self._gone:
            self._gone.discard(entry.seq)
            self._gone_frozen = None

    def _detached(self) -> frozenset[int]:
        if not self.loop.removals:
            return frozenset()  # nobody ever stopped listening to anything
        return frozenset([seq for seq in self._waits if self._is_detached(seq)])

    def _is_detached(self, seq: int) -> bool:
        return bool(self.loop.removals) and not is_attended(self._waits[seq])


def _outcome(main: asyncio.Task[Any]) -> Returned | Raised:
    try:
        error = main.exception()
    except asyncio.CancelledError as cancelled:
        return Raised(cancelled)
    return Raised(error) if error is not None else Returned(main.result())


def _named(steps: Sequence[str]) -> str:
    more = f" and {len(steps) - _DANGLING_NAMED} more" if len(steps) > _DANGLING_NAMED else ""
    return f"{', '.join(steps[:_DANGLING_NAMED])}{more}"


def _shown(command: Command) -> str:
    return describe(command.kind, command.name, command.count)


def _told(entry: Entry) -> str:
    if isinstance(entry, NoAnswer):
        if isinstance(entry, CancelRequested):
            return "a request to end"
        return "the start" if isinstance(entry, Start) else "the begin of a rollback"
    if isinstance(entry, Withdrawn):
        return f"the withdrawal of {describe(entry.command, entry.name, entry.count)}"
    return f"the answer to {describe(entry.kind, entry.name, entry.count)}"

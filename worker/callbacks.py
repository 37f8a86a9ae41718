"""Runs callbacks: async ones on one loop, plain ones in threads, so that neither blocks the engine.

The bindings of the app live here too, made once per worker process on the same loop. Every attempt has context
variables of its own: what the bindings have set is there, what another attempt has set is not.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import os
import random
import threading
import weakref
from collections.abc import AsyncIterable, Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from worker.attempt import Attempt, Outcome, is_first
from worker.loop_watch import LoopWatch, place_of
from worker.streams import Streams
from worker.threads import Threads
from worker.vital import vital
from workflows import limits
from workflows.authoring import retries
from workflows.authoring.app import App
from workflows.authoring.callback import Callback, Poll
from workflows.authoring.context import StepContext, running
from workflows.authoring.env import names_of
from workflows.clock import monotonic
from workflows.errors import NonRetryableDelayError, StepTimeout, StreamLost
from workflows.replay.overrides import Occurrence, Overrides
from workflows.telemetry import metrics
from workflows.telemetry.figures import figures
from workflows.values import failure
from workflows.values.byte_stream import is_stream, source
from workflows.values.durations import parse_ms
from workflows.values.failure import Failure

_log = logging.getLogger("workflows.worker")

# After this long a callback that blocks the loop is named, and those that have not begun behind it go elsewhere.
BLOCKED_SECONDS = 1.0
# After this long, if it is past its timeout, the process goes: nothing else can be done for those that have begun.
LOST_SECONDS = 60.0

FORKED_RETURNED, FORKED_FAILED = 0, 70

# What most callbacks return. To ask whether something else can be awaited costs more than to encode these.
_PLAIN = frozenset({type(None), bool, int, float, str, bytes, list, dict, tuple})


@dataclass(slots=True, eq=False)
class _Question:
    """A user's function is being asked how long to wait before the next attempt."""

    attempt: Attempt
    blob: bytes
    deadline: float
    task: asyncio.Task[None] | None = None
    _open: list[None] = field(default_factory=lambda: [None])

    def take(self) -> bool:
        """True for the first caller only: the answer and the end of its time may come together."""
        return is_first(self._open)


class _NotYet(BaseException):
    """A poll has not found what it looks for."""


class Callbacks:
    """The threads and the loop user code runs on.

    Args:
        concurrency: how many attempts may run at once; also the number of threads.
        deliver: called with each attempt and its outcome, from any thread.
        freed: called whenever an attempt's code has really ended, even if its outcome came earlier.
        begun: called when an attempt's callback is about to be called, where it is.
        overrides: what a test puts in the place of callbacks and delays.
        streams: where results go that are streams, and where callbacks read them.
        on_death: called with the reason when the loop or a thread has ended that should not.
        lead: called on a thread that has just run a plain callback.
    """

    def __init__(
        self,
        concurrency: int,
        deliver: Callable[[Attempt, Outcome], None],
        freed: Callable[[Attempt], None],
        begun: Callable[[Attempt], None],
        overrides: Overrides | None,
        streams: Streams,
        on_death: Callable[[str], None],
        lead: Callable[[], None],
    ) -> None:
        self._deliver = deliver
        self._freed = freed
        self._begun = begun
        self._overrides = overrides
        self._streams = streams
        self._on_death = on_death
        self._loop = asyncio.new_event_loop()
        self.threads = Threads(concurrency, lead, on_death)
        work = vital("callbacks", self._run_loop, on_death)
        self._thread = threading.Thread(target=work, name="callbacks", daemon=True)
        self._scope = contextvars.Context()
        self._scope.run(source.set, streams)
        self._questions: set[_Question] = set()
        self._watch = LoopWatch(self._loop)
        self._is_named = False
        self._overdue: set[StepContext] = set()
        self._closing: Any = None
        self._ending = False
        self._is_forked = False
        _all.add(self)

    def start(self, app: App, bindings: dict[str, Any]) -> dict[str, Any]:
        """Start the loop and make the app's bindings on it; the given ones go before those of the same name."""
        self._thread.start()
        made: dict[str, Any] = asyncio.run_coroutine_threadsafe(
            self._scoped(self._open(app, bindings)), self._loop
        ).result()
        return made

    async def _scoped(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """In the context of the bindings: what their function sets at the start it may reset at the end."""
        return await self._loop.create_task(coroutine, context=self._scope)

    async def _open(self, app: App, bindings: dict[str, Any]) -> dict[str, Any]:
        self._closing = app.open_bindings()
        made = await self._closing.__aenter__()
        names = names_of(made)
        own = {name: made[name] if isinstance(made, Mapping) else getattr(made, name) for name in names}
        return {**own, **bindings}

    def stop(self, seconds: float = 10.0) -> None:
        """Tear the bindings down and end the loop; plain callbacks still running are left behind.

        Raises:
            TimeoutError: the bindings were not torn down within this time.
        """
        self.threads.close()
        closed = asyncio.run_coroutine_threadsafe(self._close(), self._loop)
        try:
            closed.result(timeout=seconds)
        finally:
            self._thread.join(timeout=1)

    async def _close(self) -> None:
        try:
            if self._closing is not None:
                await self._scoped(self._closing.__aexit__(None, None, None))
        finally:
            self._ending = True
            self._loop.stop()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._ending:
            self._run_until_stopped(self._loop.run_forever)
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        # Also lets those who wait for a task that has just ended know.
        self._run_until_stopped(lambda: self._loop.run_until_complete(self._loop.shutdown_asyncgens()))
        self._loop.close()

    def _run_until_stopped(self, run: Callable[[], None]) -> None:
        """asyncio lets SystemExit and KeyboardInterrupt of any task out of the loop. Whoever awaits the task gets them
        too, and everybody else must go on: what was ready and did not get its turn still is."""
        try:
            run()
        except (SystemExit, KeyboardInterrupt) as error:
            _log.warning("a task asked the process to exit", extra={"error": repr(error)})

    def run(self, attempt: Attempt) -> None:
        """Start an attempt; its outcome is delivered later."""
        attempt.scope = self._scope.copy()
        attempt.scope.run(running.set, attempt.context)
        if self._overrides is not None and attempt.kind == "do" and self._is_replaced(attempt, self._overrides):
            return
        attempt.queued = monotonic()
        if attempt.callback.is_async:
            self._loop.call_soon_threadsafe(self._start_async, attempt, None)
        else:
            self.threads.submit(self._run_plain, attempt)

    def _is_replaced(self, attempt: Attempt, overrides: Overrides) -> bool:
        replacement = overrides.attempt(_occurrence(attempt), attempt.failed)
        if replacement is None:
            return False
        if replacement.stream is not None:
            attempt.callback = Callback(iter, (replacement.stream,))
            return False
        if attempt.take_start() and attempt.take_outcome():
            self._begun(attempt)
            if replacement.error is not None:
                self._fail(attempt, replacement.error)
            else:
                self._deliver(attempt, Outcome(value=replacement.result))
        self._freed(attempt)
        return True

    def time_out(self, attempt: Attempt) -> None:
        """Settle an attempt as timed out, whatever its code is doing."""
        # Before the code hears of it: one that takes the cancellation for its result must have no say any more.
        mine = attempt.take_outcome()
        self._overdue.add(attempt.context)
        self._interrupt(attempt)
        if mine:
            figures.count(metrics.TIMEOUTS, (attempt.instance.workflow, attempt.queue))
            self._fail(attempt, StepTimeout(f"Execution timed out after {attempt.config.timeout_ms}ms"))

    def cancel(self, attempt: Attempt) -> bool:
        """Tell an attempt that its result is not wanted any more. Returns: whether its callback has begun."""
        if attempt.take_start():
            self._freed(attempt)
            return False
        self._interrupt(attempt)
        return True

    def _interrupt(self, attempt: Attempt) -> None:
        attempt.context.cancelled.set()
        handle = attempt.handle
        if handle is not None:
            self._loop.call_soon_threadsafe(handle.cancel)

    def look(self, now: float, attempts: Collection[Attempt] = ()) -> list[Attempt]:
        """To be called now and then by a thread that user code cannot hold up.

        Args:
            attempts: those in flight.
        Returns: those that will not begin here, because a callback blocks the loop they wait for.
        """
        for question in list(self._questions):
            if now >= question.deadline:
                # First: cancelled before, it could answer with its cancellation.
                self._refuse(question, f"did not return within {limits.DELAY_FUNCTION_SECONDS} seconds")
                task = question.task
                if task is not None:
                    self._loop.call_soon_threadsafe(task.cancel)

        blocked = self._watch.look(now)
        if blocked < BLOCKED_SECONDS:
            self._is_named = False
            return []
        whose = self._watch.blocker(attempts)
        if not self._is_named:
            self._is_named = True
            _log.warning("callback blocks the loop", extra={**_fields(whose), "at": place_of(self._thread)})
        if blocked >= LOST_SECONDS and (
            whose in self._overdue or (whose is None and blocked >= limits.STEP_TIMEOUT_MS / 1000)
        ):
            self._on_death(f"a callback has been blocking the loop for {blocked:.0f} s")
        return [
            attempt
            for attempt in attempts
            if 0 < attempt.queued <= now - BLOCKED_SECONDS and attempt.callback.is_async and attempt.take_start()
        ]

    # Attempts ---------------------------------------------------------------------------------------------------------

    def _start_async(self, attempt: Attempt, awaitable: Awaitable[Any] | None) -> None:
        # Past the loop's own factory, which notes whose a task is: this one is found at its attempt.
        asyncio.Task(self._run_async(attempt, awaitable), loop=self._loop, context=attempt.scope)

    def _run_plain(self, attempt: Attempt) -> None:
        if not attempt.take_start():
            return
        attempt.begin()
        self._begun(attempt)
        handed_on = False
        try:
            found = attempt.scope.run(self._call_plain, attempt)
            if not isinstance(found, Outcome):
                handed_on = True
                self._loop.call_soon_threadsafe(self._start_async, attempt, found)
            elif attempt.take_outcome():
                self._deliver(attempt, found)
        except BaseException as error:
            # User code: whatever comes out of it is the step's failure, SystemExit included.
            self._leave_if_forked(FORKED_FAILED)
            if attempt.take_outcome():
                self._fail(attempt, error)
        finally:
            if not handed_on:
                self._overdue.discard(attempt.context)
                self._freed(attempt)

    def _call_plain(self, attempt: Attempt) -> Outcome | Awaitable[Any]:
        result = attempt.callback.call(attempt.context)
        self._leave_if_forked(FORKED_RETURNED)
        if type(result) not in _PLAIN:
            if inspect.isawaitable(result):
                return result
            if _is_stream(attempt, result):
                is_async = isinstance(result, AsyncIterable)
                return _itself(result) if is_async else self._streams.store_plainly(attempt, result)
        return Outcome(value=_encode(attempt, result))

    async def _run_async(self, attempt: Attempt, awaitable: Awaitable[Any] | None) -> None:
        task = asyncio.current_task()
        assert task is not None
        # In this order, so that whoever takes the start away, or has just missed it, finds the task or is found here.
        attempt.handle = task
        if awaitable is None:
            if not attempt.take_start():
                return
            attempt.begin()
            self._begun(attempt)
        if attempt.context.cancelled.is_set():
            task.cancel()
        try:
            if awaitable is None:
                awaitable = attempt.callback.call(attempt.context)
            result = await awaitable
            self._leave_if_forked(FORKED_RETURNED)
            if type(result) not in _PLAIN and _is_stream(attempt, result):
                outcome = await self._streams.store(attempt, result)
            else:
                outcome = Outcome(value=_encode(attempt, result))
        except BaseException as error:
            self._leave_if_forked(FORKED_FAILED)
            if attempt.take_outcome():
                self._fail(attempt, error)
        else:
            if attempt.take_outcome():
                self._deliver(attempt, outcome)
        finally:
            attempt.handle = None
            self._overdue.discard(attempt.context)
            self._freed(attempt)

    def _leave_if_forked(self, status: int) -> None:
        """A process that a callback has forked and that comes back from the callback ends here: going on it would be a
        second worker on the first one's connections."""
        if self._is_forked:
            _log.warning("a process forked by a step ends", extra={"pid": os.getpid()})
            os._exit(status)

    def after_fork(self) -> None:
        """In a process that one of these threads has forked. If that is the loop's, nothing but the callback that did
        it may go on, and only until it waits for something."""
        self._is_forked = True
        ready = getattr(self._loop, "_ready", None)
        if threading.get_ident() == self._thread.ident and self._loop.is_running():
            if ready is not None:
                ready.clear()
            self._loop.call_soon(self._leave_if_forked, FORKED_FAILED)

    # Failures ---------------------------------------------------------------------------------------------------------

    def lose(self, attempt: Attempt) -> None:
        """What an attempt has written was lost before it was its result: it has failed."""
        self._fail(attempt, StreamLost(f'The stream of step "{attempt.name}-{attempt.count}" was lost at its end.'))

    def _fail(self, attempt: Attempt, error: BaseException) -> None:
        """Deliver a failure. Not through the loop, which user code may be blocking."""
        if isinstance(error, _NotYet):
            self._deliver(attempt, Outcome())
            return
        blob = failure.capture(error)
        retry = attempt.config.retries
        is_over = not retries.should_retry(attempt.config, attempt.failed + 1, Failure.from_blob(blob))
        if is_over or not retries.goes_on_after(retry, type(error)):
            self._deliver(attempt, Outcome(error=blob))
        elif callable(retry.delay):
            question = _Question(attempt, blob, monotonic() + limits.DELAY_FUNCTION_SECONDS)
            self._questions.add(question)
            # A thread of its own, because it may never come back.
            ask = vital("delay", partial(self._ask, question, retry.delay, error), self._on_death)
            threading.Thread(target=ask, name="delay", daemon=True).start()
        else:
            self._deliver(attempt, Outcome(error=blob, retry_delay_ms=self._delay_ms(attempt)))

    def _delay_ms(self, attempt: Attempt, base_ms: int | None = None) -> int:
        delay = retries.delay_ms(attempt.config.retries, attempt.failed + 1, base_ms, random01=random.random())
        return delay if self._overrides is None else self._overrides.retry_delay_ms(_occurrence(attempt), delay)

    def _ask(self, question: _Question, function: Callable[[Any], Any], error: BaseException) -> None:
        """Ask the user's function how long to wait; it has 5 seconds to answer.

        Source: https://developers.cloudflare.com/workflows/build/sleeping-and-retrying/
        """
        attempt = question.attempt
        scope = attempt.scope.copy()
        context = attempt.context.after(attempt.failed + 1)
        try:
            answer = scope.run(function, {"ctx": context, "error": error})
            self._leave_if_forked(FORKED_RETURNED)
            is_awaitable = inspect.isawaitable(answer)
        except BaseException as broken:
            # User code, as above.
            self._leave_if_forked(FORKED_FAILED)
            self._refuse(question, f"threw an error: {_message(broken)}", broken)
            return
        if is_awaitable:
            self._loop.call_soon_threadsafe(self._start_waiting, question, answer, scope)
        else:
            self._answer(question, answer)

    def _start_waiting(self, question: _Question, answer: Awaitable[Any], scope: contextvars.Context) -> None:
        question.task = self._loop.create_task(self._wait(question, answer), context=scope)

    async def _wait(self, question: _Question, awaitable: Awaitable[Any]) -> None:
        try:
            answer = await awaitable
        except BaseException as broken:
            # User code, as above.
            self._refuse(question, f"threw an error: {_message(broken)}", broken)
        else:
            self._answer(question, answer)

    def _answer(self, question: _Question, answer: Any) -> None:
        try:
            base = parse_ms(answer, what="a retry delay")
        except BaseException as broken:
            # An answer with methods of its own.
            said = 'returned an invalid delay value (expected a number of ms or a duration string like "30 seconds")'
            self._refuse(question, said, broken)
            return
        if question.take():
            self._questions.discard(question)
            attempt = question.attempt
            self._deliver(attempt, Outcome(error=question.blob, retry_delay_ms=self._delay_ms(attempt, base)))

    def _refuse(self, question: _Question, what: str, cause: BaseException | None = None) -> None:
        if question.take():
            self._questions.discard(question)
            attempt = question.attempt
            error = NonRetryableDelayError(f'The delay function for step "{attempt.name}-{attempt.count}" {what}')
            error.__cause__ = cause
            self._deliver(attempt, Outcome(error=failure.capture(error)))


_all: weakref.WeakSet[Callbacks] = weakref.WeakSet()


def _after_fork() -> None:
    for callbacks in _all:
        callbacks.after_fork()


os.register_at_fork(after_in_child=_after_fork)


def _fields(context: StepContext | None) -> dict[str, Any]:
    if context is None:
        return {"step": "none: a task of the bindings, or one that a callback has left behind"}
    return context.labels


def _message(error: BaseException) -> str:
    return Failure.from_blob(failure.capture(error)).message


def _is_stream(attempt: Attempt, result: Any) -> bool:
    """Not of a look, and not of what undoes a step: nobody reads that."""
    return attempt.kind == "do" and not isinstance(attempt.callback, Poll) and is_stream(result)


async def _itself(value: Any) -> Any:
    return value


def _encode(attempt: Attempt, value: Any) -> bytes:
    callback = attempt.callback
    if isinstance(callback, Poll) and not callback.until(value):
        raise _NotYet
    # A result that does not come back must fail this attempt, and not every replay after it.
    return attempt.callback.encode(value, what=f'the result of step "{attempt.name}-{attempt.count}"')


def _occurrence(attempt: Attempt) -> Occurrence:
    return Occurrence(attempt.instance, attempt.generation, attempt.name, attempt.count)

"""Runs callbacks: async ones on one loop, plain ones in threads, so that neither blocks the engine.

The bindings of the app live here too, made once per worker process on the same loop.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import threading
from collections.abc import Callable, Mapping
from typing import Any

from worker.attempt import Attempt, Outcome
from worker.threads import Threads
from workflows import codec, failure, limits, retries
from workflows.app import App
from workflows.context import running
from workflows.durations import parse_ms
from workflows.env import names_of
from workflows.errors import NonRetryableError, StepTimeout
from workflows.failure import Failure
from workflows.overrides import Occurrence, Overrides


class NonRetryableDelayError(NonRetryableError):
    """The function that computes a step's retry delay failed."""


class Callbacks:
    """The threads and the loop user code runs on.

    Args:
        concurrency: how many attempts may run at once; also the number of threads.
        deliver: called with each attempt and its outcome, from any thread.
        freed: called whenever an attempt's code has really ended, even if its outcome came earlier.
        overrides: what a test puts in the place of callbacks and delays.
    """

    def __init__(
        self,
        concurrency: int,
        deliver: Callable[[Attempt, Outcome], None],
        freed: Callable[[Attempt], None],
        overrides: Overrides | None = None,
    ) -> None:
        self._deliver = deliver
        self._freed = freed
        self._overrides = overrides
        self._loop = asyncio.new_event_loop()
        self._threads = Threads(concurrency)
        self._thread = threading.Thread(target=self._run_loop, name="callbacks", daemon=True)
        self._closing: Any = None

    def start(self, app: App, bindings: dict[str, Any]) -> dict[str, Any]:
        """Start the loop and make the app's bindings on it; the given ones go before those of the same name."""
        self._thread.start()
        return asyncio.run_coroutine_threadsafe(self._open(app, bindings), self._loop).result()

    async def _open(self, app: App, bindings: dict[str, Any]) -> dict[str, Any]:
        self._closing = app.open_bindings()
        made = await self._closing.__aenter__()
        names = names_of(made)
        own = {name: made[name] if isinstance(made, Mapping) else getattr(made, name) for name in names}
        return {**own, **bindings}

    def stop(self) -> None:
        """Tear the bindings down and end the loop; plain callbacks still running are left behind."""
        self._threads.close()
        closed = asyncio.run_coroutine_threadsafe(self._close(), self._loop)
        try:
            closed.result(timeout=10)
        finally:
            self._thread.join(timeout=10)

    async def _close(self) -> None:
        try:
            if self._closing is not None:
                await self._closing.__aexit__(None, None, None)
        finally:
            self._loop.stop()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        # Also lets those who wait for a task that has just ended know.
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def run(self, attempt: Attempt) -> None:
        """Start an attempt; its outcome is delivered later."""
        if self._overrides is not None and self._is_replaced(attempt, self._overrides):
            return
        if attempt.callback.is_async:
            self._loop.call_soon_threadsafe(self._start_async, attempt)
        else:
            self._threads.submit(self._run_plain, attempt)

    def _is_replaced(self, attempt: Attempt, overrides: Overrides) -> bool:
        replacement = overrides.attempt(_occurrence(attempt), attempt.fails)
        if replacement is None:
            return False
        if attempt.take_outcome():
            if replacement.error is not None:
                self._fail(attempt, replacement.error)
            else:
                self._deliver(attempt, Outcome(value=replacement.result))
        self._freed(attempt)
        return True

    def time_out(self, attempt: Attempt) -> None:
        """Settle an attempt as timed out, whatever its code is doing."""
        attempt.context.cancelled.set()
        handle = attempt.handle
        if handle is not None:
            self._loop.call_soon_threadsafe(handle.cancel)
        if attempt.take_outcome():
            self._fail(attempt, StepTimeout(f"Execution timed out after {attempt.config.timeout_ms}ms"))

    def cancel(self, attempt: Attempt) -> None:
        """Tell an attempt that its result is not wanted any more."""
        attempt.context.cancelled.set()
        handle = attempt.handle
        if handle is not None:
            self._loop.call_soon_threadsafe(handle.cancel)

    def _start_async(self, attempt: Attempt) -> None:
        attempt.handle = self._loop.create_task(self._run_async(attempt, None))

    def _run_plain(self, attempt: Attempt) -> None:
        running.set(attempt.context)
        handed_on = False
        try:
            result = attempt.callback.call(attempt.context)
            if inspect.isawaitable(result):
                handed_on = True
                self._loop.call_soon_threadsafe(self._go_on, attempt, result)
                return
            blob = _encode(attempt, result)
        except BaseException as error:
            # User code: whatever comes out of it is the step's failure, SystemExit included.
            if attempt.take_outcome():
                self._fail(attempt, error)
        else:
            if attempt.take_outcome():
                self._deliver(attempt, Outcome(value=blob))
        finally:
            if not handed_on:
                self._freed(attempt)

    def _go_on(self, attempt: Attempt, awaitable: Any) -> None:
        attempt.handle = self._loop.create_task(self._run_async(attempt, awaitable))

    async def _run_async(self, attempt: Attempt, awaitable: Any) -> None:
        running.set(attempt.context)
        try:
            if awaitable is None:
                awaitable = attempt.callback.call(attempt.context)
            blob = _encode(attempt, await awaitable)
        except BaseException as error:
            if attempt.take_outcome():
                self._fail(attempt, error)
        else:
            if attempt.take_outcome():
                self._deliver(attempt, Outcome(value=blob))
        finally:
            self._freed(attempt)

    def _fail(self, attempt: Attempt, error: BaseException) -> None:
        """Deliver a failure. Not through the loop, which user code may be blocking, unless a function says how long."""
        blob = failure.capture(error)
        retry = attempt.config.retries
        if not retries.should_retry(attempt.config, attempt.fails + 1, Failure.from_blob(blob)):
            self._deliver(attempt, Outcome(error=blob))
        elif callable(retry.delay):
            asyncio.run_coroutine_threadsafe(self._fail_dynamic(attempt, retry.delay, error, blob), self._loop)
        else:
            self._deliver(attempt, Outcome(error=blob, retry_delay_ms=self._delay_ms(attempt)))

    async def _fail_dynamic(
        self, attempt: Attempt, function: Callable[[Any], Any], error: BaseException, blob: bytes
    ) -> None:
        try:
            base = await self._dynamic_delay(attempt, function, error)
        except NonRetryableDelayError as broken:
            self._deliver(attempt, Outcome(error=failure.capture(broken)))
        else:
            self._deliver(attempt, Outcome(error=blob, retry_delay_ms=self._delay_ms(attempt, base)))

    def _delay_ms(self, attempt: Attempt, base_ms: int | None = None) -> int:
        delay = retries.delay_ms(attempt.config.retries, attempt.fails + 1, base_ms, random01=random.random())
        return delay if self._overrides is None else self._overrides.retry_delay_ms(_occurrence(attempt), delay)

    async def _dynamic_delay(self, attempt: Attempt, function: Callable[[Any], Any], error: BaseException) -> int:
        """Ask the user's function how long to wait; it has 5 seconds to answer.

        Source: https://developers.cloudflare.com/workflows/build/sleeping-and-retrying/
        """
        which = f'The delay function for step "{attempt.name}-{attempt.count}"'
        try:
            async with asyncio.timeout(limits.DELAY_FUNCTION_SECONDS):
                answer = await asyncio.to_thread(function, {"ctx": attempt.context, "error": error})
                if inspect.isawaitable(answer):
                    answer = await answer
        except TimeoutError as late:
            raise NonRetryableDelayError(
                f"{which} did not return within {limits.DELAY_FUNCTION_SECONDS} seconds"
            ) from late
        except Exception as broken:
            raise NonRetryableDelayError(f"{which} threw an error: {broken}") from broken
        try:
            return parse_ms(answer, what="a retry delay")
        except Exception as broken:
            raise NonRetryableDelayError(
                f"{which} returned an invalid delay value "
                f'(expected a number of ms or a duration string like "30 seconds")'
            ) from broken


def _encode(attempt: Attempt, value: Any) -> bytes:
    blob = codec.encode(value, what=f'the result of step "{attempt.name}-{attempt.count}"')
    if attempt.callback.return_annotation is not None:
        # A result that does not fit its annotation must fail this attempt, and not every replay after it.
        attempt.callback.rebuild(codec.decode(blob))
    return blob


def _occurrence(attempt: Attempt) -> Occurrence:
    return Occurrence(attempt.instance, attempt.generation, attempt.name, attempt.count)

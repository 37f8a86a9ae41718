"""User code on the worker's loop and threads: what one callback does stays its own business."""

from __future__ import annotations

import asyncio
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from worker.attempt import Attempt, Outcome
from worker.callbacks import Callbacks
from workflows import App, Retry, limits
from workflows.authoring.callback import Callback, Poll
from workflows.authoring.context import StepContext, StepName
from workflows.authoring.retries import StepConfig
from workflows.clock import monotonic
from workflows.storage.keys import Instance
from workflows.values import codec
from workflows.values.failure import Failure

PATIENCE_SECONDS = 10.0
tenant: ContextVar[str] = ContextVar("tenant", default="none")


no_streams: Any = None
"""No callback here returns one."""


class Hand:
    """Callbacks whose outcomes wait to be looked at."""

    def __init__(self, concurrency: int = 1) -> None:
        self.outcomes: queue.SimpleQueue[tuple[Attempt, Outcome]] = queue.SimpleQueue()
        self.freed: queue.SimpleQueue[Attempt] = queue.SimpleQueue()
        self.deaths: list[str] = []
        self.begun: list[Attempt] = []
        self.callbacks = Callbacks(
            concurrency,
            lambda attempt, outcome: self.outcomes.put((attempt, outcome)),
            self.freed.put,
            self.begun.append,
            None,
            no_streams,
            self.deaths.append,
            lambda: None,
        )

    def start(self, app: App | None = None) -> dict[str, Any]:
        return self.callbacks.start(app or App("callbacks"), {})

    def begin(
        self, function: Callable[..., Any] | Callback, *, name: str = "s", fails: int = 0, **config: Any
    ) -> Attempt:
        settings = StepConfig(**config)
        attempt = Attempt(
            instance=Instance(0, "orders", "o-1"),
            generation="g",
            seq=1,
            token="t",
            worker="w",
            name=name,
            count=1,
            config=settings,
            config_blob=None,
            callback=function if isinstance(function, Callback) else Callback(function),
            context=StepContext(StepName(name, 1), 7, settings, "key", workflow_name="orders", instance_id="o-1"),
            started_ms=0,
            number=7,
            failed=fails,
        )
        self.callbacks.run(attempt)
        return attempt

    def outcome(self) -> Outcome:
        return self.outcomes.get(timeout=PATIENCE_SECONDS)[1]

    def value(self) -> Any:
        outcome = self.outcome()
        assert outcome.value is not None, self.error(outcome)
        return codec.decode(outcome.value)

    def error(self, outcome: Outcome | None = None) -> str:
        blob = (outcome or self.outcome()).error
        assert blob is not None
        found = Failure.from_blob(blob)
        return f"{found.name}: {found.message}"


@pytest.fixture
def hand() -> Iterator[Hand]:
    made = Hand()
    made.start()
    yield made
    made.callbacks.stop()
    assert made.deaths == []


async def _exit() -> None:
    sys.exit(2)


async def _asks_in_a_subtask() -> None:
    await asyncio.gather(asyncio.create_task(_exit()))


async def _asks_in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_exit())


async def _asks_directly() -> None:
    sys.exit(2)


@pytest.mark.parametrize("ask", [_asks_in_a_subtask, _asks_in_a_group, _asks_directly, lambda: sys.exit(2)])
def test_a_callback_that_asks_the_process_to_exit_fails_alone(hand: Hand, ask: Callable[..., Any]) -> None:
    """argparse and click do; asyncio lets it out of the loop when a subtask does."""
    hand.begin(ask, retries=Retry(limit=0))
    assert hand.error() == "SystemExit: 2"
    hand.begin(_tells_the_tenant)
    assert hand.value() == "none"


def test_a_task_that_nobody_awaits_may_ask_the_process_to_exit_too(hand: Hand) -> None:
    async def leaves_one_behind() -> str:
        leaving = asyncio.create_task(_exit())
        await asyncio.wait([leaving])
        assert isinstance(leaving.exception(), SystemExit)
        return "went on"

    hand.begin(leaves_one_behind)
    assert hand.value() == "went on"


def test_a_callback_that_stops_the_loop_stops_nobody(hand: Hand) -> None:
    async def stops() -> str:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)
        return "went on"

    hand.begin(stops)
    assert hand.value() == "went on"


async def _delay_exits(given: Any) -> int:
    sys.exit(2)


@pytest.mark.parametrize("delay", [lambda given: sys.exit(2), _delay_exits], ids=["plain", "async"])
def test_a_delay_function_that_asks_the_process_to_exit_fails_its_step_alone(hand: Hand, delay: Any) -> None:
    hand.begin(lambda: 1 / 0, name="pay", retries=Retry(limit=3, delay=delay))
    assert hand.error().endswith('The delay function for step "pay-1" threw an error: 2')
    hand.begin(_tells_the_tenant)
    assert hand.value() == "none"


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_a_delay_function_that_does_not_answer_in_time_fails_its_step(hand: Hand, is_async: bool) -> None:
    ended = threading.Event()

    async def waits(given: Any) -> int:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return 1

    release = threading.Event()
    asked = threading.Event()

    def blocks(given: Any) -> int:
        asked.set()
        release.wait(PATIENCE_SECONDS)
        return 1

    hand.begin(lambda: 1 / 0, retries=Retry(limit=3, delay=waits if is_async else blocks))
    assert hand.freed.get(timeout=PATIENCE_SECONDS)
    now = monotonic()
    while hand.outcomes.empty():
        # As if the guardian had not looked for a while.
        hand.callbacks.look(now + limits.DELAY_FUNCTION_SECONDS + 1)
    assert hand.error().endswith('The delay function for step "s-1" did not return within 5 seconds')
    release.set()


@pytest.mark.parametrize(
    ("retry", "again"),
    [
        (Retry(delay=5, on=OSError), False),
        (Retry(delay=5, on=[OSError, ValueError]), True),
        (Retry(delay=5, not_on=ValueError), False),
        (Retry(5, lambda _: 5, on=OSError), False),
    ],
)
def test_the_class_of_an_error_says_whether_there_is_another_attempt(hand: Hand, retry: Retry, again: bool) -> None:
    def fails() -> None:
        raise UnicodeError("no text")

    hand.begin(fails, retries=retry)
    outcome = hand.outcome()
    assert hand.error(outcome) == "UnicodeError: no text"
    assert outcome.retry_delay_ms == (5 if again else None)


@pytest.mark.parametrize("is_async", [True, False])
def test_a_look_that_has_not_found_it_is_neither_a_result_nor_a_failure(hand: Hand, is_async: bool) -> None:
    async def looks(ctx: StepContext) -> str:
        return "found" if is_found else "not yet"

    for is_found in (False, True):
        function = looks if is_async else lambda: "found" if is_found else "not yet"  # noqa: B023
        hand.begin(Poll(Callback(function), lambda result: result == "found"), every_ms=5, patience_ms=50)
        if is_found:
            assert hand.value() == "found"
        else:
            assert hand.outcome() == Outcome()


def test_an_attempt_that_took_too_long_ends_with_an_error_of_its_own_class(hand: Hand) -> None:
    hand.callbacks.time_out(hand.begin(asyncio.Event().wait, retries=Retry(on=OSError)))
    outcome = hand.outcome()
    assert hand.error(outcome).startswith("StepTimeout") and outcome.retry_delay_ms is None


def test_a_delay_function_is_told_how_many_tries_have_failed(hand: Hand) -> None:
    """Not the attempt's number, which tries that ended with their worker have used up as well."""
    seen: list[Any] = []

    def delay(given: Any) -> int:
        seen.append((given["ctx"].attempt, given["ctx"]["attempt"], given["ctx"].step.name, str(given["error"])))
        return 10

    hand.begin(lambda: 1 / 0, fails=1, retries=Retry(limit=3, delay=delay, backoff="constant"))
    assert hand.outcome().retry_delay_ms == 10
    assert seen == [(2, 2, "s", "division by zero")]


def test_a_delay_function_answers_although_a_callback_blocks_the_loop(hand: Hand) -> None:
    release = threading.Event()
    began = threading.Event()

    async def blocks() -> None:
        began.set()
        release.wait(PATIENCE_SECONDS)

    attempt = hand.begin(blocks, timeout_ms=1000, retries=Retry(limit=3, delay=lambda given: 10, backoff="constant"))
    assert began.wait(PATIENCE_SECONDS)
    hand.callbacks.time_out(attempt)
    assert hand.outcome().retry_delay_ms == 10
    release.set()


# Timeouts


@pytest.mark.parametrize("what", ["passes it on", "makes it a result", "raises something else"])
def test_a_timed_out_async_callback_is_a_timeout_whatever_it_makes_of_its_cancellation(hand: Hand, what: str) -> None:
    began = threading.Event()

    async def waits() -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if what == "passes it on":
                raise
            if what == "raises something else":
                raise ValueError("late") from None
        return "late"

    for _ in range(20):
        attempt = hand.begin(waits, timeout_ms=1000, retries=Retry(limit=0))
        assert began.wait(PATIENCE_SECONDS)
        began.clear()
        hand.callbacks.time_out(attempt)
        assert hand.error() == "StepTimeout: Execution timed out after 1000ms"
        assert hand.freed.get(timeout=PATIENCE_SECONDS) is attempt
    assert hand.outcomes.empty()


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_an_attempts_time_begins_when_its_callback_does(hand: Hand, is_async: bool) -> None:
    """What waits for its thread, or for a loop that somebody blocks, has not had any of its time."""
    began, release = threading.Event(), threading.Event()

    def blocks() -> None:
        began.set()
        release.wait(PATIENCE_SECONDS)

    async def blocks_the_loop() -> None:
        blocks()

    hand.begin(blocks_the_loop if is_async else blocks)
    assert began.wait(PATIENCE_SECONDS)
    waiting = hand.begin(_tells_the_tenant if is_async else tenant.get, timeout_ms=1000)
    assert waiting.deadline == float("inf")
    release.set()
    assert hand.value() is None
    assert hand.value() == "none"
    assert monotonic() < waiting.deadline < monotonic() + 1


# Who blocks the loop


async def _blocks_in_a_task(began: threading.Event, release: threading.Event) -> None:
    async def block() -> None:
        began.set()
        release.wait(PATIENCE_SECONDS)

    await asyncio.gather(block())


def _look_for(hand: Hand, seconds: float, attempts: list[Attempt], start: float) -> list[Attempt]:
    """As the guardian does, fifty times a second, with its hand on the clock."""
    returned: list[Attempt] = []
    for number in range(round(seconds * 50)):
        returned += hand.callbacks.look(start + number / 50, attempts)
    return returned


def test_who_blocks_the_loop_is_named_and_what_waits_behind_begins_elsewhere(
    hand: Hand, caplog: pytest.LogCaptureFixture
) -> None:
    began, release = threading.Event(), threading.Event()
    blocker = hand.begin(lambda: _blocks_in_a_task(began, release), name="download")
    assert began.wait(PATIENCE_SECONDS)
    behind = hand.begin(_tells_the_tenant)
    plain = hand.begin(lambda: tenant.get())
    now = monotonic()
    attempts = [blocker, behind, plain]
    assert _look_for(hand, 0.9, attempts, now) == []
    assert not caplog.records
    assert _look_for(hand, 1.0, attempts, now + 0.9) == [behind]
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("WARNING", "callback blocks the loop")
    said = vars(record)
    assert (said["workflow"], said["instance"], said["step"]) == ("orders", "o-1", "download-1")
    assert said["at"].startswith(f"{__file__}:")
    assert hand.value() == "none"  # the plain one does not wait for the loop
    release.set()
    assert hand.freed.get(timeout=PATIENCE_SECONDS) is plain
    assert hand.freed.get(timeout=PATIENCE_SECONDS) is blocker
    assert hand.value() is None
    after = hand.begin(_tells_the_tenant)
    assert hand.value() == "none"
    assert hand.freed.get(timeout=PATIENCE_SECONDS) is after, "what was given back did not begin here as well"
    assert hand.outcomes.empty()


def test_nobody_is_accused_because_the_guardian_itself_comes_late(hand: Hand, caplog: pytest.LogCaptureFixture) -> None:
    """On a busy machine, or after a pause of all of it, the loop had no chance to answer either."""
    began, release = threading.Event(), threading.Event()
    blocker = hand.begin(lambda: _blocks_in_a_task(began, release))
    assert began.wait(PATIENCE_SECONDS)
    now = monotonic()
    for seconds in range(10):
        assert hand.callbacks.look(now + seconds, [blocker]) == []
    assert not caplog.records
    release.set()
    assert hand.value() is None


def test_a_callback_that_blocks_the_loop_long_after_its_timeout_costs_the_process() -> None:
    hand = Hand()
    hand.start()
    began, release = threading.Event(), threading.Event()
    blocker = hand.begin(lambda: _blocks_in_a_task(began, release), timeout_ms=1000)
    assert began.wait(PATIENCE_SECONDS)
    now = monotonic()
    _look_for(hand, 70, [blocker], now)
    assert hand.deaths == []
    hand.callbacks.time_out(blocker)
    _look_for(hand, 0.02, [blocker], now + 70)
    assert hand.deaths == ["a callback has been blocking the loop for 70 s"]
    release.set()
    hand.callbacks.stop()


# Context variables


async def _tells_the_tenant() -> str:
    return tenant.get()


async def _binds_in_a_coroutine() -> str:
    tenant.set("customer-A")
    return tenant.get()


def _binds() -> str:
    tenant.set("customer-A")
    return tenant.get()


@pytest.mark.parametrize("bind", [_binds, _binds_in_a_coroutine, lambda: (_binds(), _tells_the_tenant())[1]])
@pytest.mark.parametrize("tell", [tenant.get, _tells_the_tenant])
def test_no_attempt_sees_the_context_variables_of_another(
    hand: Hand, bind: Callable[..., Any], tell: Callable[..., Any]
) -> None:
    """A pool of threads would hand one tenant's variables to the next."""
    for _ in range(2):
        hand.begin(bind)
        assert hand.value() == "customer-A"
        hand.begin(tell)
        assert hand.value() == "none"


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_a_delay_function_sees_its_attempts_variables_and_leaves_no_others(hand: Hand, is_async: bool) -> None:
    seen: list[str] = []

    def fails() -> None:
        tenant.set("customer-A")
        raise ValueError

    def tells(given: Any) -> int:
        seen.append(tenant.get())
        tenant.set("customer-B")
        return 1

    async def tells_later(given: Any) -> int:
        await asyncio.sleep(0)
        return tells(given)

    for _ in range(2):
        hand.begin(fails, retries=Retry(limit=3, delay=tells_later if is_async else tells))
        assert hand.outcome().retry_delay_ms is not None
    hand.begin(tenant.get)
    assert hand.value() == "none"
    assert seen == ["customer-A", "customer-A"]


def test_what_the_bindings_set_is_seen_by_every_attempt_and_reset_at_the_end() -> None:
    app = App("bound")
    reset: list[str] = []

    @app.bindings
    async def env() -> Any:
        token = tenant.set("everybody")
        yield {}
        tenant.reset(token)
        reset.append(tenant.get())

    hand = Hand()
    hand.start(app)
    hand.begin(tenant.get)
    assert hand.value() == "everybody"
    hand.begin(_binds)
    assert hand.value() == "customer-A"
    hand.begin(_tells_the_tenant)
    assert hand.value() == "everybody"
    hand.callbacks.stop()
    assert reset == ["none"]


# Forks


def _fork_and_come_back() -> list[int]:
    child = os.fork()
    return [] if child == 0 else list(os.waitpid(child, 0))


def _fork_and_raise() -> list[int]:
    child = os.fork()
    if child == 0:
        raise ValueError
    return list(os.waitpid(child, 0))


async def _fork_and_await() -> list[int]:
    child = os.fork()
    if child == 0:
        await asyncio.sleep(0)
        os._exit(1)
    return list(os.waitpid(child, 0))


async def _fork_in_a_coroutine() -> list[int]:
    return _fork_and_come_back()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize(
    "fork, status", [(_fork_and_come_back, 0), (_fork_in_a_coroutine, 0), (_fork_and_raise, 70), (_fork_and_await, 70)]
)
def test_a_process_that_a_callback_forked_ends_when_it_comes_back(hand: Hand, fork: Any, status: int) -> None:
    """It would go on as a second worker, on the connections of the first."""
    hand.begin(fork)
    _, ended = hand.value()
    assert os.waitstatus_to_exitcode(ended) == status
    hand.begin(_tells_the_tenant)
    assert hand.value() == "none"


# Deaths


def test_a_step_thread_that_dies_is_reported() -> None:
    hand = Hand()
    hand.start()

    def broken(attempt: Attempt) -> None:
        raise SystemExit

    hand.callbacks._freed = broken
    hand.begin(lambda: 1)
    hand.value()
    deadline = monotonic() + PATIENCE_SECONDS
    while not hand.deaths and monotonic() < deadline:
        threading.Event().wait(0.01)
    assert hand.deaths == ["the step thread died: SystemExit"]
    hand.callbacks.stop()


def test_a_loop_that_cannot_go_on_is_reported() -> None:
    hand = Hand()
    hand.start()
    loop: Any = hand.callbacks._loop
    selector = loop._selector
    loop.call_soon_threadsafe(setattr, loop, "_selector", None)
    hand.callbacks._thread.join(PATIENCE_SECONDS)
    assert hand.deaths == ["the callbacks thread died: AttributeError"]
    loop._selector = selector
    loop.close()

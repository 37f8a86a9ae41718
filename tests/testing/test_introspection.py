"""Cloudflare's test API: what each call promises."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from workflows import ConfigError, NonRetryableError, PayloadNotSerializable
from workflows.testing import IntrospectionError, MockTooLate, introspect_workflow, introspect_workflow_instance


def ready(m: Any) -> None:
    m.disable_sleeps()
    m.disable_retry_delays()


@pytest.mark.parametrize("value", [None, 0, "", [], False, {"mocked": True}])
def test_a_mocked_result_may_be_any_value(env: Any, value: Any) -> None:
    introspect_workflow_instance(env.QUICK, "q").modify(lambda m: m.mock_step_result("double", value))
    assert env.QUICK.create("q", {"n": 1}).result() == value


def test_a_mocked_callback_does_not_run_and_its_step_is_in_the_journal(env: Any) -> None:
    introspect_workflow_instance(env.HOPELESS, "h").modify(lambda m: m.mock_step_result(name="refuse", value=1))
    instance = env.HOPELESS.create("h")
    assert instance.result() is None
    assert [(step.name, step.status, step.output) for step in instance.status().steps] == [("refuse", "complete", 1)]


def test_index_chooses_the_occurrence_and_zero_means_the_first(env: Any) -> None:
    introspector = introspect_workflow_instance(env.ORDER, "o").modify(ready)
    introspector.modify(lambda m: m.mock_step_result({"name": "call", "index": 2}, "mocked"))
    env.ORDER.create("o")
    assert introspector.wait_for_step_result({"name": "call", "index": 0}) == "first"
    assert introspector.wait_for_step_result(name="call", index=2) == "mocked"


@pytest.mark.parametrize("selector", [{"name": "call", "index": -1}, {"index": 1}, {"name": "call", "at": 1}, {}])
def test_what_chooses_no_step_is_refused(env: Any, selector: Any) -> None:
    with pytest.raises(ConfigError):
        introspect_workflow_instance(env.ORDER, "o").wait_for_step_result(selector)


def test_a_second_result_for_a_step_is_refused(env: Any) -> None:
    introspector = introspect_workflow_instance(env.QUICK, "q").modify(lambda m: m.mock_step_result("double", 1))
    with pytest.raises(ConfigError, match="already"):
        introspector.modify(lambda m: m.mock_step_result("double", 2))


@pytest.mark.parametrize(
    "late", [lambda m: m.mock_step_error("double", OSError()), lambda m: m.force_step_timeout("double")]
)
def test_errors_and_timeouts_come_before_the_result(env: Any, late: Any) -> None:
    introspector = introspect_workflow_instance(env.QUICK, "q").modify(lambda m: m.mock_step_result("double", 1))
    with pytest.raises(ConfigError, match="first"):
        introspector.modify(late)


def test_a_result_that_no_step_could_return_is_refused(env: Any) -> None:
    with pytest.raises(PayloadNotSerializable):
        introspect_workflow_instance(env.QUICK, "q").modify(lambda m: m.mock_step_result("double", object()))


@pytest.mark.parametrize("chunks", [[b"one, ", b"two"], [], [b"x" * 300_000]], ids=["two", "none", "a large one"])
def test_a_mocked_result_may_be_a_stream_also_after_a_restart(env: Any, chunks: list[bytes]) -> None:
    introspector = introspect_workflow_instance(env.ARCHIVE, "s")
    introspector.modify(lambda m: m.mock_step_result("download", iter(chunks)))
    instance = env.ARCHIVE.create("s")
    whole = b"".join(chunks)
    assert instance.result() == [whole, whole]
    assert introspector.wait_for_step_result("download").size == len(whole)
    instance.restart()
    introspector.wait_for_status("complete")
    assert introspector.get_output() == [whole, whole]


def test_a_mocked_stream_comes_after_the_mocked_errors(env: Any) -> None:
    introspector = introspect_workflow_instance(env.ARCHIVE, "s").modify(ready)
    introspector.modify(lambda m: m.mock_step_error("download", OSError("down"), times=1))
    introspector.modify(lambda m: m.mock_step_result("download", iter([b"at last"])))
    instance = env.ARCHIVE.create("s")
    assert instance.result() == [b"at last", b"at last"]
    assert [failure.error.name for failure in instance.status().steps[0].failures] == ["OSError"]


async def awaited() -> AsyncIterator[bytes]:
    yield b"late"


@pytest.mark.parametrize("stream", [iter(["text"]), iter([b"one", 2]), awaited()], ids=["text", "a number", "awaited"])
def test_a_mocked_stream_of_something_else_than_bytes_is_refused(env: Any, stream: Any) -> None:
    with pytest.raises(ConfigError, match="plain iterator of bytes"):
        introspect_workflow_instance(env.ARCHIVE, "s").modify(lambda m: m.mock_step_result("download", stream))


def test_mocks_with_times_follow_each_other_and_then_the_rest_holds(env: Any) -> None:
    introspector = introspect_workflow_instance(env.ORDER, "o").modify(ready)
    step = {"name": "call", "index": 2}
    introspector.modify(lambda m: m.force_step_timeout(step, times=1))
    introspector.modify(lambda m: m.mock_step_error(step, OSError("down"), times=1))
    introspector.modify(lambda m: m.mock_step_result(step, "mocked"))
    instance = env.ORDER.create("o")
    assert instance.result() == ["first", "mocked"]
    failures = instance.status().steps[2].failures
    assert [(one.attempt, one.error.name) for one in failures] == [(1, "StepTimeout"), (2, "OSError")]


def test_an_error_goes_before_a_timeout(env: Any) -> None:
    introspector = introspect_workflow_instance(env.QUICK, "q").modify(ready)
    introspector.modify(lambda m: (m.force_step_timeout("double"), m.mock_step_error("double", OSError("down"))))
    env.QUICK.create("q", {"n": 1})
    introspector.wait_for_status("errored")
    assert introspector.get_error().name == "OSError"


def test_a_mocked_error_may_be_final(env: Any) -> None:
    introspector = introspect_workflow_instance(env.QUICK, "q")
    introspector.modify(lambda m: m.mock_step_error("double", NonRetryableError("stop")))
    instance = env.QUICK.create("q", {"n": 1})
    introspector.wait_for_status("errored")
    assert instance.status().steps[0].attempts == 1


def test_a_mock_that_comes_too_late_raises(env: Any) -> None:
    env.ORDER.create("o").introspect().wait_for_step_result("call")
    introspector = introspect_workflow_instance(env.ORDER, "o")
    with pytest.raises(MockTooLate):
        introspector.modify(lambda m: m.mock_step_result("call", 1))
    introspector.modify(lambda m: m.mock_step_result({"name": "call", "index": 2}, 1))


@pytest.mark.parametrize("steps", [None, "pause", [{"name": "pause"}]])
def test_a_sleep_that_has_begun_cannot_be_disabled(env: Any, workflow_engine: Any, steps: Any) -> None:
    env.ORDER.create("o")
    workflow_engine.settle()
    with pytest.raises(MockTooLate):
        introspect_workflow_instance(env.ORDER, "o").modify(lambda m: m.disable_sleeps(steps))


def test_a_wait_that_has_begun_cannot_be_timed_out(env: Any, workflow_engine: Any) -> None:
    env.MAIL.create("m")
    workflow_engine.settle()
    with pytest.raises(MockTooLate):
        introspect_workflow_instance(env.MAIL, "m").modify(lambda m: m.force_event_timeout("letter"))


def test_a_forced_timeout_beats_an_event_that_is_there(env: Any) -> None:
    introspector = introspect_workflow_instance(env.MAIL, "m")
    introspector.modify(lambda m: (m.mock_event(type="letter", payload=1), m.force_event_timeout("letter")))
    env.MAIL.create("m")
    introspector.wait_for_status("errored")
    assert introspector.get_error().message.startswith("Execution timed out after 0ms (")


def test_mocked_events_arrive_in_order_before_and_after_create(env: Any) -> None:
    introspector = introspect_workflow_instance(env.MAIL, "m").modify(lambda m: m.mock_event("letter", 1))
    instance = env.MAIL.create("m")
    introspector.wait_for_step_result("letter")
    introspector.modify(lambda m: m.mock_event({"type": "letter", "payload": 2}))
    assert instance.result() == [1, 2]


def test_mocks_survive_a_restart(env: Any) -> None:
    introspector = introspect_workflow_instance(env.MAIL, "m")
    introspector.modify(lambda m: (m.mock_event("letter", 1), m.mock_event("letter", 2)))
    instance = env.MAIL.create("m")
    assert instance.result() == [1, 2]
    instance.restart()
    assert instance.result() == [1, 2]


def test_mocks_survive_crashes(env: Any, workflow_engine: Any, clock: Any) -> None:
    introspector = introspect_workflow_instance(env.ORDER, "o")
    introspector.modify(lambda m: m.mock_step_result({"name": "call", "index": 2}, "mocked"))
    instance = env.ORDER.create("o")
    introspector.wait_for_step_result("call")
    workflow_engine.crash_orchestrator()
    workflow_engine.crash_worker()
    clock.advance("1 hour")
    assert instance.result() == ["first", "mocked"]


def test_waiting_for_a_step_that_fails_raises_its_error(env: Any) -> None:
    env.HOPELESS.create("h")
    with pytest.raises(NonRetryableError, match="no"):
        introspect_workflow_instance(env.HOPELESS, "h").wait_for_step_result("refuse")


def test_waiting_for_a_step_that_is_not_reached_fails_with_the_timeline(env: Any) -> None:
    env.QUICK.create("q", {"n": 1})
    with pytest.raises(IntrospectionError, match='(?s)has not reached step "quadruple".*do +"double"'):
        introspect_workflow_instance(env.QUICK, "q").wait_for_step_result("quadruple")


def test_waiting_for_a_status_that_cannot_be_names_both(env: Any) -> None:
    introspector = introspect_workflow_instance(env.HOPELESS, "h")
    env.HOPELESS.create("h")
    with pytest.raises(IntrospectionError, match='is errored .*cannot become "complete"'):
        introspector.wait_for_status("complete")
    assert introspector.wait_for_status("queued") == "queued"
    with pytest.raises(ConfigError, match="no status"):
        introspector.wait_for_status("finished")


def test_an_instance_at_rest_fails_the_wait_and_says_why(env: Any) -> None:
    introspector = introspect_workflow_instance(env.MAIL, "m")
    env.MAIL.create("m")
    with pytest.raises(IntrospectionError, match=r'waits for an event of type "letter" .* clock.advance\("1d"\)'):
        introspector.wait_for_status("complete")


def test_output_and_error_want_the_right_end(env: Any) -> None:
    introspector = introspect_workflow_instance(env.QUICK, "q")
    with pytest.raises(IntrospectionError, match="no instance"):
        introspector.get_output()
    env.QUICK.create("q", {"n": 4}).result()
    assert introspector.get_output() == 8
    with pytest.raises(IntrospectionError, match="has no error: it is complete"):
        introspector.get_error()


def test_a_workflow_is_introspected_once_at_a_time(env: Any) -> None:
    first = introspect_workflow(env.QUICK)
    with pytest.raises(ConfigError, match="already"):
        introspect_workflow(env.QUICK)
    first.dispose()
    first.dispose()
    introspect_workflow(env.QUICK).dispose()


def test_instances_of_a_workflow_are_found_in_the_order_of_their_creation(env: Any) -> None:
    env.QUICK.create("before", {"n": 1})
    with introspect_workflow(env.QUICK).modify_all(lambda m: m.mock_step_result("double", "mocked")) as quick:
        for id in ("b", "a", "c"):
            env.QUICK.create(id, {"n": 1})
        assert [one.id for one in quick.get()] == ["b", "a", "c"]
        for one in quick.get():
            one.wait_for_status("complete")
            assert one.get_output() == "mocked"
        assert env.QUICK.get("before").result() == 2


def test_disposing_twice_is_allowed_and_deletes_the_instance(env: Any) -> None:
    with introspect_workflow_instance(env.QUICK, "q") as introspector:
        env.QUICK.create("q", {"n": 1}).result()
    introspector.dispose()
    introspector.dispose()
    assert env.QUICK.create("q", {"n": 2}).result() == 4


def test_an_async_function_may_modify_in_a_sync_test(env: Any) -> None:
    async def mock(m: Any) -> None:
        await asyncio.sleep(0)
        await m.mock_step_result("double", 1)

    introspect_workflow_instance(env.QUICK, "q").modify(mock)
    assert env.QUICK.create("q", {"n": 1}).result() == 1


async def test_calls_that_act_at_once_need_no_await_in_an_async_test(env: Any) -> None:
    async def mock(m: Any) -> None:
        await m.mock_step_result("double", 1)

    introspector = introspect_workflow_instance(env.QUICK, "q")
    introspector.modify(mock)
    instance = env.QUICK.create("q", {"n": 1})
    assert await instance.result() == 1
    assert await introspector.get_output() == 1


async def test_an_async_function_that_waits_must_be_awaited(env: Any) -> None:
    async def mock(m: Any) -> None:
        await asyncio.sleep(0)
        await m.mock_step_result("double", 1)

    introspector = introspect_workflow_instance(env.QUICK, "q")
    begun = introspector.modify(mock)
    with pytest.raises(IntrospectionError, match="await introspector.modify"):
        introspector.get_output()
    assert await begun is introspector
    assert await env.QUICK.create("q", {"n": 1}).result() == 1


async def test_an_async_test_waits_while_another_task_acts(env: Any) -> None:
    instance = await env.MAIL.create("m")

    async def send() -> None:
        for letter in "ab":
            await asyncio.sleep(0)
            await instance.send_event({"type": "letter", "payload": letter})

    result, _ = await asyncio.gather(instance.result(), send())
    assert result == ["a", "b"]


def test_bindings_of_the_app_are_visible(env: Any) -> None:
    assert env.PRICE == 3
    with pytest.raises(AttributeError, match="QUICK"):
        _ = env.QUIK


def test_sleeps_fire_in_the_order_of_their_ends_each_with_its_consequences(env: Any, clock: Any) -> None:
    instance = env.ORDER3.create()
    clock.advance("3 hours")
    assert instance.result() == ["1 at 1", "after 1", "2 at 2", "after 2", "3 at 3", "after 3"]


def test_nine_days_take_less_than_a_second(env: Any, clock: Any) -> None:
    env.ORDER7.create("o")
    began = time.perf_counter()
    clock.advance("7 days")
    clock.advance("30 minutes")
    clock.advance("48h")
    assert env.ORDER7.get("o").result() == ["tried", None]
    assert time.perf_counter() - began < 1


def test_time_stands_still_by_itself(env: Any, clock: Any, workflow_engine: Any) -> None:
    before = clock.now
    env.ORDER.create("o")
    workflow_engine.settle()
    assert clock.now == before
    clock.advance("59 minutes")
    assert env.ORDER.get("o").status().status == "waiting"
    clock.advance("1 minute")
    assert env.ORDER.get("o").status().steps[1].status == "complete"
    assert (clock.now - before).total_seconds() == 3600


@pytest.mark.crash_matrix(most=25)
def test_a_fan_out_with_a_child_and_a_race_survives_every_crash(env: Any) -> None:
    """I1, I4, I9, I10."""
    assert env.FAN.create().result() == [[0, 1, 2], 6, "fast"]


@pytest.mark.crash_matrix(most=25)
def test_sleeps_and_retries_survive_every_crash(env: Any, clock: Any) -> None:
    instance = env.ORDER7.create()
    clock.advance("8 days")
    clock.advance("48h")
    assert instance.result() == ["tried", None]


def test_an_event_that_came_too_late_satisfies_the_next_wait_of_its_type(env: Any, clock: Any) -> None:
    instance = env.PATIENT.create()
    clock.advance("1 hour")
    assert instance.status().status == "waiting"
    assert [step.status for step in instance.status().steps] == ["timed out", "sleeping"]
    instance.send_event("letter", "for the first wait")
    clock.advance("1 hour")
    assert instance.result() == ["no letter", "for the first wait"]

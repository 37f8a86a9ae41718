"""What docs/conformance.md says of small things, shown in a few lines each; every turn replays from the start."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from typing import Any

import pytest

from workflows import (
    App,
    BadStepConfig,
    ConfigError,
    NonRetryableError,
    PollTimeout,
    Retry,
    WorkflowEntrypoint,
    WorkflowEvent,
    WorkflowStep,
    WorkflowTimeoutError,
)
from workflows.limits import DAY_MS
from workflows.testing import TestClock, introspect_workflow_instance
from workflows.testing.env import TestEnv

app = App("rows")
ran: Counter[str] = Counter()


def count(what: str) -> None:
    ran[what] += 1


@app.workflow
class Bare(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        return {"seen": event.payload}


@app.workflow
class Caught(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        try:
            await step.do("refuse", self.refuse)
        except NonRetryableError as error:
            await step.sleep("a while", "1 hour")
            return [str(error), await step.do("nothing", lambda: None)]

    def refuse(self) -> None:
        count("refuse")
        raise NonRetryableError("no")


@app.workflow
class Told(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        return [await step.do("tell", {"retries": {"limit": 1, "delay": 0}}, self.tell) for _ in range(2)]

    def tell(self, ctx: Any) -> Any:
        if ctx.attempt == 1:
            raise OSError("again")
        by_key = [ctx["step"]["name"], ctx["step"]["count"], ctx["attempt"], ctx["config"]["retries"]["limit"]]
        assert by_key[:3] == [ctx.step.name, ctx.step.count, ctx.attempt]
        return by_key


@app.workflow
class Polling(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        wanted = event.payload["wanted"]
        try:
            found = await step.poll(
                "look", self.look, until=lambda state: state == wanted, every="1 minute", timeout="1 hour"
            )
        except PollTimeout as error:
            return [type(error).__name__, ran["look"]]
        await step.sleep("a while", "1 hour")
        return [found, ran["look"]]

    def look(self) -> int:
        count("look")
        if ran["look"] == 2:
            raise OSError("the line is busy")
        return ran["look"]


@app.workflow
class Secretive(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        key = await step.do("get a key", {"sensitive": "output"}, lambda: "hunter2")
        await step.sleep("a while", "1 hour")
        given = await step.do("use the key", len, key, sensitive="output")
        try:
            await step.do("fail", self.fail, retries={"limit": 0}, sensitive="output")
        except OSError:
            return given

    def fail(self) -> None:
        raise OSError("shown")


@app.workflow
class Whispering(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        code = await step.wait_for_event("a code", {"type": "code", "sensitive": "output"})
        await step.sleep("a while", "1 hour")
        return len(code.payload)


@app.workflow(limits={"steps": 2})
class Few(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        for number in range(3):
            await step.sleep(f"nap {number}", 1)
            try:
                await step.wait_for_event(f"word {number}", type="word", timeout="1 second")
            except WorkflowTimeoutError:
                pass
        return [await step.do("one", lambda: 1), await step.do("two", lambda: 2)]


@app.workflow
class Beside(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        slow = step.do("slow", self.slow)
        try:
            await asyncio.gather(slow, step.do("fails", self.fails))
        except NonRetryableError:
            return await slow

    async def slow(self) -> str:
        await asyncio.sleep(0.1)
        count("slow")
        return "kept"

    def fails(self) -> None:
        raise NonRetryableError("no")


@app.workflow
class Mail(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        await step.sleep("first", "1 hour")
        return (await step.wait_for_event("letter", type="letter", timeout="1 hour")).payload


@app.workflow
class Letters(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        await step.do("open", lambda: None)
        letters = [await step.wait_for_event(name, type="letter") for name in ("first", "second")]
        return [letter.payload for letter in letters]


@pytest.fixture
def workflow_app() -> App:
    ran.clear()
    return app


def test_a_run_without_a_step_completes_with_what_it_returns(env: TestEnv) -> None:
    assert env.BARE.create(params={"n": 1}).result() == {"seen": {"n": 1}}


def test_a_final_error_that_was_caught_is_not_run_into_again(env: TestEnv, clock: TestClock) -> None:
    instance = env.CAUGHT.create()
    clock.advance("2 hours")
    assert instance.result() == ["no", None]
    assert ran["refuse"] == 1


def test_none_is_a_result(env: TestEnv, clock: TestClock) -> None:
    instance = env.CAUGHT.create()
    clock.advance("2 hours")
    assert instance.result()[1] is None


def test_a_callback_knows_its_step_its_occurrence_and_its_attempt(env: TestEnv) -> None:
    assert env.TOLD.create().result() == [["tell", 1, 2, 1], ["tell", 2, 2, 1]]


def test_sleeps_and_waits_do_not_count_as_steps(env: TestEnv, clock: TestClock) -> None:
    instance = env.FEW.create()
    clock.advance("1 minute")
    assert instance.result() == [1, 2]


def test_who_is_beside_a_failed_step_ends_and_is_kept(env: TestEnv) -> None:
    assert env.BESIDE.create().result() == "kept"
    assert ran["slow"] == 1


def test_a_restart_empties_the_mailbox(env: TestEnv, clock: TestClock) -> None:
    instance = env.MAIL.create()
    instance.send_event("letter", "of the former life")
    instance.restart()
    clock.advance("3 hours")
    with pytest.raises(WorkflowTimeoutError):
        instance.result()


def test_a_restart_from_a_step_empties_the_mailbox_too(env: TestEnv) -> None:
    instance = env.LETTERS.create()
    introspector = introspect_workflow_instance(env.LETTERS, instance.id)
    introspector.wait_for_step_result("open")
    instance.pause()
    instance.send_event("letter", "of the former life")
    instance.restart(from_="open")
    for letter in ("one", "two"):
        instance.send_event("letter", letter)
    assert instance.result() == ["one", "two"]


def test_an_event_that_was_taken_is_not_taken_again_after_a_pause(env: TestEnv) -> None:
    """Nor its wait given another one."""
    instance = env.LETTERS.create()
    instance.send_event("letter", "one")
    introspect_workflow_instance(env.LETTERS, instance.id).wait_for_step_result("first")
    for _ in range(2):
        instance.pause()
        instance.resume()
    instance.send_event("letter", "two")
    assert instance.result() == ["one", "two"]


def test_an_event_may_have_no_payload(env: TestEnv) -> None:
    instance = env.LETTERS.create()
    instance.send_event("letter")
    instance.send_event("letter", None)
    assert instance.result() == [None, None]


@pytest.mark.parametrize(("wanted", "result"), [(4, [4, 4]), (-1, ["PollTimeout", 62])])
def test_a_poll_looks_until_it_finds_it_or_its_time_is_over(
    env: TestEnv, clock: TestClock, wanted: int, result: Any
) -> None:
    """A look that fails is tried again as its retries say, here after ten seconds."""
    ran["look"] = 0
    instance = env.POLLING.create(params={"wanted": wanted})
    introspector = instance.introspect()
    introspector.wait_for_status("waiting")
    (look,) = instance.status().steps
    assert (look.status, look.attempts, look.failures) == ("waiting", 1, ())
    assert instance.status().reason is None or instance.status().reason.code == "wait.poll"
    clock.advance("3 hours")
    assert instance.result() == result
    look = instance.status().steps[0]
    assert (look.attempts, len(look.failures)) == (result[1], 1)


def test_a_poll_whose_result_is_given_by_a_test_does_not_look(env: TestEnv, clock: TestClock) -> None:
    ran["look"] = 0
    introspector = env.POLLING.introspect("given").modify(lambda m: m.mock_step_result("look", 7))
    instance = env.POLLING.create("given", params={"wanted": -1})
    assert introspector.wait_for_step_result("look") == 7
    clock.advance("1 hour")
    assert instance.result() == [7, 0]


def test_a_sensitive_result_is_real_for_run_and_shown_to_nobody(env: TestEnv, clock: TestClock) -> None:
    instance = env.SECRETIVE.create()
    introspector = instance.introspect()
    assert introspector.wait_for_step_result("get a key") == "[REDACTED]"
    clock.advance("1 hour")
    assert instance.result() == 7  # also after a replay
    steps = [one for one in instance.status().steps if one.kind == "do"]
    assert [one.output for one in steps] == ["[REDACTED]", "[REDACTED]", None]
    assert str(steps[2].error) == "OSError: shown"
    told = list(env.SECRETIVE.workflow_engine.client.workflow("secretive").get(instance.id).subscribe())
    assert [one.output for one in told if one.type == "step_completed"] == ["[REDACTED]", "[REDACTED]"]
    assert {one.config["sensitive"] for one in told if one.type == "step_started" and one.config} == {"output"}
    everything = introspector.timeline() + json.dumps([instance.status().as_dict(), [one.as_dict() for one in told]])
    assert "hunter2" not in everything


@pytest.mark.parametrize("error", [None, "refused"])
def test_a_sensitive_payload_is_real_for_run_and_shown_to_nobody(
    env: TestEnv, clock: TestClock, error: str | None
) -> None:
    instance = env.WHISPERING.create()
    instance.send_event("code", "hunter2", error=error)
    introspector = instance.introspect()
    if error is None:
        assert introspector.wait_for_step_result("a code") == "[REDACTED]"
        clock.advance("1 hour")
        assert instance.result() == 7  # also after a replay
    else:
        introspector.wait_for_status("errored")
    client = env.WHISPERING.workflow_engine.client
    handle = client.workflow("whispering").get(instance.id)
    status, told = handle.status(), list(handle.subscribe())
    assert status.steps[0].output == "[REDACTED]"
    (event,) = [one for one in told if one.type in ("wait_completed", "wait_errored")]
    assert event.output == "[REDACTED]"
    everything = introspector.timeline() + json.dumps([status.as_dict(), [one.as_dict() for one in told]])
    assert "hunter2" not in everything


def test_an_id_that_is_not_given_is_a_random_uuid(env: TestEnv) -> None:
    assert uuid.UUID(env.BARE.create().id).version == 4


def test_who_sleeps_is_waiting(env: TestEnv) -> None:
    instance = env.MAIL.create()
    instance.introspect().wait_for_status("waiting")
    assert instance.status().status == "waiting"


def test_the_numbers_are_those_of_the_model() -> None:
    bare = app.definition("bare")
    assert (bare.step_limit, bare.retention_success_ms, bare.retention_error_ms) == (10_000, 7 * DAY_MS, 7 * DAY_MS)
    assert App("other").workflow(limits={"steps": 25_000})(Bare) is Bare
    assert Retry(limit=10_000).limit == 10_000
    with pytest.raises(BadStepConfig):
        Retry(limit=10_001)
    with pytest.raises(ConfigError, match="the most is 100"):
        App("other").workflow(schedules=[f"{n % 60} {n // 60} * * *" for n in range(101)])(Bare)

"""How step settings are read, and what they decide."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows import limits
from workflows.authoring.retries import (
    Retry,
    StepConfig,
    delay_ms,
    from_wire,
    goes_on_after,
    hides_output,
    looks_again,
    resolve,
    should_retry,
    to_wire,
    with_live_code,
)
from workflows.errors import BadStepConfig, CorruptPayload
from workflows.values.failure import Failure

DEFAULTS = StepConfig()
FAST = StepConfig(Retry(delay=1))

delays = st.integers(0, limits.DURATION_MS_MAX)
retries = st.one_of(
    st.builds(
        Retry,
        st.integers(0, 10_000),
        delays,
        st.sampled_from(["constant", "linear", "exponential"]),
        max_delay=st.none() | delays,
        jitter=st.booleans(),
    ),
    st.builds(Retry, delay=delays, max_delay=delays, backoff_rate=st.floats(1, 100), jitter=st.booleans()),
)


def failure(retryable: bool = True) -> Failure:
    return Failure("ValueError", "builtins", "ValueError", "no", "", retryable)


def test_defaults_are_those_of_the_model() -> None:
    assert (DEFAULTS.retries.limit, DEFAULTS.retries.delay_base_ms, DEFAULTS.retries.backoff) == (
        5,
        10_000,
        "exponential",
    )
    assert DEFAULTS.timeout_ms == 600_000


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [
        ("constant", [100, 100, 100, 100]),
        ("linear", [100, 200, 300, 400]),
        ("exponential", [100, 200, 400, 800]),
    ],
)
def test_wait_grows_with_the_failures(backoff: Any, waits: list[int]) -> None:
    retry = Retry(delay=100, backoff=backoff)
    assert [delay_ms(retry, failed) for failed in (1, 2, 3, 4)] == waits


@given(retries, st.integers(1, 10_000), st.floats(0, 1))
def test_wait_is_within_its_bounds(retry: Retry, failed: int, random01: float) -> None:
    wait = delay_ms(retry, failed, random01=random01)
    full = delay_ms(replace(retry, jitter=False), failed)
    assert 0 <= full <= retry.max_delay_ms <= limits.DURATION_MS_MAX
    assert full // 2 <= wait <= full if retry.jitter else wait == full


@given(retries, st.integers(1, 9_999))
def test_wait_never_gets_shorter_without_jitter(retry: Retry, failed: int) -> None:
    steady = replace(retry, jitter=False)
    assert delay_ms(steady, failed) <= delay_ms(steady, failed + 1)


def test_backoff_applies_to_what_a_delay_function_returned() -> None:
    retry = Retry(delay=lambda _: 0)
    assert delay_ms(retry, 3, base_ms=50) == 200
    with pytest.raises(ValueError, match="call it"):
        delay_ms(retry, 1)


def test_an_exponential_wait_grows_at_the_rate_that_was_asked_for() -> None:
    retry = Retry(delay=100, backoff_rate=1.5)
    assert [delay_ms(retry, failed) for failed in (1, 2, 3)] == [100, 150, 225]
    assert delay_ms(Retry(delay=100, backoff_rate=100), 9_999) == limits.DURATION_MS_MAX


def test_the_rate_of_the_app_goes_with_its_back_off() -> None:
    app = StepConfig(Retry(backoff_rate=3))
    assert resolve(app, {"retries": {"limit": 1}}, step="a").retries.backoff_rate == 3
    assert resolve(app, {"retries": {"backoff": "linear"}}, step="a").retries.backoff_rate is None


@pytest.mark.parametrize(
    ("retry", "goes_on", "ends"),
    [
        (Retry(on=OSError), [OSError, ConnectionError], [ValueError, KeyboardInterrupt]),
        (Retry(on=[OSError, ValueError]), [ConnectionError, UnicodeError], [TypeError]),
        (Retry(not_on=OSError), [ValueError], [OSError, ConnectionError]),
        (Retry(on=OSError, not_on=(ConnectionError,)), [OSError, TimeoutError], [ConnectionResetError, ValueError]),
    ],
    ids=str,
)
def test_classes_of_errors_say_after_which_there_is_another_attempt(retry: Retry, goes_on: Any, ends: Any) -> None:
    assert [goes_on_after(retry, error) for error in (*goes_on, *ends)] == [True] * len(goes_on) + [False] * len(ends)


def test_classes_of_errors_are_those_of_the_code_that_runs() -> None:
    first = StepConfig(Retry(7, 1, on=OSError))
    assert to_wire(first) == to_wire(StepConfig(Retry(7, 1)))
    merged = with_live_code(from_wire(to_wire(first)), StepConfig(Retry(1, 2, not_on=[KeyError])))
    assert merged.retries == Retry(7, 1, not_on=KeyError)


def test_jitter_takes_up_to_half() -> None:
    retry = Retry(delay=100, backoff="constant", jitter=True)
    assert [delay_ms(retry, 1, random01=share) for share in (0.0, 0.5, 1.0)] == [50, 75, 100]


@pytest.mark.parametrize(("limit", "attempts"), [(0, 1), (1, 2), (5, 6), (10_000, 10_001)])
def test_attempts_are_the_limit_plus_one(limit: int, attempts: int) -> None:
    config = StepConfig(Retry(limit))
    assert all(should_retry(config, failed, failure()) for failed in {1, attempts - 1} if failed < attempts and failed)
    assert not should_retry(config, attempts, failure())


def test_final_failure_is_not_retried() -> None:
    assert not should_retry(DEFAULTS, 1, failure(retryable=False))


def test_model_form_is_read() -> None:
    given_config = {"retries": {"limit": 10, "delay": "30s", "backoff": "linear"}, "timeout": "10 minutes"}
    assert resolve(FAST, given_config, step="a").as_dict() == {
        "retries": {"limit": 10, "delay": 30_000, "backoff": "linear"},
        "timeout": 600_000,
    }


@pytest.mark.parametrize("config", [None, {}])
def test_nothing_given_means_the_defaults(config: Any) -> None:
    assert resolve(FAST, config, step="a") == FAST


def test_partial_config_is_merged_over_the_defaults() -> None:
    assert resolve(FAST, {"retries": {"limit": 2}}, step="a") == StepConfig(Retry(2, 1))
    assert resolve(FAST, {"retries": {"delay": timedelta(seconds=1)}}, step="a").retries.delay_base_ms == 1_000
    assert resolve(FAST, {"timeout": 5}, step="a") == StepConfig(FAST.retries, 5)


def test_keywords_say_the_same_as_the_config() -> None:
    assert resolve(FAST, None, step="a", retries={"limit": 2}, timeout="1s") == resolve(
        FAST, {"retries": {"limit": 2}, "timeout": 1_000}, step="a"
    )
    assert resolve(FAST, {"retries": Retry(1, "2s")}, step="a", timeout="1s") == StepConfig(Retry(1, "2s"), 1_000)


def test_retry_without_a_delay_takes_the_delay_of_the_app() -> None:
    """One setting keeps the tests of an app fast, also for steps that set a limit."""
    assert resolve(FAST, None, step="a", retries=Retry(3)).retries == Retry(3, 1)
    assert resolve(FAST, None, step="a", retries=Retry(3, "10s")).retries.delay_base_ms == 10_000


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"retry": {}}, "unknown key 'retry'. The keys are retries, timeout"),
        ({"retries": {"limits": 1}}, "retries has the unknown key 'limits'"),
        ({1: 1}, "unknown key 1"),
        ([], "The config is []. Use a mapping"),
        ({"retries": 3}, "retries is 3. Use a mapping"),
        ({"retries": None}, "retries is None"),
        ({"retries": {"limit": -1}}, "retries.limit is -1. Use a whole number from 0 to 10,000"),
        ({"retries": {"limit": 10_001}}, "retries.limit is 10001"),
        ({"retries": {"limit": 1.5}}, "retries.limit is 1.5"),
        ({"retries": {"limit": True}}, "retries.limit is True"),
        ({"retries": {"limit": "3"}}, "retries.limit is '3'"),
        ({"retries": {"limit": float("inf")}}, "retries.limit is inf"),
        ({"retries": {"delay": -1}}, "retries.delay is -1, which is negative"),
        ({"retries": {"delay": "soon"}}, 'retries.delay is "soon", which is not a duration'),
        ({"retries": {"delay": "[dynamic]"}}, "not a duration"),
        ({"retries": {"delay": None}}, "not a duration"),
        ({"retries": {"backoff": "quadratic"}}, "retries.backoff is 'quadratic'. Use one of 'constant'"),
        ({"retries": {"backoff": []}}, "retries.backoff is []"),
        ({"retries": {"jitter": 1}}, "retries.jitter is 1. Use True or False"),
        ({"retries": {"backoff_rate": 0.5}}, "retries.backoff_rate is 0.5. Use a number from 1 to 100"),
        ({"retries": {"backoff_rate": True}}, "retries.backoff_rate is True"),
        ({"retries": {"backoff_rate": 3, "backoff": "linear"}}, 'is about the backoff "exponential"'),
        ({"retries": {"on": []}}, "retries.on is []. Use a class of exceptions, or a list of such"),
        ({"retries": {"on": "OSError"}}, "retries.on is 'OSError'"),
        ({"retries": {"not_on": [OSError, 1]}}, "retries.not_on is [<class 'OSError'>, 1]"),
        ({"retries": {"max_delay": "x"}}, "retries.max_delay"),
        ({"timeout": 0}, "timeout is 0, which is too short; the least is 1ms"),
        ({"semantics": "exactly_once"}, "semantics is 'exactly_once'. Use \"at_most_once\", or leave it out"),
        ({"semantics": "at_most_once", "retries": {"delay": len}}, "With at_most_once retries.delay is a duration"),
        ({"sensitive": True}, 'sensitive is True. Use "output", or leave it out'),
        ({"timeout": None}, "timeout is None, which is not a duration"),
        ({"timeout": "366 days"}, "too long"),
    ],
    ids=repr,
)
def test_bad_config_is_refused_with_the_text_of_the_model_and_a_reason(config: Any, reason: str) -> None:
    with pytest.raises(
        BadStepConfig, match=r'^Step config for "extract" is in a invalid format\. .*' + re.escape(reason)
    ):
        resolve(DEFAULTS, config, step="extract")


@pytest.mark.parametrize("config", [{"retries": {}}, {"timeout": 1}])
def test_setting_given_twice_is_refused(config: Any) -> None:
    with pytest.raises(BadStepConfig, match="given twice"):
        resolve(DEFAULTS, config, step="a", retries=Retry(), timeout=1)


def test_retry_checks_itself() -> None:
    with pytest.raises(BadStepConfig, match=r"retries\.limit is -1"):
        Retry(-1)


@given(retries, st.integers(1, limits.DURATION_MS_MAX))
def test_settings_survive_storage(retry: Retry, timeout_ms: int) -> None:
    config = StepConfig(retry, timeout_ms)
    assert from_wire(to_wire(config)) == config
    sensitive = StepConfig(retry, timeout_ms, sensitive=True)
    assert from_wire(to_wire(sensitive)) == sensitive


def test_what_runs_at_most_once_has_no_retries_but_those_it_is_given() -> None:
    once: Any = {"semantics": "at_most_once"}
    assert resolve(FAST, once, step="a") == StepConfig(replace(FAST.retries, limit=0), at_most_once=True)
    assert resolve(FAST, once, step="a", retries={"limit": 2}).retries.limit == 2
    assert resolve(FAST, {**once, "retries": {"limit": 0, "delay": len}}, step="a").at_most_once
    app = resolve(FAST, once, step="App")
    assert not resolve(app, None, step="a", semantics="at_least_once").at_most_once
    config = resolve(app, None, step="a", retries={"limit": 1})
    assert (config.at_most_once, config.as_dict()["semantics"]) == (True, "at_most_once")
    assert from_wire(to_wire(config)) == config


def test_a_poll_is_between_two_looks_unless_its_last_one_failed() -> None:
    poll = replace(FAST, every_ms=5, patience_ms=9)
    assert from_wire(to_wire(poll)) == poll
    assert looks_again(to_wire(poll), 2, ()) and looks_again(to_wire(poll), 2, ((1, 0, 0, b""),))
    assert not looks_again(to_wire(poll), 2, ((2, 0, 0, b""),))
    assert not looks_again(to_wire(StepConfig()), 2, ())


def test_settings_that_nobody_uses_take_no_room() -> None:
    assert to_wire(StepConfig()) == msgpack.packb(
        {"l": 5, "d": 10_000, "b": "exponential", "m": None, "j": False, "t": 600_000}
    )


@pytest.mark.parametrize(
    "blob, hidden", [(None, False), (b"", False), (to_wire(StepConfig()), False), (to_wire(StepConfig())[:-1], True)]
)
def test_a_result_is_hidden_where_its_settings_cannot_be_read(blob: bytes | None, hidden: bool) -> None:
    assert hides_output(blob) is hidden


def test_delay_function_is_taken_from_the_code_and_the_rest_from_storage() -> None:
    live = StepConfig(Retry(1, lambda _: "3s"))
    stored = from_wire(to_wire(StepConfig(Retry(7, lambda _: "1s"))))
    assert stored.retries.dynamic and "delay" not in stored.as_dict()["retries"]
    with pytest.raises(RuntimeError, match="with_live_code"):
        stored.retries.delay({})  # type: ignore[operator]
    merged = with_live_code(stored, live).retries
    assert merged.limit == 7 and merged.delay is live.retries.delay


def test_stored_fixed_delay_is_not_replaced() -> None:
    stored = from_wire(to_wire(FAST))
    assert with_live_code(stored, StepConfig(Retry(1, lambda _: 5))) == stored


@pytest.mark.parametrize("blob", [b"", b"\x80", b"\x90", b"\xc1", to_wire(FAST)[:-1]])
def test_other_bytes_are_refused(blob: bytes) -> None:
    with pytest.raises(CorruptPayload):
        from_wire(blob)

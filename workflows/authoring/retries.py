"""How often a step is tried, how long it may take, and how long to wait in between.

Attempts are ``limit + 1``: ``limit`` counts retries, whatever some pages of Cloudflare's say. Everything here is pure;
the random number for jitter and the value a delay function returned come in as arguments.

Source: https://developers.cloudflare.com/workflows/build/sleeping-and-retrying/
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, Final, Literal

import msgpack

from workflows import limits
from workflows.errors import BadDuration, BadStepConfig, CorruptPayload, StepInterrupted
from workflows.values.codec import unpack_plain
from workflows.values.durations import Duration, format_ms, parse_ms
from workflows.values.failure import Failure

Backoff = Literal["constant", "linear", "exponential"]
Sensitive = Literal["output"]
Semantics = Literal["at_least_once", "at_most_once"]
DelayFunction = Callable[[Any], Any]
Errors = type[BaseException] | Sequence[type[BaseException]]
DYNAMIC: Final = "[dynamic]"
_BACKOFFS = ("constant", "linear", "exponential")
_SHIFT_MAX = 64  # 1 ms doubled this often is beyond every cap, and larger shifts only cost memory


class _LeftOut(str):
    """The default delay, told apart from the same text given by the user: only the former yields to the app's."""

    __slots__ = ()


_DEFAULT_DELAY = _LeftOut(format_ms(limits.RETRY_DELAY_MS))


@dataclass(frozen=True)
class Retry:
    """The retry settings of a step.

    Args:
        limit: retries after the first attempt, 0 to 10,000; 0 means one attempt.
        delay: wait before the first retry: a duration (bare numbers are milliseconds), or a function, plain or async,
            called with ``{"ctx": ..., "error": ...}`` after each failed attempt that returns one within 5 seconds.
            There ``ctx.attempt`` is how many attempts have failed so far, 1 after the first.
            Left out, it is the app's default, which is 10 seconds unless the app says otherwise.
        backoff: how the wait grows with the n-th failure: ``"constant"`` d, ``"linear"`` d * n, ``"exponential"``
            d * 2 ** (n - 1). It also applies to what a function returned.
        max_delay: no wait is longer than this; 365 days if None.
        jitter: shorten each wait by a random share of up to a half, so that steps which failed together do not all
            come back together.
        backoff_rate: what an exponential wait is multiplied by with each further failure, 1 to 100; 2 if None.
        on: a class of exceptions or several: only after these is there another attempt. ``StepTimeout`` is that of an
            attempt that took too long.
        not_on: after these there is none, also where they are among ``on``.
    Of a step that is under way, ``on`` and ``not_on`` are those of the code that runs, like a function for the delay.
    Raises:
        BadStepConfig: a setting is not one of these.
    """

    limit: int = limits.RETRY_LIMIT
    delay: Duration | DelayFunction = _DEFAULT_DELAY
    backoff: Backoff = "exponential"
    max_delay: Duration | None = field(default=None, kw_only=True)
    jitter: bool = field(default=False, kw_only=True)
    backoff_rate: float | None = field(default=None, kw_only=True)
    on: Errors | None = field(default=None, kw_only=True)
    not_on: Errors | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check_limit(self.limit)
        if not callable(self.delay):
            _duration(self.delay, "retries.delay")
        if str(self.backoff) not in _BACKOFFS:
            raise BadStepConfig(
                f"retries.backoff is {_shown(self.backoff)}. Use one of {', '.join(map(repr, _BACKOFFS))}."
            )
        if self.max_delay is not None:
            _duration(self.max_delay, "retries.max_delay")
        if type(self.jitter) is not bool:
            raise BadStepConfig(f"retries.jitter is {_shown(self.jitter)}. Use True or False.")
        if self.backoff_rate is not None:
            _check_rate(self.backoff_rate, self.backoff)
        for name in ("on", "not_on"):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, _classes(given, name))

    @property
    def dynamic(self) -> bool:
        """Whether the delay is a function, to be asked after each failed attempt."""
        return callable(self.delay)

    @property
    def delay_base_ms(self) -> int | None:
        """The delay before backoff, in milliseconds; None if a function decides."""
        return None if callable(self.delay) else _duration(self.delay, "retries.delay")

    @property
    def max_delay_ms(self) -> int:
        """The longest wait in milliseconds."""
        return limits.DURATION_MS_MAX if self.max_delay is None else _duration(self.max_delay, "retries.max_delay")


@dataclass(frozen=True)
class StepConfig:
    """Everything settled about a step's attempts.

    Attributes:
        timeout_ms: of each attempt, not of all of them together.
        sensitive: people who look are not shown its result.
        at_most_once: an attempt that was cut off has failed; else it is repeated as if it had not been.
        every_ms, patience_ms: of a poll: from one look to the next, and of all of them together. None: it is none.
    """

    retries: Retry = field(default_factory=Retry)
    timeout_ms: int = limits.STEP_TIMEOUT_MS
    sensitive: bool = False
    at_most_once: bool = False
    every_ms: int | None = None
    patience_ms: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Cloudflare's form, as ``ctx.config`` shows it; a delay function is left out, durations are ms."""
        retries: dict[str, Any] = {"limit": self.retries.limit, "backoff": self.retries.backoff}
        if not self.retries.dynamic:
            retries["delay"] = self.retries.delay_base_ms
        if self.retries.backoff_rate is not None:
            retries["backoff_rate"] = self.retries.backoff_rate
        shape: dict[str, Any] = {"retries": retries, "timeout": self.timeout_ms}
        if self.sensitive:
            shape["sensitive"] = "output"
        if self.at_most_once:
            shape["semantics"] = "at_most_once"
        if self.every_ms is not None:
            shape["poll"] = {"every": self.every_ms, "timeout": self.patience_ms}
        return shape


def resolve(
    defaults: StepConfig,
    config: Mapping[str, Any] | None,
    *,
    step: str,
    retries: Retry | Mapping[str, Any] | None = None,
    timeout: Duration | None = None,
    sensitive: Sensitive | None = None,
    semantics: Semantics | None = None,
    what: str = "Step config",
) -> StepConfig:
    """The settings of one step: what was given, over the defaults.

    Args:
        defaults: the app's own.
        config: Cloudflare's form, ``{"retries": {"limit": 10, "delay": "30s"}, "timeout": "10 minutes"}``; each part
            may be left out, alone or all together.
        step: the step's name, for errors.
        retries: the same as ``config["retries"]``; a ``Retry`` replaces the default as a whole, except that a delay
            left out is the default's.
        timeout: the same as ``config["timeout"]``, more than 0 and at most 365 days per attempt.
        sensitive: the same as ``config["sensitive"]``, ``"output"`` or nothing.
        semantics: the same as ``config["semantics"]``. Where that is ``"at_most_once"`` and nothing is said of retries,
            there are none.
        what: is being settled, for errors.
    Raises:
        BadStepConfig: an unknown key, a value out of range, or one setting given in both ways.
    """
    try:
        given = _given(config, retries=retries, timeout=timeout, sensitive=sensitive, semantics=semantics)
        resolved = defaults
        if "retries" in given:
            resolved = replace(resolved, retries=_merged(defaults.retries, given["retries"]))
        if "timeout" in given:
            resolved = replace(resolved, timeout_ms=_duration(given["timeout"], "timeout", minimum_ms=1))
        if "sensitive" in given:
            resolved = replace(resolved, sensitive=hides(given["sensitive"]))
        if "semantics" in given:
            resolved = _with_semantics(resolved, given["semantics"], keeps_retries="retries" in given)
        if resolved.at_most_once and resolved.retries.dynamic and resolved.retries.limit:
            raise BadStepConfig(
                "With at_most_once retries.delay is a duration: a function cannot be asked once its worker is gone."
            )
        return resolved
    except BadStepConfig as error:
        raise BadStepConfig(f'{what} for "{step}" is in a invalid format. {error}') from error


def hides(sensitive: object) -> bool:
    """Whether ``sensitive=``, None if left out, keeps from people what a step is given.

    Raises: BadStepConfig.
    """
    if sensitive not in (None, "output"):
        raise BadStepConfig(f'sensitive is {_shown(sensitive)}. Use "output", or leave it out.')
    return sensitive is not None


def delay_ms(retry: Retry, failed_attempts: int, base_ms: int | None = None, *, random01: float = 1.0) -> int:
    """How long to wait before the next attempt, in milliseconds.

    Args:
        failed_attempts: how many attempts have failed so far, at least 1.
        base_ms: what the delay function returned; required if and only if the delay is a function.
        random01: a number from 0 to 1 for jitter; 1 gives the full wait, 0 half of it. Ignored without jitter.
    """
    base = retry.delay_base_ms if base_ms is None else base_ms
    if base is None:
        raise ValueError("the delay is a function: call it and pass its result as base_ms")
    match retry.backoff:
        case "constant":
            wait = base
        case "linear":
            wait = base * failed_attempts
        case _:
            rate = retry.backoff_rate
            times = min(failed_attempts - 1, _SHIFT_MAX)
            wait = base << times if rate is None else int(base * rate**times)
    wait = min(wait, retry.max_delay_ms, limits.DURATION_MS_MAX)
    return wait - int(wait / 2 * (1 - random01)) if retry.jitter else wait


def should_retry(config: StepConfig, failed_attempts: int, failure: Failure) -> bool:
    """Whether there is another attempt after ``failed_attempts`` of them, the last with this failure."""
    return failure.retryable and failed_attempts <= config.retries.limit


def goes_on_after(retry: Retry, error: type[BaseException]) -> bool:
    """Whether an error of this class is one after which there may be another attempt."""
    # Both are tuples of classes by now.
    return (retry.on is None or issubclass(error, retry.on)) and (  # type: ignore[arg-type]
        retry.not_on is None or not issubclass(error, retry.not_on)  # type: ignore[arg-type]
    )


def with_live_code(stored: StepConfig, live: StepConfig) -> StepConfig:
    """The stored settings, with the delay function and the classes of errors of the code that runs now.

    A step keeps the settings of its first attempt, but neither a function nor a class can be stored.
    """
    kept, own = stored.retries, live.retries
    if not kept.dynamic and own.on is None and own.not_on is None:
        return stored
    delay = own.delay if kept.dynamic else kept.delay
    return replace(stored, retries=replace(kept, delay=delay, on=own.on, not_on=own.not_on))


def to_wire(config: StepConfig) -> bytes:
    """The settings as stored with a step's open record: a msgpack map, a delay function as ``"[dynamic]"``. What is not
    always there has no place where it is not used."""
    retry = config.retries
    body: dict[str, Any] = {
        "l": retry.limit,
        "d": DYNAMIC if retry.dynamic else retry.delay_base_ms,
        "b": retry.backoff,
        "m": None if retry.max_delay is None else retry.max_delay_ms,
        "j": retry.jitter,
        "t": config.timeout_ms,
    }
    if config.sensitive:
        body["s"] = True
    if retry.backoff_rate is not None:
        body["r"] = retry.backoff_rate
    if config.at_most_once:
        body["o"] = goes_on_after(retry, StepInterrupted)  # decided now: scripts know no classes
    if config.every_ms is not None:
        body["e"] = [config.every_ms, config.patience_ms]
    return bytes(msgpack.packb(body))


def from_wire(blob: bytes) -> StepConfig:
    """Read what ``to_wire`` wrote. A delay function comes back as one that refuses to be called (``with_live_code``).

    Raises:
        CorruptPayload: the bytes are something else.
    """
    try:
        body = unpack_plain(blob)
        delay = _unknown_delay if body["d"] == DYNAMIC else body["d"]
        retry = Retry(body["l"], delay, body["b"], max_delay=body["m"], jitter=body["j"], backoff_rate=body.get("r"))
        timeout_ms = _duration(body["t"], "timeout", minimum_ms=1)
        every_ms, patience_ms = body.get("e") or (None, None)
        return StepConfig(retry, timeout_ms, body.get("s") is True, "o" in body, every_ms, patience_ms)
    except Exception as error:
        raise CorruptPayload(f"Stored step config cannot be read: {error}") from error


@lru_cache(maxsize=1024)
def settings_of(blob: bytes) -> StepConfig | None:
    """The same; None if they cannot be read."""
    try:
        return from_wire(blob)
    except CorruptPayload:
        return None


def looks_again(blob: bytes, attempts: int, failures: Sequence[Any]) -> bool:
    """Whether a step with these settings that waits for its next attempt is a poll between two looks.

    Args:
        attempts: how many have begun.
        failures: those of them that failed, each with its number first.
    """
    settings = settings_of(blob)
    is_poll = settings is not None and settings.every_ms is not None
    return is_poll and (not failures or failures[-1][0] != attempts)


def hides_output(blob: bytes | None) -> bool:
    """Whether people are not to be shown the result of a step with these settings; so it is if they cannot be read."""
    settings = settings_of(blob) if blob else StepConfig()
    return settings is None or settings.sensitive


def _unknown_delay(_: Any) -> Any:
    raise RuntimeError("a stored delay function is known to the code only: use with_live_code")


def _given(config: object, **keywords: object) -> dict[str, Any]:
    given = dict(_checked_mapping(config, "The config", tuple(keywords))) if config is not None else {}
    for name, value in keywords.items():
        if value is None:
            continue
        if name in given:
            raise BadStepConfig(f"{name} is given twice, in the config and as a keyword. Keep one of them.")
        given[name] = value
    return given


def _merged(default: Retry, given: object) -> Retry:
    if isinstance(given, Retry):
        return replace(given, delay=default.delay) if type(given.delay) is _LeftOut else given
    changed = dict(_checked_mapping(given, "retries", tuple(one.name for one in fields(Retry))))
    if changed.get("backoff", "exponential") != "exponential":
        changed.setdefault("backoff_rate", None)  # that of the default goes with its back-off
    return replace(default, **changed)


def _with_semantics(config: StepConfig, semantics: object, *, keeps_retries: bool) -> StepConfig:
    if semantics not in ("at_least_once", "at_most_once"):
        raise BadStepConfig(f'semantics is {_shown(semantics)}. Use "at_most_once", or leave it out.')
    if semantics == "at_least_once":
        return replace(config, at_most_once=False)
    kept = config.retries if keeps_retries else replace(config.retries, limit=0)
    return replace(config, retries=kept, at_most_once=True)


def _checked_mapping(given: object, what: str, names: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise BadStepConfig(f"{what} is {_shown(given)}. Use a mapping with any of {', '.join(names)}.")
    unknown = [name for name in given if name not in names]
    if unknown:
        raise BadStepConfig(f"{what} has the unknown key {_shown(unknown[0])}. The keys are {', '.join(names)}.")
    return given


def _check_limit(limit: object) -> None:
    if type(limit) is not int or not 0 <= limit <= limits.RETRY_LIMIT_MAX:
        raise BadStepConfig(
            f"retries.limit is {_shown(limit)}. Use a whole number from 0 to {limits.RETRY_LIMIT_MAX:,}: the "
            "retries after the first attempt."
        )


def _check_rate(rate: object, backoff: str) -> None:
    if type(rate) not in (int, float) or not 1 <= rate <= limits.BACKOFF_RATE_MAX:  # type: ignore[operator]
        raise BadStepConfig(
            f"retries.backoff_rate is {_shown(rate)}. Use a number from 1 to {limits.BACKOFF_RATE_MAX}: what the wait "
            "is multiplied by with each failure."
        )
    if backoff != "exponential":
        raise BadStepConfig(f'retries.backoff_rate is about the backoff "exponential", and this one is "{backoff}".')


def _classes(given: object, name: str) -> tuple[type[BaseException], ...]:
    listed = tuple(given) if isinstance(given, (list, tuple, set, frozenset)) else (given,)
    if not listed or not all(isinstance(one, type) and issubclass(one, BaseException) for one in listed):
        raise BadStepConfig(f"retries.{name} is {_shown(given)}. Use a class of exceptions, or a list of such.")
    return listed


def _shown(value: object) -> str:
    return reprlib.repr(value)


def _duration(value: object, what: str, minimum_ms: int = 0) -> int:
    try:
        return parse_ms(value, what=what, minimum_ms=minimum_ms)
    except BadDuration as error:
        raise BadStepConfig(str(error)) from error

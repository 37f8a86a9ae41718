"""Crash matrix: one test, once per place where a process can die.

The first run notes every call to Redis that moves an instance. Then the test runs again for each of them, with the
calling process killed just before it, killed just after it, or alive but without its reply. Each run must pass, come to
the same results, and run no callback more often than one crash explains (I1, I9).
"""

from __future__ import annotations

import copy
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

import pytest
import redis
from _pytest.runner import runtestprotocol

from workflows.testing.watch import IDLE, PlayedProcess, Role, When

if TYPE_CHECKING:
    from workflows.testing.engine import WorkflowEngine

# These run all the time; they count where they found something, so nothing can be put before them.
_LOOKS: Final = frozenset({"pop", "dispatch"})
# A client inside a callback sends a call again by itself when the reply is lost.
_RESENT: Final = frozenset({"create", "send_event", "pause", "resume", "terminate", "cancel", "restart", "delete"})
_WHENS: Final[tuple[When, ...]] = ("before", "after", "lost")
_ROLES: Final[tuple[Role, ...]] = ("worker", "orchestrator")
# No id that is made up here is shorter; those a test gives are the same in every run.
_RANDOM_CHARACTERS: Final = 12
_SHOWN: Final = {"before": "killed before it", "after": "killed after it", "lost": "its reply lost"}

Step = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Point:
    """Where a crash is: the n-th call of one script by one role, from 1."""

    role: Role
    script: str
    number: int
    when: When

    def __str__(self) -> str:
        return f"{self.role}:{self.script}:{self.number}:{self.when}"

    @classmethod
    def parse(cls, text: str) -> Point:
        """Read what ``str`` wrote. Raises pytest.UsageError."""
        name, _, rest = text.partition(":")
        match = re.fullmatch(r"(\w+):(\d+):(\w+)", rest)
        role = next((known for known in _ROLES if known == name), None)
        if role is None or match is None or match[3] not in _WHENS:
            raise pytest.UsageError(f"--crash-point {text!r} is none; they look like worker:settle:2:lost")
        return cls(role, match[1], int(match[2]), cast(When, match[3]))

    @property
    def shown(self) -> str:
        return f"call {self.number} of {self.script} by the {self.role}, {_SHOWN[self.when]}"


@dataclass(slots=True)
class Plan:
    """One run of the test: with a crash, or noting where crashes can be.

    Attributes:
        calls: how often each role called each script.
        struck: whether the crash came.
        results: how the instances ended.
        runs: how often attempts of each step began.
    """

    point: Point | None = None
    calls: Counter[tuple[Role, str]] = field(default_factory=Counter)
    struck: bool = False
    results: list[str] = field(default_factory=list)
    runs: Counter[Step] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def points(self) -> Iterator[Point]:
        """Every place where a crash can be put."""
        for (role, script), count in sorted(self.calls.items()):
            for number in range(1, count + 1):
                for when in _WHENS:
                    if (when == "before" and script in _LOOKS) or (
                        when == "lost" and role == "worker" and script in _RESENT
                    ):
                        continue
                    yield Point(role, script, number, when)

    def watching(self, engine: WorkflowEngine) -> Callable[[PlayedProcess, Sequence[str], Callable[[], Any]], Any]:
        """What ``Watch.fault`` asks."""

        def ask(process: PlayedProcess, scripts: Sequence[str], send: Callable[[], Any]) -> Any:
            if process.role == "test" or not process.has_begun:
                return send()
            if len(scripts) == 1 and scripts[0] in _LOOKS:
                answer = send()
                if _found_something(scripts[0], answer):
                    self._strike(engine, process, self._count(process, scripts), ("after", "lost"))
                return answer
            hit = self._count(process, [script for script in scripts if script not in IDLE or script == "ring"])
            self._strike(engine, process, hit, ("before",))
            answer = send()
            self._strike(engine, process, hit, ("after", "lost"))
            return answer

        return ask

    def _count(self, process: PlayedProcess, scripts: Sequence[str]) -> bool:
        """Count these calls. Returns: whether the crash belongs to one of them."""
        hit = False
        with self._lock:
            for script in scripts:
                self.calls[process.role, script] += 1
                point = self.point
                if point is not None and not self.struck:
                    number = self.calls[process.role, script]
                    hit = hit or (process.role, script, number) == (point.role, point.script, point.number)
        return hit

    def _strike(self, engine: WorkflowEngine, process: PlayedProcess, hit: bool, whens: Sequence[When]) -> None:
        if not hit or self.point is None or self.point.when not in whens:
            return
        strike = engine.lose_reply if self.point.when == "lost" else engine.crash_later
        if not strike(process):
            return  # the test is over
        self.struck = True
        raise redis.ConnectionError(f"crash test: {self.point.shown}")


def _found_something(script: str, answer: Any) -> bool:
    if script == "pop":
        return bool(answer[0])
    only = answer[0]
    return not isinstance(only, Exception) and only[0] != b"lost" and bool(only[1] or only[2] or only[5] or only[6])


_PLAN = pytest.StashKey[Plan]()


def begin(item: pytest.Item, engine: WorkflowEngine) -> None:
    """Arm the engine of a run of a crash test; of any other test, nothing."""
    plan = item.stash.get(_PLAN, None)
    if plan is not None:
        engine.watch.fault = plan.watching(engine)


def end(item: pytest.Item, engine: WorkflowEngine) -> None:
    """Note what a run has come to."""
    plan = item.stash.get(_PLAN, None)
    if plan is None:
        return
    engine.settle()
    looks = [look for key in engine.created() if (look := engine.look(key)) is not None]
    ids = [look.reading.instance.id for look in looks if len(look.reading.instance.id) >= _RANDOM_CHARACTERS]
    results = []
    for look in looks:
        text = f"{look.reading.instance.workflow} is {look.status}: {look.error or repr(look.output)}"
        for id in ids:
            text = text.replace(id, "<id>")
        results.append(text)
    plan.results = sorted(results)
    plan.runs = Counter(engine.mocks.runs)


def run_matrix(item: pytest.Item, nextitem: pytest.Item | None, *, most: int | None = None) -> None:
    """Run a test and its crashes, and report them as one test.

    Args:
        most: try no more than so many places, evenly spread.
    """
    only = item.config.getoption("--crash-point", None)
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reference = Plan()
    reports = _run(item, reference)
    if all(report.passed for report in reports):
        points = [Point.parse(only)] if only else _some(list(reference.points()), most)
        missed = 0
        for point in points:
            plan = Plan(point)
            reports = _run(item, plan)
            missed += not plan.struck
            problem = _problem(reports, plan, reference)
            if problem is not None:
                _fail(item, reports, point, problem)
                break
        else:
            text = f"{len(points) - missed} crashes survived"
            for report in reports:
                if report.when == "call":
                    report.sections.append(("crash matrix", text + f", {missed} not reached" * bool(missed)))
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    _tear_down(item, nextitem)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def _run(item: pytest.Item, plan: Plan) -> list[pytest.TestReport]:
    item.stash[_PLAN] = plan
    item._report_sections.clear()  # each run has its own log
    # The next item is said to be a sibling, so that fixtures of the module and the session stay.
    return runtestprotocol(item, log=False, nextitem=copy.copy(item))


def _tear_down(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    call = pytest.CallInfo.from_call(lambda: item.session._setupstate.teardown_exact(nextitem), "teardown")
    if call.excinfo is not None:
        report = item.ihook.pytest_runtest_makereport(item=item, call=call)
        item.ihook.pytest_runtest_logreport(report=report)


def _some(points: list[Point], most: int | None) -> list[Point]:
    if most is None or len(points) <= most:
        return points
    return [points[place * len(points) // most] for place in range(most)]


def _problem(reports: Sequence[pytest.TestReport], plan: Plan, reference: Plan) -> str | None:
    for report in reports:
        if not report.passed:
            return f"the test fails in its {report.when}"
    if not plan.struck:
        return None
    if plan.results != reference.results:
        return f"the results differ\n  without a crash: {reference.results}\n  with it:         {plan.results}"
    assert plan.point is not None
    again = 1 if plan.point.role == "worker" else 0
    for step, count in sorted(plan.runs.items()):
        if count > reference.runs[step] + again:
            workflow, name, occurrence = step
            return (
                f'the callback of step "{name}" (index {occurrence}) of {workflow} ran {count} times, and '
                f"{reference.runs[step]} times without a crash"
            )
    return None


def _fail(item: pytest.Item, reports: Sequence[pytest.TestReport], point: Point, problem: str) -> None:
    failing = next((report for report in reports if not report.passed), None)
    target = failing or next(report for report in reports if report.when == "call")
    details = f"\n\n{failing.longreprtext}" if failing is not None else ""
    target.outcome = "failed"
    target.longrepr = (
        f"crash_matrix: {problem}\nThe crash: {point.shown}\n"
        f"Repeat it: pytest '{item.nodeid}' --crash-point {point}{details}"
    )

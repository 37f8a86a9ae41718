"""The linter: what a replay could not repeat, and nothing else."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import random
import secrets
import time
import uuid
from datetime import datetime
from time import time as now
from typing import Any

import pytest

from workflows import WorkflowEntrypoint
from workflows.authoring.lint import LintFinding, check


class Clean(WorkflowEntrypoint):
    """Everything here is allowed, because a step does it, or it only looks like something else."""

    def stamp(self) -> float:
        return time.time()

    async def run(self, event: Any, step: Any) -> Any:
        def work() -> Any:
            return time.time(), random.random(), open("file").read()

        async def fetch() -> Any:
            return await asyncio.to_thread(self.stamp)

        @step.do("decorated")
        def decorated() -> float:
            return time.time()

        class Clock:
            def time(self) -> int:
                return 1

        time_of_day = Clock()
        await step.do("a", work)
        await step.do("b", lambda: [time.time(), uuid.uuid4(), work()])
        await step.do("c", self.stamp)
        await decorated()
        await asyncio.gather(*[step.do(f"d {i}", fetch) for i in range(3)])
        pending = step.do("e", work)
        await asyncio.sleep(0)
        values = [step.random(), step.now(), step.uuid4(), time_of_day.time(), random.Random(4).random()]
        payload = dict(event.payload)
        payload["changed"] = True
        for name in sorted({"x", "y"}):
            await step.do(name, work)
        await pending
        return values, payload


class Dirty(WorkflowEntrypoint):
    async def run(self, event: Any, step: Any) -> None:
        a = time.time()  # clock
        b = now()  # clock
        c = datetime.now()  # clock
        d = dt.datetime.utcnow()  # clock
        e = dt.date.today()  # clock
        f = random.choice([1, 2])  # random
        g = uuid.uuid4()  # random
        h = os.urandom(2), secrets.token_hex()  # random random
        i = open("x")  # effect  # noqa: SIM115
        time.sleep(1)  # sleep
        await asyncio.sleep(1)  # sleep
        step.do("x", lambda: 1)  # dangling
        step.sleep("x", 1)  # dangling
        event.payload["x"] = 1  # event
        event.payload.x += 1  # event
        del event.payload["x"]  # event
        event.payload.items_.append(1)  # event
        await step.do(f"x {random.random()}", lambda: 1)  # step-name
        await step.do("x", print, time.time())  # clock
        await asyncio.gather(*[step.do(n, lambda: 1) for n in {"a", "b"}])  # order
        for n in set("ab"):  # order
            await step.do(n, lambda: 1)
        import requests  # type: ignore[import-untyped,unused-ignore]

        requests.get("http://x")  # effect

        def helper() -> float:
            return time.monotonic()  # clock

        self.method()
        print(a, b, c, d, e, f, g, h, i, helper())

    def method(self) -> float:
        return time.perf_counter()  # clock


def expected(workflow_class: type) -> list[tuple[int, str]]:
    """What the comments at the ends of lines say."""
    import inspect

    lines, first = inspect.getsourcelines(workflow_class)
    rules = {"clock", "random", "effect", "sleep", "dangling", "event", "step-name", "order"}
    return [
        (first + number, rule)
        for number, line in enumerate(lines)
        for rule in (line.partition("  # ")[2].split("  #")[0].split())
        if rule in rules
    ]


def test_code_that_repeats_has_no_findings() -> None:
    assert check(Clean) == []


def test_every_mistake_is_found_on_its_line() -> None:
    assert [(finding.line, finding.rule) for finding in check(Dirty)] == expected(Dirty)


def test_findings_name_the_file_and_the_way_out() -> None:
    finding = check(Dirty)[0]
    assert finding.file == __file__
    assert "time.time()" in finding.message and "step.now()" in finding.message
    assert str(finding) == f"{__file__}:{finding.line}: clock: {finding.message}"


def test_other_names_for_the_arguments_are_followed() -> None:
    class Renamed(WorkflowEntrypoint):
        async def run(this, e: Any, s: Any) -> None:  # noqa: N805
            s.do("x", lambda: 1)
            e.payload["x"] = 1

    assert [finding.rule for finding in check(Renamed)] == ["dangling", "event"]


@pytest.mark.parametrize(
    "workflow_class",
    [type("Made", (WorkflowEntrypoint,), {}), WorkflowEntrypoint, int],
    ids=["no source", "no run of its own", "builtin"],
)
def test_classes_without_source_have_no_findings(workflow_class: type) -> None:
    assert check(workflow_class) == []


def test_findings_are_values() -> None:
    assert LintFinding("f", 1, "r", "m") == LintFinding("f", 1, "r", "m")

"""The plugin itself: what it costs, what it shows, and what it refuses."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.testing.conftest import LOADED, Run

pytest_plugins = ("pytester",)
ROOT = Path(__file__).parents[2]


def test_importing_the_plugin_loads_nothing_heavy() -> None:
    heavy = [
        "redis",
        "rq",
        "pydantic",
        "msgpack",
        "croniter",
        "asyncio",
        "orchestrator",
        "worker",
        "workflows.authoring.app",
    ]
    check = "import sys, pytest; before = set(sys.modules); import workflows.testing.plugin; "
    show = f"print([name for name in {heavy} if name in set(sys.modules) - before])"
    ran = subprocess.run([sys.executable, "-c", check + show], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]", ran.stdout


def test_a_failed_test_shows_its_instances_and_the_mocks_that_never_came_up(run_inner: Run) -> None:
    ran = run_inner("""
def test_it(env):
    introspector = env.SMALL.introspect("s").modify(lambda m: m.mock_step_result("tow", 3))
    env.SMALL.create("s")
    introspector.wait_for_step_result("one")
    introspector.wait_for_status("waiting")
    assert False
""")
    ran.assert_outcomes(failed=1)
    ran.stdout.re_match_lines(
        [
            ".*workflow instances.*",
            "small/s: waiting",
            r"  +1 \+0ms +do +\"one\" +complete  → 1",
            r"  +2 \+0ms +sleep +\"rest\" +sleeping  due in 7d",
            r'  waits: s sleeps in "rest" until .* UTC: clock.advance\("7d"\), or m.disable_sleeps\(\)',
            'mocked, but never reached: "tow"',
        ]
    )


def test_code_that_does_not_do_the_same_twice_is_shown_as_a_diff(run_inner: Run) -> None:
    app = """
from workflows import App, WorkflowEntrypoint

app = App("inner")
asked = []

@app.workflow
class Small(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.do("same", lambda: 1)
        asked.append(1)
        await step.do("first" if len(asked) == 1 else "second", lambda: 2)
        await step.do("last", lambda: 3)
"""
    ran = run_inner(
        """
def test_it(env):
    env.SMALL.create("s").result()
""",
        app=app,
    )
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(
        [
            "*paused*",
            "*- what the journal holds*",
            "*+ what the code asks for now*",
            '*1 do "same"*',
            '*-   2 do "first"*',
            '*+   2 do "second"*',
        ]
    )


def test_the_diff_of_a_scheduled_instance_is_made_with_its_schedule(run_inner: Run) -> None:
    app = """
from workflows import App, WorkflowEntrypoint

app = App("inner")
asked = []

@app.workflow(schedules="0 9 * * *")
class Nightly(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.do(f"report of {event.schedule.cron}", lambda: 1)
        asked.append(1)
        await step.do("first" if len(asked) == 1 else "second", lambda: 2)
        await step.do("last", lambda: 3)
"""
    tests = """
import pytest

@pytest.mark.workflows(schedules=True)
def test_it(env, clock):
    clock.advance("1 day")
    ((_, id),) = env._engine.created("nightly")
    env.NIGHTLY.get(id).result()
"""
    ran = run_inner(tests, app=app)
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(
        [
            "*+ what the code asks for now*",
            '*  1 do "report of 0 9 * * *"*',
            '*-   2 do "first"*',
            '*+   2 do "second"*',
        ]
    )


def test_a_crash_that_makes_a_difference_is_named_with_the_command_that_repeats_it(run_inner: Run) -> None:
    tests = """
import inner_app

@pytest.mark.crash_matrix
def test_it(env, clock):
    inner_app.runs.clear()
    instance = env.SMALL.create()
    clock.advance("7 days")
    assert instance.result() == 3
    assert len(inner_app.runs) == 1, "ran twice"
"""
    ran = run_inner(tests)
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(
        [
            "crash_matrix: the test fails in its call",
            "The crash: call * of * by the worker, killed before it",
            "Repeat it: pytest 'test_inner.py::test_it' --crash-point worker:*:before",
            "*ran twice*",
        ]
    )


def test_the_engine_of_a_test_can_keep_suspended_runs(run_inner: Run) -> None:
    tests = """
@pytest.mark.workflows(warm=True)
def test_warm(env, clock):
    instance = env.SMALL.create()
    clock.advance("7 days")
    assert instance.result() == 3

@pytest.mark.workflows(cold=True)
def test_unknown(env):
    pass
"""
    ran = run_inner(tests)
    ran.assert_outcomes(passed=1, errors=1)
    ran.stdout.fnmatch_lines(["*does not know cold; it knows processes, schedules, warm*"])


def test_without_an_app_the_error_names_the_ways_to_give_one(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_other="def test_it(env): pass")
    ran = pytester.runpytest_inprocess(*LOADED)
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines(["*no pyproject.toml*", "*fixture named workflow_app*"])


@pytest.mark.slow
def test_real_processes_run_the_same_test_and_refuse_what_needs_this_process(run_inner: Run) -> None:
    app = """
from workflows import App, WorkflowEntrypoint

app = App("inner")

@app.workflow
class Small(WorkflowEntrypoint):
    async def run(self, event, step):
        return await step.do("one", lambda: 1)
"""
    tests = """
from workflows import ConfigError

@pytest.mark.workflows(processes=True)
def test_it(env, workflow_engine):
    with pytest.raises(ConfigError, match="real processes have real time"):
        workflow_engine.clock
    with pytest.raises(ConfigError, match="mocked in the engine inside the test only"):
        env.SMALL.introspect("s").modify(lambda m: m.mock_step_result("one", 2))
    introspector = env.SMALL.introspect("s")
    env.SMALL.create("s")
    assert introspector.wait_for_step_result("one", timeout=30) == 1
    introspector.wait_for_status("complete", timeout=30)
    assert introspector.get_output() == 1
"""
    run_inner(tests, app=app).assert_outcomes(passed=1)


def test_one_crash_can_be_repeated(run_inner: Run) -> None:
    tests = """
runs = []

@pytest.mark.crash_matrix
def test_it(env, clock):
    runs.append(1)
    instance = env.SMALL.create()
    clock.advance("7 days")
    assert instance.result() == 3

def test_runs():
    assert len(runs) == 2
"""
    run_inner(tests, "--crash-point", "worker:settle:2:after").assert_outcomes(passed=2)
    ran = run_inner(tests, "--crash-point", "worker:settle")
    assert ran.ret != 0


def test_crashes_leave_no_connections_behind(run_inner: Run) -> None:
    tests = """
@pytest.mark.crash_matrix
def test_it(env, clock):
    instance = env.SMALL.create()
    clock.advance("7 days")
    assert instance.result() == 3

def test_connections(workflow_server):
    assert workflow_server.redis.info("clients")["connected_clients"] < 20
"""
    ran = run_inner(tests, "-rP")
    ran.assert_outcomes(passed=2)
    ran.stdout.re_match_lines([r"[3-9]\d crashes survived"])


def test_a_worker_that_cannot_be_started_again_after_a_crash_fails_the_test(run_inner: Run) -> None:
    app = """
from workflows import App, WorkflowEntrypoint

app = App("inner")
made = []

@app.bindings
def bindings():
    made.append(1)
    if len(made) == 3:
        raise OSError("no such database")
    return {}

@app.workflow
class Small(WorkflowEntrypoint):
    async def run(self, event, step):
        return await step.do("one", lambda: 1)
"""
    tests = """
@pytest.mark.crash_matrix
def test_it(env):
    assert env.SMALL.create().result() == 1
"""
    ran = run_inner(tests, "--crash-point", "worker:settle:1:before", app=app)
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(["*After a crash nothing could be started again: OSError: no such database*"])


def test_a_crash_that_comes_when_the_test_is_over_is_not_played(run_inner: Run) -> None:
    """It would bring back, in a thread of its own, what is being stopped."""
    tests = """
def test_it(workflow_engine, env):
    env.SMALL.create()
    worker = workflow_engine._worker
    workflow_engine.stop()
    assert not workflow_engine.crash_later(worker)
    assert not workflow_engine.lose_reply(worker)
"""
    run_inner(tests).assert_outcomes(passed=1)


@pytest.mark.slow
def test_processes_of_xdist_do_not_meet(run_inner: Run) -> None:
    tests = """
@pytest.mark.parametrize("n", range(12))
def test_it(env, clock, n, workflow_client):
    instance = env.SMALL.create("the-same-id")
    clock.advance("7 days")
    assert instance.result() == 3
    assert len(workflow_client.workflow("small").list()) == 1
"""
    run_inner(tests, "-n", "2").assert_outcomes(passed=12)


NOT_OF_THE_PROJECT = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "venv")
OPTIONS: dict[str, Any] = {"check": True, "capture_output": True, "text": True}
PIP = [sys.executable, "-m", "pip"]
OFFLINE = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive, unpacked."""
    pytest.importorskip("setuptools", minversion="77", reason="what pyproject.toml asks for to build the package")
    folder = tmp_path_factory.mktemp("archive")
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=NOT_OF_THE_PROJECT, symlinks=True)
    for name in (".dockerignore", ".gitignore", ".pre-commit-config.yaml"):
        shutil.copy(ROOT / name, source)
    build = f"import setuptools.build_meta as build; build.build_sdist({str(folder)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, **OPTIONS)
    (packed,) = folder.glob("rq_workflows-*.tar.gz")
    with tarfile.open(packed) as opened:
        opened.extractall(folder, filter="data")
    return folder / packed.name.removesuffix(".tar.gz")


@pytest.mark.slow
def test_the_source_archive_holds_the_project(archive: Path) -> None:
    """Whatever is in it belongs there, and what its tests, its Makefile and its pages need is in it."""
    tracked = [
        "Makefile",
        "Dockerfile",
        "compose.yaml",
        "compose.sentinels.yaml",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "RELEASING.md",
        "SECURITY.md",
        "README.md",
        "LICENSE",
    ]
    for folder in ("workflows", "orchestrator", "worker", "docs", "changes", "examples", "tests", "benchmarks"):
        tracked += [
            str(path.relative_to(ROOT))
            for path in (ROOT / folder).rglob("*")
            if path.is_file()
            and (path.suffix in (".py", ".lua", ".md") or path.name == "py.typed")
            and "__pycache__" not in path.parts
        ]
    held = {str(path.relative_to(archive)) for path in archive.rglob("*") if path.is_file()}
    assert sorted(set(tracked) - held) == []
    others = {name for name in held - set(tracked) if "/" not in name}
    hidden = {".dockerignore", ".gitignore", ".pre-commit-config.yaml"}
    assert others == hidden | {"MANIFEST.in", "PKG-INFO", "pyproject.toml", "setup.cfg"}


@pytest.mark.slow
def test_a_fresh_project_needs_an_install_and_ten_lines(archive: Path, tmp_path: Path) -> None:
    """An install of the wheel that is built from the source archive."""
    subprocess.run([*PIP, "wheel", *OFFLINE, "--wheel-dir", str(tmp_path), str(archive)], **OPTIONS)
    (wheel,) = tmp_path.glob("*.whl")
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    purelib = sysconfig.get_path("purelib", vars={"base": str(environment)})
    # What this test runs with stands in for the package index.
    (Path(purelib) / "outer.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = ["install", *OFFLINE, "--ignore-installed", str(wheel)]
    subprocess.run([*PIP, "--python", str(python), *install], cwd=tmp_path, **OPTIONS)
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text('[tool.workflows]\napp = "app:app"\n')
    (project / "app.py").write_text(
        textwrap.dedent("""
            from workflows import App, WorkflowEntrypoint
            app = App("fresh")

            @app.workflow
            class Greeting(WorkflowEntrypoint):
                async def run(self, event, step):
                    return await step.do("greet", lambda: "hello")
        """)
    )
    (project / "test_app.py").write_text("def test_it(env):\n    assert env.GREETING.create().result() == 'hello'\n")
    ran = subprocess.run(
        [str(python), "-P", "-m", "pytest", "-q", "-W", "error"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin"},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


LONG_APP = """
import asyncio
from workflows import App, WorkflowEntrypoint

app = App("inner")
asked = []

@app.workflow
class Fan(WorkflowEntrypoint):
    async def run(self, event, step):
        def ask(n):
            asked.append(n)
            return step.do(f"part {n}", lambda: n)
        return sum(await asyncio.gather(*[ask(n) for n in range(event.payload)]))

@app.workflow
class Chain(WorkflowEntrypoint):
    async def run(self, event, step):
        for n in range(event.payload):
            asked.append(n)
            await step.do(f"link {n}", lambda: n)

@app.workflow
class Forgetful(WorkflowEntrypoint):
    async def run(self, event, step):
        for n in range(event.payload):
            await step.do(f"link {n}", lambda: n)
        asked.append(n)
        await step.do(f"the end, asked for {len(asked)} times", lambda: n)
"""


def test_a_long_instance_is_replayed_in_proportion_to_its_length(run_inner: Run) -> None:
    tests = """
from inner_app import asked

@pytest.mark.parametrize("binding", ["FAN", "CHAIN"])
def test_it(env, binding):
    counts = []
    for length in (400, 800):
        asked.clear()
        env[binding].create(params=length).result("30s")
        counts.append(len(asked))
    assert counts[1] < 2.5 * counts[0], counts

def test_a_short_one_from_the_start_each_time(env):
    asked.clear()
    env.CHAIN.create(params=30).result()
    assert asked.count(0) >= 30

@pytest.mark.workflows(warm=True)
def test_production(env):
    asked.clear()
    env.FAN.create(params=400).result()
    assert len(asked) == 400
"""
    run_inner(tests, app=LONG_APP).assert_outcomes(passed=4)


def test_the_last_turn_of_a_long_instance_is_replayed_from_the_start(run_inner: Run) -> None:
    tests = """
def test_it(env):
    env.FORGETFUL.create("f", 400).result("30s")
"""
    ran = run_inner(tests, app=LONG_APP)
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(["*paused*", '*-*do "the end, asked for 1 times"*', '*+*do "the end, asked for*'])


def test_the_timeline_of_a_long_instance_leaves_out_what_is_complete(run_inner: Run) -> None:
    tests = """
def test_it(env):
    env.FORGETFUL.create("f", 400).result("30s")
"""
    ran = run_inner(
        tests, "--workflows-warm", app=LONG_APP.replace('await step.do(f"the end', 'assert False, (f"the end')
    )
    ran.assert_outcomes(failed=1)
    ran.stdout.re_match_lines([r' +1 .*"link 0"', r"  … 3\d\d complete steps", r' +400 .*"link 399"'])
    assert sum("link" in line for line in ran.outlines) < 100


FAILING_APP = """
from workflows import App, WorkflowEntrypoint

app = App("inner")

@app.workflow
class Small(WorkflowEntrypoint):
    async def run(self, event, step):
        return await step.do("one", lambda: 1)

@app.workflow
class Failing(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.do("one", self.fail, retries={"limit": 0})

    def fail(self):
        raise KeyError("cents")
"""


def test_an_async_test_that_forgets_an_await_fails_and_names_the_line(run_inner: Run) -> None:
    tests = """
async def test_nothing_comes_of_it(env, clock):
    env.SMALL.create("s").result()  # line 4
    clock.advance("1 day")  # line 5

async def test_before_another_failure(env):
    env.SMALL.create("s").introspect().wait_for_status("complete")  # line 8
    assert False, "something else"

async def test_a_comparison(env):
    assert env.SMALL.create("s").result() == 1  # line 12

async def test_an_attribute(env):
    assert env.SMALL.create("s").status().status == "complete"  # line 15

async def test_a_truth(env):
    instance = env.SMALL.create("s")
    await instance.result()
    assert instance.introspect().get_output()  # line 20

async def test_an_async_modification(env):
    async def mock(m):
        import asyncio
        await asyncio.sleep(0)
    env.SMALL.introspect("s").modify(mock)  # line 26
"""
    ran = run_inner(tests, "-W", "error", app=FAILING_APP)
    ran.assert_outcomes(failed=6)
    ran.stdout.fnmatch_lines(
        [
            "not awaited: test_inner.py:4, test_inner.py:5. In an async test, put `await` before the call.",
            "*something else*",
            "*not awaited: test_inner.py:8. *",
            "*test_inner.py:12: this call was not awaited. *",
            "*test_inner.py:15: this call was not awaited. *",
            "*test_inner.py:20: this call was not awaited. *",
            "not awaited: test_inner.py:26. *",
        ]
    )


def test_calls_that_wait_can_be_given_to_tasks_and_gathered(run_inner: Run) -> None:
    tests = """
import asyncio

async def test_it(env):
    first, second, third = env.SMALL.create("a"), env.SMALL.create("b"), env.SMALL.create("c")
    task = asyncio.create_task(first.result())
    assert await asyncio.gather(second.result(), asyncio.wait_for(third.result(), 10)) == [1, 1]
    assert await task == 1

async def test_one_that_is_cancelled_before_it_begins(env):
    task = asyncio.ensure_future(env.SMALL.create("a").result())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
"""
    run_inner(tests, "-W", "error", app=FAILING_APP).assert_outcomes(passed=2)


def test_a_failure_is_shown_without_the_frames_of_the_engine(run_inner: Run) -> None:
    tests = """
def test_what_a_step_raised(env):
    env.FAILING.create().result()

async def test_the_same_awaited(env):
    await env.FAILING.create().introspect().wait_for_step_result("one")

def test_what_the_engine_refuses(env, clock):
    clock.advance("7 flies")

def test_as_a_cause(env):
    try:
        env.FAILING.create().result()
    except KeyError as error:
        raise RuntimeError("no receipt") from error
"""
    ran = run_inner(tests, app=FAILING_APP)
    ran.assert_outcomes(failed=4)
    assert not [line for line in ran.outlines if line.startswith("/") and "/workflows/" in line], ran.outlines
    assert len([line for line in ran.outlines if line.startswith("test_inner.py:")]) == 5
    whole = run_inner(tests, "--full-trace", "-k", "refuses", app=FAILING_APP)
    whole.stdout.fnmatch_lines(["*/workflows/values/durations.py:*"])


def test_an_error_of_the_engine_itself_is_shown_with_all_frames(run_inner: Run) -> None:
    tests = """
def test_it(env, workflow_engine, monkeypatch):
    monkeypatch.setattr(workflow_engine, "client", None)
    env.SMALL.create()
"""
    ran = run_inner(tests, app=FAILING_APP)
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(["*/workflows/testing/env.py:*: AttributeError"])


def test_batches_say_of_each_entry_what_became_of_it_and_hand_out_instances_of_the_test(run_inner: Run) -> None:
    ran = run_inner("""
def test_batches(env):
    made = env.SMALL.create_batch({"instances": [{"id": "a"}, {"id": "-"}]})
    assert (made.created[0].introspect().id, made.errors[0].code) == ("a", "instance.invalid_id")
    assert env.SMALL.create_batch([{"id": "b"}])[0].id == "b"
    assert env.SMALL.deleteBatch(["a", "nobody"]).errors[0].code == "instance.not_found"
""")
    ran.assert_outcomes(passed=1)

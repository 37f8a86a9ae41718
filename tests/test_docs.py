"""Do the documents say what the code does? Snippets run, pointers resolve, drawings are drawn from the code.

How a snippet is checked:

- ``python`` that begins with ``# name.py`` is written to that file; any other is executed as a program of its own.
- ``console``: each line after ``$`` is executed, and what follows it is compared with its output; ``…`` stands for
  anything. ``workflows dev``, ``orchestrator``, ``worker`` and ``ui`` go on in the background until the page ends, and
  ``make`` lines are checked to name a target. Port 8787, where a page names it, is a free one here.
- ``lua`` is written to the file that its first line names.
- ``sh`` shows what cannot run here: commands of ours must parse, services must be in ``compose.yaml``.

All snippets of a page share a temporary folder and a private Redis.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import metadata
from pathlib import Path

import click
import pytest

from tests.paths import PACKAGES, ROOT, packages
from tests.pointers import FILE, prose_of, sources, wrong_in
from workflows.cli.main import cli
from workflows.dev.embedded import EmbeddedRedis
from workflows.storage.status import FINAL, TRANSITIONS, Status

DOCS = ROOT / "docs"
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "RELEASING.md", *sorted(DOCS.glob("*.md"))]
EVERYTHING = [*PAGES, *DECISIONS, ROOT / "SECURITY.md", ROOT / "CHANGELOG.md", ROOT / "changes" / "README.md"]
RUN_ELSEWHERE = {"docs/testing.md": ROOT / "tests" / "testing" / "test_docs.py"}
"""Pages whose examples are tests, which need pytest around them."""

PATIENCE_SECONDS = 30.0
TESTS_PATIENCE_SECONDS = 100.0
PORT = "8787"
BACKGROUND = {"dev": "worker ready", "worker": "worker ready", "orchestrator": "for namespace", "ui": "dashboard: "}
"""What a process says once it is at work."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# Snippets ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Snippet:
    """One fenced block."""

    language: str
    text: str
    line: int


def snippets_of(path: Path) -> list[Snippet]:
    found, language, lines, start = [], None, [], 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("```"):
            lines.append(line)
        elif language is None:
            language, lines, start = line[3:].strip(), [], number + 1
        else:
            found.append(Snippet(language, "\n".join(lines), start))
            language = None
    return found


def _free_port() -> str:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return str(opened.getsockname()[1])


@dataclass
class Terminal:
    """Where the commands of one page are typed."""

    folder: Path
    environment: dict[str, str]
    of_programs: dict[str, str] = field(default_factory=dict)
    background: list[subprocess.Popen[bytes]] = field(default_factory=list)
    port: str = field(default_factory=_free_port)

    def type(self, command: str) -> str:
        """Execute a command; what it printed, both streams together."""
        command = command.replace(PORT, self.port)
        words = [*shlex.split(command, comments=True), "", "", ""]
        if words[0] == "make":
            check_make([word for word in words[1:] if word])
            return ""
        if words[0] == "export":
            self.environment |= dict(word.split("=", 1) for word in words[1:] if word)
            return ""
        verb = words[3 if words[1].startswith("--") else 1]
        if words[0] == "workflows" and verb in BACKGROUND:
            self.start(command, BACKGROUND[verb])
            return ""
        process = subprocess.Popen(
            ["sh", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=TESTS_PATIENCE_SECONDS if words[0] == "pytest" else PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            # The shell alone would leave what it has started behind.
            os.killpg(process.pid, signal.SIGKILL)
            raise
        assert process.returncode == 0, f"$ {command}\n{said}"
        # redis-cli warns about the password in the URL, which is the test's own.
        return "\n".join(line for line in said.splitlines() if not line.startswith("Warning: Using a password"))

    def start(self, command: str, ready: str) -> None:
        """Leave a process running, once it says that it is ready."""
        log = self.folder / f"background-{len(self.background)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["sh", "-c", f"exec {command}"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.background.append(process)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while ready not in (said := log.read_text(errors="replace")):
            assert process.poll() is None, f"$ {command}\n{said}"
            assert time.monotonic() < deadline, f"$ {command}\nnot ready:\n{said}"
            time.sleep(0.02)
        address = re.search(r"WORKFLOWS_REDIS_URL='([^']+)'", said)
        if address:
            self.of_programs["WORKFLOWS_REDIS_URL"] = address[1]

    def run_program(self, snippet: Snippet) -> None:
        """Execute a Python snippet, or write it to the file it names."""
        head = re.match(r"# (\w+\.py)\n", snippet.text)
        if head:
            (self.folder / head[1]).write_text(snippet.text + "\n", encoding="utf-8")
            return
        program = self.folder / f"snippet_{snippet.line}.py"
        program.write_text(snippet.text.replace(PORT, self.port) + "\n", encoding="utf-8")
        done = subprocess.run(
            [sys.executable, program.name],
            cwd=self.folder,
            env=self.environment | self.of_programs,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == 0, f"line {snippet.line}:\n{snippet.text}\n\n{done.stdout}"

    def keep_script(self, snippet: Snippet) -> None:
        """Write a script to the file it names; what calls it is a Python snippet further down."""
        head = re.match(r"-- (\w+\.lua)\n", snippet.text)
        assert head, f"line {snippet.line}: a script without a name"
        (self.folder / head[1]).write_text(snippet.text + "\n", encoding="utf-8")

    def close(self) -> None:
        for process in reversed(self.background):
            process.terminate()
        for process in reversed(self.background):
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def terminal() -> Iterator[Callable[[str | None], Terminal]]:
    """Makes a terminal in a folder of its own, with the commands a reader has."""
    # Not pytest's folder: a unix socket must fit into it, and those paths are short.
    folder = Path(tempfile.mkdtemp(prefix="docs-"))
    tools = folder / "bin"
    tools.mkdir()
    _tool(tools / "workflows", f'exec "{sys.executable}" -P -m workflows.cli "$@"')
    if shutil.which("redis-cli") is None:
        _tool(tools / "redis-cli", f'exec "{sys.executable}" "{folder}/redis_cli.py" "$@"')
        (folder / "redis_cli.py").write_text(REDIS_CLI, encoding="utf-8")
    made: list[Terminal] = []

    def make(url: str | None) -> Terminal:
        path = [str(tools), str(Path(sys.executable).parent), os.environ.get("PATH", "")]
        environment = {
            **os.environ,
            "PATH": os.pathsep.join(path),
            "PYTHONPATH": packages(),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if url is not None:
            environment["WORKFLOWS_REDIS_URL"] = url
        made.append(Terminal(folder, environment))
        return made[-1]

    try:
        yield make
    finally:
        for one in made:
            one.close()
        shutil.rmtree(folder, ignore_errors=True)


REDIS_CLI = """
import sys, redis
flag, where, *command = sys.argv[1:]
client = redis.Redis(unix_socket_path=where) if flag == "-s" else redis.Redis.from_url(where)
def show(answer):
    if isinstance(answer, (list, tuple)):
        for one in answer: show(one)
    elif isinstance(answer, dict):
        for pair in answer.items(): show(pair)
    else:
        print(answer.decode() if isinstance(answer, bytes) else answer)
show(client.execute_command(*command))
"""


def _tool(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    path.chmod(0o700)


def check_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets, asked = (
        set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)),
        {word for word in words if "=" not in word},
    )
    assert asked, "make without a target"
    assert asked <= targets, f"the Makefile has no {asked - targets}"
    unused = [word for word in words if "=" in word and f"$({word.partition('=')[0]})" not in makefile]
    assert not unused, f"the Makefile does not use {unused}"


def check_shell(command: str) -> None:
    """Whether a command that cannot run here could run elsewhere."""
    words = shlex.split(command, comments=True)
    match words:
        case []:
            return
        case ["workflows", *arguments]:
            verb: click.Command = cli
            context: click.Context | None = None
            while isinstance(verb, click.Group):
                found = next((word for word in arguments if word in verb.commands), None)
                assert found is not None, command
                place = arguments.index(found)
                context = verb.make_context(verb.name, [*arguments[:place], found], parent=context)
                verb, arguments = verb.commands[found], arguments[place + 1 :]
            verb.make_context(verb.name, arguments, parent=context)
        case ["docker", "compose", "up", *options]:
            compose = (ROOT / "compose.yaml").read_text(encoding="utf-8").partition("\nservices:\n")[2]
            services = set(re.findall(r"^  (\w+):$", compose, re.MULTILINE))
            scaled = {option.partition("=")[0] for option in options if "=" in option}
            assert scaled <= services, f"{scaled} in {command}"
        case ["make", *targets]:
            check_make(targets)
        case ["pip", "install", extra]:
            assert re.fullmatch(r"rq-workflows\[(\w+)\]", extra)[1] in metadata("rq-workflows").get_all(
                "Provides-Extra"
            )
        case [".venv/bin/python", "-m", module]:
            assert importlib.util.find_spec(module) is not None, command
        case ["git", verb, *options]:
            known = {"commit": {"--all", "--message"}, "tag": {"--annotate", "--message"}}
            assert {option for option in options if option.startswith("-")} <= known[verb], command
        case ["export", *_]:
            names = re.findall(r"(\w+)=", command)
            compose = (ROOT / "compose.yaml").read_text(encoding="utf-8")
            assert all(name in compose for name in names), f"compose.yaml does not use all of {names}"
        case _:
            raise AssertionError(f"nothing here can check: {command}")


def commands_of(snippet: Snippet) -> list[tuple[str, list[str]]]:
    """The commands of a console snippet, each with the output it shows."""
    found: list[tuple[str, list[str]]] = []
    for line in snippet.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            assert found, f"line {snippet.line}: output without a command"
            found[-1][1].append(line)
    return found


def looks_like(output: str, expected: list[str]) -> bool:
    """Whether output is what a page shows; a line ``…`` stands for any lines, ``…`` in a line for any text."""
    pattern = ""
    for line in expected:
        if line.strip() == "…":
            pattern += r"(?:.*\n)*?"
        else:
            # A fast reader may send an event before the wait is there.
            either = "(?:delivered|buffered)" if line == "delivered" else None
            # redis-cli tells types on a terminal only, which is what a reader has.
            line = line.removeprefix("(integer) ")
            pattern += (either or ".*".join(re.escape(part) for part in line.rstrip().split("…"))) + r"\s*\n"
    return re.fullmatch(pattern, output.rstrip("\n") + "\n") is not None


@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    "path", [path for path in PAGES if snippets_of(path) and name_of(path) not in RUN_ELSEWHERE], ids=name_of
)
def test_what_a_page_shows_works(path: Path, terminal: Callable[[str | None], Terminal]) -> None:
    """Every snippet, in the order of the page."""
    if not snippets_of(path):
        return
    brings_its_own = any("workflows dev" in one.text for one in snippets_of(path) if one.language == "console")
    if brings_its_own:
        _follow_and_tell(path, terminal(None))
        return
    with EmbeddedRedis(port=0) as server:
        # redis-cli wants a user's name where redis-py does without.
        page = terminal(server.url.replace("redis://:", "redis://default:"))
        _follow_and_tell(path, page)
        page.close()


def _follow_and_tell(path: Path, page: Terminal) -> None:
    try:
        _follow(path, page)
    except BaseException as error:
        for log in sorted(page.folder.glob("background-*.log")):
            error.add_note(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}")
        raise


def _follow(path: Path, page: Terminal) -> None:
    for snippet in snippets_of(path):
        where = f"{name_of(path)}:{snippet.line}"
        match snippet.language:
            case "python":
                page.run_program(snippet)
            case "console":
                for command, expected in commands_of(snippet):
                    output = page.type(command)
                    shown = "\n".join(expected)
                    assert not expected or looks_like(output, expected), (
                        f"{where}\n$ {command}\n{output}\n--- the page says:\n{shown}"
                    )
            case "lua":
                page.keep_script(snippet)
            case "sh":
                for line in snippet.text.splitlines():
                    check_shell(line)
            case "" | "mermaid":
                continue
            case other:
                raise AssertionError(f"{where}: nothing checks {other!r}")


@pytest.mark.parametrize("path", [path for path in PAGES if name_of(path) not in RUN_ELSEWHERE], ids=name_of)
def test_a_page_that_shows_tests_passes_them(path: Path) -> None:
    """A file is only written; nothing would tell of a test in it that cannot run."""
    snippets = snippets_of(path)
    last = max((place for place, one in enumerate(snippets) if re.match(r"# test_\w+\.py\n", one.text)), default=-1)
    passed = [one for one in snippets[last:] if one.language == "console" and re.search(r"^\$ pytest ", one.text, re.M)]
    assert last == -1 or passed


@pytest.mark.parametrize("page, test", list(RUN_ELSEWHERE.items()))
def test_a_page_left_out_here_is_run_elsewhere(page: str, test: Path) -> None:
    assert Path(page).name in test.read_text(encoding="utf-8")


def test_the_comparison_of_outputs_can_fail() -> None:
    assert looks_like("a\nb 1 c\n", ["a", "b … c"])
    assert looks_like("a\nb\nc\n", ["…", "c"])
    assert not looks_like("a\nb\n", ["a"])
    assert not looks_like("a\n", ["b"])


# Pointers ------------------------------------------------------------------------------------------------------------

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def text_of(path: Path) -> str:
    """A page without its snippets."""
    return re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def known_numbers() -> frozenset[str]:
    """Those of failures, mechanisms, invariants and decisions."""
    defined = {row[0] for page in ("failures.md", "invariants.md") for row in rows_of(DOCS / page)}
    return frozenset(defined | {path.name[:4] for path in DECISIONS})


def test_every_pointer_leads_somewhere() -> None:
    """In comments, docstrings and pages."""
    known = known_numbers()
    wrong = [
        f"{name_of(path)}:{line}: {complaint}"
        for path in sources()
        for line, text in prose_of(path)
        for complaint in wrong_in(text, known)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", EVERYTHING, ids=name_of)
def test_links_between_pages_resolve(path: Path) -> None:
    targets = [target for target in LINK.findall(text_of(path)) if "://" not in target]
    wrong = [target for target in targets if not (path.parent / target.partition("#")[0]).exists()]
    assert not wrong, f"{name_of(path)} links to {', '.join(wrong)}"


def test_every_page_is_within_reach_of_the_readme() -> None:
    linked = {(ROOT / target).resolve() for target in LINK.findall(text_of(ROOT / "README.md")) if "://" not in target}
    missing = [name_of(page) for page in PAGES[1:] if page not in linked]
    assert not missing


@pytest.mark.parametrize(
    "text, complaints",
    [
        ("see `workflows/no.lua`", ["there is no workflows/no.lua"]),
        ("`worker/claim.lua:none`", ["worker/claim.lua has no none"]),
        ("tests/test_docs.py::test_none shows it", ["tests/test_docs.py has no test_none"]),
        ("what gone.py says", ["there is no gone.py"]),
        ("as docs/gone.md says.", ["there is no docs/gone.md"]),
        (
            "by decision 0099 (F98-F99, I99, M99)",
            [f"there is no {one}" for one in ("F98", "F99", "I99", "M99", "0099")],
        ),
        ("as the protocol says, §4", ["no page of ours has numbered sections"]),
        ("`pump.lua:pump`, blocking.py:WorkflowHandle.create, `tests/*.py`, docs/rules.md, pyproject.toml: app.py", []),
        ("I1 by decision 0001, S3, mode 0700, 0.0005 s", []),
    ],
)
def test_the_reader_of_pointers_sees_what_is_wrong(text: str, complaints: list[str]) -> None:
    """A checker that finds nothing would keep every other test here green."""
    assert list(wrong_in(text, known_numbers())) == complaints


def test_prose_is_what_people_read(tmp_path: Path) -> None:
    written = {
        "a.py": '"""One."""\nX = "no"  # two\n',
        "a.lua": "local x = 'no'\nlocal y -- two\n",
        "a.md": "One\n```\nno\n```\nfive\n",
    }
    for name, text in written.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert sorted(prose_of(tmp_path / "a.py")) == [(1, '"""One."""'), (2, "# two")]
    assert list(prose_of(tmp_path / "a.lua")) == [(2, "-- two")]
    assert [line for line, _ in prose_of(tmp_path / "a.md")] == [1, 5]


# Tables and drawings -------------------------------------------------------------------------------------------------


def rows_of(path: Path, heading: str | None = None) -> list[list[str]]:
    """The cells of a page's tables, heads left out; of one section only when a heading is given."""
    text = text_of(path)
    if heading is not None:
        text = re.split(r"^## ", text.split(f"\n## {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    lines = text.splitlines()
    found = []
    for number, line in enumerate(lines):
        is_head = number + 1 < len(lines) and lines[number + 1].startswith("|--")
        if line.startswith("|") and not line.startswith("|--") and not is_head:
            found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))])
    return found


def names_a_test(text: str) -> bool:
    return any(file.startswith("tests/") and name for file, name in FILE.findall(text))


def test_every_rule_points_at_what_shows_it() -> None:
    """Both lists have their eight rules, and each says how it is enforced and where that is seen."""
    for heading, number in (("Do", 8), ("Do not", 8), ("Further ones", 1)):
        rows = rows_of(DOCS / "rules.md", heading)
        assert len(rows) >= number, heading
        for rule, enforced, shown in rows:
            assert re.search("prevented|detected|documented|as above", enforced), rule
            assert FILE.search(shown), rule


def test_every_invariant_has_a_keeper_and_a_test() -> None:
    rows = rows_of(DOCS / "invariants.md")
    assert [row[0] for row in rows] == [f"I{n}" for n in range(1, 14)]
    for number, _, keeper, shown in rows:
        assert FILE.search(keeper), number
        assert names_a_test(shown), number


def test_every_failure_says_what_happens_and_where_that_is_seen() -> None:
    rows = rows_of(DOCS / "failures.md")
    numbers = [row[0] for row in rows]
    assert [number for number in numbers if number.startswith("M")] == [f"M{n}" for n in range(1, 11)]
    assert len(set(numbers)) == len(numbers)
    for number, _, happens, shown in (row for row in rows if row[0].startswith("F")):
        assert happens, number
        assert names_a_test(shown), number


def test_every_row_of_the_model_has_a_verdict_and_what_is_there_a_test() -> None:
    """Rows are numbered without gaps; SC3 belongs to a platform that bills."""
    rows = rows_of(DOCS / "conformance.md")
    numbers: dict[str, list[int]] = {}
    for row, about, verdict, shown in rows:
        numbers.setdefault(row[:2], []).append(int(row[2:]))
        assert about, row
        assert re.match(r"(matches|better: .|not yet)", verdict), row
        assert names_a_test(shown) != verdict.startswith("not yet"), row
    assert numbers.pop("SC") == [1, 2, 4, 5, 6]
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values()), numbers
    assert sum(map(len, numbers.values())) >= 150


def test_the_protocol_tells_of_every_script() -> None:
    told = [row[0].strip("`") for row in rows_of(DOCS / "protocol.md")]
    assert sorted(told) == sorted(name_of(path) for package in PACKAGES for path in (ROOT / package).rglob("*.lua"))


def test_the_words_in_italics_are_in_the_glossary() -> None:
    glossary = {
        word.strip() for row in rows_of(DOCS / "glossary.md") for word in row[0].strip("*").replace("`", "").split(",")
    }
    for word in re.findall(r"(?<![*\w])\*(\w[\w ]*\w)\*(?!\*)", text_of(DOCS / "architecture.md")):
        stem = word.removesuffix("s")
        assert any(stem in known for known in glossary), word


def status_diagram() -> str:
    """The table of statuses as a drawing; restart, which leads from everywhere to queued, is left to the text."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (before, happening), followers in TRANSITIONS.items():
        for after in Status:
            if after in followers and after != before and happening != "restart":
                arrows.setdefault((before, after), []).append(happening)
    lines = ["stateDiagram-v2", "    [*] --> queued: create"]
    lines += [f"    {before} --> {after}: {', '.join(happenings)}" for (before, after), happenings in arrows.items()]
    lines += [f"    {status} --> [*]" for status in Status if status in FINAL]
    return "\n".join(lines)


def test_the_drawing_of_statuses_is_that_of_the_table() -> None:
    drawing = f"<!-- statuses -->\n```mermaid\n{status_diagram()}\n```\n<!-- /statuses -->"
    assert drawing in (DOCS / "architecture.md").read_text(encoding="utf-8"), f"put this into the page:\n{drawing}"
    assert all(TRANSITIONS[status, "restart"] == {Status.QUEUED} for status in Status)


@pytest.mark.parametrize("path", DECISIONS, ids=name_of)
def test_a_decision_is_short_and_says_what_would_change_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    number = path.name[:4]
    assert [other for other in DECISIONS if other.name.startswith(f"{number}-")] == [path]
    assert text.startswith(f"# {number} ")
    assert len(text.splitlines()) <= 25
    for part in ("**Question.**", "Options", "**Choice", "**We would reconsider"):
        assert part in text, part

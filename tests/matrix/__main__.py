"""Every Python with every Redis that is found here: ``python -m tests.matrix [--python 3.12] [--server valkey]``.

A cell is one Python with one server, in an environment of its own under ``.matrix``. It plays ``CELL``; what never
meets a server, ``ONCE``, is played once for each Python. A cell that fails stops no other. At the end stands one
table, and the exit code is 1 when something failed or nothing could be played, else 0: a Python or a server that is
not found fails nothing.

Pythons are looked for on PATH and in ``~/.pyenv/versions``, servers on PATH and in the packages of the extras
``dev-redis`` and ``dev-redis-bsd``. ``MATRIX_PYTHONS`` and ``MATRIX_SERVERS`` name more, and win: paths of programs,
with ``:`` between them.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.paths import ROOT
from workflows.dev.servers import find_servers

HOME = ROOT / ".matrix"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SERVERS = ("Redis 6.2", "Redis 7", "Redis 8", "Valkey")
NO_SERVER = "no server"

ONCE = ("tests/unit", "tests/test_layers.py", "--ignore=tests/unit/test_embedded.py")
CELL = (
    "tests/unit/test_embedded.py",
    "tests/scripts",
    *(
        f"tests/integration/test_{part}.py"
        for part in (
            "store",
            "client",
            "async_client",
            "engine",
            "orchestrator_loop",
            "schedules",
            "health",
            "processes",
        )
    ),
)
"""What depends on the server: every script and who calls them. Left out is what starts whole fleets of processes
(test_cli, test_dev, test_parent, test_stopping), which takes long and asks the server nothing else."""

CELL_TIMEOUT_S = 1800
LINE = re.compile(r"(\d+) (passed|failed|error|errors|skipped)\b")

Cell = tuple[str, str]


@dataclass(frozen=True)
class Outcome:
    """How a cell ended.

    Attributes:
        kind: passed, failed or not found.
        note: what to read beside it in the table.
    """

    kind: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.note}".rstrip()


def kind_of_server(said: str) -> str | None:
    """The column of a server, by what ``--version`` prints; None for one that belongs into none."""
    version = re.search(r"\bv=(\d+)\.(\d+)", said)
    if version is None:
        return None
    if said.startswith("Valkey"):
        return "Valkey"
    return next((name for name in SERVERS if name in (f"Redis {version[1]}", f"Redis {version[1]}.{version[2]}")), None)


def first_of_each(found: Iterable[tuple[str | None, Path]]) -> dict[str, Path]:
    """The first program of each kind."""
    chosen: dict[str, Path] = {}
    for kind, path in found:
        if kind is not None:
            chosen.setdefault(kind, path)
    return chosen


def servers() -> dict[str, Path]:
    """A server program for each column that has one."""
    given = [Path(path) for path in os.environ.get("MATRIX_SERVERS", "").split(":") if path]
    return first_of_each((kind_of_server(said_by(path, "--version")), path) for path in (*given, *_servers_here()))


def _servers_here() -> list[Path]:
    on_path = [Path(path) for name in ("redis-server", "valkey-server") if (path := shutil.which(name))]
    return [*on_path, *(server.path for server in find_servers())]


def pythons() -> dict[str, Path]:
    """A CPython for each row that has one."""
    given = [Path(path) for path in os.environ.get("MATRIX_PYTHONS", "").split(":") if path]
    installed: list[Path] = []
    for version in PYTHONS:
        installed += sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"), reverse=True)
        on_path = shutil.which(f"python{version}")
        installed += [Path(on_path)] if on_path else []
    asked = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"
    found = ((said_by(path, "-c", asked).removeprefix("cpython ").strip(), path) for path in (*given, *installed))
    return first_of_each((version if version in PYTHONS else None, path) for version, path in found)


def said_by(path: Path, *arguments: str) -> str:
    """What a program prints; nothing where it does not run."""
    try:
        done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def environment_of(version: str, program: Path) -> Path:
    """The Python of an environment with this project and what its tests need; made, or brought up to date."""
    home = HOME / version
    python = home / "bin" / "python"
    if not python.exists():
        subprocess.run([program, "-m", "venv", "--clear", home], check=True)
    project = ROOT / "pyproject.toml"
    mark = home / "pyproject.toml"
    if not mark.exists() or mark.read_bytes() != project.read_bytes():
        install = [
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--editable",
            f"{ROOT}[ui,dev-redis,examples,test]",
        ]
        subprocess.run([python, "-m", "pip", *install], check=True)
        shutil.copy(project, mark)
    return python


def play_cell(
    python: Path, server: Path | None, tests: Sequence[str], *, log: Path, options: Sequence[str] = ()
) -> Outcome:
    """Run pytest with a server that is the first to be found, and read its closing line."""
    with tempfile.TemporaryDirectory(prefix="matrix-") as folder:
        environment = dict(os.environ)
        if server is not None:
            Path(folder, "redis-server").symlink_to(server.absolute())
            environment["PATH"] = f"{folder}{os.pathsep}{environment.get('PATH', '')}"
        began = time.monotonic()
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--ignore=tests/browser", *options, *tests]
        with log.open("w", encoding="utf-8") as output:
            try:
                code = subprocess.run(
                    command, cwd=ROOT, env=environment, stdout=output, stderr=output, timeout=CELL_TIMEOUT_S
                ).returncode
            except subprocess.TimeoutExpired:
                return Outcome("failed", f"after {CELL_TIMEOUT_S} s it was not over")
        took = round(time.monotonic() - began)
    return outcome_of(code, log.read_text(encoding="utf-8", errors="replace"), took)


def outcome_of(code: int, said: str, seconds: int) -> Outcome:
    """What pytest's exit code and closing line mean."""
    last = next((line for line in reversed(said.splitlines()) if LINE.search(line)), "")
    counts = {what.rstrip("s"): int(number) for number, what in LINE.findall(last)}
    passed, failed = counts.get("passed", 0), counts.get("failed", 0) + counts.get("error", 0)
    if code == 0 and passed and not failed:
        return Outcome("passed", f"{passed} in {seconds} s")
    return Outcome("failed", f"{failed} of {passed + failed}" if failed else f"pytest ended with {code}")


def play(cells: Iterable[Cell], one: Callable[[Cell], Outcome]) -> dict[Cell, Outcome]:
    """Play cells one after the other, whatever becomes of those before."""
    outcomes: dict[Cell, Outcome] = {}
    for cell in cells:
        try:
            outcomes[cell] = one(cell)
        except Exception as error:
            outcomes[cell] = Outcome("failed", f"{type(error).__name__}: {error}"[:60])
        print(f"CPython {cell[0]}, {cell[1]}: {outcomes[cell]}", flush=True)
    return outcomes


def table(rows: Sequence[str], columns: Sequence[str], outcomes: Mapping[Cell, Outcome]) -> str:
    """One line for each Python; a cell that was not played was not found."""
    lines = [["", *columns]]
    lines += [
        [f"CPython {row}", *(str(outcomes.get((row, column), "not found")) for column in columns)] for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def exit_code(outcomes: Mapping[Cell, Outcome]) -> int:
    """0 when something was played and nothing failed."""
    kinds = {outcome.kind for outcome in outcomes.values()}
    return 0 if kinds == {"passed"} else 1


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("--python", choices=PYTHONS, action="append", help="only this one; may be repeated")
    parser.add_argument("--server", help="only servers in whose name this stands, in any case")
    parser.add_argument("--jobs", default="2", help="test processes side by side (default 2)")
    chosen = parser.parse_args(arguments)
    rows = [version for version in PYTHONS if not chosen.python or version in chosen.python]
    columns = [name for name in (NO_SERVER, *SERVERS) if not chosen.server or chosen.server.lower() in name.lower()]
    found_pythons, found_servers = pythons(), servers()
    for name, path in (*found_pythons.items(), *found_servers.items()):
        print(f"{name}: {path}")

    def one(cell: Cell) -> Outcome:
        version, name = cell
        HOME.mkdir(exist_ok=True)
        log = HOME / f"{version}-{name.lower().replace(' ', '-')}.log"
        tests = ONCE if name == NO_SERVER else CELL
        python = environment_of(version, found_pythons[version])
        options = ["-n", chosen.jobs, "--dist", "loadfile"]
        outcome = play_cell(python, found_servers.get(name), tests, log=log, options=options)
        if outcome.kind == "failed":
            told = [
                line for line in log.read_text(errors="replace").splitlines() if line.startswith(("FAILED", "ERROR"))
            ]
            print("\n".join([f"  {log.relative_to(ROOT)}", *(f"  {line[:160]}" for line in told[:20])]))
        return outcome

    there = [
        (row, column)
        for row in rows
        if row in found_pythons
        for column in columns
        if column == NO_SERVER or column in found_servers
    ]
    outcomes = play(there, one)
    print(f"\n{table(rows, columns, outcomes)}")
    return exit_code(outcomes)


if __name__ == "__main__":
    sys.exit(main())

"""What comments, docstrings and pages point at: files, names in them, and the numbers under which reasons are kept.

A reader who follows a pointer must get somewhere. Only prose is read: a path in code is either used, and then something
else fails when it is wrong, or belongs to a test's own files.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

from tests.paths import ROOT

FILE = re.compile(
    r"(?<![\w/.:-])(?P<file>(?:[\w*-]+/)*[\w*.-]*[\w*]\.(?:py|lua|md|toml|yaml))\b(?:::?(?P<name>[A-Za-z_][\w.]*\w))?"
)
"""``workflows/replay/decision.py:decide``, ``docs/rules.md``; an asterisk stands for anything."""
NUMBER = re.compile(r"\b([A-Z])(\d{1,2})\b(?:[-–]([A-Z]?)(\d{1,2})\b)?")
"""F22 a failure, M3 a mechanism, I1 an invariant; F25-F28 all from one to the other."""
DECISION = re.compile(r"(?<![\w.+-])00\d\d\b")
SECTION = "§"

ELSEWHERE = frozenset({"app.py", "name.py", "sched.py", "asyncio/taskgroups.py"})
"""Files of users, and of the standard library."""
PRODUCTS = frozenset({"D1", "R2", "S3"})


@cache
def sources() -> tuple[Path, ...]:
    """Everything that is written by hand and read by people."""
    folders = [path for path in ROOT.iterdir() if path.is_dir() and path.name not in ("build", "dist")]
    found = list(ROOT.glob("*.md"))
    for folder in folders:
        if not folder.name.startswith(".") and not folder.name.endswith(".egg-info"):
            found += [path for path in folder.rglob("*") if path.suffix in (".py", ".lua", ".md")]
    return tuple(sorted(found))


def prose_of(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are no code, by number: comments, docstrings, and pages without their snippets."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    if path.suffix == ".lua":
        yield from ((n, line[line.index("--") :]) for n, line in enumerate(lines, 1) if "--" in line)
    elif path.suffix == ".md":
        inside = False
        for n, line in enumerate(lines, 1):
            if line.startswith("```"):
                inside = not inside
            elif not inside:
                yield n, line
    else:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string
        # Texts that stand for themselves: those of modules, classes and functions, and those behind a variable.
        for node in _statements(ast.parse(text)):
            match node:
                case ast.Expr(value=ast.Constant(value=str())):
                    yield from ((n, lines[n - 1]) for n in range(node.lineno, (node.end_lineno or node.lineno) + 1))


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """All of them, and no expression inside of one, which would be nearly everything."""
    for below in ast.iter_child_nodes(tree):
        if not isinstance(below, ast.expr):
            yield below
            yield from _statements(below)


@cache
def names_in(path: Path) -> frozenset[str]:
    """What a file defines: ``function``, ``Class``, ``Class.method``, ``VARIABLE``."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".lua":
        return frozenset(re.findall(r"^(?:local |function \w+\.)(?:function )?(\w+)", text, re.MULTILINE))
    found = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}.{inner.name}"
                for inner in node.body
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
            }
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(found)


@cache
def files_called(pointer: str) -> tuple[Path, ...]:
    """What a pointer may mean: a path from the top, or the end of one."""
    if "/" in pointer and (ROOT / pointer.partition("/")[0]).is_dir():
        return tuple(ROOT.glob(pointer))
    candidates = _by_name().get(pointer.rpartition("/")[2], ()) if "*" not in pointer else chain(*_by_name().values())
    return tuple(path for path in candidates if path.relative_to(ROOT).match(pointer))


@cache
def _by_name() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in (*ROOT.glob("*.*"), *sources()):
        found.setdefault(path.name, []).append(path)
    return found


def numbers_in(text: str) -> Iterator[str]:
    """Each number of ours that is cited, those between two included."""
    for letter, first, other, last in NUMBER.findall(text):
        if f"{letter}{first}" not in PRODUCTS:
            upto = int(last) if last and other in ("", letter) else int(first)
            yield from (f"{letter}{number}" for number in range(int(first), upto + 1))


def wrong_in(text: str, known: frozenset[str]) -> Iterator[str]:
    """What is wrong with the pointers of a line.

    Args:
        known: numbers of failures, mechanisms, invariants and decisions.
    """
    for match in FILE.finditer(text):
        file, name = match["file"], match["name"]
        if file in ELSEWHERE:
            continue
        found = files_called(file)
        if not found:
            yield f"there is no {file}"
        elif name and not any(name in names_in(one) for one in found if one.suffix in (".py", ".lua")):
            yield f"{file} has no {name}"
    for number in (*numbers_in(text), *DECISION.findall(text)):
        if number not in known:
            yield f"there is no {number}"
    if SECTION in text:
        yield "no page of ours has numbered sections"

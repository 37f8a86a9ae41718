"""Who may import whom, read from the source: orchestrator -> workflows <- worker (docs/architecture.md)."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN = {
    "workflows": {"orchestrator", "worker"},
    "orchestrator": {"worker"},
    "worker": {"orchestrator"},
}
COMPOSITION_ROOTS = {
    "workflows/dev/run.py": "workflows.dev.run",
    "workflows/testing/engine.py": "workflows.testing.engine",
}
"""They start the other two, so they may import both; in return nothing imports them when it is itself imported."""

FLOORS = (
    {"errors", "limits", "clock"},
    {"values", "sandbox"},
    {"storage"},
    {"authoring"},
    {"insight"},
    {"replay", "client", "process"},
    {"health"},
    {"telemetry"},
    {"worker", "orchestrator", "ui"},
    {"dev"},
    {"cli", "testing"},
)
"""The rooms of ``workflows/`` and the two processes, from the ground up. A room knows its own modules and those of
lower floors; two rooms of one floor do not know each other."""

FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

UNSAFE = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "jsonpickle"}

SOURCES = sorted(path for package in FORBIDDEN for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(tree: ast.AST, *, at_module_level_only: bool = False) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported; for ``from a import b`` both ``a`` and ``a.b``."""
    nodes: list[ast.AST] = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            module = node.module or ""
            yield node.lineno, module
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value
        if at_module_level_only:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                nodes.extend(node.orelse)
                continue
        nodes.extend(ast.iter_child_nodes(node))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    """The two processes meet only in Redis, and what they share knows neither."""
    if name_of(path) in COMPOSITION_ROOTS:
        return
    forbidden = FORBIDDEN[path.relative_to(ROOT).parts[0]]
    wrong = [
        f"{name_of(path)}:{line} imports {name}"
        for line, name in imports(parse(path))
        if name.split(".")[0] in forbidden
    ]
    assert not wrong, "\n".join(wrong)


def room_of(module: str) -> str | None:
    """``workflows.storage.keys`` is in ``storage``; None: not ours, or the front door, which knows all public names."""
    package, *inner = module.split(".")
    if package == "workflows":
        return inner[0] if inner and inner[0] in FLOOR_OF else None
    return package if package in FORBIDDEN else None


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_rooms_import_from_lower_floors_only(path: Path) -> None:
    """So there is no circle, and a reader of one room needs to know only what lies below it."""
    here = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if here is None:
        assert name_of(path) == "workflows/__init__.py", f"{name_of(path)} is in no room: see FLOORS"
        return
    wrong = [
        f"{name_of(path)}:{line} imports {name}"
        for line, name in imports(parse(path))
        if (there := room_of(name)) not in (None, here)
        and FLOOR_OF[there] >= FLOOR_OF[here]
        and name_of(path) not in COMPOSITION_ROOTS
    ]
    assert not wrong, "\n".join(wrong)


def test_every_room_is_on_one_floor_and_there() -> None:
    assert sum(map(len, FLOORS)) == len(FLOOR_OF)
    missing = [room for room in FLOOR_OF if not list(ROOT.glob(f"workflows/{room}*")) and not (ROOT / room).exists()]
    assert not missing


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def known_to(path: Path) -> set[str]:
    """What a module imports. ``from package import module`` is about the module alone."""
    found = set(imports(parse(path)))
    return {
        name
        for line, name in found
        if not any(line == other and one in MODULES and one.startswith(f"{name}.") for other, one in found)
    }


def circle_in(knows: dict[str, set[str]]) -> list[str]:
    """Names each of which knows the next, and the last the first; none if there is no such circle."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return way[way.index(name) :]
        if name in done:
            return []
        found = next((found for other in sorted(knows[name]) if (found := walk(other, [*way, name]))), [])
        done.add(name)
        return found

    return next((found for name in sorted(knows) if (found := walk(name, []))), [])


MODULES = {module_of(path) for path in SOURCES}


@pytest.mark.parametrize("room", sorted(FLOOR_OF))
def test_no_circle_leads_through_the_modules_of_a_room(room: str) -> None:
    """Neither for the interpreter nor for a reader: imports for types alone count as well."""
    modules = {module_of(path): path for path in SOURCES if room_of(module_of(path)) == room}
    circle = circle_in({module: known_to(path) & (modules.keys() - {module}) for module, path in modules.items()})
    assert not circle, " -> ".join([*circle, circle[0]])


def test_the_reader_of_circles_sees_them() -> None:
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": set(), "d": {"b", "c"}}) == []
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": {"b"}}) == ["b", "c", "d"]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_composition_roots_are_imported_by_nobody_at_module_level(path: Path) -> None:
    """Otherwise importing the library would import both processes."""
    roots = set(COMPOSITION_ROOTS.values())
    found = imports(parse(path), at_module_level_only=True)
    wrong = [f"{name_of(path)}:{line} imports {name}" for line, name in found if name in roots]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_can_read_a_pickle(path: Path) -> None:
    """Reading a pickle runs the code in it; whoever writes to Redis would own the workers."""
    wrong = [
        f"{name_of(path)}:{line} imports {name}" for line, name in imports(parse(path)) if name.split(".")[0] in UNSAFE
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_module_is_named_like_one_of_the_standard_library(path: Path) -> None:
    """`import queue` means one thing, also for somebody whose path points into this folder."""
    assert path.stem not in sys.stdlib_module_names - {"__init__", "__main__"}, name_of(path)


DOOR = {"workflows/storage/connection.py"}
"""The one place that makes connections, so that every process reads URLs and meets outages in the same way."""

MAKERS = {"Redis", "StrictRedis", "from_url", "from_pool", "ConnectionPool", "BlockingConnectionPool", "Connection"}


def connections_made(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of every call that makes a connection to Redis, or a pool of them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in MAKERS:
                yield node.lineno, called


@pytest.mark.parametrize("path", [path for path in SOURCES if name_of(path) not in DOOR], ids=name_of)
def test_connections_are_made_at_the_door(path: Path) -> None:
    wrong = [f"{name_of(path)}:{line} calls {called}" for line, called in connections_made(parse(path))]
    assert not wrong, "\n".join(wrong)


def test_the_reader_of_connections_sees_those_of_the_door() -> None:
    assert all(list(connections_made(parse(ROOT / door))) for door in DOOR)


def test_no_two_classes_have_one_name() -> None:
    """One word, one thing: whoever meets a name in a message or a signature has one place to look it up."""
    homes: dict[str, list[str]] = {}
    for path in SOURCES:
        for node in parse(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(name_of(path))
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


CLOCK = "workflows/clock.py"

OTHER_CLOCKS: dict[str, set[str]] = {}
"""Who else asks what time it is, and may: nobody. A loop of asyncio, a lock and a wait have clocks of their own."""

TIMES = {
    "time": {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}


def clocks_read(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of everything that asks for the time, called or handed on."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name in TIMES["time"])
        elif isinstance(node, ast.Attribute):
            of = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if node.attr in TIMES.get(of, ()):
                yield node.lineno, f"{of}.{node.attr}"


@pytest.mark.parametrize("path", [path for path in SOURCES if name_of(path) != CLOCK], ids=name_of)
def test_one_module_asks_what_time_it_is(path: Path) -> None:
    """So time is an argument, and a test can set it."""
    wrong = [
        f"{name_of(path)}:{line} reads {name}"
        for line, name in clocks_read(parse(path))
        if name not in OTHER_CLOCKS.get(name_of(path), ())
    ]
    assert not wrong, "\n".join(wrong)


def test_the_reader_of_clocks_sees_every_form() -> None:
    source = "from time import monotonic\ntime.time()\ndatetime.datetime.now(UTC)\nf = datetime.now\ndate.today()"
    assert [line for line, _ in sorted(clocks_read(ast.parse(source)))] == [1, 2, 3, 4, 5]


CALLS = {"eval", "evalsha", "eval_ro", "evalsha_ro", "fcall", "fcall_ro", "register_script"}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_scripts_are_called_by_the_store(path: Path) -> None:
    """Faults are injected there, and every call is one that may be repeated."""
    if name_of(path) == "workflows/storage/store.py":
        return
    tree = parse(path)
    wrong = [f"{name_of(path)}:{line} {text}" for line, text in texts(tree) if text.lower() in CALLS]
    wrong += [
        f"{name_of(path)}:{node.lineno} calls {node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in CALLS
    ]
    assert not wrong, "\n".join(wrong)


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every string; what an f-string fills in shows as ``*``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "*" for part in node.values)
            yield node.lineno, "".join(map(str, parts))


HASH_TAG = re.compile(r"\{[\w.*-]+/[\w*]+\}")
"""What every key of an instance or a shard begins with (``{media/07}``), and no other text contains."""


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name != "keys.py"], ids=name_of)
def test_redis_keys_are_born_in_keys_py(path: Path) -> None:
    """A key put together elsewhere is in no table, so nobody sees to its expiry (I8). Documentation may show one."""
    wrong = [
        f"{name_of(path)}:{line} {text!r}"
        for line, text in texts(parse(path))
        if " " not in text and HASH_TAG.search(text)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_reader_of_keys_sees_those_of_keys_py() -> None:
    """The pattern above still fits the keys there are."""
    found = [text for _, text in texts(parse(ROOT / "workflows" / "storage" / "keys.py")) if HASH_TAG.search(text)]
    assert len(found) >= 2


def test_the_reader_of_imports_sees_every_form() -> None:
    """A checker that finds nothing would keep every other test here green."""
    source = """
import worker
from orchestrator import loop
if TYPE_CHECKING:
    import typing_only
def later():
    import inside
    importlib.import_module("by.name")
"""
    names = {name for _, name in imports(ast.parse(source))}
    assert names >= {"worker", "orchestrator", "orchestrator.loop", "typing_only", "inside", "by.name"}
    at_module_level = {name for _, name in imports(ast.parse(source), at_module_level_only=True)}
    assert at_module_level == {"worker", "orchestrator", "orchestrator.loop"}

"""Finds in a workflow's source what a replay could not repeat, before it runs.

Looks at ``run``, at the functions and methods that ``run`` calls itself, and not at what it hands to a step: callbacks
may do anything. A name is followed through the module's imports, so that ``from time import time as now`` is seen and a
method of one's own called ``now`` is not. It reports; it never refuses, and never raises.

Source of the rules: https://developers.cloudflare.com/workflows/build/rules-of-workflows/
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

_NOW = "Use step.now(), which a replay sees unchanged, or move it into a step."
_RANDOM = "Use step.random() or step.uuid4(), which a replay sees unchanged, or move it into a step."
_INTO_STEP = 'Move it into a step: await step.do("name", lambda: …).'
_SLEEP = 'Use await step.sleep("name", "10 seconds").'

# Dotted names as the module that defines them has them; one ending in a dot stands for everything under it.
_CALLS: Final[dict[str, tuple[str, str]]] = {
    **{
        f"time.{name}": ("clock", _NOW)
        for name in (
            "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time",
            "localtime", "gmtime", "ctime",
        )
    },
    "datetime.datetime.now": ("clock", _NOW),
    "datetime.datetime.utcnow": ("clock", _NOW),
    "datetime.datetime.today": ("clock", _NOW),
    "datetime.date.today": ("clock", _NOW),
    "random.": ("random", _RANDOM),
    "secrets.": ("random", _RANDOM),
    "numpy.random.": ("random", _RANDOM),
    "uuid.uuid1": ("random", _RANDOM),
    "uuid.uuid4": ("random", _RANDOM),
    "os.urandom": ("random", _RANDOM),
    "time.sleep": ("sleep", _SLEEP),
    "asyncio.sleep": ("sleep", _SLEEP),
    "requests.": ("effect", _INTO_STEP),
    "httpx.": ("effect", _INTO_STEP),
    "aiohttp.": ("effect", _INTO_STEP),
    "urllib.request.": ("effect", _INTO_STEP),
    "subprocess.": ("effect", _INTO_STEP),
    "builtins.open": ("effect", _INTO_STEP),
    "builtins.input": ("effect", _INTO_STEP),
}  # fmt: skip

_STEP_METHODS: Final = frozenset(
    {
        "do", "poll", "sleep", "sleep_until", "sleepUntil", "wait_for_event", "waitForEvent", "wait_for_any", "invoke",
        "wait_for_child", "waitForChild", "race", "map",
    }
)  # fmt: skip
_MUTATORS: Final = frozenset(
    {"append", "extend", "insert", "remove", "pop", "popitem", "clear", "update", "setdefault", "sort", "reverse"}
)
_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class LintFinding:
    """One place that a replay could not repeat.

    Attributes:
        rule: ``clock``, ``random``, ``sleep``, ``effect``, ``event``, ``dangling``, ``step-name`` or ``order``.
        message: what it does and what to do instead.
    """

    file: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.rule}: {self.message}"


def check(workflow_class: type) -> list[LintFinding]:
    """The findings in ``run`` and what it calls, in the order of lines; empty where the source is not available."""
    try:
        lines, first = inspect.getsourcelines(workflow_class)
        tree = ast.parse(textwrap.dedent("".join(lines)))
        file = inspect.getsourcefile(workflow_class) or "?"
        body = tree.body[0]
        if not isinstance(body, ast.ClassDef):
            return []
        module = sys.modules.get(workflow_class.__module__)
        reader = _Reader(file, first - 1, body, vars(module) if module is not None else {})
        reader.read_run()
        return sorted(set(reader.findings), key=lambda finding: (finding.line, finding.rule, finding.message))
    except Exception:
        return []  # a hint is not worth an error: no source, or syntax this version does not know


class _Reader:
    def __init__(self, file: str, offset: int, body: ast.ClassDef, names: Mapping[str, Any]) -> None:
        self.file = file
        self.offset = offset
        self.names = names
        self.methods = {node.name: node for node in body.body if isinstance(node, _FUNCTIONS)}
        self.findings: list[LintFinding] = []
        self.seen: set[ast.AST] = set()

    def read_run(self) -> None:
        run = self.methods.get("run")
        if run is None or len(run.args.args) < 3:
            return
        itself, event, step = (argument.arg for argument in (*run.args.posonlyargs, *run.args.args)[:3])
        self.read(run, _Scope(itself=itself, event=event, step=step))

    def read(self, function: _FUNCTIONS | ast.Lambda, scope: _Scope) -> None:
        """Read a function that ``run`` executes itself."""
        if function in self.seen:
            return
        self.seen.add(function)
        body = function.body if isinstance(function, _FUNCTIONS) else [function.body]
        scope = scope.inner(function, body)
        for node in body:
            self.visit(node, scope)

    def add(self, node: ast.AST, rule: str, message: str) -> None:
        self.findings.append(LintFinding(self.file, getattr(node, "lineno", 1) + self.offset, rule, message))

    def visit(self, node: ast.AST, scope: _Scope) -> None:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda() | ast.ClassDef():
                return  # read where it is called, if run() calls it
            case ast.Expr(value=ast.Call() as call) if self.step_method(call, scope):
                self.add(
                    node,
                    "dangling",
                    f"{ast.unparse(call.func)}(...) is not awaited, so run() may end before it does and its errors get "
                    "lost. Await it, or keep what it returns and await that later.",
                )
            case ast.Assign(targets=targets) | ast.Delete(targets=targets):
                self.check_targets(targets, scope)
            case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
                self.check_targets([target], scope)
            case ast.For(iter=source, body=body) | ast.AsyncFor(iter=source, body=body):
                self.check_order(source, body, scope)
            case (
                ast.ListComp(elt=element, generators=[first, *_])
                | ast.GeneratorExp(elt=element, generators=[first, *_])
            ):
                self.check_order(first.iter, [element], scope)
        if isinstance(node, ast.Call):
            self.visit_call(node, scope)
            return
        for child in ast.iter_child_nodes(node):
            self.visit(child, scope)

    def visit_call(self, call: ast.Call, scope: _Scope) -> None:
        method = self.step_method(call, scope)
        children: list[ast.AST] = [call.func, *call.args, *[keyword.value for keyword in call.keywords]]
        if method is not None and call.args:
            name = call.args[0]
            unstable = next((found for found in ast.walk(name) if self.rule_of(found, scope) is not None), None)
            if unstable is not None:
                self.add(
                    name,
                    "step-name",
                    f"The name of this step changes from replay to replay ({ast.unparse(unstable)}), so its result is "
                    "never found again. Use a fixed name, or one made of the event or of results of steps.",
                )
                children.remove(name)
        rule = self.rule_of(call, scope)
        if rule is not None:
            self.add(call, rule[0], f"{ast.unparse(call.func)}() in run() outside a step. {rule[1]}")
        self.check_mutation(call, scope)
        self.follow(call, scope)
        for child in children:
            self.visit(child, scope)

    def follow(self, call: ast.Call, scope: _Scope) -> None:
        """Read the function called, if it is defined in run() or is a method of the class."""
        match call.func:
            case ast.Name(id=name) if name in scope.functions:
                self.read(scope.functions[name], scope)
            case ast.Attribute(value=ast.Name(id=itself), attr=name) if itself == scope.itself and name in self.methods:
                method = self.methods[name]
                arguments = [argument.arg for argument in (*method.args.posonlyargs, *method.args.args)]
                if arguments:
                    self.read(method, _Scope(itself=arguments[0], event=None, step=_named(scope.step, arguments)))

    def step_method(self, call: ast.Call, scope: _Scope) -> str | None:
        match call.func:
            case ast.Attribute(value=ast.Name(id=name), attr=method) if name == scope.step and method in _STEP_METHODS:
                return method
        return None

    def rule_of(self, node: ast.AST, scope: _Scope) -> tuple[str, str] | None:
        """The rule that a call breaks, by the full name of what it calls."""
        if not isinstance(node, ast.Call):
            return None
        name = self.full_name(node.func, scope)
        if name is None:
            return None
        if name == "asyncio.sleep" and node.args and isinstance(node.args[0], ast.Constant) and not node.args[0].value:
            return None  # asyncio.sleep(0) lets other tasks run, in the same order in every replay
        if name == "random.Random" and (node.args or node.keywords):
            return None  # seeded, so that it repeats
        return next((rule for known, rule in _CALLS.items() if name == known or _is_under(name, known)), None)

    def full_name(self, node: ast.AST, scope: _Scope) -> str | None:
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id in scope.variables:
            return None
        root = scope.imports.get(node.id) or self.name_of_global(node.id)
        return None if root is None else ".".join([root, *reversed(attributes)])

    def name_of_global(self, name: str) -> str | None:
        if name not in self.names:
            return f"builtins.{name}" if name in ("open", "input") else None
        value = self.names[name]
        if isinstance(value, ModuleType):
            return value.__name__
        module = getattr(value, "__module__", None)
        if module is None and type(getattr(value, "__self__", None)).__module__ == "random":
            module = "random"  # the functions of random are methods of a hidden generator
        qualified = getattr(value, "__qualname__", None)
        if isinstance(module, str) and isinstance(qualified, str):
            return f"{module}.{qualified.removeprefix('Random.')}"
        return None

    def check_targets(self, targets: list[ast.expr], scope: _Scope) -> None:
        for target in targets:
            if isinstance(target, (ast.Tuple, ast.List)):
                self.check_targets(target.elts, scope)
            elif isinstance(target, (ast.Attribute, ast.Subscript)) and _root(target) == scope.event:
                self.add(
                    target,
                    "event",
                    f"{ast.unparse(target)} changes the event, which a replay sees as it was. Use a variable, or "
                    "return the new value from a step.",
                )

    def check_mutation(self, call: ast.Call, scope: _Scope) -> None:
        match call.func:
            case ast.Attribute(value=ast.Attribute() | ast.Subscript() as target, attr=method) if (
                method in _MUTATORS and scope.event is not None and _root(target) == scope.event
            ):
                self.add(
                    call,
                    "event",
                    f"{ast.unparse(call.func)}() changes the event, which a replay sees as it was. Change a copy.",
                )

    def check_order(self, source: ast.expr, body: list[Any], scope: _Scope) -> None:
        is_set = isinstance(source, (ast.Set, ast.SetComp)) or (
            isinstance(source, ast.Call)
            and isinstance(source.func, ast.Name)
            and source.func.id in ("set", "frozenset")
        )
        if is_set and any(
            isinstance(node, ast.Call) and self.step_method(node, scope) for part in body for node in ast.walk(part)
        ):
            self.add(
                source,
                "order",
                "Steps are asked for in the order of a set, which changes from process to process. Use sorted(...).",
            )


@dataclass(frozen=True)
class _Scope:
    """What names mean at a place."""

    itself: str | None
    event: str | None
    step: str | None
    variables: frozenset[str] = frozenset()
    imports: Mapping[str, str] = None  # type: ignore[assignment]  # set below; a dict cannot be a default
    functions: Mapping[str, _FUNCTIONS | ast.Lambda] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        object.__setattr__(self, "imports", self.imports or {})
        object.__setattr__(self, "functions", self.functions or {})

    def inner(self, function: _FUNCTIONS | ast.Lambda, body: list[Any]) -> _Scope:
        variables = set(self.variables)
        imports = dict(self.imports)
        functions = dict(self.functions)
        arguments = function.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            variables.add(argument.arg)
        for node in _own_nodes(body):
            match node:
                case ast.Import(names=aliases):
                    for alias in aliases:
                        imports[alias.asname or alias.name.partition(".")[0]] = (
                            alias.name if alias.asname else alias.name.partition(".")[0]
                        )
                case ast.ImportFrom(module=str() as module, names=aliases, level=0):
                    imports |= {alias.asname or alias.name: f"{module}.{alias.name}" for alias in aliases}
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    variables.add(node.name)
                    if not node.decorator_list:
                        functions[node.name] = node
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Lambda() as value):
                    variables.add(name)
                    functions[name] = value
                case ast.Name(id=name, ctx=ast.Store()):
                    variables.add(name)
        return _Scope(self.itself, self.event, self.step, frozenset(variables) - imports.keys(), imports, functions)


def _own_nodes(body: list[Any]) -> Iterator[ast.AST]:
    """The nodes of a function, without those of functions inside it."""
    waiting: list[ast.AST] = list(reversed(body))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (*_FUNCTIONS.__args__, ast.Lambda, ast.ClassDef)):
            waiting.extend(reversed(list(ast.iter_child_nodes(node))))


def _is_under(name: str, known: str) -> bool:
    return known.endswith(".") and name.startswith(known)


def _root(node: ast.AST) -> str | None:
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _named(name: str | None, names: list[str]) -> str | None:
    return name if name in names else None

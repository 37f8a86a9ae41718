"""Do tests keep away from what somebody has left in the clone?"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

from tests.paths import ROOT, packages


def test_processes_find_the_packages_and_nothing_else_of_the_clone(tmp_path: Path) -> None:
    found = "import workflows, orchestrator, worker, sys; print(*sys.path, sep='\\n')"
    environment = {**os.environ, "PYTHONPATH": packages()}
    said = subprocess.run(
        [sys.executable, "-P", "-c", found], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert str(ROOT) not in said.stdout.splitlines()
    assert sorted(os.listdir(packages())) == ["orchestrator", "worker", "workflows"]


def test_no_test_with_an_app_of_its_own_puts_the_clone_on_the_path_of_a_process() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if path.parent.name not in ("acceptance", "torture")  # their apps are modules of the clone
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and key.value == "PYTHONPATH" and "packages()" not in ast.unparse(value)
    ]
    assert [place for place in wrong if not place.startswith("tests/unit/test_replay.py")] == []

"""Types as users see them: is a program on the public API free of errors, and is each result what it says it is?

``program.py`` is among the files of mypy (pyproject.toml), so that every run of it asks. Here the other checker that
people use is asked, the one behind their editors. It weighs more than everything else that is installed for the work
on this project, so it has an extra of its own: ``make types`` brings it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

PROGRAM = Path(__file__).with_name("program.py")

pytestmark = pytest.mark.timeout(150)  # A runtime of its own starts each time.
pytest.importorskip("basedpyright", reason="make types brings it")


def complaints(program: Path, folder: Path) -> list[str]:
    """What pyright says of a program in its strict mode, which also names every type that it does not know."""
    settings = {"include": [str(program)], "extraPaths": [str(ROOT)], "typeCheckingMode": "strict"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings | {"pythonVersion": "3.11"}), encoding="utf-8")
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(folder)]
    said = json.loads(subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout)
    assert said["summary"]["filesAnalyzed"] == 1
    return [f"{one['range']['start']['line'] + 1}: {one['message']}" for one in said["generalDiagnostics"]]


def test_pyright_reads_a_users_program_as_it_is_meant(tmp_path: Path) -> None:
    assert complaints(PROGRAM, tmp_path) == []


def test_pyright_is_heard_when_a_type_is_another(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    text = PROGRAM.read_text(encoding="utf-8")
    program.write_text(text.replace("assert_type(receipt, Receipt)", "assert_type(receipt, Parcel)"), encoding="utf-8")
    (complaint,) = complaints(program, tmp_path)
    assert "assert_type" in complaint

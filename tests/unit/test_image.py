"""Does the Dockerfile do what it says, as far as can be told without a container engine?"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.paths import PACKAGES, ROOT

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
STAGES = {
    match[2] or "image": match[3]
    for match in re.finditer(r"^FROM (\S+)(?: AS (\w+))?\n(.*?)(?=^FROM |\Z)", TEXT, re.MULTILINE | re.DOTALL)
}


def copied(stage: str) -> list[str]:
    return [name for line in re.findall(r"^COPY (.*) \S+$", STAGES[stage], re.MULTILINE) for name in line.split()]


def test_the_base_is_pinned_by_its_version() -> None:
    (version,) = re.findall(r"^ARG PYTHON=(.*)$", TEXT, re.MULTILINE)
    assert re.fullmatch(r"3\.\d+\.\d+-slim-\w+", version)
    bases = re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)
    assert set(bases) == {"python:${PYTHON}", "dependencies"}


def test_dependencies_are_built_before_any_code_is_there() -> None:
    """A layer is taken from the cache as long as nothing that was copied before it has changed."""
    assert copied("dependencies") == ["pyproject.toml"]
    assert set(copied("package")) == {"README.md", "LICENSE", *PACKAGES}
    installed = re.findall(r"pip install .*", STAGES["image"])
    assert ["requirements.txt" in line for line in installed] == [True, False]


def test_the_list_of_dependencies_is_that_of_the_package(tmp_path: Path) -> None:
    """Read by the command of the image itself."""
    (command,) = re.findall(r'python (-c "[^"]*")', STAGES["dependencies"])
    printed = subprocess.run(
        ["sh", "-c", f"{sys.executable} {command}"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert printed.splitlines() == project["dependencies"]


def test_whatever_is_copied_is_let_through_to_the_builder() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {*copied("dependencies"), *copied("package")} == allowed

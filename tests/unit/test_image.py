"""Does the Dockerfile do what it says, as far as can be told without a container engine?"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import tomllib
from pathlib import Path

import pytest

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


def run_steps(stage: str, folder: Path, **environment: str) -> None:
    """What a stage runs with pip, with folders below ``folder`` in the place of those of the image."""
    for command in re.findall(r"^RUN (?:--mount=\S+\s+)*(pip .*)", STAGES[stage], re.MULTILINE):
        if "requirements.txt" in command:
            continue  # would be fetched
        here = re.sub(r" /(?=package\b)", f" {folder}/", command)
        subprocess.run(["sh", "-c", here], cwd=folder / "src", env=environment, check=True, capture_output=True)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """An interpreter for which the steps of the image were run, with what the builder would have been given."""
    pytest.importorskip("setuptools", minversion="77", reason="what pyproject.toml asks for to build the package")
    for name in (*copied("dependencies"), *copied("package")):
        of, to = ROOT / name, tmp_path / "src" / name
        to.parent.mkdir(exist_ok=True)
        if of.is_dir():
            shutil.copytree(of, to, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(of, to)
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    # Nothing is fetched: what these tests run with builds the package, and stands in for its dependencies.
    run_steps("package", tmp_path, PATH=path, PIP_NO_INDEX="1", PIP_NO_BUILD_ISOLATION="0")
    run_steps("image", tmp_path, PATH=path, PIP_PYTHON=str(venv / "bin" / "python"))
    # Behind what was installed; and what this checkout is found by among them counts only where it lies.
    purelib = Path(sysconfig.get_path("purelib", vars={"base": str(venv)}))
    (purelib / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return venv


@pytest.mark.slow
@pytest.mark.timeout(180)  # with what pip does first, which on a busy machine takes most of a minute
def test_its_steps_install_the_command_that_it_starts(installed: Path, tmp_path: Path, redis_url: str) -> None:
    (entry,) = re.findall(r'^ENTRYPOINT \["(.*)"\]$', STAGES["image"], re.MULTILINE)
    (default,) = re.findall(r'^CMD \["(.*)"\]$', STAGES["image"], re.MULTILINE)
    command, alive = str(installed / "bin" / entry), tmp_path / "alive"
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    environment = {
        "WORKFLOWS_REDIS_URL": redis_url,
        "WORKFLOWS_NAMESPACE": "image",
        "WORKFLOWS_HEALTH_FILE": str(alive),
        "PYTHONFAULTHANDLER": "1",
    }
    shown = subprocess.run([command, "--version"], cwd=tmp_path, env={}, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == version
    process = subprocess.Popen([command, default], cwd=tmp_path, env=environment)
    try:
        deadline = time.monotonic() + 30
        while not alive.exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(30)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # it says where each of its threads stands
            process.wait()
            raise
    assert code == 0

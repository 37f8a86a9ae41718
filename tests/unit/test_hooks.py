"""The hooks that `make hooks` switches on: does a commit meet them, and do they need nothing but .venv?"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

if shutil.which("git") is None:
    pytest.skip("needs git", allow_module_level=True)
pytest.importorskip("pre_commit", reason="it is in the extra for lint")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with the hooks switched on, and this environment as its .venv."""
    shutil.copy(ROOT / ".pre-commit-config.yaml", tmp_path)
    (tmp_path / ".gitignore").write_text(".venv\n.home\n", encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text('[tool.mypy]\nstrict = true\nfiles = ["good.py"]\n', encoding="utf-8")
    (tmp_path / "good.py").write_text("number: int = 1\n", encoding="utf-8")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    for command in (["git", "init", "-q"], [sys.executable, "-m", "pre_commit", "install"]):
        assert said(tmp_path, *command)[0] == 0
    return tmp_path


def said(clone: Path, *command: str) -> tuple[int, str]:
    """How a command ends there, and what it prints; nothing of this machine's git or pre-commit has a say."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PRE_COMMIT"))}
    environment |= {"HOME": str(clone / ".home"), "GIT_CONFIG_NOSYSTEM": "1", "PRE_COMMIT_HOME": str(clone / ".home")}
    environment |= {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, timeout=50)
    return done.returncode, done.stdout + done.stderr


def commit(clone: Path) -> tuple[int, str]:
    assert said(clone, "git", "add", "-A")[0] == 0
    return said(clone, "git", "commit", "-m", "a change")


def test_a_commit_in_shape_passes(clone: Path) -> None:
    ended, text = commit(clone)
    assert ended == 0, text
    assert text.count("Passed") == 3, text


@pytest.mark.parametrize(
    "code, hook",
    [
        ("number:int=1\n", "ruff-format"),
        ("import os\n", "ruff-check"),
        ('number: int = "one"\n', "mypy"),
    ],
)
def test_a_commit_out_of_shape_is_refused(clone: Path, code: str, hook: str) -> None:
    (clone / "good.py").write_text(code, encoding="utf-8")
    ended, text = commit(clone)
    assert ended != 0
    assert f"hook id: {hook}" in text
    assert text.count("Failed") == 1, text

"""Fragments of the changelog: is each one where the gathering looks, and does it become one entry?"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT

CHANGES = ROOT / "changes"
BESIDE = {"README.md", "template.jinja"}
GATHERING = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["towncrier"]
KINDS = [kind["directory"] for kind in GATHERING["type"]]
FRAGMENTS = sorted(path for path in CHANGES.iterdir() if path.name not in BESIDE)


def wrong_with(name: str, text: str) -> Iterator[str]:
    match = re.fullmatch(r"[a-z0-9]+(?:-[a-z0-9]+)*\.([a-z]+)\.md", name)
    if match is None:
        yield "the name is not <what-it-is-about>.<kind>.md"
    elif match[1] not in KINDS:
        yield f"{match[1]} is none of {', '.join(KINDS)}"
    if not text.strip():
        yield "it says nothing"
    elif text.lstrip() != text or not text.endswith("\n") or text.endswith("\n\n"):
        yield "it does not begin with text and end with one line end"
    if re.search(r"^(#|[-*] )", text, re.MULTILINE):
        yield "bullets and headings are put there when it is gathered"


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: path.name)
def test_a_change_is_one_well_formed_file(path: Path) -> None:
    assert list(wrong_with(path.name, path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "name, text",
    [
        ("Waits.fixed.md", "Text.\n"),
        ("waits.md", "Text.\n"),
        ("waits.better.md", "Text.\n"),
        ("waits.fixed.txt", "Text.\n"),
        ("waits.fixed.md", "\n"),
        ("waits.fixed.md", "Text."),
        ("waits.fixed.md", "- Text.\n"),
        ("waits.fixed.md", "### Fixed\n"),
    ],
)
def test_the_reader_of_fragments_sees_what_is_wrong(name: str, text: str) -> None:
    assert len(list(wrong_with(name, text))) == 1


def test_every_fragment_is_gathered_above_the_releases_before(tmp_path: Path) -> None:
    """By the command of the Makefile, in a folder of its own: what stood in the changelog stays as it was."""
    pytest.importorskip("towncrier", reason="it is in the extra that releases are made with")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(CHANGES, tmp_path / "changes")
    (tmp_path / "changes" / "an-example.security.md").write_text("An example.\n", encoding="utf-8")
    before = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (tmp_path / "CHANGELOG.md").write_text(before, encoding="utf-8")
    command = [sys.executable, "-m", "towncrier", "build", "--yes", "--version", "9.8.7", "--date", "2030-01-02"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    after = (tmp_path / "CHANGELOG.md").read_text(encoding="utf-8")
    head, marker, releases = before.partition(GATHERING["start_string"])
    assert marker
    assert after.startswith(f"{head}{marker}\n## [9.8.7] - 2030-01-02\n\n### ")
    assert after.endswith(f"\n\n{releases.lstrip()}")
    new = after.removeprefix(head).removesuffix(releases.lstrip())
    assert "\n### Security\n\n- An example.\n" in new
    assert new.count("\n- ") == len(FRAGMENTS) + 1
    assert {path.name for path in (tmp_path / "changes").iterdir()} == BESIDE

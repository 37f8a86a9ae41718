"""``docs/command-line.md``: every verb and option stands there, and the exit codes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from workflows.cli.main import cli

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")


def verbs(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from verbs(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


@pytest.mark.parametrize(("name", "command"), list(verbs(cli)), ids=lambda one: one if isinstance(one, str) else "")
def test_the_page_tells_of_every_verb_and_option(name: str, command: click.Command) -> None:
    assert re.search(rf"`{name}\b|`{name.split()[-1]}`", PAGE), f"docs/command-line.md does not tell of `{name}`"
    for option in command.params:
        if isinstance(option, click.Option) and not str(option.name).startswith("behind_"):
            assert any(f"`{one}`" in PAGE for one in option.opts), f"docs/command-line.md: `{name}` has {option.opts}"


def test_the_page_names_the_exit_codes() -> None:
    assert re.findall(r"^\| (\d+) \|", PAGE, flags=re.MULTILINE) == ["0", "1", "2", "3", "130"]

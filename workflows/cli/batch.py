"""``trigger --batch``: instances from a file of lines, a hundred at a time, each line for itself.

The file may be longer than memory, and the command may end at any line: run again, it finds the ids that it has
created, and goes on behind them. A line without an id is a new instance every time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import click

from workflows import limits
from workflows.cli.showing import shown
from workflows.client import Client, creation
from workflows.client.batches import BatchError

_EXISTS: Final = "instance.already_exists"


@dataclass
class _Counts:
    """What has become of the lines, told as it happens."""

    workflow: str
    as_json: bool
    created: int = 0
    existing: int = 0
    failed: int = 0

    def tell_created(self, line: int, id: str) -> None:
        self.created += 1
        click.echo(json.dumps({"line": line, "id": id, "result": "created"}) if self.as_json else id)

    def tell_error(self, line: int, error: BatchError) -> None:
        exists = error.code == _EXISTS
        self.existing += exists
        self.failed += not exists
        if self.as_json:
            result = "existing" if exists else "error"
            about = {"line": line, "id": error.id, "result": result, "code": error.code, "message": error.message}
            click.echo(json.dumps(about))
        elif not exists:
            click.echo(shown(f"line {line}: {error.message}"), err=True)

    def tell_all(self) -> None:
        counts = {"created": self.created, "existing": self.existing, "failed": self.failed}
        if self.as_json:
            click.echo(json.dumps({"workflow": self.workflow, **counts}))
        else:
            click.echo(
                f"{self.workflow}: {self.created} created, {self.existing} there already, {self.failed} bad lines",
                err=True,
            )


@dataclass
class _Lines:
    """Up to a hundred lines."""

    numbers: list[int] = field(default_factory=list)
    entries: list[Any] = field(default_factory=list)
    unreadable: list[tuple[int, BatchError]] = field(default_factory=list)


def trigger_batch(client: Client, name: str, lines: Iterable[bytes], *, strict: bool, as_json: bool) -> None:
    """Create an instance for each line.

    Args:
        lines: each a JSON object with any of ``id``, ``params``, ``retention``, ``metadata``, ``deadline``; empty ones
            are passed over.
        strict: the first hundred with a bad line among them is not created, and nothing behind it.
    """
    handle = client.workflow(name)
    target = handle._target  # unknown workflows are refused before anything is read
    counts = _Counts(handle.name, as_json)
    for some in _hundreds(lines):
        bad = some.unreadable
        if strict:
            _, errors = creation.sorted_out(client.store.keys, target, some.entries)
            bad = [*bad, *((some.numbers[error.index], error) for error in errors if error.code != _EXISTS)]
        if strict and bad:
            for number, error in sorted(bad, key=lambda one: one[0]):
                counts.tell_error(number, error)
            break
        told: list[tuple[int, BatchError | str]] = list(bad)
        if some.entries:
            made = handle.create_batch({"instances": some.entries})
            failed = {error.index: error for error in made.errors}
            created = iter(made.created)
            told += [
                (number, failed[place] if place in failed else next(created).id)
                for place, number in enumerate(some.numbers)
            ]
        for number, what in sorted(told, key=lambda one: one[0]):
            if isinstance(what, str):
                counts.tell_created(number, what)
            else:
                counts.tell_error(number, what)
    counts.tell_all()
    if counts.failed:
        raise click.exceptions.Exit(1)


def _hundreds(lines: Iterable[bytes]) -> Iterator[_Lines]:
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    while some := list(islice(numbered, limits.BATCH)):
        found = _Lines()
        for number, line in some:
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError) as error:
                found.unreadable.append((number, BatchError(0, None, "instance.invalid", f"it is not JSON: {error}")))
                continue
            found.numbers.append(number)
            found.entries.append(entry)
        yield found

"""A defence taken away for the length of a run."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any
from unittest import mock

from workflows.storage.store import Script


class Mutant:
    """A change of the scripts' text: ``old`` becomes ``new`` in the script ``name`` ('' = in any).

    Args:
        program, controls: the program that shows it, and what clients do to it, for a change that few seeds would come
            across. Calls take up little then.
        garbage, limited: whether every seed knows garbage, or a limit on those that run, and not just some.
    """

    def __init__(
        self,
        title: str,
        name: str,
        old: str,
        new: str,
        *more: tuple[str, str],
        program: str = "",
        controls: tuple[str, ...] = (),
        garbage: bool = False,
        limited: bool = False,
    ) -> None:
        self.title = title
        self.timed = False  # whether instances of every seed have deadlines
        self.scheduled = False  # whether every seed knows a schedule, and not just some
        self.program = program
        self.garbage = garbage
        self.limited = limited
        self.controls = controls
        self.name = name
        self.changes = ((old, new), *more)
        self.applied = [0] * len(self.changes)
        self._known: dict[str, Script] = {}

    def changed(self) -> AbstractContextManager[Any]:
        """For the length of a run."""
        return nullcontext()

    def of(self, original: Script) -> Script:
        found = self._known.get(original.sha)
        if found is None:
            text = original.text
            if self.name in ("", original.name):
                for at, (old, new) in enumerate(self.changes):
                    self.applied[at] += text.count(old)
                    text = text.replace(old, new)
            found = original if text == original.text else _script(original.name, text)
            self._known[original.sha] = found
        return found


class CodeMutant(Mutant):
    """A change of the engine itself: ``attribute`` of ``owner`` is ``replacement``."""

    def __init__(
        self,
        title: str,
        owner: Any,
        attribute: str,
        replacement: Any,
        *,
        program: str = "",
        controls: tuple[str, ...] = (),
        limited: bool = False,
    ) -> None:
        super().__init__(title, "", "", "", program=program, controls=controls, limited=limited)
        self.owner = owner
        self.attribute = attribute
        self.replacement = replacement
        self.applied = [1]

    def of(self, original: Script) -> Script:
        return original

    def changed(self) -> AbstractContextManager[Any]:
        return mock.patch.object(self.owner, self.attribute, self.replacement)


def with_schedule(mutant: Mutant) -> Mutant:
    """The same, for seeds that all know a schedule."""
    mutant.scheduled = True
    return mutant


def with_deadlines(mutant: Mutant) -> Mutant:
    """The same, for seeds whose instances all may have a deadline."""
    mutant.timed = True
    return mutant


@cache
def sliced(original: Script, slice: int) -> Script:
    """The same script with so small a share per call that there is always something left over."""
    return _script(original.name, original.text.replace("local SLICE = 200\n", f"local SLICE = {slice}\n"))


def _script(name: str, text: str) -> Script:
    import hashlib

    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())

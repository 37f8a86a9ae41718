"""Style sheet and script: under names that say what is in them, so that a browser may keep them for ever."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent.

    Attributes:
        name: with a digest of its content, ``style.0123456789ab.css``.
    """

    name: str
    content: bytes
    media_type: str


@cache
def assets() -> Mapping[str, Asset]:
    """Those there are, by the names of their files."""
    found = {}
    for file in files("workflows.ui").joinpath("static").iterdir():
        stem, _, ending = file.name.rpartition(".")
        if stem and ending in _TYPES:
            content = file.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:12]
            found[file.name] = Asset(f"{stem}.{digest}.{ending}", content, _TYPES[ending])
    return found


def asset(name: str) -> Asset | None:
    """The one with this name, digest and all; None: there is none, or not any more."""
    return next((one for one in assets().values() if one.name == name), None)

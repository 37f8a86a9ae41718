"""Statuses and steps in JSON, with values or with their sizes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from workflows.client.history import StepStatus


def value(found: Any, hide: bool) -> Any:
    """A value that JSON can hold, or how large it is: ``{"hidden": true, "bytes": 17}``."""
    if not hide or found is None:
        return found
    return {"hidden": True, "bytes": len(json.dumps(found).encode())}


def steps(found: Iterable[StepStatus], hide: bool) -> list[dict[str, Any]]:
    """Steps, with their outputs."""
    told = [one.as_dict() for one in found]
    for one in told:
        for name in ("output", "heartbeat_details"):
            one[name] = value(one[name], hide)
    return told

"""The envelope of every answer in JSON: ``{success, result, errors: [{code, message}], messages, result_info}``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse, Response

from workflows.ui.refusals import Refusal


@dataclass(frozen=True, slots=True)
class JsonAnswer:
    """What a handler answers, where it is more than a value.

    Attributes:
        info: about a page of results: ``{"per_page": 50, "cursor": …}``.
    """

    result: Any
    info: Mapping[str, Any] | None = None
    status: int = 200


class _Json(JSONResponse):
    def render(self, content: Any) -> bytes:
        # Half of a surrogate pair is text in Python and cannot be written as UTF-8.
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def json_of(answer: Any) -> Response:
    """The answer of a handler that has succeeded."""
    found = answer if isinstance(answer, JsonAnswer) else JsonAnswer(answer)
    envelope = {"success": True, "result": found.result, "errors": [], "messages": []}
    if found.info is not None:
        envelope["result_info"] = dict(found.info)
    return _Json(envelope, found.status)


def refused(refusal: Refusal) -> Response:
    """The answer to what is not carried out."""
    error = {"code": refusal.code, "message": refusal.message}
    return _Json({"success": False, "result": None, "errors": [error], "messages": []}, refusal.status)

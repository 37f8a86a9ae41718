"""The JSON interface as OpenAPI describes it, made of the table of routes and of what its functions say. Pure."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any, Final

from workflows.ui.refusals import TITLES
from workflows.ui.routes import Route

_ANY: Final[dict[str, Any]] = {}
_ERROR: Final = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
}
_ENVELOPE: Final = {
    "type": "object",
    "required": ["success", "result", "errors", "messages"],
    "properties": {
        "success": {"type": "boolean"},
        "result": _ANY,
        "errors": {"type": "array", "items": _ERROR},
        "messages": {"type": "array"},
        "result_info": {"type": "object"},
    },
}
_REPEATABLE: Final = frozenset({"status", "metadata"})
_REFUSALS: Final = (400, 401, 403, 404, 409, 413, 422, 503)


def document(routes: Iterable[Route], prefix: str) -> dict[str, Any]:
    """The document.

    Args:
        prefix: where the dashboard is mounted.
    """
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Workflows", "version": version("rq-workflows")},
        "servers": [{"url": prefix or "/"}],
        "paths": paths,
        "components": {"schemas": {"Envelope": _ENVELOPE}},
    }


def _operation(route: Route) -> dict[str, Any]:
    summary, _, more = inspect.cleandoc(route.handler.__doc__ or "").replace("``", "`").partition("\n")
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{route.name}",
        "summary": summary,
        "parameters": _parameters(route),
        "responses": {
            "2XX": {"description": "Done", "content": _json({"$ref": "#/components/schemas/Envelope"})},
            **{
                str(status): {
                    "description": TITLES[status],
                    "content": _json({"$ref": "#/components/schemas/Envelope"}),
                }
                for status in _REFUSALS
            },
        },
    }
    if more.strip():
        operation["description"] = more.strip()
    if route.body is not None:
        shape = (
            {"type": "object", "properties": dict.fromkeys(route.body, _ANY), "additionalProperties": False}
            if isinstance(route.body, tuple)
            else _ANY
        )
        operation["requestBody"] = {"content": _json(shape)}
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    text = {"type": "string"}
    inside = [
        {"name": name, "in": "path", "required": True, "schema": text} for name in re.findall(r"{(\w+)}", route.path)
    ]
    asked = [
        {"name": name, "in": "query", "schema": {"type": "array", "items": text} if name in _REPEATABLE else text}
        for name in route.query
    ]
    return inside + asked


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}

"""What every page has around it: colours, and the search for an instance."""

from __future__ import annotations

import re
from typing import Final

from starlette.responses import RedirectResponse, Response

from workflows.client.requests import exists
from workflows.errors import InstanceError, WorkflowError
from workflows.storage.manifest import load_manifest
from workflows.storage.outage import server_errors
from workflows.ui.context import THEMES, Context
from workflows.values import names

_YEAR: Final = 365 * 24 * 3600
_PATH: Final = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""Of ours: nothing that a browser could read as another host."""


def theme(context: Context) -> Response:
    """Keep which colours somebody wants."""
    chosen, back = context.form.get("theme", ""), context.form.get("back", "/")
    root = str(context.request.scope.get("root_path", ""))
    answer = RedirectResponse(root + (back if _PATH.fullmatch(back) else "/"), 303)
    path = root or "/"
    if chosen in THEMES:
        answer.set_cookie("theme", chosen, max_age=_YEAR, path=path, samesite="lax", httponly=True)
    else:
        answer.delete_cookie("theme", path=path, samesite="lax", httponly=True)
    return answer


def find(context: Context) -> Response:
    """The instances with an id, whatever their workflow."""
    id = context.query.get("id", "").strip()
    try:
        names.check_instance_id(id)
    except WorkflowError as error:
        return context.render("find.html", id=id, found=[], problem=str(error), status=422)
    store = context.store
    with server_errors(store.redis):
        workflows = sorted(load_manifest(store).workflows)
        requests = [exists(store.keys, store.keys.instance(name, id)) for name in workflows]
        answers = store.call_all([request.call for request in requests]) if requests else []
    found = [
        name
        for name, request, answer in zip(workflows, requests, answers, strict=True)
        if not isinstance(request.outcome(answer), InstanceError)
    ]
    if len(found) == 1:
        return context.redirect("instance", name=found[0], id=id)
    return context.render("find.html", id=id, found=found, problem=None, status=200 if found else 404)

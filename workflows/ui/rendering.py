"""Templates. Whatever is put into one is escaped, and what is missing is an error."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from workflows.ui import showing
from workflows.ui.refusals import RequestRefused

BLOCK = "fragment_"


@cache
def environment() -> Environment:
    """Where templates are found. Macros of ``macros.html`` and ``timeline.html`` are known to all others as ``ui`` and
    ``drawn``, also where only one element of a page is rendered."""
    made = Environment(
        loader=PackageLoader("workflows.ui"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        finalize=showing.visible,
    )
    made.filters.update(showing.FILTERS)
    made.globals.update(showing.GLOBALS)
    made.globals["ui"] = made.get_template("macros.html").module
    made.globals["drawn"] = made.get_template("timeline.html").module
    return made


def rendered(template: str, values: Mapping[str, Any], fragments: Collection[str] = ()) -> str:
    """A page, or some elements of it.

    Args:
        fragments: their ids: what ``{% block fragment_ID %}`` of the template holds, with ``_`` for ``-``.
    Raises: RequestRefused: the page has no such element.
    """
    found = environment().get_template(template)
    if not fragments:
        return found.render(values)
    return "".join(_fragment(found, id, values) for id in fragments)


def _fragment(template: Template, id: str, values: Mapping[str, Any]) -> str:
    block = template.blocks.get(BLOCK + id.replace("-", "_"))
    if block is None:
        raise RequestRefused(404, "UnknownFragment", f"This page has no element {id!r:.100}")
    return "".join(block(template.new_context(dict(values))))

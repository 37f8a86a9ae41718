"""Templates. Whatever is put into one is escaped, and what is missing is an error."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from workflows.ui.refusals import RequestRefused

BLOCK = "fragment_"


@cache
def environment() -> Environment:
    """Where templates are found. Filters are added by the modules of ``pages``."""
    return Environment(
        loader=PackageLoader("workflows.ui"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


def rendered(template: str, values: Mapping[str, Any], fragment: str | None = None) -> str:
    """A page, or one element of it.

    Args:
        fragment: the id of the element: what ``{% block fragment_ID %}`` of the template holds, with ``_`` for ``-``.
    Raises: RequestRefused: the page has no such element.
    """
    found = environment().get_template(template)
    if fragment is None:
        return found.render(values)
    block = found.blocks.get(BLOCK + fragment.replace("-", "_"))
    if block is None:
        raise RequestRefused(404, "UnknownFragment", f"This page has no element {fragment!r:.100}")
    return "".join(block(found.new_context(dict(values))))

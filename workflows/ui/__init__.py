"""The dashboard and the JSON interface: an ASGI application, of the extra ``ui``.

    from workflows.ui import dashboard

    api.mount("/workflows", dashboard(app, access=who_may_what))         # FastAPI, Starlette
    application = mount(django_asgi, "/workflows", dashboard(app))       # any other ASGI application

Importing this loads none of the extra; ``dashboard`` does.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from workflows.errors import ConfigError
from workflows.ui.access import Access, Decide
from workflows.ui.mounting import mount

if TYPE_CHECKING:
    from workflows.authoring.app import App
    from workflows.client import Client
    from workflows.ui.application import Dashboard

__all__ = ["Access", "dashboard", "mount"]

EXTRA = "the dashboard needs more than the core: pip install 'rq-workflows[ui]'"


_PACKAGES = ("starlette", "jinja2", "uvicorn")


def missing_extra() -> bool:
    """Whether the extra is not installed."""
    return any(find_spec(name) is None for name in _PACKAGES)


def dashboard(
    app: App | str | Client,
    *,
    redis_url: str | None = None,
    access: Decide | None = None,
    hide_values: bool = False,
) -> Dashboard:
    """The dashboard of a namespace, as an ASGI application to be mounted into another one.

    Args:
        app: the app, or only its name: then params are not checked against their models when somebody creates an
            instance here. Or a client to use, which stays its owner's to close.
        redis_url: where Redis is; None: as for ``Client``. It is reached at the first request, not before.
        access: called with each request (Starlette's), by itself or in a thread; says what its sender may:
            ``Access.NONE``, ``Access.READ``, ``Access.OPERATE``, or a set of actions (``workflows.ui.access.ACTIONS``).
            ``Access.OPERATE.by("ann")`` also says who it is, for the log. None: everybody may read, nobody may write.
        hide_values: params, outputs and payloads are shown as sizes only.
    Raises:
        ConfigError: the extra is not installed.
    """
    if missing_extra():
        raise ConfigError(EXTRA)
    from workflows.ui.application import Dashboard

    return Dashboard(app, redis_url=redis_url, access=access, hide_values=hide_values)

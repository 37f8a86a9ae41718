"""Who is at work, and what waits for them."""

from __future__ import annotations

from starlette.responses import Response

from workflows.health import namespace
from workflows.health.fleet import fleet
from workflows.health.queues import queue_states
from workflows.storage.manifest import load_manifest, other_code
from workflows.storage.outage import server_errors
from workflows.ui.context import Context


def workers(context: Context) -> Response:
    """Orchestrators, workers and queues."""
    store = context.store
    with server_errors(store.redis):
        now_ms = namespace.server_ms(store)
        manifest = load_manifest(store)
        queues = queue_states(store, manifest.queues(), now_ms)
        owned = namespace.owned_shards(store, now_ms)
        others = other_code(store, now_ms)
    return context.render(
        "workers.html",
        fleet=fleet(store, queues, context.now),
        queues=queues,
        owned=owned,
        shards=store.keys.shards,
        code={app: str(body.get("code", "unknown")) for app, body in manifest.apps.items()},
        others=others,
    )

"""Who is at work, and what waits for them."""

from __future__ import annotations

from starlette.responses import Response

from workflows.health.fleet import fleet
from workflows.health.queues import service
from workflows.health.stages import stages_of
from workflows.storage.manifest import load_manifest, other_code
from workflows.storage.outage import server_errors
from workflows.ui.context import Context


def workers(context: Context) -> Response:
    """Orchestrators, workers and queues."""
    store = context.store
    with server_errors(store.redis):
        manifest = load_manifest(store)
        seen = service(store, manifest.queues())
        others = other_code(store, seen.around.now_ms)
    return context.render(
        "workers.html",
        fleet=fleet(store, seen),
        profile=stages_of(store, {name for state in seen.queues.values() for name in state.workers}),
        queues=seen.queues,
        owned=seen.around.owned_shards,
        shards=store.keys.shards,
        code={app: str(body.get("code", "unknown")) for app, body in manifest.apps.items()},
        others=others,
    )

"""What apps have published about themselves: which workflows there are, on which queue, kept for how long.

A worker publishes its app's manifest when it starts, ``workflows register`` does it without a worker. Producers that
have no code of the app, the inbox and the schedules read it. It is a description, not a lock: the newest one wins.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from workflows import limits
from workflows.errors import UnknownWorkflow
from workflows.keys import Keyspace
from workflows.store import Call, Store, script

_MANIFEST = script(Path(__file__).with_name("manifest.lua"), pump=False)


class Described(Protocol):
    """What publishing needs of an ``App``."""

    @property
    def name(self) -> str: ...

    def manifest(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class KnownWorkflow:
    """One workflow as published: enough to create instances of it.

    Attributes:
        hidden: made by the app itself, for an ``@app.cron`` handler; left out of listings.
        description: everything its manifest says about it.
    """

    name: str
    app: str = ""
    queue: str = "default"
    retention_success_ms: int = limits.RETENTION_MS
    retention_error_ms: int = limits.RETENTION_MS
    schedules: tuple[str, ...] = ()
    hidden: bool = False
    description: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def validate_params(self, params: Any) -> Any:
        """Params as they are: their model is known to the app's own code only."""
        return {} if params is None else params


@dataclass(frozen=True, slots=True)
class Manifest:
    """All published workflows of a namespace, by name.

    Attributes:
        apps: each app's manifest as published.
        unreadable: apps whose manifest this version cannot read, most likely because a newer one wrote it.
    """

    workflows: Mapping[str, KnownWorkflow]
    apps: Mapping[str, Mapping[str, Any]]
    unreadable: tuple[str, ...] = ()

    def workflow(self, name: str) -> KnownWorkflow:
        """The workflow of that name.

        Raises:
            UnknownWorkflow: names those there are.
        """
        known = self.workflows.get(name)
        if known is None:
            raise self._unknown(name)
        return known

    def names(self) -> list[str]:
        """The workflows to show, by name."""
        return sorted(name for name, known in self.workflows.items() if not known.hidden)

    def queues(self) -> list[str]:
        """The queues that need a worker, without the namespace."""
        named = {known.queue for known in self.workflows.values()}
        for app in self.apps.values():
            queues = app.get("queues")
            named.update(queue for queue in queues or () if isinstance(queue, str))
        return sorted(named)

    def _unknown(self, name: str) -> UnknownWorkflow:
        way_out = "Start a worker with its app, or run `workflows register`"
        names = ", ".join(self.names())
        if self.unreadable:
            way_out = f"This version cannot read the manifest of {', '.join(self.unreadable)}: register it again"
        if not names:
            return UnknownWorkflow(f"There is no workflow {name!r}: no app is registered in this namespace. {way_out}.")
        return UnknownWorkflow(f"There is no workflow {name!r} here. Registered: {names}. {way_out} to add one.")


def publish_call(keys: Keyspace, app: Described) -> Call:
    """The call that publishes an app's manifest."""
    text = json.dumps(app.manifest(), sort_keys=True, separators=(",", ":"))
    return Call(_MANIFEST, [keys.manifest], {"app": app.name, "json": text})


def publish_manifest(store: Store, app: Described) -> None:
    """Publish an app's manifest in place of its earlier one."""
    store.call(publish_call(store.keys, app))


def load_manifest(store: Store) -> Manifest:
    """All manifests of the namespace. What a newer version wrote and this one cannot read is left out."""
    return read_manifest(store.fields(store.keys.manifest))


def read_manifest(fields: Mapping[Any, Any]) -> Manifest:
    """Read the manifests as they are stored: app name to JSON."""
    apps: dict[str, Mapping[str, Any]] = {}
    workflows: dict[str, KnownWorkflow] = {}
    unreadable: list[str] = []
    for app, text in sorted(fields.items()):
        try:
            body = json.loads(text)
            found = {name: _known(name, app.decode(), of) for name, of in body["workflows"].items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            unreadable.append(app.decode(errors="backslashreplace"))
            continue
        apps[app.decode()] = body
        workflows |= found
    return Manifest(workflows, apps, tuple(unreadable))


def _known(name: str, app: str, of: Mapping[str, Any]) -> KnownWorkflow:
    retention = of["retention"]
    return KnownWorkflow(
        name,
        app=app,
        queue=str(of["queue"]),
        retention_success_ms=int(retention["success_ms"]),
        retention_error_ms=int(retention["error_ms"]),
        schedules=tuple(str(cron) for cron in of.get("schedules") or ()),
        hidden=bool(of.get("hidden")),
        description=of,
    )

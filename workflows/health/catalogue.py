"""What there is to say about workflows: what apps have published of them, and how many instances they have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workflows.client import Client
from workflows.health import namespace
from workflows.storage import concurrency
from workflows.storage.manifest import KnownWorkflow, Manifest, load_manifest, read_manifest
from workflows.storage.outage import server_errors
from workflows.storage.schedules import lines_of
from workflows.values import names
from workflows.values.concurrency import Concurrency


def manifest_of(client: Client) -> Manifest:
    """What apps have published; with the app's code, what it contains. Raises: ServerUnavailable."""
    store = client.store  # first: a list made without a server that does not answer would tell a lie
    if client.app is not None:
        return read_manifest({client.app.name.encode(): json.dumps(client.app.manifest()).encode()})
    with server_errors(store.redis):
        return load_manifest(store)


def described(known: KnownWorkflow) -> dict[str, Any]:
    """A workflow in a list, for machines."""
    return {
        "name": known.name,
        "app": known.app,
        "queue": known.queue,
        "schedules": lines_of(known),
        "retention": {"success_ms": known.retention_success_ms, "error_ms": known.retention_error_ms},
        "limits": known.description.get("limits"),
        "metadata": list(known.metadata_keys),
    }


@dataclass(frozen=True, slots=True)
class AboutWorkflow:
    """A workflow at one moment.

    Attributes:
        known: as its app has published it; None: no app has it any more, and there are instances of it.
        code: the version of the app's code.
        limit: on running instances, in force now; None: there is none.
        is_limit_set: a person has set it.
        instances: how many are in each status.
        channel: where plain PUBLISH is heard.
    """

    name: str
    known: KnownWorkflow | None
    code: str
    limit: Concurrency | None
    is_limit_set: bool
    instances: Mapping[str, int]
    channel: str

    @property
    def params_schema(self) -> Mapping[str, Any] | None:
        """What params must be, as JSON schema; None: nothing is declared."""
        return None if self.known is None else self.known.description.get("params_schema")

    @property
    def event_schemas(self) -> Mapping[str, Any]:
        """The same of the payloads of events, by type, of those that are declared."""
        return {} if self.known is None else self.known.description.get("event_schemas") or {}

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        if self.known is None:
            return {"name": self.name, "app": None, "instances": dict(self.instances)}
        return {
            **described(self.known),
            "code": self.code,
            "concurrency": None if self.limit is None else self.limit.as_dict(),
            "instances": dict(self.instances),
            "events_channel": self.channel,
            "params_schema": self.params_schema,
            "event_schemas": dict(self.event_schemas),
        }


def about(client: Client, name: str) -> AboutWorkflow:
    """What there is to say about one.

    Raises:
        UnknownWorkflow: no app has it, and there are no instances of it.
        BadName, ServerUnavailable.
    """
    manifest, store = manifest_of(client), client.store
    with server_errors(store.redis):
        counts = namespace.count_instances(store, names.check_workflow_name(name))
        found = concurrency.in_force(store)
    # What no app has any more is described by what there is of it.
    known = manifest.workflows.get(name) if any(counts.values()) else manifest.workflow(name)
    app = {} if known is None else manifest.apps.get(known.app, {})
    return AboutWorkflow(
        name,
        known,
        str(app.get("code", "unknown")),
        found.limits.get(name),
        name in found.set,
        counts,
        store.events_channel,
    )


def listed(client: Client) -> list[KnownWorkflow | str]:
    """All workflows; last, by their names, those of which there are only instances left."""
    manifest = manifest_of(client)
    with server_errors(client.store.redis):
        registered = load_manifest(client.store)
        orphans = sorted({*namespace.orphans(client.store, registered)} - {*manifest.workflows})
    return [*(manifest.workflows[name] for name in manifest.names()), *orphans]

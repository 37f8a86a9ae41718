"""What apps have published about themselves: which workflows there are, on which queue, kept for how long.

A worker's parent publishes its app's manifest when it starts, ``workflows register`` does it without a worker, and
workers renew it, so that it comes back after Redis has lost it (F42). Producers that have no code of the app, the inbox
and the schedules read it. It is a description, not a lock: what was started or registered last wins, and workers with
other code leave it alone, and say so, for as long as somebody renews it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from workflows import limits
from workflows.errors import BadName, ConfigError, UnknownWorkflow
from workflows.storage.keys import Keyspace
from workflows.storage.store import Call, Store, script, unpackb
from workflows.values import names
from workflows.values.concurrency import Concurrency

# A worker publishes its manifest again after so long; content that nobody has renewed so often may be replaced.
RENEW_SECONDS: Final = 60
STALE_RENEWALS: Final = 3

_MANIFEST = script(Path(__file__).with_name("manifest.lua"))


class Described(Protocol):
    """What publishing needs of an ``App``."""

    @property
    def name(self) -> str: ...

    def manifest(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class KnownWorkflow:
    """One workflow as published: enough to create instances of it.

    Attributes:
        schedules: as published; ``schedules.py`` reads them.
        metadata_keys: those of metadata by which its instances are found.
        hidden: made by the app itself, for an ``@app.cron`` handler; left out of listings.
        told_version: of the code, where the app publishes how its instances move; else ''.
        description: everything its manifest says about it.
    """

    name: str
    app: str = ""
    queue: str = "default"
    retention_success_ms: int = limits.RETENTION_MS
    retention_error_ms: int = limits.RETENTION_MS
    deadline_ms: int | None = None
    concurrency: Concurrency | None = None
    schedules: tuple[Any, ...] = ()
    hidden: bool = False
    metadata_keys: tuple[str, ...] = ()
    told_version: str = ""
    description: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def validate_params(self, params: Any) -> Any:
        """Params as they are: their model is known to the app's own code only."""
        return {} if params is None else params


@dataclass(frozen=True, slots=True)
class Manifest:
    """All published workflows of a namespace, by name.

    Attributes:
        apps: each app's manifest as published.
        producers: those with a stream of their own, by name.
        unreadable: apps whose manifest this version cannot read, most likely because a newer one wrote it.
    """

    workflows: Mapping[str, KnownWorkflow]
    apps: Mapping[str, Mapping[str, Any]]
    unreadable: tuple[str, ...] = ()
    producers: tuple[str, ...] = ()

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


class Publication:
    """An app's manifest as this process has loaded it: files that change under a running process change nothing.

    ``start`` and ``register`` replace whatever is there; ``renew`` puts it back where it is missing or was replaced by
    content that nobody renews any more.
    """

    def __init__(self, app: Described) -> None:
        body = app.manifest()
        self.app = app.name
        self.code = str(body.get("code", "unknown"))
        self._text = json.dumps(body, sort_keys=True, separators=(",", ":"))
        self._first: int | None = None
        self._newer = ""

    def call(self, keys: Keyspace, how: Literal["register", "start", "renew"]) -> Call:
        """The call that publishes it; see ``manifest.lua``."""
        arguments: dict[str, Any] = {"app": self.app, "json": self._text, "code": self.code, "how": how}
        arguments["stale"] = RENEW_SECONDS * 1000 * STALE_RENEWALS
        if self._first is not None:
            arguments["first"] = self._first
        return Call(_MANIFEST, [keys.manifest, keys.versions], arguments)

    def publish(self, store: Store, how: Literal["register", "start", "renew"]) -> str | None:
        """Publish it. Returns: what is worth saying about other code, once for each finding; None otherwise."""
        first, replaced, newer = store.call(self.call(store.keys, how))
        self._first = int(first)
        said, self._newer = self._newer, newer.decode()
        if replaced:
            return f"the manifest of code version {replaced.decode()} was replaced by that of {self.code}"
        if self._newer and self._newer != said:
            return (
                f"this process runs code version {self.code} of app {self.app}, but {self._newer} was started or "
                "registered later, and its manifest stands: deploy the same code everywhere, or `workflows register` it"
            )
        return None


def publish_call(keys: Keyspace, app: Described) -> Call:
    """The call that registers an app."""
    return Publication(app).call(keys, "register")


def publish_manifest(store: Store, app: Described) -> None:
    """Register an app: its manifest replaces any other, also without a worker."""
    Publication(app).publish(store, "register")


@dataclass(frozen=True, slots=True)
class OtherCode:
    """A version of an app's code that is at work beside the published one."""

    app: str
    code: str
    seen_ms: int


def other_code(store: Store, now_ms: int) -> list[OtherCode]:
    """Which code has been renewed lately although another is published: a fleet of several versions."""
    published = store.fields(store.keys.manifest)
    found = []
    for member, blob in sorted(store.fields(store.keys.versions).items()):
        app, _, sha = member.rpartition(b"|")
        kept = hashlib.sha1(published.get(app, b""), usedforsecurity=False).hexdigest().encode()
        try:
            version = unpackb(blob)
            seen, code = int(version[b"seen"]), version[b"code"].decode()
        except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError):
            continue
        if sha != kept and seen > now_ms - RENEW_SECONDS * 2000:
            found.append(OtherCode(app.decode(errors="backslashreplace"), code, seen))
    return found


def load_manifest(store: Store) -> Manifest:
    """All manifests of the namespace. What a newer version wrote and this one cannot read is left out."""
    return read_manifest(store.fields(store.keys.manifest))


def read_manifest(fields: Mapping[Any, Any]) -> Manifest:
    """Read the manifests as they are stored: app name to JSON."""
    apps: dict[str, Mapping[str, Any]] = {}
    workflows: dict[str, KnownWorkflow] = {}
    unreadable: list[str] = []
    producers: set[str] = set()
    for app, text in sorted(fields.items()):
        try:
            body = json.loads(text)
            name_of_app = app.decode()
            told = str(body["code"]) if body.get("notifications") else ""
            found = {name: _known(name, name_of_app, told, of) for name, of in body["workflows"].items()}
            for queue in body.get("queues") or ():
                names.check_queue_name(queue)
            declared = [names.check_producer_name(producer) for producer in body.get("producers") or ()]
        except (ValueError, OverflowError, KeyError, TypeError, AttributeError, RecursionError, BadName, ConfigError):
            unreadable.append(app.decode(errors="backslashreplace"))
            continue
        apps[name_of_app] = body
        workflows |= found
        producers |= set(declared)
    return Manifest(workflows, apps, tuple(unreadable), tuple(sorted(producers)))


def _duration(value: Any) -> int:
    if not 0 <= int(value) <= limits.DURATION_MS_MAX * 100:
        raise ValueError(f"a duration of {value!r:.100}")
    return int(value)


def _known(name: str, app: str, told: str, of: Mapping[str, Any]) -> KnownWorkflow:
    retention = of["retention"]
    # What is made of these goes into keys and headers, and from there to every process.
    return KnownWorkflow(
        names.check_workflow_name(name),
        app=app,
        queue=names.check_queue_name(of["queue"]),
        retention_success_ms=_duration(retention["success_ms"]),
        retention_error_ms=_duration(retention["error_ms"]),
        deadline_ms=_duration(of["deadline_ms"]) or None if "deadline_ms" in of else None,
        concurrency=Concurrency.of(of.get("concurrency")),
        schedules=tuple(of.get("schedules") or ()),
        hidden=bool(of.get("hidden")),
        metadata_keys=tuple(str(key) for key in of.get("metadata") or ()),
        told_version=told,
        description=of,
    )

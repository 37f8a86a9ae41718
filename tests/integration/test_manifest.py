"""Does the manifest stay what was deployed last, come back when it is lost, and never become a tug-of-war?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from tests.driving import store_of
from tests.paths import packages
from workflows.dev.embedded import EmbeddedRedis
from workflows.health import namespace as diagnosis
from workflows.storage import manifest
from workflows.storage.manifest import Publication, load_manifest
from workflows.storage.store import Store

APP = """
from workflows import App, WorkflowEntrypoint

app = App("shop")


@app.workflow
class Order(WorkflowEntrypoint):
    async def run(self, event, step):
        return 1
"""


class Code:
    """An app as far as publishing is concerned, in one version of its code."""

    name = "shop"

    def __init__(self, version: str) -> None:
        self.version = version

    def manifest(self) -> dict[str, Any]:
        workflow = {"queue": "default", "retention": {"success_ms": 1_000, "error_ms": 2_000}, "schedules": []}
        return {"code": self.version, "queues": ["default"], "workflows": {f"order-{self.version}": workflow}}


@pytest.fixture
def store(redis: redis_py.Redis) -> Store:
    return store_of(redis)


@pytest.fixture
def old() -> Publication:
    return Publication(Code("v1"))


@pytest.fixture
def new() -> Publication:
    return Publication(Code("v2"))


def published(store: Store) -> str:
    return str(load_manifest(store).apps["shop"]["code"])


def test_a_process_of_an_old_version_never_replaces_what_was_started_later(
    store: Store, old: Publication, new: Publication
) -> None:
    assert old.publish(store, "start") is None
    assert new.publish(store, "start") == "the manifest of code version v1 was replaced by that of v2"
    for _ in range(3):
        said = old.publish(store, "renew")
        assert published(store) == "v2"
        assert new.publish(store, "renew") is None
        if said is not None:
            assert said.startswith("this process runs code version v1 of app shop, but v2 was started or registered")
    restarted = Publication(Code("v1"))  # by its parent
    assert restarted.publish(store, "renew") is not None
    assert restarted.publish(store, "renew") is None  # said once
    assert published(store) == "v2"


def test_a_rollback_is_a_start_and_wins(store: Store, old: Publication, new: Publication) -> None:
    old.publish(store, "start")
    new.publish(store, "start")
    again = Publication(Code("v1"))
    again.publish(store, "start")
    new.publish(store, "renew")
    assert published(store) == "v1"


def test_a_lost_manifest_comes_back_and_ends_as_the_newest(store: Store, old: Publication, new: Publication) -> None:
    """Whoever renews first: both know when theirs was published first."""
    old.publish(store, "start")
    new.publish(store, "start")
    store.redis.delete(store.keys.manifest, store.keys.versions)
    old.publish(store, "renew")
    assert published(store) == "v1"
    new.publish(store, "renew")
    old.publish(store, "renew")
    assert published(store) == "v2"


def test_an_earlier_state_of_redis_is_brought_up_to_date(store: Store, old: Publication, new: Publication) -> None:
    old.publish(store, "start")
    before = {key: store.redis.hgetall(key) for key in (store.keys.manifest, store.keys.versions)}
    new.publish(store, "start")
    for key, fields in before.items():
        store.redis.delete(key)
        store.redis.hset(key, mapping=fields)
    new.publish(store, "renew")
    assert published(store) == "v2"


def test_what_nobody_renews_gives_way_to_code_that_is_at_work(
    store: Store, old: Publication, new: Publication, monkeypatch: pytest.MonkeyPatch
) -> None:
    old.publish(store, "start")
    new.publish(store, "start")
    monkeypatch.setattr(manifest, "RENEW_SECONDS", 0)
    assert old.publish(store, "renew") == "the manifest of code version v2 was replaced by that of v1"
    assert published(store) == "v1"


def test_what_was_registered_by_hand_stands_without_a_worker(
    store: Store, old: Publication, new: Publication, monkeypatch: pytest.MonkeyPatch
) -> None:
    old.publish(store, "start")
    new.publish(store, "register")
    monkeypatch.setattr(manifest, "RENEW_SECONDS", 0)
    old.publish(store, "renew")
    assert published(store) == "v2"


def test_a_manifest_that_came_without_a_version_counts_as_new(store: Store, old: Publication) -> None:
    old.publish(store, "start")
    store.redis.hset(store.keys.manifest, "shop", '{"workflows":{}}')
    said = old.publish(store, "renew")
    assert said is not None and "unknown was started or registered later" in said
    assert load_manifest(store).workflows == {}


def test_garbage_among_the_versions_stops_nobody(store: Store, old: Publication, new: Publication) -> None:
    for blob in (b"\xc1", b"7", b"\x90", b"\x80"):
        store.redis.hset(store.keys.versions, b"shop|" + blob, blob)
    store.redis.hset(store.keys.versions, "nobody", "nothing")
    old.publish(store, "start")
    new.publish(store, "renew")
    assert published(store) == "v2"
    assert manifest.other_code(store, 0) != []
    assert {field.partition(b"|")[0] for field in store.redis.hkeys(store.keys.versions)} == {b"shop", b"nobody"}


@pytest.mark.parametrize(
    "change",
    [
        {"workflows": {"a|b": {"queue": "default", "retention": {"success_ms": 1, "error_ms": 1}}}},
        {"workflows": {"x" * 65: {"queue": "default", "retention": {"success_ms": 1, "error_ms": 1}}}},
        {"workflows": {"order": {"queue": "a|b", "retention": {"success_ms": 1, "error_ms": 1}}}},
        {"workflows": {"order": {"queue": "default", "retention": {"success_ms": float("inf"), "error_ms": 1}}}},
        {"queues": ["a.b:c"], "workflows": {}},
    ],
)
def test_names_in_a_manifest_obey_the_rules_of_every_other_door(store: Store, change: dict[str, Any]) -> None:
    """Whoever wrote it: they become parts of keys, members and queues."""
    store.redis.hset(store.keys.manifest, "shop", json.dumps({"code": "v1", "queues": [], **change}))
    found = load_manifest(store)
    assert (found.unreadable, found.names()) == (("shop",), [])


def test_the_doctor_says_when_two_versions_are_at_work(store: Store, old: Publication, new: Publication) -> None:
    old.publish(store, "start")
    new.publish(store, "start")
    found = [one.message for one in diagnosis.report(store).findings() if "code version" in one.message]
    assert found[0] == "app shop, code version v2"
    assert found[1].startswith("workers with code version v1 of app shop are at work as well")
    new.publish(store, "start")
    store.redis.hdel(store.keys.versions, *store.redis.hkeys(store.keys.versions))
    assert len([one for one in diagnosis.report(store).findings() if "code version" in one.message]) == 1


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_a_worker_publishes_again_what_redis_has_lost(tmp_path: Path) -> None:
    """Without a restart of Redis, and after one that brings back an earlier state."""
    (tmp_path / "app.py").write_text(APP)
    with EmbeddedRedis(tmp_path / "redis") as server, redis_py.Redis.from_url(server.url) as client:
        store = store_of(client)
        Publication(Code("v0")).publish(store, "start")
        before = {key: client.hgetall(key) for key in (store.keys.manifest, store.keys.versions)}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "worker", "app:app", "--lease", "3"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": packages(), "WORKFLOWS_REDIS_URL": server.url},
            stdin=subprocess.DEVNULL,
            text=True,
        )
        try:
            wait_until(lambda: load_manifest(store).names() == ["order"], process)
            wait_until(lambda: client.scard("rq:workers:shop.default") == 1, process)
            client.delete(store.keys.manifest)
            wait_until(lambda: load_manifest(store).names() == ["order"], process)
            for key, fields in before.items():
                client.delete(key)
                client.hset(key, mapping=fields)
            assert load_manifest(store).names() == ["order-v0"]
            server.restart()
            wait_until(lambda: load_manifest(store).names() == ["order"], process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)

"""Does every page say what it can, whatever stands in a key?"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import redis as redis_py
from starlette.testclient import TestClient

from tests.driving import HandWorker, PublishedApp, sleep, step, wait
from tests.spoiling import drawn, spoil
from tests.ui.conftest import ORIGIN
from tests.ui.html_checks import checked
from workflows.client import Client
from workflows.dev.embedded import EmbeddedRedis
from workflows.storage.manifest import publish_manifest
from workflows.ui import Access
from workflows.ui.application import Dashboard

INSTANCES = "/workflows/order/instances"
PAGES = (
    *("/", "/failed", "/schedules", "/workers", "/doctor", "/workflows/order", INSTANCES, "/find?id=one"),
    *(f"{INSTANCES}/{id}" for id in ("one", "two")),
    *(f"{INSTANCES}/one?tab={tab}" for tab in ("values", "events", "family", "journal", "raw")),
)


@pytest.fixture
def shop(redis_server: EmbeddedRedis) -> Iterator[Client]:
    """A namespace of its own: an instance that does all kinds of things, and one that has failed."""
    with redis_py.Redis.from_url(redis_server.url) as redis:
        redis.flushall()
    with Client("shop", redis_server.url) as client:
        publish_manifest(client.store, PublishedApp())
        hand, orders = HandWorker(client.store), client.workflow("order")
        one, two = (orders.create(id) for id in ("one", "two"))
        hand.turn(one._instance, opened=[step(1, "charge"), wait(2, "packing", "packed"), sleep(3, "nap", 60_000)])
        hand.settle(one._instance, 1, "charge", hand.claim(one._instance, "a", 1), error=ValueError("no"))
        one.send_event("other", 1)
        hand.fail(two._instance, ValueError("no"))
        yield client


@pytest.mark.parametrize("seed", range(16))
def test_garbage_in_a_key_breaks_no_page(shop: Client, seed: int) -> None:
    rng, redis = random.Random(seed), shop.store.redis
    spoil(redis, rng.choice(sorted(key for key in redis.scan_iter() if not key.endswith(b":meta"))), drawn(rng))
    with TestClient(
        Dashboard(shop, access=lambda _: Access.OPERATE), base_url=ORIGIN, follow_redirects=False
    ) as browser:
        for path in PAGES:
            answer = browser.get(path)
            assert answer.status_code < 500, path
            if answer.status_code != 303:
                checked(answer.text)


@pytest.mark.parametrize("part", [0, 1], ids=["header", "journal"])
def test_what_cannot_be_read_of_an_instance_is_said_and_it_can_be_deleted(shop: Client, part: int) -> None:
    key = shop.store.keys.of_instance(shop.workflow("order").get("one")._instance)[part]
    shop.store.redis.delete(key)
    shop.store.redis.sadd(key, "garbage")
    headers = {"sec-fetch-site": "same-origin"}
    dashboard = Dashboard(shop, access=lambda _: Access.OPERATE)
    with TestClient(dashboard, base_url=ORIGIN, headers=headers, follow_redirects=False) as browser:
        page = browser.get(f"{INSTANCES}/one")
        assert page.status_code == 409
        assert "cannot be read" in checked(page.text).text
        assert browser.post(f"{INSTANCES}/one", data={"action": "delete"}).status_code == 303
        assert browser.get(f"{INSTANCES}/one").status_code == 404

"""A namespace that holds what a module of tests puts into it, and browsers to look at it with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeAlias

import pytest
import redis as redis_py
from starlette.testclient import TestClient

from tests.driving import PublishedApp
from workflows.client import Client
from workflows.dev.embedded import EmbeddedRedis
from workflows.storage.manifest import publish_manifest
from workflows.ui import Access
from workflows.ui.application import Dashboard

ORIGIN = "http://localhost"
SAME_ORIGIN = {"sec-fetch-site": "same-origin"}
"""What a browser says of a write that a page of the same site makes."""

Browse: TypeAlias = Callable[..., TestClient]


@pytest.fixture(scope="module")
def shop(redis_server: EmbeddedRedis) -> Iterator[Client]:
    """A client of the namespace ``shop``, which is empty when the module begins and has the workflow ``order``."""
    with redis_py.Redis.from_url(redis_server.url) as redis:
        redis.flushall()
    with Client("shop", redis_server.url) as client:
        publish_manifest(client.store, PublishedApp())
        yield client


@pytest.fixture(scope="module")
def browse(shop: Client) -> Iterator[Browse]:
    """Opens a dashboard over ``shop``, with the settings given, in a browser of its own."""
    with ExitStack() as opened:

        def browse(*, access: Any = lambda _: Access.OPERATE, **settings: Any) -> TestClient:
            dashboard = Dashboard(shop, access=access, **settings)
            return opened.enter_context(
                TestClient(dashboard, base_url=ORIGIN, headers=SAME_ORIGIN, follow_redirects=False)
            )

        yield browse


@pytest.fixture(scope="module")
def browser(browse: Browse) -> TestClient:
    """Somebody who may do everything."""
    return browse()

"""What every test may ask for. Servers are always our own: no test ever touches a Redis that somebody else uses."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator

import hypothesis
import pytest
import redis as redis_py

from workflows.dev.embedded import EmbeddedRedis

# How long one example takes is a matter of who else is on the machine; pytest's own timeout bounds each test.
hypothesis.settings.register_profile("no clock", deadline=None)
hypothesis.settings.load_profile("no clock")

# Before any test imports something that reads them.
for _name in ("REDIS_URL", "WORKFLOWS_REDIS_URL", "WORKFLOWS_NAMESPACE"):
    os.environ.pop(_name, None)

# How long an example takes is a matter of who else is busy on the machine; what hangs is seen by the tests' timeout.
hypothesis.settings.register_profile("ours", deadline=None)
hypothesis.settings.load_profile("ours")


def pytest_configure(config: pytest.Config) -> None:
    """Use our own plugin, also where the package is not installed and pytest cannot find it."""
    plugin = importlib.import_module("workflows.testing.plugin")
    if not config.pluginmanager.is_registered(plugin):
        config.pluginmanager.register(plugin, "workflows")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    """One private server for this test process; under xdist each worker process has its own."""
    with EmbeddedRedis() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """Where the private server is, for code that makes its own connections. Not emptied: ask for ``redis`` too."""
    return redis_server.url


@pytest.fixture
def redis(redis_url: str) -> Iterator[redis_py.Redis]:
    """A client of the private server, which is empty when the test begins."""
    with redis_py.Redis.from_url(redis_url) as client:
        client.flushall()
        yield client

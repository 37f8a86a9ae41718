"""What every test may ask for. Servers are always our own: no test ever touches a Redis that somebody else uses."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import redis as redis_py

from workflows.dev.embedded import EmbeddedRedis

# Before any test imports something that reads them.
for _name in ("REDIS_URL", "WORKFLOWS_REDIS_URL", "WORKFLOWS_NAMESPACE"):
    os.environ.pop(_name, None)

# How long an example takes is a matter of who else is busy on the machine; what hangs is seen by the tests' timeout.
hypothesis.settings.register_profile("ours", deadline=None)
hypothesis.settings.load_profile("ours")

# A shell has what it starts in its background ignore ctrl-c, and every process that a test starts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Seconds to minutes each, the longest first; any other file takes less than twenty seconds.
LONGEST = (
    "acceptance/test_recovery.py",
    "acceptance/test_semantics.py",
    "test_docs.py",
    "testing/test_plugin.py",
    "integration/test_garbage.py",
    "scripts/test_limits.py",
    "acceptance/test_full.py",
    "integration/test_sentinels.py",
    "acceptance/test_rules.py",
    "integration/test_connecting.py",
    "integration/test_stopping.py",
    "acceptance/test_concurrency.py",
    "acceptance/test_demo.py",
    "acceptance/test_failover.py",
    "integration/test_compose_sentinels.py",
    "integration/test_health.py",
    "invariants/test_simulation.py",
    "integration/test_cli.py",
    "acceptance/test_exactly_once.py",
    "integration/test_inbox.py",
)
_TESTS = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    """Use our own plugin, also where the package is not installed and pytest cannot find it."""
    plugin = importlib.import_module("workflows.testing.plugin")
    if not config.pluginmanager.is_registered(plugin):
        config.pluginmanager.register(plugin, "workflows")
    # Else xdist would begin with the files that have most tests, which take milliseconds each.
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Among several test processes the longest files begin first: none of them is left alone at the end."""
    if hasattr(config, "workerinput"):
        rank = {_TESTS / name: number for number, name in enumerate(LONGEST)}
        items.sort(key=lambda item: rank.get(item.path, len(LONGEST)))


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

"""Clusters for tests that start real processes, and their logs when a test has failed."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.acceptance.processes import Cluster

_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember in the item that it has failed, for the fixtures that are torn down after it."""
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.fixture(autouse=True)
def _logs_of_failures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Show what the processes of a longer-lived cluster wrote when the test has failed."""
    yield
    if request.node.stash.get(_FAILED, False):
        for cluster in Cluster.running:
            print(cluster.logs())


@pytest.fixture
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """A Redis of its own; the test starts the processes it needs. What it met unexpectedly fails the test."""
    with Cluster(tmp_path) as started:
        yield started
        if request.node.stash.get(_FAILED, False):
            print(started.logs())
        else:
            started.check_logs()

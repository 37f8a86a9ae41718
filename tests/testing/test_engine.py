"""What an engine of a test leaves behind for the next."""

from __future__ import annotations

import gc
import os
import time

import pytest

from workflows import App
from workflows.testing.engine import TestServer, WorkflowEngine
from workflows.testing.env import TestEnv

DESCRIPTORS = "/proc/self/fd"


@pytest.mark.skipif(not os.path.isdir(DESCRIPTORS), reason="this system does not tell what a process has open")
def test_no_engine_leaves_anything_open(workflow_app: App, workflow_server: TestServer) -> None:
    first = None
    for _ in range(3):
        engine = WorkflowEngine(workflow_app, workflow_server)
        engine.start()
        try:
            TestEnv(engine).QUICK.create(params={"n": 1}).result()
        finally:
            engine.stop()
        del engine
        first = first or opened()
        # Threads for callbacks are told to end, not waited for, and have the engine until they do.
        until = time.monotonic() + 10
        while (left := opened()) > first and time.monotonic() < until:
            time.sleep(0.01)
        assert left <= first


def opened() -> int:
    gc.collect()
    return len(os.listdir(DESCRIPTORS))

"""Does ``workflows doctor`` notice a slow disk? A real server, whose calls to sync last as long as a test wants."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as redis_py
from click.testing import CliRunner

from workflows.cli.main import cli
from workflows.dev.embedded import EmbeddedRedis

pytestmark = pytest.mark.outage

SLOW = """
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
int fdatasync(int file) {
    while (access(getenv("SYNC_LASTS_WHILE"), F_OK) == 0) usleep(10000);
    return syscall(SYS_fdatasync, file);
}
"""


@pytest.fixture
def stall(tmp_path: Path) -> Path:
    """While this file is there, a sync goes on."""
    return tmp_path / "stall"


@pytest.fixture
def url(tmp_path: Path, stall: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server on such a disk."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("needs Linux and a C compiler")
    source, library = tmp_path / "slow.c", tmp_path / "slow.so"
    source.write_text(SLOW)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    with monkeypatch.context() as started:
        started.setenv("LD_PRELOAD", str(library))
        started.setenv("SYNC_LASTS_WHILE", str(stall))
        server = EmbeddedRedis()
        server.start()
    yield server.url
    server.stop()


@pytest.mark.slow
def test_a_sync_that_holds_writes_back_for_more_than_two_seconds_is_named_by_the_doctor(url: str, stall: Path) -> None:
    with redis_py.Redis.from_url(url) as busy:
        stall.touch()
        deadline = time.monotonic() + 20
        while not busy.info("persistence")["aof_delayed_fsync"]:
            assert time.monotonic() < deadline
            busy.incr("written")
        stall.unlink()
    output = CliRunner().invoke(cli, ["--redis-url", url, "--namespace", "shop", "doctor"]).output
    assert (
        "The disk is slow: once since the server started, a sync of the append-only file took more than 2 s" in output
    )

"""Does compose.sentinels.yaml describe servers that elect another primary? They run here without containers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
import yaml

from tests.sentinels import WAIT_SECONDS, free_ports, wait_until
from tests.unit.test_compose import COMPOSE, check_against_schema
from workflows.client import Client
from workflows.dev.embedded import find_server
from workflows.storage.connection import connection

pytestmark = pytest.mark.outage

OVERLAY = COMPOSE.with_name("compose.sentinels.yaml")
PASSWORD = "secret"


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(OVERLAY.read_text(encoding="utf-8"))["services"]
    return found


def test_it_follows_the_published_compose_schema() -> None:
    checked = check_against_schema(OVERLAY)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.fixture
def addresses(services: dict[str, dict[str, Any]], tmp_path: Path) -> Iterator[dict[str, str]]:
    """Every server and Sentinel, started by its own command; names and ports are the only things that differ."""
    ports = dict(zip(services, free_ports(len(services)), strict=True))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "redis-server").symlink_to(find_server())
    with ExitStack() as running:
        for name, service in services.items():
            if "command" not in service:
                continue
            folder = tmp_path / name
            folder.mkdir()
            text = service["command"][-1].replace("$$", "$").replace("/data", str(folder))
            text = text.replace("port 26379\n", "").replace("dir ", f"bind 127.0.0.1\nport {ports[name]}\ndir ")
            text = text.replace("-announce-ip $NAME", "-announce-ip 127.0.0.1").replace(
                " announce-ip $NAME", " announce-ip 127.0.0.1"
            )
            follow = service["environment"].get("FOLLOW", "").replace("redis 6379", f"127.0.0.1 {ports['redis']}")
            text = text.replace("monitor main redis 6379", f"monitor main 127.0.0.1 {ports['redis']}")
            text = text.replace("main 5000", "main 1000")
            environment = {
                **os.environ,
                "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
                "REDISCLI_AUTH": PASSWORD,
                "FOLLOW": follow,
            }
            output = (tmp_path / f"{name}.log").open("wb")
            running.callback(output.close)
            process = subprocess.Popen(["sh", "-c", text], env=environment, stdout=output, stderr=output)
            running.callback(process.wait, WAIT_SECONDS)
            running.callback(process.kill)
        yield {name: f"127.0.0.1:{port}" for name, port in ports.items()}


def is_known(sentinel: str) -> bool:
    """Whether a Sentinel knows whom it may elect, and with whom. It asks a primary for its replicas every ten seconds,
    and one that has ended not at all."""
    host, port = sentinel.split(":")
    try:
        with redis_py.Redis(host, int(port), password=PASSWORD) as client:
            state = client.sentinel_master("main")
    except redis_py.RedisError:
        return False
    return (state["num-slaves"], state["num-other-sentinels"], state["flags"]) == (2, 2, "master")


def test_another_primary_is_elected_and_found(addresses: dict[str, str], services: dict[str, dict[str, Any]]) -> None:
    url = services["worker"]["environment"]["WORKFLOWS_REDIS_URL"]
    assert url == services["orchestrator"]["environment"]["WORKFLOWS_REDIS_URL"]
    url = url.replace("${REDIS_PASSWORD:?set REDIS_PASSWORD to a random word}", PASSWORD)
    sentinels = [name for name in services if name.startswith("sentinel-")]
    for name in sentinels:
        url = url.replace(name, addresses[name])
    with connection(url) as client, Client("shop", url) as workflows:

        def info() -> dict[str, Any]:
            try:
                return client.info()
            except redis_py.RedisError:
                return {}

        wait_until(lambda: info().get("connected_slaves") == 2, "two replicas follow")
        wait_until(lambda: all(is_known(addresses[name]) for name in sentinels), "all Sentinels know all servers")
        former = info()["tcp_port"]
        assert workflows.workflows() == []
        client.shutdown(nosave=True, force=True)
        # A vote that is split is held again after twice the failover-timeout, which is 10 s here.
        wait_until(lambda: info().get("tcp_port", former) != former, "another one is the primary", 45)
        assert workflows.workflows() == []

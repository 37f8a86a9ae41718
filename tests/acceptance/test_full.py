"""Redis is full (F45): is anything lost or run twice, and does everything go on by itself once there is room?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.processes import Cluster
from workflows.client import WorkflowInstance
from workflows.dev.servers import ServerProgram, find_servers
from workflows.errors import ServerUnavailable

pytestmark = pytest.mark.outage

LARGE = "x" * 900_000
ROOM_BYTES = 1_000_000


@pytest.fixture(params=list(find_servers()), ids=lambda server: ".".join(map(str, server.version)))
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """Of every server program there is, with one orchestrator and one worker."""
    server: ServerProgram = request.param
    with Cluster(tmp_path, server=server.path) as started:
        started.orchestrator()
        started.ready(started.worker())
        yield started
        started.check_logs()


def _fill(cluster: Cluster, retention: str) -> list[WorkflowInstance]:
    """Instances that have ended and take five megabytes as long as they are kept, of which there is room for one."""
    before = cluster.redis.info("memory")["used_memory"]
    ended = [cluster.create("chain", f"ended-{n}", {"steps": 1, "with": LARGE}, retention=retention) for n in range(6)]
    for instance in ended:
        cluster.result(instance)
    cluster.redis.config_set("maxmemory", before + ROOM_BYTES)
    with pytest.raises(ServerUnavailable, match="is out of memory"):
        cluster.create("chain", "too-much")
    return ended


def _in_flight(cluster: Cluster, count: int) -> list[WorkflowInstance]:
    """Instances whose first step stands before the gate ``go``."""
    found = [cluster.create("gated", f"g{n}", {"gate": "go"}) for n in range(count)]
    cluster.wait_until(lambda: len(cluster.ledger.counts("g")) == count)
    return found


def _leases(cluster: Cluster) -> dict[str, dict[bytes, float]]:
    """When each lease of a worker is over, by shard."""
    return {key: dict(cluster.redis.zrange(key, 0, -1, withscores=True)) for key in cluster.key_names("}:workers")}


def _owners(cluster: Cluster) -> dict[str, tuple[bytes, bytes]]:
    """Who has which shard since when, and is not over."""
    now_ms = 1000 * int(cluster.redis.time()[0])
    found = {key: cluster.redis.hgetall(key) for key in cluster.key_names("}:owner")}
    return {key: (one[b"token"], one[b"since"]) for key, one in found.items() if int(one[b"expiry"]) > now_ms}


def test_nothing_is_lost_or_run_twice_and_everything_goes_on_when_there_is_room(cluster: Cluster) -> None:
    """The leases here are of three and five seconds, and each has been renewed for more than its own length."""
    gated = _in_flight(cluster, 4)
    _fill(cluster, "1 day")
    workers, owners = _leases(cluster), _owners(cluster)
    (known,) = {worker for shard in workers.values() for worker in shard}
    begun_ms = min(shard[known] for shard in workers.values())

    cluster.ledger.open_gate("go")
    cluster.wait_until(lambda: all(_is_kept(cluster, f"g{n}") for n in range(4)), what="outcomes are in the journals")
    cluster.wait_until(
        lambda: all(shard[known] > begun_ms + 6_000 for shard in _leases(cluster).values()),
        what="the worker's lease is renewed in every shard",
    )
    assert _owners(cluster) == owners
    assert len(owners) == 16
    late = cluster.ready(cluster.worker())
    assert not any(key.endswith("/after") for key in cluster.ledger.counts())
    gated[3].terminate()

    cluster.redis.config_set("maxmemory", "0")
    for instance in gated[:3]:
        assert cluster.result(instance) > 0
    assert late.terminate() == 0
    assert set(cluster.ledger.counts("g").values()) == {1}
    assert "lease lost" not in cluster.logs()


def _is_kept(cluster: Cluster, id: str) -> bool:
    (journal,) = [key for key in cluster.key_names(f":i:gated:{id}:") if key.endswith(":j")]
    return any(bytes(entry)[1:2] == b"S" for entry in cluster.redis.lrange(journal, 0, -1))


def test_what_has_been_kept_long_enough_makes_room_by_itself(cluster: Cluster) -> None:
    gated = _in_flight(cluster, 4)
    _fill(cluster, "8 seconds")
    cluster.ledger.open_gate("go")
    for instance in gated:
        assert cluster.result(instance) > 0
    cluster.wait_until(lambda: not cluster.key_names(":i:chain:"), what="the others are removed as well")
    assert set(cluster.ledger.counts("g").values()) == {1}
    assert len(cluster.ledger.counts("g")) == 8

"""Do connections lead to the primary that the Sentinels name, and follow it when it is another one?"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis as redis_py

from tests.integration.test_connecting import APP, PROCESSES, PYTHON, clients, complaint, environment
from tests.sentinels import PASSWORD, SENTINEL_PASSWORD, SERVICE, Group, Member, free_ports, wait_until
from workflows.client import Client
from workflows.client.aio import AsyncClient
from workflows.dev.embedded import EmbeddedRedis
from workflows.errors import ConfigError, ServerUnavailable
from workflows.storage import sentinels
from workflows.storage.connection import async_producer, connection, producer
from workflows.storage.keys import Keyspace
from workflows.storage.store import Store, open_keyspace

pytestmark = pytest.mark.outage

# A failover asked for by hand is over for the clients when the next look of their process has seen it.
FOLLOW_SECONDS = sentinels.LOOK_SECONDS + 1.0


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    with Group(tmp_path_factory.mktemp("group"), replicas=2) as started:
        yield started


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def run(name: str, folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    command = PROCESSES[name]
    return subprocess.run(command, cwd=folder, env=environment(url), capture_output=True, text=True, timeout=50)


def test_the_command_line_finds_the_primary(group: Group, folder: Path) -> None:
    registered = run("register", folder, group.url)
    assert registered.stdout == "registered shop: order\n", registered.stderr
    doctor = run("doctor", folder, group.url)
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert run("command line", folder, group.url).returncode == 0


def wrong_password(group: Group) -> tuple[str, str]:
    return group.url.replace(SENTINEL_PASSWORD, "wrong"), "No Sentinel says where 'main' is: 127.0.0.1:"


def no_password(group: Group) -> tuple[str, str]:
    return group.url.partition("&sentinel_password")[0], "its credentials are ?sentinel_username= and"


def wrong_password_of_the_primary(group: Group) -> tuple[str, str]:
    return group.url.replace(f":{PASSWORD}@", ":wrong@"), "Redis at main of the Sentinels at 127.0.0.1:"


def unknown_service(group: Group) -> tuple[str, str]:
    return group.url.replace(f"/{SERVICE}?", "/other?"), "No Sentinel knows the service in the URL: other of the"


def nobody_there(group: Group) -> tuple[str, str]:
    one, two = free_ports(2)
    url = f"redis+sentinel://127.0.0.1:{one},127.0.0.1:{two}/main"
    return url, f"No Sentinel of 'main' answers: 127.0.0.1:{one} ("


PROBLEMS = [wrong_password, no_password, wrong_password_of_the_primary, unknown_service, nobody_there]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.__name__)
def test_what_is_wrong_is_said_in_one_line(problem: Callable[[Group], tuple[str, str]], group: Group) -> None:
    url, words = problem(group)
    for attempt in clients(url).values():
        with pytest.raises(ServerUnavailable) as caught:
            attempt()
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.passing == (problem is nobody_there)
        assert PASSWORD not in str(caught.value)
        assert SENTINEL_PASSWORD not in str(caught.value)


@pytest.mark.parametrize("name", PROCESSES)
def test_every_process_says_that_nobody_answers(name: str, group: Group, folder: Path) -> None:
    url, words = nobody_there(group)
    assert words in complaint(PROCESSES[name], folder, url)


def test_a_url_of_a_sentinel_as_if_it_were_redis_is_explained(group: Group) -> None:
    url = f"redis://:{SENTINEL_PASSWORD}@127.0.0.1:{group.sentinels[0].port}"
    with connection(url) as client, pytest.raises(ServerUnavailable, match="is a Sentinel, which keeps nothing"):
        open_keyspace(client, "shop")


def test_a_child_waits_until_a_primary_is_elected(folder: Path, tmp_path: Path) -> None:
    with Group(tmp_path, replicas=0) as group:
        group.servers[0].kill()
        with connection(group.url) as client:
            wait_until(lambda: "none is elected yet" in failure(client.ping), "the Sentinels miss it")
        process = subprocess.Popen(
            [*PYTHON, "orchestrator", "--namespace", "shop"],
            cwd=folder,
            env=environment(group.url, WORKFLOWS_PARENT=str(os.getpid())),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            assert line.startswith("waiting for Redis: No primary of main of the Sentinels at"), line
            group.servers[0].start()
            assert process.stderr.readline().startswith("orchestrator ")
            process.send_signal(signal.SIGTERM)
            process.stderr.read()
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()
            process.stderr.close()


def failure(call: Callable[[], object]) -> str:
    try:
        call()
    except redis_py.RedisError as error:
        return str(error)
    return ""


def test_every_kind_of_connection_follows_a_failover_that_cuts_nobody_off(group: Group) -> None:
    """Asked for by hand, a failover leaves the former primary as it is for some ten seconds: it takes writes, which
    are lost."""
    group.wait_until_whole()
    hot, waiting = (Store(connection(group.url), Keyspace("shop"), hot=True) for _ in range(2))
    client, plain = producer(group.url), connection(group.url)
    listener = plain.pubsub(ignore_subscribe_messages=True)
    popped: list[object] = []

    def pop() -> None:
        try:
            popped.append(waiting.pop_first(["shop:list"], 20))
        except redis_py.ConnectionError as error:
            popped.append(error)

    thread = threading.Thread(target=pop)
    try:
        listener.subscribe("shop")
        thread.start()
        calls: list[Callable[[], int]] = [
            lambda: hot.command("INFO", "server")["tcp_port"],
            lambda: client.info("server")["tcp_port"],
            lambda: plain.info("server")["tcp_port"],
        ]
        former = group.primary
        assert {call() for call in calls} == {former.port}
        group.fail_over()
        deadline = time.monotonic() + FOLLOW_SECONDS
        for call in calls:
            while answered(call) != group.primary.port:
                assert time.monotonic() < deadline
        thread.join(FOLLOW_SECONDS)
        assert isinstance(popped[0], redis_py.ConnectionError)
        with pytest.raises(redis_py.ConnectionError):
            while time.monotonic() < deadline:
                listener.get_message(timeout=FOLLOW_SECONDS)
    finally:
        listener.close()
        for store in (hot, waiting):
            store.close()
        for one in (client, plain):
            one.close()
    wait_until(lambda: "sentinels" not in {one.name for one in threading.enumerate()}, "nobody watches any more")


def answered(call: Callable[[], int]) -> int:
    try:
        return call()
    except redis_py.ConnectionError:
        return 0


def test_an_asynchronous_client_follows_too(group: Group) -> None:
    group.wait_until_whole()

    async def follow() -> None:
        client = async_producer(group.url)
        async with client, client.pubsub() as listener:
            await listener.subscribe("shop")
            await client.ping()
            await asyncio.to_thread(group.fail_over)
            deadline = time.monotonic() + FOLLOW_SECONDS
            port = group.primary.port
            while (await client.info("server"))["tcp_port"] != port:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
            # It subscribes again by itself.
            while not await client.publish("shop", "x"):
                assert time.monotonic() < deadline
                await listener.get_message(timeout=0.02)

    asyncio.run(follow())


def test_a_store_whose_server_is_demoted_leaves_it() -> None:
    """Whoever has no Sentinels may have a name that leads elsewhere now."""
    with EmbeddedRedis(port=0) as server, connection(server.url) as operator:
        hot = Store(connection(server.url), Keyspace("shop"), hot=True)
        before = hot.command("CLIENT", "ID")
        operator.replicaof("127.0.0.1", str(free_ports(1)[0]))
        for _ in range(2):
            with pytest.raises(redis_py.ConnectionError, match="READONLY"):
                hot.command("SET", "shop:x", "1")
        operator.replicaof("NO", "ONE")
        hot.command("SET", "shop:x", "1")
        assert hot.command("CLIENT", "ID") > before

        def demote() -> None:
            wait_until(lambda: operator.info("clients")["blocked_clients"], "it waits")
            operator.replicaof("127.0.0.1", str(free_ports(1)[0]))

        thread = threading.Thread(target=demote)
        thread.start()
        with pytest.raises(redis_py.ConnectionError, match="instance state changed"):
            hot.pop_first(["shop:list"], 20)
        thread.join()
        hot.close()


def test_a_clients_call_to_a_read_only_server_says_so() -> None:
    with EmbeddedRedis(port=0) as server, connection(server.url) as operator:
        operator.replicaof("127.0.0.1", str(free_ports(1)[0]))
        for client in (Client("shop", server.url), AsyncClient("shop", server.url)):
            with pytest.raises(ServerUnavailable, match="is a read-only replica; use the URL of the primary"):
                if isinstance(client, Client):
                    client.workflows()
                else:
                    asyncio.run(client.workflows())


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a node of a Redis Cluster."""
    port = next(port for port in free_ports(50) if port < 55_000)  # its bus takes the one 10,000 further up
    member = Member(tmp_path_factory.mktemp("cluster"), "node", port, ["cluster-enabled yes", "requirepass pw"])
    with member.client("pw") as client:
        wait_until(lambda: not failure(client.ping), "it answers")
    yield f"redis://:pw@127.0.0.1:{port}"
    member.kill()


@pytest.mark.parametrize("name", PROCESSES)
def test_every_process_refuses_a_cluster(name: str, node: str, folder: Path) -> None:
    line = complaint(PROCESSES[name], folder, node)
    assert "belongs to a Redis Cluster, which spreads keys over several servers: use one primary, alone" in line


def test_clients_refuse_a_cluster(node: str) -> None:
    for attempt in clients(node).values():
        with pytest.raises(ServerUnavailable, match="belongs to a Redis Cluster") as caught:
            attempt()
        assert not caught.value.passing
    with redis_py.Redis.from_url(node) as given, pytest.raises(ServerUnavailable, match="belongs to a Redis Cluster"):
        Client("shop", connection=given).workflows()
    with pytest.raises(ServerUnavailable, match="belongs to a Redis Cluster"):
        Client("shop", f"{node}/1").workflows()


def test_a_connection_to_a_cluster_is_refused_when_it_is_given() -> None:
    cluster = redis_py.RedisCluster.__new__(redis_py.RedisCluster)
    with pytest.raises(ConfigError, match="leads to a Redis Cluster"):
        Client("shop", connection=cluster)  # type: ignore[arg-type]

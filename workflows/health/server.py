"""Is this Redis fit to keep workflows? Asked before a process starts on it, and by ``workflows doctor`` (M10, F46).

``judge`` is pure: it reads what the server said about itself. ``check_server`` asks the server, ``boot_guard`` refuses
an unfit one. A server that hides its settings, as managed ones do, is taken at its operator's word: what cannot be
seen, or cannot be changed there, becomes a warning instead of an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import redis

from workflows.errors import ServerUnsuitable
from workflows.storage.outage import CLUSTER, location, server_errors

VERSION_MIN = (6, 2)

REWRITE_OVERDUE_SECONDS = 60
"""An orchestrator asks for it as soon as it has a connection."""

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

SETTINGS = ("appendfsync", "bind", "maxmemory-policy", "port", "protected-mode", "tls-port")
"""What is asked of CONFIG GET; never a password."""

DURABILITY = {
    "always": "AOF always: an acknowledged write survives a power failure",
    "everysec": (
        "AOF everysec: up to about 1 s of acknowledged writes can be lost in a power failure, never torn; a crash of "
        "the server process alone loses what a sync in progress held back, on a good disk nothing, at most about 2 s"
    ),
    "no": (
        "AOF no: the operating system decides when to write, up to about 30 s of acknowledged writes can be lost "
        "in a power failure, never torn"
    ),
}

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing worth saying about the server; the message of a warning or error names the way out."""

    level: Level
    message: str


def judge(
    info: Mapping[str, Any],
    config: Mapping[str, str] | None,
    default_user: Sequence[str] | None = None,
    *,
    unsafe: bool = False,
) -> list[Finding]:
    """What there is to say about a server that describes itself like this.

    Args:
        info: the answer to INFO.
        config: the answer to CONFIG GET for ``SETTINGS``; None where the server forbids it.
        default_user: the flags of the ACL user "default"; None where unknown.
        unsafe: the operator accepts the risks: errors become warnings.
    """
    bad: Level = "warning" if unsafe else "error"
    # Where CONFIG is forbidden the operator cannot act on a finding about settings, so it does not stop anybody.
    settable: Level = bad if config is not None else "warning"
    return [
        _version(info, bad),
        *_mode(info),
        *_role(info, bad),
        *_persistence(info, config, settable, bad),
        _eviction(info, config, settable),
        *_memory(info),
        *_access(config, default_user, settable),
        *_state(info),
    ]


def check_server(client: redis.Redis, *, unsafe: bool = False) -> list[Finding]:
    """Ask a server about itself and judge the answer. Changes nothing, and works while the server still loads its data.

    Raises:
        ServerUnavailable: it does not answer, or refuses the credentials.
    """
    with server_errors(client):
        info: Mapping[str, Any] = client.info("everything")
        config = _config(client)
        flags = _default_user(client)
    return judge(info, config, flags, unsafe=unsafe)


def boot_guard(client: redis.Redis, *, unsafe: bool = False) -> list[Finding]:
    """Refuse a server that would lose data; otherwise return what there is to say, for the log.

    Raises:
        ServerUnsuitable: lists every error and the way out. With ``unsafe`` only for a Cluster.
        ServerUnavailable: it does not answer.
    """
    findings = check_server(client, unsafe=unsafe)
    errors = [finding.message for finding in findings if finding.level == "error"]
    if errors:
        raise ServerUnsuitable(
            f"Redis at {location(client)} is not fit to keep workflows:\n"
            + "".join(f"  - {message}\n" for message in errors)
            + ("Nobody can accept this risk." if unsafe else "Change this, or start with --unsafe to accept the risk.")
        )
    return findings


def _config(client: redis.Redis) -> dict[str, str] | None:
    # One setting a call: Redis 6.2 takes one pattern only.
    found: dict[str, str] = {}
    try:
        for name in SETTINGS:
            found |= {_text(key): _text(value) for key, value in client.config_get(name).items()}
    except (redis.ConnectionError, redis.TimeoutError):
        raise
    except redis.RedisError:
        # No permission, or an unknown command: managed services rename or remove it.
        return None
    return found


def _default_user(client: redis.Redis) -> list[str] | None:
    try:
        user: Any = client.acl_getuser("default")
    except (redis.ConnectionError, redis.TimeoutError):
        raise
    except redis.RedisError:
        return None
    return None if user is None else [_text(flag) for flag in user["flags"]]


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _version(info: Mapping[str, Any], bad: Level) -> Finding:
    # Valkey tells the version of Redis it is compatible with, and its own beside it.
    told = str(info.get("redis_version", ""))
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {told or 'of unknown version'}"
    version = tuple(int(part) for part in re.findall(r"\d+", told)[:2])
    if version < VERSION_MIN:
        return Finding(bad, f"{name} is too old: 6.2 or later is needed.")
    return Finding("ok", name)


def _mode(info: Mapping[str, Any]) -> list[Finding]:
    # The handshake says so before, except through a proxy that keeps it to itself. No risk that one could accept.
    return [Finding("error", f"This server {CLUSTER}.")] if int(info.get("cluster_enabled", 0)) else []


def _role(info: Mapping[str, Any], bad: Level) -> list[Finding]:
    if info.get("role", "master") == "master":
        return []
    primary = f"{info.get('master_host', 'unknown')}:{info.get('master_port', 'unknown')}"
    return [Finding(bad, f"This is a replica, which takes no writes: connect to its primary, {primary}.")]


def _persistence(
    info: Mapping[str, Any], config: Mapping[str, str] | None, settable: Level, bad: Level
) -> list[Finding]:
    if not int(info.get("aof_enabled", 0)):
        return [
            Finding(
                settable,
                "The append-only file is off: a restart loses what happened since the last snapshot, or everything. "
                "Set `appendonly yes`.",
            )
        ]
    findings = []
    if info.get("aof_last_write_status", "ok") != "ok":
        findings.append(Finding(bad, "The last write to the append-only file failed: look at the disk of the server."))
    if info.get("aof_last_bgrewrite_status", "ok") != "ok":
        findings.append(Finding("warning", "The last rewrite of the append-only file failed: it keeps growing."))
    if _is_overdue(info):
        findings.append(
            Finding(
                "warning",
                "The append-only file has not been written anew since the server started: a change that a crash tore "
                "may come back by half at the next start. An orchestrator that may sees to it; or send BGREWRITEAOF.",
            )
        )
    delayed = int(info.get("aof_delayed_fsync", 0))
    if delayed:
        often = "once" if delayed == 1 else f"{delayed} times"
        # Redis holds acknowledged writes back while a sync runs, and counts when that has taken more than two seconds.
        findings.append(
            Finding(
                "warning",
                f"The disk is slow: {often} since the server started, a sync of the append-only file took more "
                "than 2 s (aof_delayed_fsync), for which acknowledged writes stood in memory only, and a crash of the "
                "server process would have lost them. Give it a faster disk, or set `appendfsync always`.",
            )
        )
    sync = (config or {}).get("appendfsync")
    if sync is None:
        findings.append(Finding("warning", "AOF is on, but how often it reaches the disk cannot be seen here."))
    else:
        findings.append(Finding("warning" if sync == "no" else "ok", DURABILITY.get(sync, f"AOF {sync}")))
    return findings


def _is_overdue(info: Mapping[str, Any]) -> bool:
    """Whether nobody has had the append-only file written anew, or is about to, since the server started (F57)."""
    under_way = int(info.get("aof_rewrite_in_progress", 0)) or int(info.get("aof_rewrite_scheduled", 0))
    seconds = int(info.get("uptime_in_seconds", 0))
    return int(info.get("aof_last_rewrite_time_sec", 0)) < 0 and not under_way and seconds >= REWRITE_OVERDUE_SECONDS


def _eviction(info: Mapping[str, Any], config: Mapping[str, str] | None, settable: Level) -> Finding:
    policy = (config or {}).get("maxmemory-policy") or info.get("maxmemory_policy")
    if policy is None:
        return Finding("warning", "The eviction policy cannot be seen here: make sure that it is noeviction.")
    if policy == "noeviction":
        return Finding("ok", "Nothing is evicted when memory is full (noeviction)")
    way_out = f"The eviction policy is {policy}: set `maxmemory-policy noeviction`"
    if int(info.get("maxmemory", 0)):
        return Finding(settable, f"{way_out}, or Redis will drop parts of instances when memory is full.")
    # Nothing is evicted without a limit, but one may be set at any time.
    return Finding("warning", f"{way_out} before anybody sets a maxmemory limit.")


def _memory(info: Mapping[str, Any]) -> list[Finding]:
    """Redis compares the same numbers. No error: an orchestrator has to start, because it makes room."""
    limit = int(info.get("maxmemory", 0))
    used = int(info.get("used_memory", 0)) - int(info.get("mem_not_counted_for_evict", 0))
    if not limit or used <= limit:
        return []
    return [
        Finding(
            "warning",
            f"Memory is full ({used:,} bytes of {limit:,}): nothing new is taken in or begun until there is room. "
            "Raise `maxmemory`, delete instances, or wait until the retention of ended ones is over.",
        )
    ]


def _access(config: Mapping[str, str] | None, default_user: Sequence[str] | None, settable: Level) -> list[Finding]:
    if default_user is None:
        return [Finding("warning", "Whether the default user has a password cannot be seen here.")]
    if "off" in default_user or "nopass" not in default_user:
        return [Finding("ok", "The default user is off or has a password")]
    if config is not None and _local_only(config):
        return [Finding("ok", "No password, and reachable from this machine only")]
    return [
        Finding(
            settable,
            "Anybody who can reach the server owns it: the default user has no password. "
            "Set `requirepass` or ACL users, or let it listen on the loopback address only.",
        )
    ]


def _local_only(config: Mapping[str, str]) -> bool:
    if config.get("port") == "0" and config.get("tls-port", "0") == "0":
        return True
    # A leading "-" means "if that address exists"; no address at all means every address.
    addresses = {address.removeprefix("-") for address in config.get("bind", "").split()}
    if addresses and addresses <= LOOPBACK:
        return True
    # Protected mode answers nobody from elsewhere as long as there is no password.
    return config.get("protected-mode") == "yes"


def _state(info: Mapping[str, Any]) -> list[Finding]:
    if int(info.get("loading", 0)):
        return [Finding("warning", "The server is still loading its data: everything waits until it is ready.")]
    return []

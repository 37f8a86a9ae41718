"""What is wrong with Redis, or with the way to it, as one sentence that says what to do.

Every process asks here, so that a wrong password is called one everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, cast

import redis
import redis.asyncio

from workflows.errors import ServerUnavailable

CLUSTER: Final = (
    "belongs to a Redis Cluster, which spreads keys over several servers: use one primary, alone (redis://) or watched "
    "by Sentinels (redis+sentinel://)"
)
SENTINEL: Final = "is a Sentinel, which keeps nothing: its URL has the form redis+sentinel://host:26379/service?db=0"
_SILENT: Final = "does not answer; is it running, and is the URL right?"
_SLOW: Final = "does not answer in time"
# A server without TLS reads the client's greeting, finds no end of a line in it and waits for more.
_SILENT_TLS: Final = (
    "does not answer to TLS in time; if this port does not speak it, use redis:// in place of rediss://"
)

# The first word that stands in the error's text counts. An error inside a script comes as its text, and Redis before 7
# wraps it; an error of TLS or of the client library's pool comes as a lost connection.
_WORDS: Final = {
    "Too many connections": "was not asked: all connections of this client are in use; give it more (max_connections)",
    "No connection available": (
        "was not asked: all connections of this client were in use for too long; make fewer calls at a time, or give "
        "it more connections (?max_connections=… in the URL)"
    ),
    "max number of clients reached": "has no room for another connection; raise its maxclients",
    "WRONG_VERSION_NUMBER": "does not speak TLS on this port; use redis:// in place of rediss://, or its TLS port",
    "RECORD_LAYER_FAILURE": "does not speak TLS on this port; use redis:// in place of rediss://, or its TLS port",
    "CERTIFICATE_VERIFY_FAILED": (
        "shows a certificate that cannot be verified; name the authority that signed it (?ssl_ca_certs=… in the URL)"
    ),
    "OOM": "is out of memory and takes in nothing new; raise maxmemory or delete instances",
    "READONLY": "is a read-only replica; use the URL of the primary",
    "MISCONF": "cannot write to its disk and takes no writes",
    "LOADING": "is still loading its data; try again in a moment",
    "MASTERDOWN": "is a replica without its primary",
    "NOREPLICAS": "has too few replicas and takes no writes",
    "CLUSTERDOWN": CLUSTER,
    "CROSSSLOT": CLUSTER,
    "cluster mode": CLUSTER,  # said of SELECT
    "NOPERM": "does not allow this user to do that; check its ACL rules",
    "WRONGPASS": "refuses the credentials in the URL",
    "NOAUTH": "wants a password; put it into the URL",
    "Authentication required": "wants a password; put it into the URL",
    "already authenticated": "wants a password; put it into the URL",  # said of HELLO
    "BUSY": "is busy with a script of somebody else",
    "DB index is out of range": "has no database of this number; see its setting `databases`",
}
_PASSING: Final = ("LOADING", "BUSY", "NOREPLICAS", "MASTERDOWN")
_WORD: Final = re.compile("|".join(rf"\b{re.escape(word)}\b" for word in _WORDS))


class Away(redis.ConnectionError):
    """The server cannot be had at the moment. Its text is a whole sentence."""


class Unfit(redis.RedisError):
    """What was met instead of the server that is needed, and no waiting mends it. Its text is a whole sentence."""


def location(client: redis.Redis) -> str:
    """Where a client connects to, for people; never with credentials."""
    settings = client.connection_pool.connection_kwargs
    if "sentinels" in settings:
        return str(settings["sentinels"])
    if "path" in settings:
        return str(settings["path"])
    return f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}"


@contextmanager
def server_errors(client: redis.Redis | redis.asyncio.Redis) -> Iterator[None]:
    """Turn what Redis or the network says about itself into one clear error; everything else passes.

    Raises:
        ServerUnavailable: with what is wrong and what to do, from the original error.
    """
    try:
        yield
    except (Away, Unfit) as error:
        told = ServerUnavailable(str(error))
        told.passing = isinstance(error, Away)
        raise told from error
    except redis.RedisError as error:
        text = unavailable(error)
        if text == _SLOW and "Timeout connecting" in str(error) and _speaks_tls(client):
            text = _SILENT_TLS
        if text is None:
            raise
        said = ServerUnavailable(f"Redis at {location(cast(redis.Redis, client))} {text}: {error}")
        said.passing = _is_passing(text)
        raise said from error


def unavailable(error: redis.RedisError) -> str | None:
    """What the error says about the server, as the rest of a sentence; None when it says nothing."""
    found = _WORD.search(str(error))
    if found is not None:
        return _WORDS[found.group()]
    match error:
        case redis.exceptions.AskError() | redis.exceptions.ClusterCrossSlotError() | redis.exceptions.ClusterError():
            return CLUSTER
        case redis.exceptions.AuthenticationError():
            return _WORDS["WRONGPASS"]
        case redis.exceptions.BusyLoadingError():
            return _WORDS["LOADING"]
        case redis.TimeoutError():
            return _SLOW
        case redis.exceptions.ConnectionError():
            return _SILENT
        case redis.exceptions.OutOfMemoryError():
            return _WORDS["OOM"]
        case redis.exceptions.ReadOnlyError():
            return _WORDS["READONLY"]
        case redis.exceptions.NoPermissionError():
            return _WORDS["NOPERM"]
    return None


def is_full(error: Exception) -> bool:
    """Whether Redis refused a command because its memory is full: nothing of it, or of its script, was done."""
    return isinstance(error, redis.RedisError) and unavailable(error) == _WORDS["OOM"]


def _is_passing(text: str) -> bool:
    return text in (_SILENT, _SLOW, _SILENT_TLS) or text in (_WORDS[word] for word in _PASSING)


def _speaks_tls(client: redis.Redis | redis.asyncio.Redis) -> bool:
    return issubclass(client.connection_pool.connection_class, redis.SSLConnection | redis.asyncio.SSLConnection)

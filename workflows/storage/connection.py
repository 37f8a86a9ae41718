"""The door to Redis: every connection of every process is made here, from a URL that is read here.

``connection`` is for the processes, which must know of every reply that was lost; ``producer`` and ``async_producer``
are for clients, whose calls are repeated. What is wrong with a URL is said in one line.

A URL may hold a password, so no message repeats it, nor the client library's own complaint, which quotes it. What
an option of the client library would change behind the engine's back is refused by name.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

from workflows import limits
from workflows.errors import ConfigError
from workflows.storage import dev_state, lines
from workflows.storage.sentinels import Sentinels

SENTINEL_SCHEME: Final = "redis+sentinel"
SENTINEL_PORT: Final = 26379
SCHEMES: Final = ("redis", "rediss", "unix", SENTINEL_SCHEME)
URL_VARIABLES: Final = ("WORKFLOWS_REDIS_URL", "REDIS_URL")

# A producer's call is repeated this often when its reply is lost, with pauses that stay below a second in all.
RESENDS: Final = 3
RESEND_BACKOFF: Final = ExponentialBackoff(cap=0.3, base=0.02)

_PRODUCER: Final = {"max_connections": limits.CONNECTIONS, "timeout": limits.CONNECTION_WAIT_SECONDS}

_FORMS: Final = (
    "redis://user:password@host:6379/0, rediss://… for TLS, unix:///path/to/redis.sock?db=0, or "
    "redis+sentinel://user:password@host:26379,host:26379/service?db=0"
)
_ESCAPE: Final = "percent-encode what stands between '://' and '@' (Python: urllib.parse.quote(password, safe=''))"

_REFUSED: Final = {
    "decode_responses": "values are bytes",
    "encoding": "values are bytes",
    "encoding_errors": "values are bytes",
    "protocol": "replies are read in one shape",
    "legacy_responses": "replies are read in one shape",
    "retry_on_timeout": "the processes must know of every lost reply, and clients repeat calls by themselves",
    "retry_on_error": "the processes must know of every lost reply, and clients repeat calls by themselves",
}


def redis_url(url: str | None = None) -> str:
    """Where Redis is: as given, else from the environment, else that of a ``workflows dev`` running in this folder.

    Raises:
        ConfigError: none of them.
    """
    for found in (url, *(os.environ.get(name) for name in URL_VARIABLES)):
        if found:
            return found
    running = dev_state.find_running(Path())
    if running is None:
        raise ConfigError(
            f"No Redis URL: pass url=, set {' or '.join(URL_VARIABLES)}, or run `workflows dev` in this folder"
        )
    return running.url


def read(url: str, *, watching: bool = True) -> dict[str, Any]:
    """The options of a connection to ``url``, as the class that ``kind`` names takes them, and for producers' pools
    also ``max_connections`` and ``timeout`` (seconds to wait for one).

    Args:
        watching: see ``Sentinels``.
    Raises:
        ConfigError: it cannot be read, or asks for what the engine cannot work with. Never repeats the URL.
    """
    parts = _split(url)
    options: dict[str, Any] = {
        "socket_timeout": limits.SOCKET_TIMEOUT_SECONDS,
        "socket_connect_timeout": limits.CONNECT_TIMEOUT_SECONDS,
    }
    if parts.username:
        options["username"] = unquote(parts.username)
    if parts.password:
        options["password"] = unquote(parts.password)
    given = {name: _option(parts.scheme, name, text) for name, text in parse_qsl(parts.query, keep_blank_values=True)}
    match parts.scheme:
        case "unix":
            if not parts.path or parts.netloc.rpartition("@")[2]:
                raise _wrong("a unix:// URL names a path, after three slashes")
            return {**options, "path": unquote(parts.path), **given}
        case "redis" | "rediss":
            return {**options, **_host(parts), **given}
        case _:
            return {**options, "socket_keepalive": True, **_led(parts, given, watching=watching)}


def kind(url: str, *, asynchronous: bool = False) -> Any:
    """The class of the connections to ``url``, which can be read."""
    parts = _split(url)
    encrypted = parts.scheme == "rediss" or dict(parse_qsl(parts.query)).get("ssl", "no").lower() in _YES
    return _KINDS["redis" if parts.scheme == "rediss" else parts.scheme][asynchronous][encrypted]


def connection(url: str, *, watching: bool = True, **options: Any) -> redis.Redis:
    """A connection pool for the processes, which must know of every reply that was lost: nothing is sent again.

    Args:
        url: see ``read``.
        watching: see ``Sentinels``.
        options: of the client library's pool; they win over the URL.
    Raises:
        ConfigError: it cannot be read.
    """
    # What is meant for the clients' pools is left out: here each thread keeps one connection and waits for nobody.
    read_options = read(url, watching=watching).items()
    found = {name: value for name, value in read_options if name not in ("max_connections", "timeout")}
    options = {**found, **options}
    pool = redis.ConnectionPool(connection_class=kind(url), retry=Retry(NoBackoff(), 0), **options)
    return redis.Redis.from_pool(pool)


def producer(url: str) -> redis.Redis:
    """A connection pool for producers: calls whose reply was lost are sent again, which is safe because they carry
    ids, and calls wait for one of ``limits.CONNECTIONS`` connections.

    Raises:
        ConfigError: the URL cannot be read.
    """
    retry = Retry(RESEND_BACKOFF, RESENDS, _resent_errors(url))
    options = {**_PRODUCER, "retry": retry, **read(url)}
    pool = redis.BlockingConnectionPool(connection_class=kind(url), **options)  # type: ignore[no-untyped-call]
    return redis.Redis.from_pool(pool)


Given = TypeVar("Given", bound=redis.Redis | redis.asyncio.Redis)


def checked(client: Given) -> Given:
    """A connection made by somebody else.

    Raises:
        ConfigError: it decodes replies to text, and values are bytes; or it leads to a Redis Cluster.
    """
    if isinstance(client, redis.RedisCluster | redis.asyncio.RedisCluster):
        raise ConfigError(
            "The connection leads to a Redis Cluster: make one to a single primary, see docs/operations.md"
        )
    if client.connection_pool.get_encoder().decode_responses:
        raise ConfigError("The connection was made with decode_responses=True; values are bytes, make one without")
    return client


def _resent_errors(url: str) -> tuple[type[redis.RedisError], ...]:
    # A handshake of TLS with a port that does not speak it ends in a timeout, and another one would too.
    encrypted = kind(url) in (lines.EncryptedLine, lines.LedEncryptedLine)
    return (redis.ConnectionError,) if encrypted else (redis.ConnectionError, redis.TimeoutError)


def async_producer(url: str) -> redis.asyncio.Redis:
    """The same for asyncio."""
    retry = AsyncRetry(RESEND_BACKOFF, RESENDS, _resent_errors(url))
    options = {**_PRODUCER, "retry": retry, **read(url)}
    pool = redis.asyncio.BlockingConnectionPool(connection_class=kind(url, asynchronous=True), **options)
    client: redis.asyncio.Redis = redis.asyncio.Redis.from_pool(pool)
    return client


_KINDS: Final[dict[str, tuple[tuple[Any, Any], tuple[Any, Any]]]] = {
    "unix": ((lines.LocalLine, lines.LocalLine), (lines.AsyncLocalLine, lines.AsyncLocalLine)),
    "redis": ((lines.Line, lines.EncryptedLine), (lines.AsyncLine, lines.AsyncEncryptedLine)),
    SENTINEL_SCHEME: ((lines.LedLine, lines.LedEncryptedLine), (lines.AsyncLedLine, lines.AsyncLedEncryptedLine)),
}
"""By scheme; blocking and asynchronous; plain and over TLS."""


def _wrong(reason: str) -> ConfigError:
    return ConfigError(f"Cannot read the Redis URL: {reason}. It has the form {_FORMS}")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _wrong(f"its host or password holds a bracket; {_ESCAPE}") from None
    if parts.scheme not in SCHEMES:
        raise _wrong("it must begin with redis://, rediss://, unix:// or redis+sentinel://")
    if parts.scheme != "unix" and "@" in parts.path + parts.fragment:
        raise _wrong(f"its password seems to hold '/', '?' or '#'; {_ESCAPE}")
    if parts.fragment:
        raise _wrong(f"a '#' stands in it; {_ESCAPE}")
    return parts


def _host(parts: SplitResult) -> dict[str, Any]:
    found: dict[str, Any] = {"socket_keepalive": True, "host": parts.hostname or "localhost"}
    try:
        found["port"] = parts.port if parts.port is not None else 6379
    except ValueError:
        raise _wrong(f"its port is not a number from 0 to 65535, or its password holds ':'; {_ESCAPE}") from None
    if parts.path.strip("/"):
        found["db"] = _number("db", parts.path.strip("/"))
    return found


def _led(parts: SplitResult, given: dict[str, Any], *, watching: bool) -> dict[str, Any]:
    """Who leads to the primary, and the options of connections to it."""
    service = unquote(parts.path.strip("/"))
    if not service or "/" in service:
        raise _wrong("behind the hosts of the Sentinels stands the name of their service, and nothing else")
    places = tuple(_place(text) for text in parts.netloc.rpartition("@")[2].split(","))
    encrypted, led = given.get("ssl", False), given.get("sentinel_ssl", False)
    certificates = {name: value for name, value in given.items() if name.startswith("ssl_")}
    if certificates and not (encrypted or led):
        raise _wrong("options of TLS need ssl=true (to the primary), sentinel_ssl=true (to the Sentinels) or both")
    theirs = {name: given[f"sentinel_{name}"] for name in ("username", "password") if f"sentinel_{name}" in given}
    theirs |= certificates if led else {}
    found = _sentinels(places, service, tuple(theirs.items()), led, watching)
    ours = {
        name: value
        for name, value in given.items()
        if name != "ssl" and not name.startswith("sentinel_") and (encrypted or not name.startswith("ssl_"))
    }
    return {**ours, "sentinels": found}


@cache
def _sentinels(
    places: tuple[tuple[str, int], ...], service: str, options: tuple[tuple[str, Any], ...], led: bool, watching: bool
) -> Sentinels:
    # One of a kind in a process: what one connection learns of a failover, all others have to follow.
    return Sentinels(places, service, dict(options), encrypted=led, watching=watching)


def _place(text: str) -> tuple[str, int]:
    try:
        one = urlsplit(f"//{text}")
        port = one.port
    except ValueError:
        raise _wrong(f"the port of a Sentinel is not a number from 0 to 65535; {_ESCAPE}") from None
    if not one.hostname:
        raise _wrong("it names no Sentinel, or an empty one: hosts are separated by commas")
    return one.hostname, SENTINEL_PORT if port is None else port


def _option(scheme: str, name: str, text: str) -> Any:
    if "@" in name:
        raise _wrong(f"its password seems to hold '?'; {_ESCAPE}")
    if name in _REFUSED:
        raise _wrong(f"the option {name} cannot be used here, because {_REFUSED[name]}; leave it out")
    parser = _PARSERS.get(name)
    if parser is None or not _fits(scheme, name):
        usable = ", ".join(sorted(one for one in _PARSERS if _fits(scheme, one)))
        raise _wrong(f"{scheme}:// takes no option {name!r:.60}; there are: {usable}")
    return parser(name, text)


def _fits(scheme: str, name: str) -> bool:
    if name == "ssl" or name.startswith("sentinel_"):
        return scheme == SENTINEL_SCHEME
    if name.startswith("ssl_"):
        return scheme in ("rediss", SENTINEL_SCHEME)
    return name != "socket_keepalive" or scheme != "unix"


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise _wrong(f"{'the database' if name == 'db' else name} is not a whole number")
    return int(text)


def _count(name: str, text: str) -> int:
    number = _number(name, text)
    if number < 1:
        raise _wrong(f"{name} must be at least 1")
    return number


def _seconds(name: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e6:
        raise _wrong(f"{name} must be a number of seconds above 0")
    if name == "socket_timeout" and seconds < limits.SOCKET_TIMEOUT_SECONDS_MIN:
        raise _wrong(
            f"socket_timeout must be at least {limits.SOCKET_TIMEOUT_SECONDS_MIN:g} seconds, because a blocking read "
            f"may take more than one; the default is {limits.SOCKET_TIMEOUT_SECONDS:g}"
        )
    return seconds


def _flag(name: str, text: str) -> bool:
    if text.lower() not in _YES | _NO:
        raise _wrong(f"{name} must be true or false")
    return text.lower() in _YES


def _text(name: str, text: str) -> str:
    return text


_YES: Final = frozenset({"true", "yes", "1"})
_NO: Final = frozenset({"false", "no", "0"})

_PARSERS: Final[dict[str, Callable[[str, str], Any]]] = {
    "db": _number,
    "username": _text,
    "password": _text,
    "client_name": _text,
    "health_check_interval": _number,
    "max_connections": _count,
    "sentinel_password": _text,
    "sentinel_ssl": _flag,
    "sentinel_username": _text,
    "socket_connect_timeout": _seconds,
    "socket_keepalive": _flag,
    "socket_timeout": _seconds,
    "timeout": _seconds,
    "ssl": _flag,
    "ssl_ca_certs": _text,
    "ssl_ca_path": _text,
    "ssl_cert_reqs": _text,
    "ssl_certfile": _text,
    "ssl_check_hostname": _flag,
    "ssl_keyfile": _text,
    "ssl_password": _text,
}

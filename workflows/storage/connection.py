"""The door to Redis: every connection of every process is made here, from a URL that is read here.

``connection`` is for the processes, which must know of every reply that was lost; ``producer`` and ``async_producer``
are for clients, whose calls are repeated. What is wrong with a URL is said in one line.

A URL may hold a password, so no message repeats it, nor the client library's own complaint, which quotes it. What
an option of the client library would change behind the engine's back is refused by name.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

from workflows import limits
from workflows.errors import ConfigError
from workflows.storage import dev_state

URL_VARIABLES: Final = ("WORKFLOWS_REDIS_URL", "REDIS_URL")

# A connection that has said nothing for this long is taken for dead (F48). Blocking reads stay well below it.
SOCKET_TIMEOUT_SECONDS: Final = 10.0
SOCKET_TIMEOUT_SECONDS_MIN: Final = 3.0
CONNECT_TIMEOUT_SECONDS: Final = 5.0

# A producer's call is repeated this often when its reply is lost, with pauses that stay below a second in all.
RESENDS: Final = 3
RESEND_BACKOFF: Final = ExponentialBackoff(cap=0.3, base=0.02)

_PRODUCER: Final = {"max_connections": limits.CONNECTIONS, "timeout": limits.CONNECTION_WAIT_SECONDS}

_FORMS: Final = "redis://user:password@host:6379/0, rediss://… for TLS, or unix:///path/to/redis.sock?db=0"
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


def read(url: str) -> dict[str, Any]:
    """The options of a connection to ``url``, as redis-py's ``Connection`` takes them, and for producers' pools also
    ``max_connections`` and ``timeout`` (seconds to wait for one). Without ``connection_class``: see ``kind``.

    Raises:
        ConfigError: it cannot be read, or asks for what the engine cannot work with. Never repeats the URL.
    """
    parts = _split(url)
    options: dict[str, Any] = {
        "socket_timeout": SOCKET_TIMEOUT_SECONDS,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
    }
    if parts.username:
        options["username"] = unquote(parts.username)
    if parts.password:
        options["password"] = unquote(parts.password)
    if parts.scheme == "unix":
        if not parts.path or parts.netloc.rpartition("@")[2]:
            raise _wrong("a unix:// URL names a path, after three slashes")
        options["path"] = unquote(parts.path)
    else:
        options |= _host(parts)
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        options[name] = _option(parts.scheme, name, text)
    return options


def kind(url: str, library: Any = redis) -> Any:
    """The class of the connections to ``url``: of ``redis`` or of ``redis.asyncio``."""
    scheme = url.partition(":")[0]
    if scheme == "unix":
        return library.UnixDomainSocketConnection
    return library.SSLConnection if scheme == "rediss" else library.Connection


def connection(url: str, **options: Any) -> redis.Redis:
    """A connection pool for the processes, which must know of every reply that was lost: nothing is sent again.

    Args:
        url: see ``read``.
        options: of the client library's pool; they win over the URL.
    Raises:
        ConfigError: it cannot be read.
    """
    # What is meant for the clients' pools is left out: here each thread keeps one connection and waits for nobody.
    found = {name: value for name, value in read(url).items() if name not in ("max_connections", "timeout")}
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


def _resent_errors(url: str) -> tuple[type[redis.RedisError], ...]:
    # A handshake of TLS with a port that does not speak it ends in a timeout, and another one would too.
    return (redis.ConnectionError,) if url.startswith("rediss:") else (redis.ConnectionError, redis.TimeoutError)


def async_producer(url: str) -> redis.asyncio.Redis:
    """The same for asyncio."""
    retry = AsyncRetry(RESEND_BACKOFF, RESENDS, _resent_errors(url))
    options = {**_PRODUCER, "retry": retry, **read(url)}
    pool = redis.asyncio.BlockingConnectionPool(connection_class=kind(url, redis.asyncio), **options)
    client: redis.asyncio.Redis = redis.asyncio.Redis.from_pool(pool)
    return client


def _wrong(reason: str) -> ConfigError:
    return ConfigError(f"Cannot read the Redis URL: {reason}. It has the form {_FORMS}")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _wrong(f"its host or password holds a bracket; {_ESCAPE}") from None
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise _wrong("it must begin with redis://, rediss:// or unix://")
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


def _option(scheme: str, name: str, text: str) -> Any:
    if "@" in name:
        raise _wrong(f"its password seems to hold '?'; {_ESCAPE}")
    if name in _REFUSED:
        raise _wrong(f"the option {name} cannot be used here, because {_REFUSED[name]}; leave it out")
    parser = _PARSERS.get(name)
    fits = parser is not None and not (
        (name.startswith("ssl_") and scheme != "rediss") or (name == "socket_keepalive" and scheme == "unix")
    )
    if parser is None or not fits:
        usable = ", ".join(sorted(one for one in _PARSERS if scheme == "rediss" or not one.startswith("ssl_")))
        raise _wrong(f"{scheme}:// takes no option {name!r:.60}; there are: {usable}")
    return parser(name, text)


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
    if name == "socket_timeout" and seconds < SOCKET_TIMEOUT_SECONDS_MIN:
        raise _wrong(
            f"socket_timeout must be at least {SOCKET_TIMEOUT_SECONDS_MIN:g} seconds, because a blocking read may take "
            f"more than one; the default is {SOCKET_TIMEOUT_SECONDS:g}"
        )
    return seconds


def _flag(name: str, text: str) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in known:
        raise _wrong(f"{name} must be true or false")
    return known[text.lower()]


def _text(name: str, text: str) -> str:
    return text


_PARSERS: Final[dict[str, Callable[[str, str], Any]]] = {
    "db": _number,
    "username": _text,
    "password": _text,
    "client_name": _text,
    "health_check_interval": _number,
    "max_connections": _count,
    "socket_connect_timeout": _seconds,
    "socket_keepalive": _flag,
    "socket_timeout": _seconds,
    "timeout": _seconds,
    "ssl_ca_certs": _text,
    "ssl_ca_path": _text,
    "ssl_cert_reqs": _text,
    "ssl_certfile": _text,
    "ssl_check_hostname": _flag,
    "ssl_keyfile": _text,
    "ssl_password": _text,
}

"""Does every URL either lead to the Redis it names, or to one line that says what is wrong with it?"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
import redis as redis_py

from workflows import limits
from workflows.errors import ConfigError
from workflows.storage import connection as address
from workflows.storage.connection import async_producer, connection, producer

SECRET = "xyzzy"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", {"host": "localhost", "port": 6379}),
        ("redis://one/2", {"host": "one", "db": 2}),
        ("redis://one:7000", {"host": "one", "port": 7000}),
        ("redis://one?db=3", {"host": "one", "db": 3}),
        ("redis://[::1]:7000/1", {"host": "::1", "port": 7000, "db": 1}),
        ("redis://ann:p%2Fw@one/0", {"username": "ann", "password": "p/w", "host": "one", "db": 0}),
        ("redis://:a:b@c@one", {"password": "a:b@c", "host": "one"}),
        ("rediss://one?ssl_cert_reqs=none", {"host": "one", "ssl_cert_reqs": "none"}),
        ("redis://one?socket_timeout=5&client_name=shop", {"socket_timeout": 5.0, "client_name": "shop"}),
        ("unix:///run/a%20b.sock?db=4", {"path": "/run/a b.sock", "db": 4}),
        ("unix://ann:pw@/run/redis.sock", {"username": "ann", "password": "pw", "path": "/run/redis.sock"}),
    ],
)
def test_a_url_is_read(url: str, expected: dict[str, Any]) -> None:
    assert address.read(url).items() >= expected.items()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "must begin with redis://"),
        ("localhost:6379", "must begin with redis://"),
        ("http://localhost", "must begin with redis://"),
        (f"rediss+sentinel://:{SECRET}@one/main", "must begin with redis://"),
        (f"redis+sentinel://:{SECRET}@one", "stands the name of their service"),
        (f"redis+sentinel://:{SECRET}@one/main/0", "stands the name of their service"),
        (f"redis+sentinel://:{SECRET}@one,,two/main", "names no Sentinel, or an empty one"),
        (f"redis+sentinel://:{SECRET}@one:x/main", "the port of a Sentinel is not a number"),
        (f"redis+sentinel://:a/{SECRET}@one/main", "percent-encode"),
        ("redis+sentinel://one/main?ssl_ca_certs=/ca.pem", "options of TLS need ssl=true"),
        ("redis://one?sentinel_password=a", "takes no option 'sentinel_password'"),
        ("rediss://one?ssl=true", "takes no option 'ssl'"),
        (f"redis://:a/{SECRET}@one:6379/0", "percent-encode"),
        (f"redis://:a?{SECRET}@one:6379/0", "percent-encode"),
        (f"redis://:a#{SECRET}@one:6379/0", "percent-encode"),
        (f"redis://:a[{SECRET}@one:6379/0", "percent-encode"),
        (f"redis://:{SECRET}@one:seven", "port is not a number"),
        (f"redis://:{SECRET}@one:70000", "port is not a number"),
        ("redis://one/shop", "the database is not a whole number"),
        ("redis://one/0/1", "the database is not a whole number"),
        ("redis://one?db=-1", "the database is not a whole number"),
        ("redis://one?decode_responses=true", "decode_responses cannot be used here, because values are bytes"),
        ("redis://one?protocol=3", "protocol cannot be used here"),
        ("redis://one?retry_on_timeout=true", "retry_on_timeout cannot be used here"),
        ("redis://one?socket_timeout=soon", "socket_timeout must be a number of seconds"),
        ("redis://one?socket_timeout=0.5", "socket_timeout must be at least 3 seconds"),
        ("redis://one?socket_timeout=nan", "socket_timeout must be a number of seconds"),
        ("redis://one?max_connections=0", "max_connections must be at least 1"),
        ("redis://one?sockettimeout=9", "takes no option 'sockettimeout'; there are: client_name"),
        ("redis://one?ssl_ca_certs=/ca.pem", "takes no option 'ssl_ca_certs'"),
        ("unix:///run/redis.sock?socket_keepalive=true", "takes no option 'socket_keepalive'"),
        ("unix://run/redis.sock", "names a path, after three slashes"),
    ],
)
def test_what_is_wrong_with_a_url_is_said_in_one_line_without_its_password(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        address.read(url)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_url_of_sentinels_is_read() -> None:
    url = "redis+sentinel://ann:p%2Fw@one,[::1]:7000/main?db=2&ssl=yes&ssl_ca_certs=/ca.pem&socket_timeout=5"
    url += "&sentinel_username=bo&sentinel_password=p&sentinel_ssl=yes"
    options = address.read(url)
    led = options.pop("sentinels")
    assert (led.places, led.service) == ((("one", 26379), ("::1", 7000)), "main")
    assert options == {
        "username": "ann",
        "password": "p/w",
        "db": 2,
        "socket_timeout": 5.0,
        "socket_connect_timeout": limits.CONNECT_TIMEOUT_SECONDS,
        "socket_keepalive": True,
        "ssl_ca_certs": "/ca.pem",
    }
    asked = led._line(redis_py, led.places[1])
    assert isinstance(asked, redis_py.SSLConnection)
    assert (asked.host, asked.port, asked.username, asked.password, asked.ca_certs) == (
        "::1",
        7000,
        "bo",
        "p",
        "/ca.pem",
    )
    assert address.read(url)["sentinels"] is led, "what one connection learns, all others have to follow"
    plain = address.read("redis+sentinel://one/main?sentinel_ssl=yes&ssl_ca_certs=/ca.pem")
    assert "ssl_ca_certs" not in plain


def test_every_option_reaches_a_connection_of_every_kind() -> None:
    """An option that the client library does not take would raise at the first call only."""
    plain = (
        "client_name=a&health_check_interval=5&max_connections=3&socket_connect_timeout=2&timeout=1&socket_timeout=4"
    )
    tls = "".join(
        f"&ssl_{name}=none" for name in ("ca_certs", "ca_path", "cert_reqs", "certfile", "keyfile", "password")
    )
    tls += "&ssl_check_hostname=no"
    named = "&username=ann&password=pw&db=1"
    for url in (
        f"redis://one?socket_keepalive=1&{plain}{named}",
        f"rediss://one?socket_keepalive=1&{plain}{tls}{named}",
        f"unix:///one.sock?{plain}{named}",
        f"redis+sentinel://one/main?socket_keepalive=1&{plain}{named}&sentinel_username=bo&sentinel_password=pw",
        f"redis+sentinel://one/main?socket_keepalive=1&{plain}{tls}{named}&ssl=1&sentinel_ssl=1",
    ):
        for made in (connection(url), producer(url)):
            line = made.connection_pool.make_connection()
            assert (line.client_name, line.socket_timeout, line.db) == ("a", 4.0, 1)
        assert async_producer(url).connection_pool.make_connection().client_name == "a"
        assert producer(url).connection_pool.max_connections == 3


def test_any_password_works_once_it_is_quoted(redis: redis_py.Redis, redis_url: str) -> None:
    password = "a/b?c#d@e:f[g]%h i"
    path = redis_py.Redis.from_url(redis_url).connection_pool.connection_kwargs["path"]
    redis.execute_command("ACL", "SETUSER", "ann", "on", f">{password}", "~*", "+@all")
    try:
        client = connection(f"unix://ann:{quote(password, safe='')}@{quote(path)}?db=0")
        assert client.execute_command("ACL", "WHOAMI") == b"ann"
        client.close()
    finally:
        redis.execute_command("ACL", "DELUSER", "ann")

"""Connections of the engine: redis-py's, which notice in addition that their server is not the one they are meant for.

The handshake tells what kind of server answers, so a node of a Cluster is refused wherever it is met. A server that was
demoted answers READONLY: such a connection is closed and the answer becomes an outage, so that whoever holds it makes
another one in place of asking the same server for ever. With Sentinels, each is made to the primary that they name.
"""

from __future__ import annotations

import asyncio
import socket
import weakref
from functools import partial
from typing import Any

import redis
import redis.asyncio
from redis.exceptions import MasterDownError, ReadOnlyError

from workflows.storage.outage import CLUSTER, SENTINEL, Away, Unfit
from workflows.storage.sentinels import Sentinels


def check_mode(mode: object, where: str) -> None:
    """Refuse a server that keeps no keys, or not all of them.

    Args:
        mode: as the server calls it: ``standalone``, ``cluster`` or ``sentinel``; None when it does not say.
    Raises:
        Unfit: it is not ``standalone``.
    """
    text = mode.decode() if isinstance(mode, bytes) else mode
    if text in ("cluster", "sentinel"):
        raise Unfit(f"Redis at {where} {CLUSTER if text == 'cluster' else SENTINEL}")


def _is_demotion(error: redis.ResponseError) -> bool:
    # Who blocks while its server is demoted is told UNBLOCKED. Before Redis 7 a script's error stands inside another.
    text = str(error)
    return isinstance(error, ReadOnlyError | MasterDownError) or text.startswith("UNBLOCKED") or "-READONLY " in text


class _Watchful:
    """What the lines have in common, blocking or not. Stands before a class of redis-py."""

    handshake_metadata: Any
    _host_error: Any

    def _check_server(self) -> None:
        check_mode((self.handshake_metadata or {}).get(b"mode"), self._host_error())

    def _outage(self, error: redis.ResponseError) -> redis.ConnectionError:
        """What a demotion comes as. The words of the server stay: they say what kind of answer it was."""
        kind = "READONLY" if isinstance(error, ReadOnlyError) else ""
        return redis.ConnectionError(f"{kind} {error}".strip())


class _Blocking(_Watchful):
    def on_connect_check_health(self, check_health: bool = True) -> None:
        super().on_connect_check_health(check_health=check_health)  # type: ignore[misc]
        self._check_server()

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except redis.ResponseError as error:
            if not _is_demotion(error):
                raise
            self.disconnect()  # type: ignore[attr-defined]
            raise self._outage(error) from error


class _Asynchronous(_Watchful):
    _is_greeting = False

    async def connect_check_health(self, *args: Any, **options: Any) -> None:
        try:
            await super().connect_check_health(*args, **options)  # type: ignore[misc]
        except redis.ConnectionError as error:
            # redis-py makes a lost connection of everything that happens here.
            if isinstance(error.__cause__, redis.RedisError):
                raise error.__cause__ from None
            raise

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        self.handshake_metadata, self._is_greeting = None, True
        try:
            await super().on_connect_check_health(check_health=check_health)  # type: ignore[misc]
        finally:
            self._is_greeting = False
        self._check_server()

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            answer = await super().read_response(*args, **options)  # type: ignore[misc]
            if self._is_greeting and isinstance(answer, dict):
                self.handshake_metadata = answer  # which redis-py keeps for blocking connections only
            return answer
        except redis.ResponseError as error:
            if not _is_demotion(error):
                raise
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise self._outage(error) from error


class _Led(_Watchful):
    """Led by Sentinels to the primary of their service.

    Args:
        sentinels: whom to ask, each time a connection is made.
    """

    host: str
    port: int

    def __init__(self, *, sentinels: Sentinels, **options: Any) -> None:
        self._sentinels = sentinels
        super().__init__(**options)
        weakref.finalize(self, sentinels.closed, id(self)).atexit = False

    def _check_server(self) -> None:
        super()._check_server()
        # A Sentinel that was cut off from the others names a former one.
        if (self.handshake_metadata or {}).get(b"role") not in (None, b"master"):
            self._sentinels.doubt()
            raise Away(f"Redis at {self._host_error()} is no primary of {self._sentinels} any more")

    def _outage(self, error: redis.ResponseError) -> redis.ConnectionError:
        return Away(f"Redis at {self._host_error()} is no primary of {self._sentinels} any more: {error}")


class _LedBlocking(_Led, _Blocking):
    def _connect(self) -> Any:
        self.host, self.port = address = self._sentinels.primary()
        sock = super()._connect()  # type: ignore[misc]
        # TLS has a shutdown of its own, which is not for other threads: whoever reads there reads the end all the same.
        self._sentinels.opened(id(self), partial(socket.socket.shutdown, sock, socket.SHUT_RDWR), address)
        return sock

    def disconnect(self, *args: Any, **options: Any) -> None:
        self._sentinels.closed(id(self))
        super().disconnect(*args, **options)  # type: ignore[misc]


class _LedAsynchronous(_Led, _Asynchronous):
    _writer: Any

    async def _connect(self) -> None:
        self.host, self.port = address = await self._sentinels.primary_now()
        await super()._connect()  # type: ignore[misc]
        loop = asyncio.get_running_loop()
        cut = partial(loop.call_soon_threadsafe, self._writer.transport.abort)
        self._sentinels.opened(id(self), cut, address)

    async def disconnect(self, *args: Any, **options: Any) -> None:
        self._sentinels.closed(id(self))
        await super().disconnect(*args, **options)  # type: ignore[misc]


class Line(_Blocking, redis.Connection):
    """To a host and port."""


class EncryptedLine(_Blocking, redis.SSLConnection):
    """The same over TLS."""


class LocalLine(_Blocking, redis.UnixDomainSocketConnection):
    """To a socket in the file system."""


class LedLine(_LedBlocking, redis.Connection):
    """To the primary that Sentinels name."""


class LedEncryptedLine(_LedBlocking, redis.SSLConnection):
    """The same over TLS."""


class AsyncLine(_Asynchronous, redis.asyncio.Connection):
    """See ``Line``."""


class AsyncEncryptedLine(_Asynchronous, redis.asyncio.SSLConnection):
    """See ``EncryptedLine``."""


class AsyncLocalLine(_Asynchronous, redis.asyncio.UnixDomainSocketConnection):
    """See ``LocalLine``."""


class AsyncLedLine(_LedAsynchronous, redis.asyncio.Connection):
    """See ``LedLine``."""


class AsyncLedEncryptedLine(_LedAsynchronous, redis.asyncio.SSLConnection):
    """See ``LedEncryptedLine``."""

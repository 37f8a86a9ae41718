"""An HTTP endpoint for one text, without a thread of its own: a worker's parent forks and must not have any.

Whoever has a loop with ``select`` asks which sockets to wait for and hands over those that are ready; nothing here ever
blocks. A client may take its time or say nonsense: its connection is closed after a while, and there are never many.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final

from workflows.clock import monotonic
from workflows.process.ready import ready
from workflows.telemetry.text import CONTENT_TYPE

_log = logging.getLogger("workflows.metrics")

PATHS: Final = (b"/metrics", b"/")
CONNECTIONS_MAX: Final = 16
REQUEST_BYTES_MAX: Final = 8_192
CONNECTION_SECONDS: Final = 10.0
# Somebody else has the port, a process that is about to end perhaps.
OPEN_AGAIN_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 0.5


class _Connection:
    def __init__(self, socket_: socket.socket) -> None:
        self.socket = socket_
        self.closes = monotonic() + CONNECTION_SECONDS
        self.request = b""
        self.answer: memoryview | None = None

    def fileno(self) -> int:
        return self.socket.fileno()


class Endpoint:
    """Serves ``GET /metrics``.

    Args:
        host, port: where; port 0 takes a free one, which the log names.
        text: makes the answer.
    """

    def __init__(self, host: str, port: int, text: Callable[[], str]) -> None:
        self._address = (host, port)
        self._text = text
        self._listener: socket.socket | None = None
        self._connections: list[_Connection] = []
        self._open_at = 0.0
        self._has_warned = False
        self._is_closed = False

    def reading(self) -> list[socket.socket | _Connection]:
        """What to wait for until it can be read."""
        self._open()
        found: list[socket.socket | _Connection] = [one for one in self._connections if one.answer is None]
        if self._listener is not None and len(self._connections) < CONNECTIONS_MAX:
            found.append(self._listener)
        return found

    def writing(self) -> list[_Connection]:
        """What to wait for until it can be written to."""
        return [one for one in self._connections if one.answer is not None]

    def serve(self, ready: Collection[object]) -> None:
        """Go on with those of them that are ready, and close what has taken too long."""
        if self._listener in ready:
            self._accept()
        now = monotonic()
        for one in list(self._connections):
            if one in ready:
                self._go_on(one)
            elif now >= one.closes:
                self._drop(one)

    def serve_forever(self, stop: Callable[[], bool]) -> None:
        """On a thread of its own, for those who may have threads; until ``stop`` answers True."""
        while not stop():
            self.serve(ready(self.reading(), self.writing(), LOOK_SECONDS))
        self.close()

    def start(self, stop: Callable[[], bool]) -> None:
        """The same, on a thread that is made here."""
        threading.Thread(target=self.serve_forever, args=(stop,), name="metrics", daemon=True).start()

    def close(self) -> None:
        """For good. A fork has to, or it would keep the port of the process that it came from."""
        self._is_closed = True
        for one in list(self._connections):
            self._drop(one)
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _open(self) -> None:
        if self._listener is not None or self._is_closed or monotonic() < self._open_at:
            return
        self._open_at = monotonic() + OPEN_AGAIN_SECONDS
        host, port = self._address
        try:
            listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        except OSError as error:
            # Work goes on without: whoever watches sees that there is nothing to be had here.
            if not self._has_warned:
                _log.warning("metrics not served", extra={"host": host, "port": port, "error": error})
            self._has_warned = True
            return
        listener.setblocking(False)
        self._listener = listener
        _log.info("metrics served", extra={"host": host, "port": listener.getsockname()[1]})

    def _accept(self) -> None:
        assert self._listener is not None
        with suppress(OSError):  # it has gone away already
            accepted, _ = self._listener.accept()
            accepted.setblocking(False)
            self._connections.append(_Connection(accepted))

    def _go_on(self, one: _Connection) -> None:
        try:
            if one.answer is None:
                self._read(one)
            else:
                one.answer = one.answer[one.socket.send(one.answer) :]
                if not one.answer:
                    self._drop(one)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(one)

    def _read(self, one: _Connection) -> None:
        heard = one.socket.recv(REQUEST_BYTES_MAX)
        one.request += heard
        if b"\r\n\r\n" in one.request or b"\n\n" in one.request:
            one.answer = memoryview(self._answer(one.request))
        elif not heard or len(one.request) > REQUEST_BYTES_MAX:
            self._drop(one)

    def _answer(self, request: bytes) -> bytes:
        words = request.split(b"\r\n", 1)[0].split()
        path = words[1].partition(b"?")[0] if len(words) == 3 else b""
        if words[:1] not in ([b"GET"], [b"HEAD"]):
            return _response("405 Method Not Allowed", b"only GET\n")
        if path not in PATHS:
            return _response("404 Not Found", b"see /metrics\n")
        try:
            text = self._text()
        except Exception:
            # Whoever serves this has other things to do that must go on.
            _log.exception("metrics failed")
            return _response("500 Internal Server Error", b"the log says why\n")
        response = _response("200 OK", text.encode(), CONTENT_TYPE)
        return response if words[0] == b"GET" else response.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"

    def _drop(self, one: _Connection) -> None:
        self._connections.remove(one)
        one.socket.close()


def _response(status: str, body: bytes, kind: str = "text/plain; charset=utf-8") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body

"""Asks Sentinels which server is the primary of a service, and shuts connections that lead to another one.

A connection whose server was demoted may not notice: nothing is closed when a failover is asked for by hand, or when
the old primary is merely out of everybody else's reach, and what it still accepts is lost. So one thread of a process
that has such connections asks on, and shuts those to a former primary under whoever uses them; all of them take a
closed connection for an outage, and the next one leads to where the Sentinels point.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import redis
import redis.asyncio

from workflows.storage.outage import Away, Unfit

LOOK_SECONDS: Final = 1.0
# A Sentinel does nothing but answer; one that needs longer is taken for gone, and the next one is asked.
ANSWER_SECONDS: Final = 1.0

Address = tuple[str, int]

# Without HELLO and CLIENT, which not every version of Sentinel, nor every user there, may have.
_OPTIONS: Final = {
    "protocol": 2,
    "driver_info": None,
    "socket_timeout": ANSWER_SECONDS,
    "socket_connect_timeout": ANSWER_SECONDS,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a Sentinel says of a service.

    Attributes:
        epoch: of its configuration; it grows with every failover, so that a higher one is later.
        down: this Sentinel does not reach it.
    """

    address: Address
    epoch: int
    down: bool


class Sentinels:
    """The Sentinels of one service, with what this process has learnt from them.

    Args:
        places: where they are, in the order in which they are asked.
        service: the name under which they watch the primary.
        options: of a connection to each, beyond its place.
        encrypted: whether to speak TLS with them.
        watching: False for a process that must not have threads; it learns of failovers as it makes connections.
    """

    def __init__(
        self,
        places: Sequence[Address],
        service: str,
        options: Mapping[str, Any],
        *,
        encrypted: bool = False,
        watching: bool = True,
    ) -> None:
        self.places = places
        self.service = service
        self._options = {**_OPTIONS, **options}
        self._encrypted = encrypted
        self._watching = watching
        self._first = 0
        self.known: Answer | None = None
        # What is open: how to cut it, and where it leads. Changed in one step each, so that there is no lock, which a
        # fork could inherit.
        self._open: dict[int, tuple[Callable[[], object], Address]] = {}
        self._thread: threading.Thread | None = None
        _all.add(self)

    def __str__(self) -> str:
        return f"{self.service} of the Sentinels at {', '.join(f'{host}:{port}' for host, port in self.places)}"

    def primary(self) -> Address:
        """Where the primary is now.

        Raises:
            Away: no Sentinel answers, or they know of no primary that is up; this passes.
            Unfit: they do not know the service, or refuse to say.
        """
        return self._inquire(self._first)

    async def primary_now(self) -> Address:
        """The same for asyncio."""
        inquiry = _Inquiry(self)
        for number, place in self._in_order(self._first):
            if inquiry.is_settled_by(place, await self._ask_now(place)):
                self._first = number
                break
        return self._learn(inquiry.answer(self.known))

    def doubt(self) -> None:
        """The last answer led to a server that is no primary: ask another Sentinel first."""
        self._first = (self._first + 1) % len(self.places)

    def opened(self, line: int, cut: Callable[[], object], address: Address) -> None:
        """A connection leads there now; it is cut once the primary is another one."""
        self._open[line] = (cut, address)
        self._see_to_a_watch()

    def closed(self, line: int) -> None:
        """It is closed."""
        self._open.pop(line, None)

    def _inquire(self, first: int) -> Address:
        inquiry = _Inquiry(self)
        for number, place in self._in_order(first):
            if inquiry.is_settled_by(place, self._ask(place)):
                self._first = number
                break
        return self._learn(inquiry.answer(self.known))

    def _in_order(self, first: int) -> list[tuple[int, Address]]:
        numbered = list(enumerate(self.places))
        return numbered[first:] + numbered[:first]

    def _learn(self, answer: Answer) -> Address:
        self.known = answer
        for cut, address in list(self._open.values()):
            if address != answer.address:
                with suppress(OSError, RuntimeError):  # closed meanwhile, or its loop is
                    cut()
        return answer.address

    def _see_to_a_watch(self) -> None:
        # Once something has been opened, and once the thread has found nothing: one of the two sees the other.
        if self._watching and self._open and self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="sentinels", daemon=True)
            self._thread.start()

    def _watch(self) -> None:
        """Until nothing is open any more. Another Sentinel each time: one may be cut off from the others."""
        pause = threading.Event()
        turn = self._first
        try:
            while not pause.wait(LOOK_SECONDS) and self._open:
                turn = (turn + 1) % len(self.places)
                # As long as the Sentinels say nothing, everything stays as it is.
                with suppress(redis.RedisError):
                    self._inquire(turn)
        finally:
            self._thread = None
            self._see_to_a_watch()

    def _start_afresh(self) -> None:
        self._open = {}
        self._thread = None

    def _line(self, library: Any, place: Address) -> Any:
        host, port = place
        kind = library.SSLConnection if self._encrypted else library.Connection
        return kind(host=host, port=port, **self._options)

    def _ask(self, place: Address) -> Any:
        line = self._line(redis, place)
        try:
            line.connect()
            line.send_command("SENTINEL", "MASTER", self.service)
            return line.read_response()
        except redis.RedisError as error:
            return error
        finally:
            line.disconnect()

    async def _ask_now(self, place: Address) -> Any:
        line = self._line(redis.asyncio, place)
        try:
            await line.connect()
            await line.send_command("SENTINEL", "MASTER", self.service)
            return await line.read_response()
        except redis.RedisError as error:
            return error
        finally:
            await line.disconnect()


class _Inquiry:
    """Collects what the Sentinels say, until one of them settles it."""

    def __init__(self, sentinels: Sentinels) -> None:
        self._sentinels = sentinels
        self._best: Answer | None = None
        self._settled = self._down = False
        self._refusals: list[str] = []
        self._silent: list[str] = []
        self._strangers = 0

    def is_settled_by(self, place: Address, reply: Any) -> bool:
        """Take an answer, or the error in its place. Returns: whether nobody else need be asked."""
        where = f"{place[0]}:{place[1]}"
        match reply:
            case redis.AuthenticationError() | redis.exceptions.NoPermissionError():
                self._refusals.append(
                    f"{where} ({reply}; its credentials are ?sentinel_username= and ?sentinel_password=)"
                )
            case redis.ConnectionError() | redis.TimeoutError():
                self._silent.append(f"{where} ({reply})")
            case redis.ResponseError() if "No such master" in str(reply):
                self._strangers += 1
            case redis.RedisError():
                self._refusals.append(f"{where} ({reply})")
            case _:
                return self._is_settled(_read(reply))
        return False

    def _is_settled(self, answer: Answer) -> bool:
        if answer.down:
            self._down = True
        elif self._best is None or answer.epoch > self._best.epoch:
            self._best = answer
        known = self._sentinels.known
        self._settled = not answer.down and (known is None or answer.epoch >= known.epoch)
        return self._settled

    def answer(self, known: Answer | None) -> Answer:
        """The latest of what was said and what was known.

        Raises: see ``Sentinels.primary``.
        """
        name = self._sentinels.service
        if self._best is not None:
            if known is not None and self._best.epoch < known.epoch and (self._settled or self._silent):
                return known  # learnt meanwhile, or from one that is silent now
            return self._best  # even if behind what was known: then all of them were made anew
        if self._down:
            raise Away(f"No primary of {self._sentinels} is up, and none is elected yet")
        if self._strangers:
            raise Unfit(f"No Sentinel knows the service in the URL: {self._sentinels}")
        if self._refusals:
            raise Unfit(f"No Sentinel says where {name!r} is: {'; '.join(self._refusals)}")
        raise Away(f"No Sentinel of {name!r} answers: {'; '.join(self._silent)}")


def _read(reply: Any) -> Answer:
    fields = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
    host, port = fields[b"ip"].decode(), int(fields[b"port"])
    flags = set(fields[b"flags"].split(b","))
    down = b"master" not in flags or bool(flags & {b"s_down", b"o_down"})
    return Answer((host, port), int(fields[b"config-epoch"]), down)


_all: weakref.WeakSet[Sentinels] = weakref.WeakSet()


def _forked() -> None:
    for sentinels in list(_all):
        sentinels._start_afresh()


os.register_at_fork(after_in_child=_forked)

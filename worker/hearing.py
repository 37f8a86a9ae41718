"""Hears at once what was taken from this worker, which its lease would tell it at the next renewal.

A script that cancels what somebody else holds says so on the holder's channel. Pub/sub may lose it, and then a callback
whose result nobody wants runs on for as long as a renewal takes; nothing else depends on it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

import redis

from worker.vital import vital
from workflows.storage.keys import held_channel

_log = logging.getLogger("workflows.worker")

LOOK_SECONDS = 1.0


class Hearing:
    """One connection and one thread.

    Args:
        identities: the names under which this worker holds anything; they may change.
        lost: called with held members that were taken away.
        on_death: called with the reason when its thread has died.
    """

    def __init__(
        self,
        connection: redis.Redis,
        identities: Callable[[], Iterable[str]],
        lost: Callable[[Iterable[str]], None],
        on_death: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._identities = identities
        self._lost = lost
        self._stop = threading.Event()
        self._thread = threading.Thread(target=vital("hearing", self._run, on_death), name="hearing", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Without waiting: it may be listening for a while longer, to nobody's harm."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._connection.pubsub(ignore_subscribe_messages=True) as line:  # type: ignore[no-untyped-call]
                    self._listen(line)
            except redis.RedisError as error:
                _log.debug("hears nothing", extra={"error": error})
                self._stop.wait(LOOK_SECONDS)

    def _listen(self, line: Any) -> None:
        known: set[str] = set()
        while not self._stop.is_set():
            now = set(self._identities())
            if now != known:
                line.subscribe(*map(held_channel, now))
                known = now
            message = line.get_message(timeout=LOOK_SECONDS)
            if message is not None:
                self._lost([message["data"].decode(errors="replace")])

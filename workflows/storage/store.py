"""The one way to Redis for everything that changes state: calls of scripts, single or in one round trip.

A script is a ``.lua`` file beside its owner. It validates everything first and then writes everything (M1), and is safe
to call twice, because redis-py re-sends commands silently unless told otherwise, and any reply can be lost.
``Store.execute`` is the one function through which every call of every process goes: the testing plugin watches there,
and injects its faults. Clients for asyncio have ``AsyncStore.call`` instead; no process of ours uses it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import select
import threading
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import hiredis
import msgpack
import redis
import redis.asyncio
from redis.exceptions import NoScriptError

from workflows import limits
from workflows.clock import Clock, ServerClock, monotonic
from workflows.errors import ConfigError
from workflows.storage import nonces
from workflows.storage.keys import FORMAT, Instance, Keyspace
from workflows.storage.outage import server_errors
from workflows.storage.records import Open, open_record

_HERE = Path(__file__).parent

# Redis 6.2 reads a millisecond as no timeout at all: 0.001 times 1000 is a hair below 1 there, and cut down to 0.
SHORTEST_BLOCK_SECONDS: Final = 0.002


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua text ready to be called by its hash."""

    name: str
    text: str
    sha: str


PARTS: Final = (
    *("prelude", "calendar", "bell", "shard", "aside", "room", "waking", "notices", "journal"),
    *("instance", "published", "queue", "record", "turn", "claiming", "slot", "mailbox", "streams"),
    *("deadline", "ending", "undoing", "stopping", "pausing", "pump", "decision", "command", "creation"),
)
"""The parts that scripts are made of, in ``parts/``, each behind those it uses."""

_RARELY: Final = "\n-- Rarely:\n"
"""Stands in a part before functions that many calls of a script do without. They are made together when the first of
them is asked for: making all functions of all parts took a third of what Redis spends on a step."""


@cache
def script(path: Path) -> Script:
    """Load a ``.lua`` file, with the parts it uses put before it.

    A script names them in a line ``-- uses: pump mailbox``, and so do parts; ``limits.NAME`` stands for a number of
    ``limits.py``.

    Raises:
        KeyError, ValueError: it names a part or a limit that is not there.
    """
    used = {"prelude"}
    waiting = [_read(path)]
    while waiting:
        for name in re.findall(r"^-- uses:(.*)$", waiting.pop(), flags=re.MULTILINE):
            new = set(name.split()) - used
            used |= new
            waiting += [_read(_part(one)) for one in new]
    always: list[str] = []
    rarely: dict[str, list[str]] = {}
    for name in sorted(used, key=PARTS.index):
        first, *rarely[name] = _read(_part(name)).split(_RARELY)
        always.append(first)
    text = "\n".join([*always, _made_when_asked_for(rarely), _read(path)])
    text = re.sub(r"\blimits\.([A-Z_]+)\b", lambda found: str(vars(limits)[found[1]]), text)
    return Script(path.stem, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def _part(name: str) -> Path:
    return Path(__file__).parent / "parts" / f"{name}.lua"


def _made_when_asked_for(parts: Mapping[str, Sequence[str]]) -> str:
    """Lua that makes what a part's table lacks when somebody asks for it."""
    makers, tables = [], []
    for part, texts in parts.items():
        for text in texts:
            names = re.findall(rf"^(?:function )?{part}\.(\w+)", text, flags=re.MULTILINE)
            wanted = " or ".join(f"wanted == '{name}'" for name in names)
            makers.append(f"if part == {part} and ({wanted}) then\n{text}")
        if texts:
            tables.append(f"setmetatable({part}, rarely)")
    if not makers:
        return ""
    make = "function(part, wanted)\n" + "\nelse".join(makers) + "\nend\nreturn rawget(part, wanted)\nend"
    return "\n".join([f"do local rarely = {{__index = {make}}}", *tables, "end"])


@cache
def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def packb(value: Any) -> bytes:
    """Engine structures for Lua: strings and bytes are one type there, so the msgpack ``bin`` types are not used."""
    packed: bytes = msgpack.packb(value, use_bin_type=False)
    return packed


def unpackb(blob: bytes) -> Any:
    """Engine structures from Lua: every string comes back as bytes, because user values may be inside."""
    return msgpack.unpackb(blob, raw=True, strict_map_key=False)


@dataclass(slots=True)
class Call:
    """One script call: which script, which keys, which arguments."""

    script: Script
    keys: Sequence[str]
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BlockingMove:
    """Wait so many seconds until ``source`` has an element, and move it to ``target``."""

    source: str
    target: str
    seconds: float

    @property
    def command(self) -> list[Any]:
        return ["BLMOVE", self.source, self.target, "LEFT", "RIGHT", self.seconds]


def call_on(
    keys: Keyspace, script: Script, shard: int, instances: Sequence[Instance], arguments: Mapping[str, Any]
) -> Call:
    """A call on one shard and some of its instances; arguments name an instance by its 1-based place."""
    declared = list(keys.shard(shard))
    for instance in instances:
        declared += keys.of_instance(instance)
    return Call(script, declared, arguments)


def call_one(keys: Keyspace, script: Script, instance: Instance, arguments: Mapping[str, Any]) -> Call:
    return call_on(keys, script, instance.shard, [instance], arguments)


def _command(call: Call, clock: Clock, database: int) -> list[Any]:
    arguments = [clock.argument(), nonces.call(), packb(call.arguments), database]
    return ["EVALSHA", call.script.sha, len(call.keys), *call.keys, *arguments]


def _database_of(client: redis.Redis | redis.asyncio.Redis) -> int:
    return int(client.connection_pool.connection_kwargs.get("db") or 0)


def _checked(answers: list[Any]) -> list[Any]:
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


class Store:
    """Blocking access to one namespace.

    Args:
        connection: what reads and single commands go through.
        hot: keep a connection of the pool for each thread that calls, and write to it directly. For parts that handle
            lost connections themselves; saves most of the client library's time per call.
    """

    def __init__(
        self, connection: redis.Redis, keys: Keyspace, clock: Clock | None = None, *, hot: bool = False
    ) -> None:
        self.redis = connection
        self.keys = keys
        self.clock: Clock = clock or ServerClock()
        self._database = _database_of(connection)
        self._hot = hot
        self._mine: Any = None
        self._start_afresh()
        _stores.add(self)

    def take_turns(self) -> None:
        """From now on threads call one at a time, so one connection does for all of them."""
        self._mine = SimpleNamespace()

    def _start_afresh(self) -> None:
        """No connections; also in a forked process, where those of its parent would have two readers."""
        self._mine = threading.local()
        self._lines: list[tuple[threading.Thread, Any]] = []
        self._listeners = _Listeners()

    def call(self, call: Call) -> Any:
        """One script call.

        Raises:
            redis.RedisError: it may or may not have been executed; calling again is safe.
        """
        return self.call_all([call])[0]

    def call_all(self, calls: Sequence[Call]) -> list[Any]:
        """Several calls in one round trip.

        Raises:
            redis.RedisError: any of them may or may not have been executed; calling them again is safe.
        """
        return _checked(self.execute(calls))

    def execute(self, calls: Sequence[Call], *, behind: BlockingMove | None = None) -> list[Any]:
        """Several calls in one round trip; an answer may be an exception of its own call.

        Args:
            behind: what happens before, in the same round trip.
        Raises:
            redis.ConnectionError, redis.TimeoutError: any of them may or may not have been executed.
            redis.ResponseError: the move is not possible.
        """
        if not calls:
            return []
        commands = [_command(call, self.clock, self._database) for call in calls]
        if behind is None:
            answers = self._send(commands)
        else:
            moved, *answers = self._send([behind.command, *commands])
            _checked([moved])
        missing = [n for n, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if missing:
            for sha in {calls[n].script.sha: calls[n].script for n in missing}.values():
                self.redis.script_load(sha.text)
            for n, answer in zip(missing, self._send([commands[n] for n in missing]), strict=True):
                answers[n] = answer
        return [unpackb(answer) if isinstance(answer, bytes) else answer for answer in answers]

    def execute_after_blocking_move(self, source: str, target: str, seconds: float, call: Call) -> Any:
        """Block until ``source`` has an element, move it to ``target``, and make a call in the same round trip.

        Returns: the call's answer; it is made also when nothing came within ``seconds``.
        """
        shortest = max(SHORTEST_BLOCK_SECONDS, seconds)
        return _checked(self.execute([call], behind=BlockingMove(source, target, shortest)))[0]

    def _send(self, commands: list[list[Any]]) -> list[Any]:
        if self._hot:
            return self._exchange(commands)
        if len(commands) == 1:
            try:
                return [self.redis.execute_command(*commands[0])]  # type: ignore[no-untyped-call]
            except NoScriptError as error:
                return [error]
        with self.redis.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
            return pipeline.execute(raise_on_error=False)

    def _exchange(self, commands: Sequence[list[Any]], *, shaped: bool = False) -> list[Any]:
        """Send, then read as many answers, in redis-py's shapes or as they come.

        A line that failed in between is closed: its answers belong to nobody.
        """
        line = self._line()
        try:
            # A name may have two words, and redis-py knows its answer by both.
            packed = [hiredis.pack_command((*command[0].split(), *command[1:])) for command in commands]
            line.send_packed_command([b"".join(packed)])
            answers: list[Any] = []
            for command in commands:
                try:
                    answers.append(
                        self.redis.parse_response(line, command[0])  # type: ignore[no-untyped-call]
                        if shaped
                        else line.read_response()
                    )
                except redis.ResponseError as error:
                    answers.append(error)
            return answers
        except BaseException:
            line.disconnect()
            raise

    def _line(self) -> Any:
        line = getattr(self._mine, "line", None)
        if line is None:
            self._take_from_ended_threads()
            line = self._mine.line = self.redis.connection_pool.get_connection()
            self._lines.append((threading.current_thread(), line))
        return line

    def _take_from_ended_threads(self) -> None:
        """Give back what nobody can call through any more: a pool has a limit, and threads come and go."""
        for kept in [kept for kept in self._lines if not kept[0].is_alive()]:
            with suppress(ValueError):  # another thread was faster
                self._lines.remove(kept)
                self.redis.connection_pool.release(kept[1])

    def is_cut(self, seconds: float, wake: int) -> bool:
        """Watch this thread's connection while nothing is under way on it, for so long or until ``wake`` can be read.

        Returns: whether its other end has closed it. Then the next call makes a new one.
        Raises: redis.ConnectionError: there is none, and none can be made.
        """
        line = self._line()
        if line._sock is None:
            line.connect()
        watched = select.poll()
        watched.register(wake, select.POLLIN)
        watched.register(line._sock, select.POLLIN)
        # Nobody has asked for anything, so whatever there is to read is the end.
        cut = any(descriptor != wake for descriptor, _ in watched.poll(seconds * 1000))
        if cut:
            line.disconnect()
        return cut

    def command(self, *command: Any) -> Any:
        """A single command that is no script, for engine parts; the answer is bytes in redis-py's shapes.

        Raises:
            redis.RedisError: as from a script call.
        """
        return self.commands([list(command)])[0]

    def commands(self, commands: Sequence[list[Any]]) -> list[Any]:
        """Several of them in one round trip."""
        return _checked(self.answers(commands))

    def answers(self, commands: Sequence[list[Any]]) -> list[Any]:
        """The same; the answer to one of several may be an exception of its own."""
        return self._exchange(commands, shaped=True) if self._hot else self._send(list(commands))

    def pop_first(self, lists: Sequence[str], seconds: float, *, alarm: str | None = None) -> str | None:
        """Block until one of these lists has an element, and take it.

        Args:
            alarm: one of the lists, which gets an element when the time is over. A Redis with nothing else to do ends
                a blocking call up to a tenth of a second late; with an alarm it ends in time.
        Returns: the list's name; None when nothing came within ``seconds``.
        """
        # With an alarm, the timeout of Redis is for when that cannot ring.
        timeout = max(SHORTEST_BLOCK_SECONDS, seconds) if alarm is None else seconds + 1.0
        line = self._line()
        try:
            line.send_packed_command([hiredis.pack_command(cast("tuple[str]", ("BLPOP", *lists, timeout)))])
            if alarm is not None and not line.can_read(max(0.0, seconds)):
                with suppress(redis.ResponseError):  # out of memory
                    self.redis.rpush(alarm, "1")
            popped = line.read_response()
        except BaseException:
            line.disconnect()
            raise
        return None if popped is None else cast(bytes, popped[0]).decode()

    @property
    def events_channel(self) -> str:
        """Where plain ``PUBLISH`` is listened to; see ``Keyspace.events_channel``."""
        return self.keys.events_channel(self._database)

    @property
    def notices_channel(self) -> str:
        """Where an app's instances are told of; see ``Keyspace.notices_channel``."""
        return self.keys.notices_channel(self._database)

    def ended_channel(self, instance: Instance) -> str:
        """See ``Keyspace.ended_channel``."""
        return self.keys.ended_channel(instance, self._database)

    def entries(self, instance: Instance, start: int, end: int) -> list[bytes]:
        """Journal entries from ``start`` up to, not including, ``end``: as many of them as one reply may hold."""
        arguments = {"from": start, "upto": end, "page": end - start, "bytes": limits.SCRIPT_BYTES}
        page = script(_HERE / "entries.lua")
        return cast("list[bytes]", self.call(Call(page, [self.keys.journal(instance)], arguments)))

    def open_records(self, instance: Instance) -> Iterator[Open]:
        """The open records of an instance, page by page; one that comes or goes meanwhile may be among them."""
        records = script(_HERE / "records.lua")
        key, cursor = self.keys.of_instance(instance)[2], b"0"
        while cursor:
            arguments = {"cursor": cursor, "page": limits.SCRIPT_ELEMENTS, "bytes": limits.SCRIPT_BYTES}
            page, cursor = self.call(Call(records, [key], arguments))
            yield from (open_record(unpackb(blob)) for blob in page)

    def header_fields(self, instance: Instance, *names: str) -> list[bytes | None]:
        """Fields of an instance's header; None for those it does not have."""
        return cast("list[bytes | None]", self.command("HMGET", self.keys.header(instance), *names))

    def members(self, key: str, prefix: str, *, most: int = -1) -> list[bytes]:
        """Members of a sorted set with equal scores that begin with ``prefix``, in order."""
        return self.pages(key, {prefix: None}, most=most)[prefix]

    def pages(self, key: str, beginnings: Mapping[str, bytes | None], *, most: int = -1) -> dict[str, list[bytes]]:
        """The same for several prefixes in one round trip, each from behind the member it is given with on."""
        commands = []
        for prefix, after in beginnings.items():
            start = b"[" + prefix.encode() if after is None else b"(" + after
            # The first text behind all that begin like this, whatever bytes follow.
            end = b"(" + prefix[:-1].encode() + bytes([ord(prefix[-1]) + 1]) if prefix else b"+"
            commands.append(["ZRANGEBYLEX", key, start, end, "LIMIT", 0, most])
        found = self.commands(commands)
        return dict(zip(beginnings, found, strict=True))

    def fields(self, key: str) -> dict[bytes, bytes]:
        """All of a hash."""
        return cast("dict[bytes, bytes]", self.command("HGETALL", key))

    @contextmanager
    def listening(self, channel: str) -> Iterator[Callable[[float], bytes | None]]:
        """Subscribed to a channel for the length of the block. Gives a function that waits up to so many seconds for
        a message and returns it, or None when none came.

        Connections that listen are kept: making one costs more than a look. They take half of the pool at most, so
        that those who wait leave room for calls; who gets none hears nothing and looks when the time is over.
        """
        line = self._listeners.take(self.redis)
        if line is None:
            yield _deaf
            return
        try:
            line.subscribe(channel)
            deadline = monotonic() + limits.SOCKET_TIMEOUT_SECONDS
            while monotonic() < deadline:
                message = line.get_message(timeout=1.0)
                if message and message["type"] == "subscribe" and message["channel"] == channel.encode():
                    break

            def heard(seconds: float) -> bytes | None:
                return _said(line.get_message(timeout=seconds))

            yield heard
            line.unsubscribe(channel)
        except BaseException:
            self._listeners.drop(line)
            raise
        self._listeners.give_back(line)

    def close(self) -> None:
        self.release()
        self._listeners.close()
        self.redis.close()

    def release(self) -> None:
        """Give the connections kept for threads back to the pool; no other thread may call any more."""
        while self._lines:
            thread, line = self._lines.pop()
            if thread.is_alive() and thread is not threading.current_thread():
                line.disconnect()  # it may be in the middle of a call, so nobody else can have its connection
            else:
                self.redis.connection_pool.release(line)
        self._mine = type(self._mine)()


class _Listeners:
    """Connections that listen, for one thread at a time each."""

    def __init__(self) -> None:
        self._idle: list[Any] = []
        self._made = 0
        self._lock = threading.Lock()

    def take(self, client: redis.Redis) -> Any:
        """An idle one, or a new one; None when there are as many as there may be."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
            if self._made >= most_listeners(client):
                return None
            self._made += 1
        return client.pubsub()  # type: ignore[no-untyped-call]

    def give_back(self, line: Any) -> None:
        with self._lock:
            self._idle.append(line)

    def drop(self, line: Any) -> None:
        with self._lock:
            self._made -= 1
        line.close()

    def close(self) -> None:
        while self._idle:
            self.drop(self._idle.pop())


def most_listeners(client: redis.Redis | redis.asyncio.Redis) -> int:
    """How many of a pool's connections may listen at a time: half, so that calls find the others."""
    return int(client.connection_pool.max_connections) // 2


def _deaf(seconds: float) -> None:
    time.sleep(seconds)


def _said(message: Any) -> bytes | None:
    return message["data"] if message is not None and message["type"] == "message" else None


_stores: weakref.WeakSet[Store] = weakref.WeakSet()


def _forked() -> None:
    for store in list(_stores):
        store._start_afresh()


os.register_at_fork(after_in_child=_forked)


class Home:
    """The process and the event loop that connections for asyncio belong to: those in which they are first used.

    A process that was forked shares its parent's sockets, and the parent would read the answers to what it sends.
    """

    def __init__(self) -> None:
        self._process: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_elsewhere(self) -> bool:
        """Whether this is another process."""
        return self._process not in (None, os.getpid())

    def enter(self) -> None:
        """Called by every use.

        Raises:
            ConfigError: this is another process or another loop.
        """
        if self.is_elsewhere:
            raise ConfigError(_NOT_HERE.format("process"))
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise ConfigError(_NOT_HERE.format("event loop"))
        self._process, self._loop = os.getpid(), loop

    def leave(self) -> None:
        """The connections are closed: the next use may be anywhere."""
        self._process = self._loop = None


_NOT_HERE: Final = (
    "This AsyncClient was first used in another {0}, and its connections stay there: make one for each {0}."
)


class AsyncStore:
    """The same for asyncio.

    Args:
        home: asked at every use of the connection, if there is one.
    """

    def __init__(
        self, connection: redis.asyncio.Redis, keys: Keyspace, clock: Clock | None = None, home: Home | None = None
    ) -> None:
        self._redis = connection
        self._home = home
        self.keys = keys
        self.clock: Clock = clock or ServerClock()
        self._database = _database_of(connection)
        self._listeners = 0

    @property
    def redis(self) -> redis.asyncio.Redis:
        """What commands go through.

        Raises:
            ConfigError: it belongs to another process or event loop.
        """
        if self._home is not None:
            self._home.enter()
        return self._redis

    def ended_channel(self, instance: Instance) -> str:
        """See ``Keyspace.ended_channel``."""
        return self.keys.ended_channel(instance, self._database)

    async def call(self, call: Call) -> Any:
        """One script call; see ``Store.call``."""
        command = _command(call, self.clock, self._database)
        try:
            answer = await self.redis.execute_command(*command)  # type: ignore[no-untyped-call]
        except NoScriptError:
            await self.redis.script_load(call.script.text)
            answer = await self.redis.execute_command(*command)  # type: ignore[no-untyped-call]
        return unpackb(answer)

    async def answers(self, commands: Sequence[list[Any]]) -> list[Any]:
        """See ``Store.answers``."""
        async with self.redis.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute(raise_on_error=False)

    @asynccontextmanager
    async def listening(self, channel: str) -> AsyncIterator[Callable[[float], Awaitable[bytes | None]]]:
        """See ``Store.listening``."""
        if self._listeners >= most_listeners(self.redis):
            yield asyncio.sleep
            return
        self._listeners += 1
        try:
            async with self.redis.pubsub() as line:
                await line.subscribe(channel)
                # The first look comes after Redis has confirmed: an end in between would be missed.
                await line.get_message(timeout=limits.SOCKET_TIMEOUT_SECONDS)

                async def heard(seconds: float) -> bytes | None:
                    return _said(await line.get_message(timeout=seconds))

                yield heard
        finally:
            self._listeners -= 1

    async def close(self) -> None:
        await self._redis.aclose()


def keyspace_call(namespace: str, shards: int | None = None) -> Call:
    """The call that fixes shards and format at the first use of a namespace, and answers with those in force."""
    meta = script(_HERE / "meta.lua")
    return Call(meta, [Keyspace(namespace).meta], {"shards": shards or limits.SHARDS, "format": FORMAT})


def keyspace_of(namespace: str, shards: int | None, answer: Sequence[Any]) -> Keyspace:
    """The namespace's keys, from the answer of ``keyspace_call``.

    Raises:
        ConfigError: ``shards`` differs from what the namespace was created with, and moving instances is not supported;
            or what it stores has a format of another version.
    """
    fixed, stored = map(int, answer)
    if stored != FORMAT:
        raise ConfigError(
            f"Namespace {namespace!r} is stored in format {stored}, and this version reads format {FORMAT}: "
            "use the version that made it, or another namespace."
        )
    if shards is not None and shards != fixed:
        raise ConfigError(
            f"Namespace {namespace!r} was created with {fixed} shards and cannot have {shards}: "
            "leave the number out, or use another namespace."
        )
    return Keyspace(namespace, fixed)


def open_keyspace(client: redis.Redis, namespace: str, shards: int | None = None) -> Keyspace:
    """The namespace's keys, with the number of shards it was created with.

    Raises:
        ConfigError: see ``keyspace_of``.
        ServerUnavailable: Redis does not answer, or refuses.
    """
    with server_errors(client):
        answer = Store(client, Keyspace(namespace)).call(keyspace_call(namespace, shards))
    return keyspace_of(namespace, shards, answer)

"""The real engine inside a test: orchestrator and worker on threads of their own, over a private Redis.

A composition root: the only module of ``workflows`` besides ``dev`` that imports both processes, so nothing imports it
before a fixture is used. What runs here is what runs in production; only time stands still (``clock.py``), callbacks
can be replaced (``mocks.py``), and processes die when a test says so.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

import orchestrator.schedules as schedules
import orchestrator.shards as shards
import worker.lease as lease
import workflows
from orchestrator.loop import Orchestrator
from worker.engine import Engine
from worker.settings import Settings
from workflows import limits
from workflows.authoring.app import App
from workflows.client import Client, reading, requests, send
from workflows.client.binding import bindings_of
from workflows.client.requests import Ended
from workflows.clock import monotonic
from workflows.dev.embedded import EmbeddedRedis
from workflows.errors import ConfigError, InstanceNotFound
from workflows.storage.connection import connection
from workflows.storage.intake import EventItem, event_call
from workflows.storage.keys import Instance, Keyspace
from workflows.storage.manifest import publish_call
from workflows.storage.store import Store, call_on, keyspace_call, script
from workflows.testing.calls import TIMEOUT_SECONDS
from workflows.testing.clock import TestClock
from workflows.testing.mocks import IntrospectionError, Mocks, event_id
from workflows.testing.timeline import Look, timeline, waits_for
from workflows.testing.watch import Key, PlayedProcess, Watch, WatchedStore
from workflows.values import durations

Found = TypeVar("Found")

_RENEW = script(Path(lease.__file__).with_name("renew.lua"))
_OWN = script(Path(shards.__file__).with_name("own.lua"))

# An instance at rest waits for the test. Another thread or task of the test may be about to act: it gets this long.
REST_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.02
IMPATIENCE_SECONDS: Final = 0.002
HURRY_SECONDS: Final = 3.0
SHOWN_INSTANCES: Final = 10

_manifests: weakref.WeakKeyDictionary[App, dict[str, Any]] = weakref.WeakKeyDictionary()


class TestServer:
    """The private Redis of a test run, and one connection pool for everything that uses it."""

    __test__ = False

    def __init__(self) -> None:
        # Nothing here has to survive the run, so nothing is written to disk.
        self._server = EmbeddedRedis(config={"appendonly": "no"}).start()
        self.url = self._server.url
        self.redis = connection(self.url)
        self._store = Store(self.redis, Keyspace("test"), hot=True)
        self._clients: list[bytes] = []

    def close(self) -> None:
        """Stop it."""
        self._store.close()
        self._server.stop()

    def empty(self) -> None:
        """Forget everything: each test has its namespace to itself."""
        self._store.command("FLUSHALL")

    def unblock(self) -> None:
        """Wake up everybody who blocks on a list, as if its time were over."""
        self._clients = [client["id"] for client in self._store.command("CLIENT LIST")]
        self._wake()

    def see_off(self, threads: Iterable[threading.Thread]) -> None:
        """Wait for threads that were asked to end and may be blocking on a list."""
        self._wake()  # most often these are all: the connections of a pool live long
        for thread in threads:
            thread.join(IMPATIENCE_SECONDS)
            while thread.is_alive():
                self.unblock()
                thread.join(IMPATIENCE_SECONDS)

    def _wake(self) -> None:
        self._store.commands([["CLIENT UNBLOCK", client] for client in self._clients])


class _EngineClient(Client):
    """A client over one of the test engine's stores."""

    def __init__(self, app: App, store: Store) -> None:
        super().__init__(app, connection=store.redis)
        self._given = store

    @cached_property
    def store(self) -> Store:
        return self._given


class _Published:
    """An app as it is published to a test: its schedules only where the test wants them."""

    def __init__(self, app: App, with_schedules: bool) -> None:
        self.name = app.name
        self._app = app
        self._with_schedules = with_schedules

    def manifest(self) -> dict[str, Any]:
        whole = _manifests.get(self._app)
        if whole is None:
            whole = _manifests[self._app] = self._app.manifest()
        if self._with_schedules:
            return whole
        bare = {name: {**workflow, "schedules": []} for name, workflow in whole["workflows"].items()}
        return {**whole, "workflows": bare}


class _WorkerProcess(PlayedProcess):
    """What a worker process is here."""

    def __init__(self, engine: Callable[[_WorkerProcess], Engine]) -> None:
        super().__init__("worker")
        self.engine = engine(self)


class _OrchestratorProcess(PlayedProcess):
    """What an orchestrator process is here."""

    def __init__(self, orchestrator: Callable[[_OrchestratorProcess], Orchestrator]) -> None:
        super().__init__("orchestrator")
        self.orchestrator = orchestrator(self)
        self.thread = threading.Thread(target=self.orchestrator.run, name="orchestrator", daemon=True)


class WorkflowEngine:
    """Runs the workflows of one app during one test; what the fixture ``workflow_engine`` gives.

    Args:
        app: the app under test.
        server: the Redis of the test run; emptied first.
        bindings: put in the place of the app's own, by name.
        warm: keep suspended replays between turns, as production does. Without it every turn replays ``run`` from the
            start, which finds code that is not deterministic.
        schedules: let cron lines create instances when the clock passes them.
        processes: run ``python -m orchestrator`` and ``python -m worker`` in place of threads; needs ``target``. Time
            is real then and nothing can be mocked.
        target: where real processes find the app, ``"module:attribute"``.
        folder: the current folder of real processes.
    """

    def __init__(
        self,
        app: App,
        server: TestServer,
        *,
        bindings: Mapping[str, Any] | None = None,
        warm: bool = False,
        schedules: bool = False,
        processes: bool = False,
        target: str | None = None,
        folder: Path | None = None,
    ) -> None:
        self.app = app
        self.server = server
        self.watch = Watch()
        self.mocks = Mocks(self._send)
        self._in_process = not processes
        self._clock = TestClock() if self._in_process else None
        self._extra = dict(bindings or {})
        self._warm = warm
        self._schedules = schedules
        self._target = target
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        self._hopeless = ""
        self._introspectors: list[Any] = []
        self._reviving: list[threading.Thread] = []
        self._current_worker: _WorkerProcess | None = None
        self._current_orchestrator: _OrchestratorProcess | None = None
        self._exchange = threading.RLock()
        self._starting = threading.Lock()
        self._stopping = False
        server.empty()
        self.keys = Keyspace(app.name, 1)
        self._process = PlayedProcess("test")
        self.store = self._store(self._process, hot=True)
        self.client = _EngineClient(app, self.store)

    @property
    def url(self) -> str:
        """Where its Redis is."""
        return self.server.url

    @property
    def clock(self) -> TestClock:
        """The clock it obeys.

        Raises:
            ConfigError: it runs real processes, whose time is real.
        """
        if self._clock is None:
            raise ConfigError(
                "Virtual time is for the engine inside the test; real processes have real time. Leave out "
                "processes=True, or the clock."
            )
        return self._clock

    @property
    def bindings(self) -> Mapping[str, Any]:
        """What steps find in ``self.env``; of real processes, nothing is known here."""
        return self._worker.engine.bindings if self._in_process else {}

    # Life -----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything. Raises: what the function under ``@app.bindings`` raises."""
        published = publish_call(self.keys, _Published(self.app, self._schedules))
        self.store.call_all([keyspace_call(self.keys.namespace, self.keys.shards), published])
        if not self._in_process:
            self._start_processes()
            return
        self.clock.attach(self)
        self._current_worker = self._new_worker()
        self._current_orchestrator = self._new_orchestrator(looked=True)
        if self._schedules:
            schedules.tick(self.store, self.clock.now_ms())

    def stop(self) -> None:
        """Stop everything; callbacks in flight are cancelled. Again, it does nothing. Raises: what the bindings'
        clean-up raises."""
        self.watch.fault = None
        with self._starting:
            if self._stopping:
                return
            # From here on no crash is played: it would bring back what is being stopped.
            self._stopping = True
        for thread in self._reviving:
            thread.join()
        if not self._in_process:
            self._stop_processes()
            self._process.end()
            return
        with self._exchange:
            worker, orchestrator = self._current_worker, self._current_orchestrator
            if orchestrator is not None:
                orchestrator.orchestrator.stop()
            if worker is not None:
                worker.engine.draining.set()
            try:
                if worker is not None:
                    self.server.see_off(worker.engine.fetchers)
                    worker.engine.stop()
            finally:
                if orchestrator is not None:
                    self.server.see_off([orchestrator.thread])
                for process in filter(None, (worker, orchestrator, self._process)):
                    process.end()

    @property
    def _worker(self) -> _WorkerProcess:
        assert self._current_worker is not None, "the engine is not started"
        return self._current_worker

    @property
    def _orchestrator(self) -> _OrchestratorProcess:
        assert self._current_orchestrator is not None, "the engine is not started"
        return self._current_orchestrator

    def _store(self, process: PlayedProcess, *, hot: bool = False) -> WatchedStore:
        store = WatchedStore(self.server.redis, self.keys, self._clock, process, self.watch, hot=hot)
        process.stores.append(store)
        return store

    def _new_worker(self) -> _WorkerProcess:
        settings = Settings(queues=tuple(self.app.queues), warm=limits.WARM, recheck=not self._warm, grace_seconds=0.0)

        def make(process: _WorkerProcess) -> Engine:
            return Engine(
                self.app,
                lambda: self._store(process, hot=True),
                settings,
                on_hopeless=lambda reason: self._give_up(f"The worker gave up: {reason}"),
                bindings={
                    **bindings_of(self.app, lambda: _EngineClient(self.app, self._store(process))),
                    **self._extra,
                },
                overrides=self.mocks,
            )

        made = _WorkerProcess(make)
        made.engine.start()
        return made

    def _new_orchestrator(self, *, looked: bool = False) -> _OrchestratorProcess:
        made = _OrchestratorProcess(lambda process: Orchestrator(self._store(process, hot=True), bridge=False))
        # In hand before it begins, so that a test does not have to wait for its first look.
        made.orchestrator.connect()
        if looked:
            made.has_begun = False
            made.orchestrator.look()
            made.has_begun = True
        made.release()
        made.thread.start()
        return made

    def _give_up(self, reason: str) -> None:
        self._hopeless = reason
        self.watch.bump()

    def _start_processes(self) -> None:
        if self._target is None:
            raise ConfigError(
                "Real processes import the app by its name: set workflows_app in the pytest configuration, or app in "
                "[tool.workflows], and do not replace the workflow_app fixture."
            )
        # The package may be on this process's path alone, and -P keeps the current folder off theirs.
        paths = [os.environ.get("PYTHONPATH", ""), str(Path(workflows.__file__).parents[1])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        common = ["--redis-url", self.url, "--log-level", "WARNING", "--unsafe"]
        queues = [part for queue in self.app.queues for part in ("-q", queue)]
        for command in (
            ["orchestrator", "--namespace", self.app.name, *common],
            ["worker", self._target, *queues, *common, *([] if self._warm else ["--warm", "0"])],
        ):
            self._started.append(
                subprocess.Popen(  # noqa: S603
                    [sys.executable, "-P", "-m", *command], cwd=self._folder, env=environment
                )
            )

    def _stop_processes(self) -> None:
        for process in self._started:
            process.terminate()
        for process in self._started:
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    # Crashes --------------------------------------------------------------------------------------------------------

    def crash_worker(self) -> None:
        """Kill the worker, as SIGKILL would, and start another after its lease has run out. Mocks stay."""
        self._needs_threads("crash_worker()")
        process = self._worker
        process.dead = True
        self._revive(process)

    def crash_orchestrator(self) -> None:
        """Kill the orchestrator and start another after its leases have run out."""
        self._needs_threads("crash_orchestrator()")
        process = self._orchestrator
        process.dead = True
        self._revive(process)

    def crash_later(self, process: PlayedProcess) -> bool:
        """The same from a thread of the process. Returns: False, and nothing happens, once the engine is stopping."""

        def die() -> None:
            process.dead = True

        return self._in_background(die, lambda: self._revive(process))

    def lose_reply(self, process: PlayedProcess) -> bool:
        """Have lost doorbells rung and blocked processes woken, which would otherwise take seconds. Returns: as
        ``crash_later``."""

        def lose() -> None:
            if process.role == "orchestrator":
                # It goes on under a new token, and its own leases are in its way until they run out.
                self.release_shards()

        return self._in_background(lose, self._hurry)

    def release_shards(self) -> None:
        """Let the owner leases of the orchestrator run out."""
        for shard in range(self.keys.shards):
            token: Any = self.server.redis.hget(self.keys.shard_key(shard, "owner"), "token")
            if token is not None:
                arguments = {"t": token.decode(), "ttl": 0, "leave": True}
                self.store.call(call_on(self.keys, _OWN, shard, [], arguments))

    def _in_background(self, now: Callable[[], None], later: Callable[[], None]) -> bool:
        def act() -> None:
            try:
                later()
            except Exception as error:
                self._give_up(f"After a crash nothing could be started again: {type(error).__name__}: {error}")

        with self._starting:
            if self._stopping:
                return False
            now()
            thread = threading.Thread(target=act, name="after a crash", daemon=True)
            self._reviving.append(thread)
            thread.start()
        return True

    def _revive(self, process: PlayedProcess) -> None:
        with self._exchange:
            if isinstance(process, _WorkerProcess) and process is self._current_worker:
                process.engine.draining.set()
                self.server.see_off(process.engine.fetchers)
                process.engine.kill()
                process.end()
                for shard in range(self.keys.shards):
                    arguments = {"w": process.engine.lease.worker, "ttl": -1, "held": []}
                    self.store.call(call_on(self.keys, _RENEW, shard, [], arguments))
                try:
                    self._current_worker = self._new_worker()
                except BaseException:
                    self._current_worker = None  # what was killed cannot be stopped as well
                    raise
            elif isinstance(process, _OrchestratorProcess) and process is self._current_orchestrator:
                process.orchestrator.stop()
                self.server.see_off([process.thread])
                process.end()
                self.release_shards()
                self._current_orchestrator = self._new_orchestrator()
        self._hurry()

    def _hurry(self) -> None:
        deadline = monotonic() + HURRY_SECONDS
        while monotonic() < deadline and not self._stands():
            for shard in range(self.keys.shards):
                # As if the two seconds were over after which an unclaimed intent is looked at again.
                key = self.keys.shard_key(shard, "intents")
                intents: Any = self.server.redis.zrange(key, 0, -1)
                if intents:
                    self.server.redis.zadd(key, dict.fromkeys(intents, 0), xx=True)
            self._wake()
            self.server.unblock()
            time.sleep(0.01)
        self.watch.bump()

    def _needs_threads(self, what: str) -> None:
        if not self._in_process:
            raise ConfigError(f"{what} is for the engine inside the test; kill real processes yourself.")

    def mocks_only_in_process(self) -> None:
        """Raises ConfigError where real processes run: mocks are in this one."""
        if not self._in_process:
            raise ConfigError(
                "Steps can be mocked in the engine inside the test only, because real processes do not share its "
                "memory. Leave out processes=True."
            )

    # Time -----------------------------------------------------------------------------------------------------------

    def next_due_ms(self) -> int | None:
        """When the next timer or schedule is due; None: never."""
        due: list[int] = []
        for shard in range(self.keys.shards):
            first: Any = self.server.redis.zrange(self.keys.shard_key(shard, "timers"), 0, 0, withscores=True)
            due += [int(score) for _, score in first]
        if self._schedules:
            due += schedules.next_due(self.store, self.clock.now_ms())
        return min(due, default=None)

    def fire(self) -> None:
        """Have done what is due by now; ``settle`` waits for it and its consequences."""
        self._wake()
        if self._schedules:
            schedules.tick(self.store, self.clock.now_ms())

    def _wake(self) -> None:
        """Let the orchestrator look at every shard, as scripts do that leave work for it."""
        self.store.commands([["RPUSH", self.keys.shard_key(shard, "wake"), "1"] for shard in range(self.keys.shards)])

    def is_quiet(self) -> bool:
        """Whether nothing goes on: every instance waits for time, for an event, or for nothing any more."""
        return self._stands() and not any(thread.is_alive() for thread in self._reviving)

    def _waits_for_no_end(self) -> bool:
        """Whether no firing waits for the end of the one before, which has come: a look at it is due now."""
        if not self._schedules or not self._in_process:
            return True
        return schedules.tick(self.store, self.clock.now_ms()) == 0 and self.is_quiet()

    def _stands(self) -> bool:
        now = self.store.clock.now_ms()
        with self.server.redis.pipeline(transaction=True) as pipeline:
            for shard in range(self.keys.shards):
                pipeline.zcard(self.keys.shard_key(shard, "intents"))
                pipeline.zcard(self.keys.shard_key(shard, "held"))
                pipeline.hlen(self.keys.shard_key(shard, "relay"))
                pipeline.zcount(self.keys.shard_key(shard, "timers"), "-inf", now)
                pipeline.zcount(self.keys.shard_key(shard, "retire"), "-inf", now)
            for stream in self.keys.inboxes(self.app.producers):
                pipeline.xlen(stream.key)
            return not any(pipeline.execute())

    def settle(self, timeout: float = TIMEOUT_SECONDS) -> None:
        """Wait until nothing goes on any more.

        Args:
            timeout: real seconds.
        Raises:
            IntrospectionError: something still goes on; says what.
        """
        deadline = monotonic() + timeout
        while True:
            changes = self.watch.changes.value
            self._check_hopeless()
            if self.is_quiet():
                if self._waits_for_no_end():
                    return
                continue
            left = deadline - monotonic()
            if left <= 0:
                raise IntrospectionError(
                    f"Something still goes on after {timeout:g} real seconds. force_step_timeout() ends a step that "
                    f"does not return.\n{self.report(live_only=True)}"
                )
            poll = bool(self._reviving) or not self._in_process
            self.watch.changes.wait(changes, min(left, POLL_SECONDS) if poll else left)

    def wait_until(
        self, look: Callable[[], Found | None], key: Key, what: str, timeout: float, *, end: bool = False
    ) -> Found:
        """Wait until ``look`` finds something.

        Args:
            end: it will find nothing before the instance has ended.
        Raises:
            IntrospectionError: the instance is at rest without it, or busy for too long; says what it waits for.
        """
        deadline = monotonic() + timeout
        rest_since: float | None = None
        count = self.watch.ends if end else self.watch.changes
        if end and not count.value:
            count.wait(0, min(timeout, POLL_SECONDS))  # nothing here has ended so far
        while True:
            before, changes = count.value, self.watch.changes.value
            found = look()
            if found is not None:
                return found
            self._check_hopeless()
            # Whether all is quiet is asked only when nothing has happened for a moment: it costs as much as a look.
            if count.wait(before, POLL_SECONDS) or self.watch.changes.value != changes:
                rest_since = None
                continue
            now = monotonic()
            rest_since = (rest_since or now) if self._in_process and self.is_quiet() else None
            if rest_since is not None and now - rest_since >= REST_SECONDS:
                raise IntrospectionError(self._stuck(key, what, "and nothing in the engine moves"))
            if now >= deadline:
                raise IntrospectionError(self._stuck(key, what, f"after {timeout:g} real seconds"))

    def _check_hopeless(self) -> None:
        ended = [process for process in self._started if process.poll() is not None]
        if ended:
            raise IntrospectionError(f"A process has ended: {ended[0].args!r}")
        if self._hopeless:
            raise IntrospectionError(f"{self._hopeless}.\n{self.report()}")

    def _stuck(self, key: Key, what: str, how: str) -> str:
        found = self.look(key)
        if found is None:
            return f'Waited for {what}, but there is no instance "{key[1]}" of workflow "{key[0]}".'
        reasons = waits_for(found)
        because = f" {found.title}: {'; '.join(reasons)}." if reasons else f" {found.title} is {found.status}."
        return f"Waited for {what} {how}.{because}\n{timeline(found, self.app)}"

    # Looking --------------------------------------------------------------------------------------------------------

    def look(self, key: Key) -> Look | None:
        """One instance as it is now; None if there is none."""
        instance = self.keys.instance(*key)
        try:
            pages = reading.History(send(self.store, reading.read(self.keys, instance)))
            while (page := pages.next_page) is not None:
                pages.add(send(self.store, reading.read(self.keys, instance, page=page)))
        except InstanceNotFound:
            return None
        return Look(pages.last, pages.entries(), pages.steps())

    def generation_of(self, key: Key) -> str | None:
        """The name of the instance's present life; None if there is none."""
        found: Any = self.server.redis.hget(self.keys.header(self.keys.instance(*key)), "gen")
        return None if found is None else found.decode()

    def created(self, workflow: str | None = None) -> list[Key]:
        """The instances made so far, of one workflow or all, in their order."""
        return [key for key in self.watch.created if workflow in (None, key[0])]

    def result(self, key: Key, timeout: durations.Duration | None) -> Any:
        """See ``TestInstance.result``."""
        seconds = (
            float("inf") if timeout is None else durations.parse_ms(timeout, what="the timeout of result()") / 1000
        )
        instance = self.keys.instance(*key)

        def ended() -> Ended | None:
            found = send(self.store, requests.end(self.keys, instance))
            return found if isinstance(found, Ended) else None

        return self.wait_until(ended, key, "the end of the instance", seconds, end=True).unwrap(instance)

    def send_mocked_event(
        self, key: Key, scope: str, number: int, type: str, payload: bytes, error: bytes | None
    ) -> None:
        """Put a mocked event into a mailbox, if there is one yet."""
        self.mocks_only_in_process()
        generation = self.generation_of(key)
        if generation is not None:
            self._send(self.keys.instance(*key), EventItem(event_id(generation, scope, number), type, payload, error))

    def _send(self, instance: Instance, event: EventItem) -> None:
        self.store.call(event_call(self.keys, instance, event))

    def introspected(self, introspector: Any) -> None:
        """Keep an introspector, to say at the end what it found."""
        self._introspectors.append(introspector)

    def report(self, *, live_only: bool = False) -> str:
        """The timelines of the instances of this test, for whoever reads why it failed."""
        looks = [look for key in self.created() if (look := self.look(key)) is not None]
        if live_only:
            looks = [look for look in looks if not look.ended]
        shown = [timeline(look, self.app) for look in looks[:SHOWN_INSTANCES]]
        if len(looks) > SHOWN_INSTANCES:
            shown.append(f"… and {len(looks) - SHOWN_INSTANCES} more")
        unused = ", ".join(f'"{name}"' + (f" ({count})" if count > 1 else "") for name, count in self.mocks.unused())
        if unused:
            shown.append(f"mocked, but never reached: {unused}")
        return "\n".join(shown)

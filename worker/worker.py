"""The ``rq.Worker`` that RQ's tools see.

It keeps RQ's registration, heartbeat and teardown, and replaces the work loop: jobs are doorbells
(``workflows.storage.doorbell``), taken in batches by the engine. RQ's own retries, registries, maintenance and remote
commands decide nothing here.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
from typing import Any

import redis
import rq
from rq import worker_registration
from rq.serializers import JSONSerializer
from rq.worker import WorkerStatus

from worker.bounded import within
from worker.engine import Engine
from worker.hearing import Hearing
from worker.pipe import PipeToParent
from worker.settings import Settings
from worker.vital import leave
from workflows.authoring.app import App
from workflows.authoring.logger import this_process
from workflows.client import Client
from workflows.client.binding import bindings_of
from workflows.clock import monotonic
from workflows.process.logs import say
from workflows.process.parent import patiently
from workflows.process.stop import Stop
from workflows.storage import manifest, stages
from workflows.storage.connection import connection
from workflows.storage.keys import Keyspace
from workflows.storage.outage import is_full, server_errors
from workflows.storage.processes import STAGES, load_of
from workflows.storage.store import Store
from workflows.telemetry.telling import Telling

_log = logging.getLogger("workflows.worker")
SWITCH_SECONDS = 0.0005
# New containers between two searches for garbage, where the app has not asked for fewer searches itself. Hardly any
# are in a circle, and the rest goes by itself.
GARBAGE_OBJECTS = 10_000
LOOK_SECONDS = 0.5
# For RQ's own registration at the end, beyond ``engine.CLOSING_SECONDS``.
DEATH_SECONDS = 2.0


class WorkflowWorker(rq.Worker):
    """One worker process of one app.

    Args:
        app: the user's app.
        url: where Redis is; every queue, the engine and the lease get a connection of their own.
        keys: the app's namespace.
        settings: see ``engine.Settings``.
        parent: the process id of who starts it again when it ends; when that one is gone, it drains. Default: who
            has started it.
        pipe: leads to the parent. It is told twice a second that this process is alive, and of what should go on in a
            process of its own; see ``worker/pipe.py``.
        telling: whether the parent is told of what is counted here as well.
    """

    def __init__(
        self,
        app: App,
        url: str,
        keys: Keyspace,
        settings: Settings,
        *,
        parent: int | None = None,
        pipe: int | None = None,
        telling: bool = False,
    ) -> None:
        self.app = app
        self._url = url
        self._keys = keys
        # Given, because asked too late the answer is whoever adopts orphans.
        self._parent = os.getppid() if parent is None else parent
        self._pipe = None if pipe is None else PipeToParent(pipe)
        self._drain = Stop()
        self._publication = manifest.Publication(app)
        self._publish_at = 0.0
        self._server = ""
        self.engine = Engine(
            app,
            self._connect,
            settings,
            on_hopeless=self._give_up,
            isolate=None if self._pipe is None else self._pipe.ask_to_isolate,
            bindings=bindings_of(app, lambda: Client(app, url)),
        )
        self._telling = Telling(self.engine.counted, self.engine.gauges) if telling else None
        super().__init__(
            [keys.queue(name) for name in settings.queues],
            name=f"{socket.gethostname()}-{os.getpid()}-{self.engine.lease.worker}",
            connection=connection(url),
            serializer=JSONSerializer,
        )

    def _connect(self) -> Store:
        return Store(connection(self._url), self._keys, hot=True)

    @property
    def connection_timeout(self) -> int:
        """RQ waits at least so long for any answer: seven minutes, because it blocks that long for a job. Here nothing
        does, and a link that is dead must be found dead: the lease is renewed by the thread that beats."""
        return 0

    def subscribe(self) -> None:
        """Not at all: whoever may PUBLISH could otherwise shut workers down."""

    def unsubscribe(self) -> None:
        """See ``subscribe``."""

    def work(self, *args: Any, **kwargs: Any) -> bool:
        """Serve until SIGTERM or SIGINT, then drain. Arguments of RQ's own loop have no meaning here."""
        # Many threads hand each other small pieces of work; five milliseconds between switches would be their speed.
        sys.setswitchinterval(SWITCH_SECONDS)
        _search_less_garbage()
        self._drain.on_signals()
        this_process(namespace=self._keys.namespace, worker=self.engine.lease.worker)
        patiently(self._register, self._parent, say)
        self._say_birth()
        self.engine.lease.beat = self._beat
        hearing = Hearing(
            self.connection, lambda: self.engine.lease.identities, self.engine.lost, on_death=self._give_up
        )
        hearing.start()
        self.engine.start()
        _log.info("worker ready", extra={"queues": ",".join(self.queue_names()), "worker": self.engine.lease.worker})
        if self._pipe is not None:
            self._pipe.show_life(self._telling)
        while not self._drain.wait(LOOK_SECONDS):
            if os.getppid() != self._parent:
                _log.warning("parent is gone")
                break
        _log.info("draining")
        self.engine.stop()
        hearing.stop()
        if self._pipe is not None and self._telling is not None:
            self._pipe.tell(self._telling)
        if not within(DEATH_SECONDS, self._say_death):
            _log.info("registration left to expire")
        return True

    def _register(self) -> None:
        with server_errors(self.connection):
            self._renew_manifest()
            self.engine.lease.register()

    def _say_birth(self) -> None:
        """For RQ's tools only: where Redis has no room for it (F45) or goes away, the beat makes up for it."""
        try:
            self.register_birth()  # type: ignore[no-untyped-call]
            self.set_state(WorkerStatus.IDLE)
            self.connection.hset(self.key, mapping=self._load())
        except redis.RedisError as error:
            if isinstance(error, redis.ResponseError) and not is_full(error):
                raise
            _log.info("registration left to the beat", extra={"error": error})

    def _load(self) -> dict[Any, Any]:
        engine = self.engine
        slots = engine.settings.concurrency
        free = 0 if engine.draining.is_set() else max(0, slots - len(engine.slots))
        return {**load_of(slots, free), STAGES: stages.written(engine.stages.told())}

    def _say_death(self) -> None:
        try:
            self.register_death()  # type: ignore[no-untyped-call]
        except redis.RedisError:
            _log.info("registration left to expire")

    def _beat(self) -> None:
        this_process(worker=self.engine.lease.worker)  # another one, after a freeze
        state = WorkerStatus.BUSY if self.engine.attempts() else WorkerStatus.IDLE
        with self.connection.pipeline(transaction=False) as pipeline:
            if not self.connection.exists(self.key):
                pipeline.hset(self.key, mapping=self.serialize())
                worker_registration.register(self, pipeline)
            pipeline.hset(self.key, mapping={"state": state.value, **self._load()})
            self.heartbeat(pipeline=pipeline)
            pipeline.hexists(self._keys.manifest, self.app.name)
            pipeline.info("server")
            *answers, published, server = pipeline.execute(raise_on_error=False)
        for answer in (*answers, published, server):
            if isinstance(answer, Exception) and not is_full(answer):
                raise answer
        # Another process answers: Redis was restarted or replaced, and may be back in an earlier state (F42).
        if not published or server["run_id"] != self._server or monotonic() >= self._publish_at:
            self._server = server["run_id"]
            self._renew_manifest()

    def _renew_manifest(self) -> None:
        self._publish_at = monotonic() + manifest.RENEW_SECONDS
        said = self._publication.publish(Store(self.connection, self._keys), "renew")
        if said is not None:
            _log.warning("other code published", extra={"reason": said})

    def _give_up(self, reason: str) -> None:
        """Save finished outcomes as far as possible, then leave; the parent starts another process."""
        leave(self.engine.rescue, reason)


def _search_less_garbage() -> None:
    """What is loaded by now stays, and looking through it and through what steps make is up to a tenth of the time."""
    gc.freeze()
    objects, *older = gc.get_threshold()
    if 0 < objects < GARBAGE_OBJECTS:  # 0: the app has switched it off
        gc.set_threshold(GARBAGE_OBJECTS, *older)

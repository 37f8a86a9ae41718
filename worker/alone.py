"""One suspect, one process: runs a step or turn that may be what killed a worker, and ends.

It takes it over from the worker that claimed it, under a lease of its own, replays from scratch, and goes through the
same engine as everything else. What follows from the outcome is handed out as usual.
"""

from __future__ import annotations

import ctypes
import logging
import os
import random
import signal
from dataclasses import replace

import redis

from worker.claim import LeaseLost, take_over
from worker.engine import Engine
from worker.pipe import PipeToParent
from worker.settings import Settings
from worker.vital import leave
from workflows.authoring.app import App
from workflows.authoring.logger import this_process
from workflows.client import Client
from workflows.client.binding import bindings_of
from workflows.process.stop import Stop
from workflows.storage.connection import connection
from workflows.storage.keys import Held, Keyspace
from workflows.storage.store import Store
from workflows.telemetry.telling import Telling

_log = logging.getLogger("workflows.worker")

LOOK_SECONDS = 0.02
_PR_SET_PDEATHSIG = 1


def run(
    app: App,
    url: str,
    keys: Keyspace,
    settings: Settings,
    member: str,
    *,
    parent: int,
    pipe: int,
    telling: bool = False,
) -> int:
    """Take over what ``member`` names, and see it through.

    Args:
        settings: of the worker it comes from.
        parent: the process id of who started this process; when that one is gone, this one drains.
        telling: whether it is told of what is counted here.
    Returns: the exit status of the process.
    """
    _end_with(parent)
    # A fork has its parent's: what a step draws must not be what the next one draws as well.
    random.seed()
    drain = Stop()
    drain.on_signals()

    def connect() -> Store:
        return Store(connection(url), keys, hot=True)

    def give_up(reason: str) -> None:
        leave(engine.rescue, reason)

    # Without warm replays no decision is taken together with the outcome: should run() be what kills, the step that
    # ended well before it must not be blamed.
    alone = replace(settings, queues=(), concurrency=1, warm=0, alone=True)
    engine = Engine(app, connect, alone, on_hopeless=give_up, bindings=bindings_of(app, lambda: Client(app, url)))
    to_parent, told = PipeToParent(pipe), Telling(engine.counted) if telling else None
    try:
        engine.start()
        this_process(namespace=keys.namespace, worker=engine.lease.worker)
        to_parent.show_life(told)
        task = take_over(connect(), engine.lease.worker, Held.parse(member))
    except (redis.RedisError, LeaseLost) as error:
        _log.warning("not taken over", extra={"error": error})
        return os.EX_SOFTWARE
    if task is not None:
        _log.info(
            "goes on alone", extra={"workflow": task.instance.workflow, "instance": task.instance.id, "step": task.seq}
        )
        engine.accept([task])
        while not engine.is_idle and not drain.wait(LOOK_SECONDS) and os.getppid() == parent:
            pass
    engine.stop()
    if told is not None:
        to_parent.tell(told)
    return 0


def _end_with(parent: int) -> None:
    """Have the kernel kill this process once its parent has ended, where it can: what holds the interpreter for ever,
    as suspects may, would never hear of it."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:
        os._exit(os.EX_SOFTWARE)

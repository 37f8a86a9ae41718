"""Brings a replay to where a task needs it: the suspended one plus what is new, or a fresh one from the start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from worker.claim import Task
from worker.guardian import Guardian
from worker.warm import WarmCache, WarmReplay
from workflows.authoring.app import App
from workflows.authoring.env import LazyEnv
from workflows.clock import monotonic
from workflows.errors import CorruptPayload
from workflows.replay.recorded import ReadChunk
from workflows.replay.replay import Replay
from workflows.replay.start import replay_of
from workflows.storage import cuts, journal
from workflows.storage.keys import Instance
from workflows.storage.store import Store
from workflows.telemetry import metrics
from workflows.telemetry.figures import figures
from workflows.values.byte_stream import ByteStream

PAGE = 512


class Gone(Exception):
    """The instance was deleted or restarted meanwhile."""


class Replays:
    """All replays of a worker process; used by whoever leads the engine.

    Args:
        guardian: told whenever user code runs on this thread.
        bindings: the app's bindings, once they are made.
        read: reads a chunk of a stream for ``run``.
        ran: called with how long ``run`` has gone on, in seconds.
    """

    def __init__(
        self,
        app: App,
        store: Store,
        warm: WarmCache,
        guardian: Guardian,
        bindings: Callable[[], dict[str, Any]],
        read: ReadChunk,
        ran: Callable[[float], None],
    ) -> None:
        self.warm = warm
        self._app = app
        self._store = store
        self._guardian = guardian
        self._env = LazyEnv(bindings)
        self._read_chunk = read
        self._ran = ran

    def reach(self, task: Task, position: int) -> WarmReplay:
        """A replay of the task's instance, taken out of the cache, fed to at least ``position`` (a turn: exactly).

        Raises:
            Gone, CorruptPayload, NonDeterminismError, RunStalled: and nothing stays in the cache.
        """
        warm = self.warm.take(task.instance)
        if warm is not None and not self._is_usable(warm, task, position):
            warm.replay.close()
            warm = None
        if warm is None:
            return self._begun(task, position)
        if warm.replay.position < position:
            self.feed(task.instance, warm, self.blobs(task, warm.replay.position, position))
        return warm

    def _begun(self, task: Task, position: int) -> WarmReplay:
        """The same from the start. Raises: see ``reach``."""
        if not position:
            return self._start(task)
        began = monotonic()
        warm = self._start(task)
        self.feed(task.instance, warm, self.blobs(task, 0, position))
        labels = (task.instance.workflow,)
        figures.observe(metrics.REPLAY_SECONDS, labels, monotonic() - began)
        figures.observe(metrics.REPLAY_ENTRIES, labels, position)
        return warm

    def _is_usable(self, warm: WarmReplay, task: Task, position: int) -> bool:
        if warm.generation != task.generation or warm.replay.end is not None:
            return False
        # The claim said what was known here and was answered from 0: that memory is of another timeline (F42).
        if task.hinted and task.start == 0:
            return False
        return task.kind == "a" or warm.replay.position <= position

    def feed(self, instance: Instance, warm: WarmReplay, blobs: Sequence[bytes], *, live: bool = False) -> None:
        """Feed encoded entries; ``live`` when they are new to ``run``. After an error the replay is closed.

        Raises:
            CorruptPayload, NonDeterminismError, RunStalled.
        """
        try:
            entries = [journal.decode(blob) for blob in blobs]
            counting = entries if warm.replay.position else _kept(entries)
            began = self._guardian.begin(instance)
            warm.replay.feed(counting, live=live)
            self._guardian.end()
        except BaseException:
            self._guardian.end()
            warm.replay.close()
            raise
        self._ran(monotonic() - began)
        if blobs:
            warm.nonce, warm.weight = journal.nonce_of(blobs[-1]), len(blobs[-1])
            warm.size += sum(map(len, blobs))

    def keep(self, instance: Instance, warm: WarmReplay) -> None:
        """Put a replay back, unless there is nothing more to do with it."""
        if warm.replay.end is not None:
            warm.replay.close()
        else:
            self.warm.put(instance, warm)

    def blobs(self, task: Task, start: int, upto: int) -> list[bytes]:
        """Journal entries, from the claim's answer where it has them, else read in pages (F50).

        Raises:
            Gone: they are those of another life.
            CorruptPayload: there are fewer than were promised.
        """
        if start >= upto:
            return []
        found = task.blobs[start - task.start : upto - task.start] if task.start <= start else []
        if len(found) == upto - start:
            return found
        while (at := start + len(found)) < upto:
            page = self._store.entries(task.instance, at, min(at + PAGE, upto))
            if not page:
                break
            found += page
        # Asked after reading: a restart in between has put another life's journal in this one's place.
        (generation,) = self._store.header_fields(task.instance, "gen")
        if generation != task.generation.encode():
            raise Gone(task.instance.id)
        if at < upto:
            raise CorruptPayload(f"the journal ends at {at}, but {upto} entries were promised")
        return found

    def is_left_over(self, instance: Instance) -> bool:
        """Whether a call has left something of it to others, a part of a decision say."""
        (rest,) = self._store.header_fields(instance, "rest")
        return bool(rest)

    def _start(self, task: Task) -> WarmReplay:
        """A replay that nothing has been fed to.

        Raises: Gone, CorruptPayload, BadParams.
        """
        start = journal.decode_start(self.blobs(task, 0, 1)[0])
        replay = replay_of(Replay, self._app, task.instance, task.generation, start, env=self._env, read=self._read)
        return WarmReplay(replay, task.generation, start.at_ms)

    def _read(self, stream: ByteStream, n: int) -> bytes:
        with self._guardian.at_rest():
            return self._read_chunk(stream, n)


def _kept(entries: Sequence[journal.Entry]) -> Sequence[journal.Entry | None]:
    """What counts of the first entries. Raises CorruptPayload: some that were kept by a restart are not there."""
    made = cuts.cuts_of(entries)
    if made and len(entries) < made[-1].upto:
        raise CorruptPayload(f"the journal ends at {len(entries)}, but {made[-1].upto} entries were kept by a restart")
    return cuts.kept(entries)

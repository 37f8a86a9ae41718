"""Tells browsers that what they show has changed; what it is now they ask for themselves.

One look each second per process and watched thing, however many browsers watch it, and none where nobody does. Streams
are server-sent events, which a browser resumes by itself; it needs no answer to be kept for it, because it looks at the
whole anew when it comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from workflows.clock import monotonic
from workflows.errors import WorkflowError
from workflows.health.glance import glance, glance_at
from workflows.storage.status import Status
from workflows.storage.store import Store
from workflows.ui.bulk import Jobs
from workflows.ui.refusals import RequestRefused
from workflows.values import names

STREAMS_MAX: Final = 50
"""Of one process; whoever comes beyond that looks at pages again by hand."""
LOOK_SECONDS: Final = 1.0
CALLS_PER_SECOND: Final = 16
"""Of Redis, for one watched thing: with more shards it is looked at less often."""
SLOWEST_SECONDS: Final = 60.0
COMMENT_SECONDS: Final = 15.0
"""So that whatever lies between does not take a stream for dead."""
RETRY_MS: Final = 3_000
HEADERS: Final = {"X-Accel-Buffering": "no"}
_LOG = logging.getLogger("workflows.ui")

STREAM_SECONDS: Final = 600.0
"""Then a browser comes back by itself, and whether it still may is asked again."""


@dataclass(frozen=True, slots=True)
class Glancing:
    """How one looks at something.

    Attributes:
        at: texts by name; one of them differs when that has moved.
        is_wide: it costs a call for each shard.
    """

    at: Callable[[], Mapping[str, str]]
    is_wide: bool = False


def look_of(watched: str, store: Callable[[], Store], jobs: Jobs) -> Glancing:
    """How one looks at what is watched: ``overview``, ``failed``, ``list:WORKFLOW``, ``instance:WORKFLOW:ID`` or
    ``job:ID``.

    Raises: RequestRefused: it is none of these. BadName.
    """
    match watched.split(":"):
        case ["overview"]:
            return Glancing(lambda: glance(store()), is_wide=True)
        case ["failed"]:
            shelf = (Status.ERRORED, Status.PAUSED)
            return Glancing(lambda: {**glance(store(), statuses=shelf), "job": _jobs_text(jobs)}, is_wide=True)
        case ["list", workflow]:
            names.check_workflow_name(workflow)
            return Glancing(lambda: glance(store(), workflow=workflow), is_wide=True)
        case ["instance", workflow, id]:
            names.check_workflow_name(workflow)
            names.check_instance_id(id)
            return Glancing(lambda: glance_at(store(), store().keys.instance(workflow, id)))
        case ["job", id]:
            job = jobs.get(id)
            return Glancing(lambda: {"job": json.dumps(job.as_dict())})
    raise RequestRefused(422, "BadWatch", f"There is nothing to watch that is called {watched!r:.100}")


def _jobs_text(jobs: Jobs) -> str:
    return json.dumps([job.as_dict() for job in jobs.all()])


@dataclass(eq=False, slots=True)
class _Viewer:
    """A stream.

    Attributes:
        every: how often it wants to be told, in seconds.
        news: what has changed since it was told.
    """

    every: float
    news: set[str] = field(default_factory=set)
    called: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, changed: set[str]) -> None:
        self.news |= changed
        self.called.set()


@dataclass(eq=False, slots=True)
class _Watch:
    """What is looked at, by whom, and what it was like.

    Attributes:
        every: seconds between two looks.
    """

    look: Glancing
    viewers: set[_Viewer] = field(default_factory=set)
    every: float = SLOWEST_SECONDS
    seen: Mapping[str, str] | None = None
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def add(self, viewer: _Viewer) -> None:
        self.viewers.add(viewer)
        if viewer.every < self.every:
            self.every = viewer.every
            self.hurry.set()

    def remove(self, viewer: _Viewer) -> None:
        self.viewers.discard(viewer)
        self.every = min((one.every for one in self.viewers), default=SLOWEST_SECONDS)

    def sees(self, seen: Mapping[str, str]) -> None:
        """Tell viewers what of it is new."""
        before, self.seen = self.seen, seen
        if before is not None:
            changed = {name for name in seen.keys() | before.keys() if seen.get(name) != before.get(name)}
            for viewer in self.viewers if changed else ():
                viewer.tell(changed)


class Live:
    """The streams of this process."""

    def __init__(self, store: Callable[[], Store], jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs
        # What is watched belongs to the event loop in which it is looked at.
        self._watches: dict[tuple[asyncio.AbstractEventLoop, str], _Watch] = {}
        self._streams = 0
        self._least_seconds = LOOK_SECONDS

    @property
    def streams(self) -> int:
        """How many there are."""
        return self._streams

    def stream(self, watched: str, every: float = LOOK_SECONDS) -> StreamingResponse:
        """Watch something, until the browser goes away.

        Args:
            watched: see ``look_of``.
            every: seconds; how often it wants to hear of changes.
        Raises: RequestRefused: there is no such thing, or there are as many streams as there may be. BadName.
        """
        look = look_of(watched, self._store, self._jobs)
        if self._streams >= STREAMS_MAX:
            raise RequestRefused(503, "TooManyStreams", f"{STREAMS_MAX} pages are kept up to date here already")
        viewer = _Viewer(min(max(every, LOOK_SECONDS), SLOWEST_SECONDS))
        return StreamingResponse(self._told(watched, look, viewer), media_type="text/event-stream", headers=HEADERS)

    async def _told(self, watched: str, look: Glancing, viewer: _Viewer) -> AsyncIterator[str]:
        key = asyncio.get_running_loop(), watched
        watch = self._watches.setdefault(key, _Watch(look))
        watch.add(viewer)
        if watch.task is None:
            watch.task = asyncio.create_task(self._look_on(watch), name=f"workflows-live-{watched}")
        self._streams += 1
        ends = monotonic() + STREAM_SECONDS
        try:
            yield f"retry: {RETRY_MS}\n\n"
            while monotonic() < ends:
                try:
                    await asyncio.wait_for(viewer.called.wait(), COMMENT_SECONDS)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                viewer.called.clear()
                changed, viewer.news = sorted(viewer.news), set()
                yield f"event: changed\ndata: {json.dumps(changed)}\n\n"
                # What happens meanwhile is told together.
                await asyncio.sleep(viewer.every)
        finally:
            self._streams -= 1
            watch.remove(viewer)
            if not watch.viewers:
                watch.task.cancel()
                self._watches.pop(key, None)

    async def _look_on(self, watch: _Watch) -> None:
        while True:
            began = monotonic()
            watch.hurry.clear()
            watch.sees(await run_in_threadpool(self._seen, watch.look))
            least = self._least_seconds if watch.look.is_wide else 0.0
            pause = max(watch.every, least) - (monotonic() - began)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(watch.hurry.wait(), max(0.0, pause))

    def _seen(self, look: Glancing) -> Mapping[str, str]:
        """What there is to see; an error is something to see as well."""
        try:
            found = look.at()
            self._least_seconds = self._store().keys.shards / CALLS_PER_SECOND
            return found
        except (WorkflowError, RequestRefused) as error:
            return {"error": type(error).__name__}
        except Exception:
            _LOG.exception("ui_error")
            return {"error": "Error"}

"""The same verbs as ``blocking.py`` for asyncio.

    async with AsyncClient(app) as client:
        instance = await client.workflow("approval").create(params={"user": 7})
        await instance.send_event("approved", {"by": "ann"})
        await instance.result(timeout="1 hour")

A client belongs to the process and the event loop it is first used in, until it is closed there.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar, Unpack, overload

import redis
import redis.asyncio

from workflows import limits
from workflows.client import batches, bulk, creation, explaining, keyed, listing, published, reading, requests
from workflows.client.batches import CreatedBatch, DeletedBatch, Plan
from workflows.client.bulk import BulkResult, BulkVerb, Progress
from workflows.client.creation import CreateOptions
from workflows.client.explaining import explain_async
from workflows.client.history import StepStatus
from workflows.client.instance_event import InstanceEvent
from workflows.client.listing import InstancePage
from workflows.client.reading import History, Reading
from workflows.client.requests import Ended, Request
from workflows.client.restarting import FromStep, Wanted, restart_from
from workflows.client.selection import Where, selection
from workflows.client.status import InstanceStatus, status_of
from workflows.client.subscription import Subscription
from workflows.clock import Clock, monotonic
from workflows.errors import InstanceNotFound, ResultTimeout, ServerUnavailable, UnknownWorkflow
from workflows.insight.reason import Reason
from workflows.storage.connection import async_producer, checked, redis_url
from workflows.storage.intake import Target
from workflows.storage.keys import Instance, Keyspace
from workflows.storage.manifest import Manifest, read_manifest
from workflows.storage.outage import server_errors
from workflows.storage.removal import unring_calls
from workflows.storage.store import AsyncStore, Call, Home
from workflows.storage.streams import chunk_command, chunk_of
from workflows.values import durations, names
from workflows.values.byte_stream import ByteStream
from workflows.values.codec import InstanceRef
from workflows.values.rejection import Rejection

if TYPE_CHECKING:
    from workflows.authoring.app import App
    from workflows.client.schedule_handles import AsyncSchedules

Answer = TypeVar("Answer")

# Of a client's connections, for one plan: its other calls need some as well.
_LINES: Final = 10


class AsyncClient:
    """A connection to the workflows of one namespace; see ``Client`` for the arguments.

    Every call raises ConfigError in another event loop than the first, or in a process forked since. With a
    ``connection``, seeing to that is its owner's business.
    """

    def __init__(
        self,
        app: App | str,
        url: str | None = None,
        *,
        shards: int | None = None,
        clock: Clock | None = None,
        connection: redis.asyncio.Redis | None = None,
    ) -> None:
        self.namespace = names.check_namespace(app) if isinstance(app, str) else app.name
        self.app = None if isinstance(app, str) else app
        self._shards = shards
        self._clock = clock
        self._owned = connection is None
        self._connection: redis.asyncio.Redis = (
            async_producer(redis_url(url)) if connection is None else checked(connection)
        )
        self._home = Home() if self._owned else None
        self._store: AsyncStore | None = None

    async def store(self) -> AsyncStore:
        """Where the commands go; see ``Client.store``."""
        if self._store is None:
            bare = AsyncStore(self._connection, Keyspace(self.namespace), home=self._home)
            keys = await send(bare, requests.keyspace(self.namespace, self._shards))
            self._store = AsyncStore(self._connection, keys, self._clock, self._home)
        return self._store

    def workflow(self, workflow: str | type) -> AsyncWorkflowHandle:
        """One workflow, by its name or, with an app, by its class; see ``Client.workflow``."""
        return AsyncWorkflowHandle(self, requests.workflow_name(self.app, self.namespace, workflow))

    @overload
    async def send_event(
        self,
        type: str,
        payload: Any = None,
        *,
        key: str | int,
        workflow: str | type | None = None,
        id: str | None = None,
        error: Rejection | None = None,
    ) -> list[InstanceRef]: ...

    @overload
    async def send_event(
        self, *, token: str, payload: Any = None, id: str | None = None, error: Rejection | None = None
    ) -> str: ...

    async def send_event(
        self,
        type: str | None = None,
        payload: Any = None,
        *,
        key: str | int | None = None,
        workflow: str | type | None = None,
        token: str | None = None,
        id: str | None = None,
        error: Rejection | None = None,
    ) -> list[InstanceRef] | str:
        """Send an event to everybody who waits for a key, or the answer to one wait; see ``Client.send_event``."""
        store = await self.store()
        if token is not None:
            requests.check_token_alone(type, key, workflow)
            answer = requests.answer(store.keys, token, payload, id=id, error=error, app=self.app)
            return await send(store, answer)
        type, key = requests.checked_key(type, key)
        name = None if workflow is None else requests.workflow_name(self.app, self.namespace, workflow)
        plan = keyed.send_to_key(store.keys, type, payload, key, workflow=name, id=id, error=error, app=self.app)
        return await carry_out(store, plan)

    async def heartbeat(self, token: str) -> None:
        """Say that the answer to a wait is being worked on; see ``Client.heartbeat``."""
        store = await self.store()
        await send(store, requests.heartbeat(store.keys, token))

    async def chunks(self, stream: ByteStream) -> AsyncIterator[bytes]:
        """The bytes of a stream; see ``Client.chunks``."""
        store = await self.store()
        for n in range(stream.chunks):
            with server_errors(store.redis):
                (found,) = await store.answers([chunk_command(store.keys, stream, n)])
            yield chunk_of(stream, found)

    async def workflows(self) -> list[str]:
        """The names of the known workflows."""
        if self.app is not None:
            return sorted(name for name, definition in self.app.definitions.items() if not definition.hidden)
        return (await self._manifest()).names()

    @property
    def schedules(self) -> AsyncSchedules:
        """What creates instances by itself."""
        # Imported here, because few clients steer schedules.
        from workflows.client.schedule_handles import AsyncSchedules

        async def carried_out(plan: Callable[[Keyspace], Plan[Any]]) -> Any:
            store = await self.store()
            return await carry_out(store, plan(store.keys))

        return AsyncSchedules(carried_out)

    async def close(self) -> None:
        """Close the connections, unless they were given. Does nothing in a process forked since their first use: they
        are its parent's.
        """
        if self._home is None or self._home.is_elsewhere:
            return
        await self._connection.aclose()
        self._home.leave()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncClient {self.namespace}>"

    async def _target(self, name: str) -> Target:
        return (await self._manifest()).workflow(name) if self.app is None else self.app.definition(name)

    async def _manifest(self) -> Manifest:
        store = await self.store()
        with server_errors(store.redis):
            fields: Any = await store.redis.hgetall(store.keys.manifest)
        return read_manifest(fields)


async def _call(store: AsyncStore, call: Call) -> Any:
    with server_errors(store.redis):
        return await store.call(call)


async def send(store: AsyncStore, request: Request[Answer]) -> Answer:
    """Send one request and read its answer."""
    return request.parse(await _call(store, request.call))


async def send_all(store: AsyncStore, batch: Sequence[Request[Answer]]) -> list[Answer]:
    """Send several requests at the same time."""
    return list(await asyncio.gather(*(send(store, request) for request in batch)))


async def carry_out(store: AsyncStore, plan: Plan[Answer]) -> Answer:
    """Carry out a plan: what it asks for at a time is sent on a few connections."""
    lines = asyncio.Semaphore(_LINES)

    async def outcome(request: Request[Any]) -> Any:
        async with lines:
            return request.outcome(await _call(store, request.call))

    try:
        asked = next(plan)
        while True:
            asked = plan.send(list(await asyncio.gather(*map(outcome, asked))))
    except StopIteration as end:
        result: Answer = end.value
        return result


class AsyncWorkflowHandle:
    """One workflow: creates and finds its instances."""

    def __init__(self, client: AsyncClient, name: str) -> None:
        self._client = client
        self._known: Target | None = None
        self.name = name

    async def create(
        self,
        id: str | None = None,
        params: Any = None,
        retention: object = None,
        *,
        command_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
        deadline: durations.Duration | None = None,
    ) -> AsyncWorkflowInstance:
        """Create an instance; see ``WorkflowHandle.create``."""
        target, store = await self._target(), await self._client.store()
        id, request = creation.create(
            store.keys,
            target,
            id=id,
            params=params,
            retention=retention,
            command_id=command_id,
            metadata=metadata,
            deadline=deadline,
        )
        await send(store, request)
        return self._instance(store, id, is_new=True)

    @overload
    async def create_batch(self, entries: Mapping[str, Any]) -> CreatedBatch[AsyncWorkflowInstance]: ...

    @overload
    async def create_batch(
        self, entries: Iterable[CreateOptions | Mapping[str, Any]]
    ) -> list[AsyncWorkflowInstance]: ...

    async def create_batch(
        self, entries: Mapping[str, Any] | Iterable[CreateOptions | Mapping[str, Any]]
    ) -> CreatedBatch[AsyncWorkflowInstance] | list[AsyncWorkflowInstance]:
        """Create 1 to 100 instances; see ``WorkflowHandle.create_batch``."""
        target, store = await self._target(), await self._client.store()
        if isinstance(entries, Mapping):
            each, outcome = creation.create_each(store.keys, target, entries)
            ids, errors = outcome(await send_all(store, each))
            return CreatedBatch([self._instance(store, id) for id in ids], errors)
        ids, batch = creation.create_batch(store.keys, target, entries)
        created = {id for answer in await send_all(store, batch) for id in answer}
        return [self._instance(store, id) for id in ids if id in created]

    async def send_event(
        self,
        id: str,
        type: str,
        payload: Any = None,
        *,
        event_id: str | None = None,
        error: Rejection | None = None,
        create_with: Any = None,
        retention: object = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Send an event to an instance that it may create; see ``WorkflowHandle.send_event``."""
        new = None
        if create_with is not None:
            options = CreateOptions(id, create_with, retention, None, metadata)
            new = creation.item_of(await self._target(), options)
        store, app = await self._client.store(), self._client.app
        at = store.keys, store.keys.instance(self.name, names.check_instance_id(id))
        request = requests.send_event(*at, type, payload, id=event_id, error=error, app=app, new=new)
        return await send(store, request)

    async def delete_batch(self, ids: Iterable[str]) -> DeletedBatch:
        """Remove 1 to 100 instances; see ``WorkflowHandle.delete_batch``."""
        store = await self._client.store()
        return await carry_out(store, batches.delete_batch(store.keys, self.name, ids))

    async def pause_all(
        self, status: str | Iterable[str] | None = None, *, progress: Progress | None = None, **where: Unpack[Where]
    ) -> BulkResult:
        """See ``WorkflowHandle.pause_all``."""
        return await self._for_all(bulk.PAUSE, status, where, progress)

    async def resume_all(
        self, status: str | Iterable[str] | None = None, *, progress: Progress | None = None, **where: Unpack[Where]
    ) -> BulkResult:
        """See ``WorkflowHandle.resume_all``."""
        return await self._for_all(bulk.RESUME, status, where, progress)

    async def terminate_all(
        self,
        status: str | Iterable[str] | None = None,
        *,
        rollback: bool = False,
        progress: Progress | None = None,
        **where: Unpack[Where],
    ) -> BulkResult:
        """See ``WorkflowHandle.terminate_all``. ``progress`` is called, not awaited."""
        return await self._for_all(bulk.ROLL_BACK if rollback else bulk.TERMINATE, status, where, progress)

    async def cancel_all(
        self,
        status: str | Iterable[str] | None = None,
        *,
        reason: str | None = None,
        grace: durations.Duration | None = None,
        progress: Progress | None = None,
        **where: Unpack[Where],
    ) -> BulkResult:
        """See ``WorkflowHandle.cancel_all``. ``progress`` is called, not awaited."""
        return await self._for_all(bulk.cancel(reason, grace), status, where, progress)

    async def restart_all(
        self,
        status: str | Iterable[str] | None,
        *,
        from_: FromStep | None = None,
        progress: Progress | None = None,
        **where: Unpack[Where],
    ) -> BulkResult:
        """See ``WorkflowHandle.restart_all``."""
        return await self._for_all(bulk.restart(from_), status, where, progress)

    async def delete_all(
        self, status: str | Iterable[str] | None, *, progress: Progress | None = None, **where: Unpack[Where]
    ) -> BulkResult:
        """See ``WorkflowHandle.delete_all``."""
        return await self._for_all(bulk.DELETE, status, where, progress)

    async def get(self, id: str) -> AsyncWorkflowInstance:
        """An instance that exists. Raises InstanceNotFound."""
        names.check_instance_id(id)
        store = await self._client.store()
        instance = self._instance(store, id)
        await send(store, requests.exists(store.keys, instance._instance))
        return instance

    async def list(
        self,
        status: str | Iterable[str] | None = None,
        limit: int = limits.LIST_PAGE,
        cursor: str | None = None,
        *,
        oldest_first: bool = False,
        **where: Unpack[Where],
    ) -> InstancePage:
        """A page of instances, newest first; see ``WorkflowHandle.list``."""
        store = await self._client.store()
        selected = selection(status, where, await self._declared(where))
        plan = listing.list_instances(
            store.keys, self.name, selected, limit=limit, cursor=cursor, oldest_first=oldest_first
        )
        return await carry_out(store, plan)

    async def _for_all(
        self, verb: BulkVerb, status: str | Iterable[str] | None, where: Where, progress: Progress | None
    ) -> BulkResult:
        declared, store = await self._declared(where), await self._client.store()
        plan = bulk.for_all(store.keys, self.name, verb, status, where, progress, declared)
        return await carry_out(store, plan)

    async def _target(self) -> Target:
        if self._known is None:
            self._known = await self._client._target(self.name)
        return self._known

    async def _declared(self, where: Where) -> tuple[str, ...] | None:
        """See ``WorkflowHandle._declared``."""
        if not where.get("metadata"):
            return None
        try:
            return (await self._target()).metadata_keys
        except UnknownWorkflow:
            return None

    def _instance(self, store: AsyncStore, id: str, *, is_new: bool = False) -> AsyncWorkflowInstance:
        instance = store.keys.instance(self.name, id)
        return AsyncWorkflowInstance(store, instance, self._client.app, is_new=is_new)

    def __repr__(self) -> str:
        return f"<AsyncWorkflowHandle {self.name}>"


class AsyncWorkflowInstance:
    """One instance; see ``WorkflowInstance``."""

    def __init__(self, store: AsyncStore, instance: Instance, app: App | None = None, *, is_new: bool = False) -> None:
        self._store = store
        self._instance = instance
        self._app = app
        self._is_new = is_new

    @property
    def id(self) -> str:
        return self._instance.id

    @property
    def workflow(self) -> str:
        """The workflow's name."""
        return self._instance.workflow

    async def status(self) -> InstanceStatus[AsyncSteps]:
        """How it is now."""
        seen = await self._read(0)
        steps = AsyncSteps(self._store, self._instance, seen)
        return status_of(seen, steps, await explain_async(self._store, explaining.remark(self._store.keys, seen)))

    async def value(self, name: str, default: Any = None) -> Any:
        """What ``run`` has published last under this name; see ``WorkflowInstance.value``."""
        return await send(self._store, published.value(self._store.keys, self._instance, name, default))

    async def why(self) -> list[Reason]:
        """Why it stands where it stands; see ``WorkflowInstance.why``."""
        return await explain_async(self._store, explaining.reasons(self._store.keys, self._instance))

    async def result(self, timeout: durations.Duration | None = None) -> Any:
        """Wait for its end and return what ``run`` returned; see ``WorkflowInstance.result``.

        Args:
            timeout: longest wait; bare numbers are milliseconds. None: as long as it takes.
        """
        timeout_ms = None if timeout is None else durations.parse_ms(timeout, what="the timeout of result()")
        deadline = None if timeout_ms is None else monotonic() + timeout_ms / 1000
        # Of one that has just been created it is known.
        found = None if self._is_new else await self._outcome()
        self._is_new = False
        down_since: float | None = None
        while not isinstance(found, Ended):
            if found is not None and deadline is not None and monotonic() >= deadline:
                assert timeout_ms is not None
                raise ResultTimeout(
                    f'Instance "{self.id}" of workflow "{self.workflow}" did not end within '
                    f"{durations.format_ms(timeout_ms)}; it is {found}.{durations.note_of(timeout_ms)}"
                )
            try:
                found = await self._wait(deadline)
                down_since = None
            except ServerUnavailable:
                # A restart of Redis is not the end of a long wait.
                down_since = down_since or monotonic()
                if monotonic() - down_since > limits.OUTAGE_SECONDS:
                    raise
                await asyncio.sleep(0.2)
        return found.unwrap(self._instance)

    async def pause(self) -> None:
        """Pause it: attempts in flight finish, nothing else begins. Without effect when paused or ended."""
        await send(self._store, requests.pause(self._store.keys, self._instance))

    async def resume(self) -> None:
        """Let it go on; timers continue with what was left of them. Without effect when it is not paused."""
        await send(self._store, requests.resume(self._store.keys, self._instance))

    async def terminate(self, *, rollback: bool = False) -> None:
        """See ``WorkflowInstance.terminate``."""
        await send(self._store, requests.terminate(self._store.keys, self._instance, rollback=rollback))

    async def cancel(self, reason: str | None = None, *, grace: durations.Duration | None = None) -> bool:
        """See ``WorkflowInstance.cancel``."""
        return await send(self._store, requests.cancel(self._store.keys, self._instance, reason, grace))

    async def restart(self, from_: FromStep | None = None) -> None:
        """Start it over, or from a step on; see ``WorkflowInstance.restart``."""
        if from_ is None:
            await send(self._store, requests.restart(self._store.keys, self._instance))
        else:
            await carry_out(self._store, restart_from(self._store.keys, self._instance, Wanted.of(from_)))

    async def delete(self) -> None:
        """Remove it with everything it stored, in whatever status. Its id is free again."""
        await send(self._store, requests.exists(self._store.keys, self._instance))
        doorbells = await send(self._store, requests.delete(self._store.keys, self._instance))
        for call in unring_calls(self._store.keys, self._instance.shard, doorbells):
            await _call(self._store, call)

    async def send_event(
        self, type: str, payload: Any = None, *, id: str | None = None, error: Rejection | None = None
    ) -> str:
        """Send an event; see ``WorkflowInstance.send_event``. Returns: ``"delivered"`` or ``"buffered"``."""
        at = self._store.keys, self._instance
        return await send(self._store, requests.send_event(*at, type, payload, id=id, error=error, app=self._app))

    def subscribe(
        self, cursor: str | None = None, filter: str | Iterable[str] | None = None
    ) -> AsyncGenerator[InstanceEvent, None]:
        """What happens to it, for ``async for``; see ``WorkflowInstance.subscribe``."""
        return self._told(Subscription(self._store.keys, self._instance, cursor, filter))

    def __workflow_reference__(self) -> InstanceRef:
        return requests.reference(self._instance)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncWorkflowInstance) and other._instance == self._instance

    def __hash__(self) -> int:
        return hash(self._instance)

    def __repr__(self) -> str:
        return f"<AsyncWorkflowInstance {self.workflow}/{self.id}>"

    async def _read(self, page: int) -> Reading:
        return await send(self._store, reading.read(self._store.keys, self._instance, page=page))

    async def _outcome(self) -> Any:
        return await send(self._store, requests.end(self._store.keys, self._instance))

    async def _told(self, subscription: Subscription) -> AsyncGenerator[InstanceEvent, None]:
        while True:
            try:
                for event in await send(self._store, subscription.look()):
                    yield event
            except ServerUnavailable as error:
                subscription.missed(error)
            if subscription.is_over:
                return
            await asyncio.sleep(subscription.pause_seconds)

    async def _wait(self, deadline: float | None) -> Any:
        """See ``WorkflowInstance._wait``."""
        channel = self._store.ended_channel(self._instance)
        with server_errors(self._store.redis):
            async with self._store.listening(channel) as heard:
                while True:
                    found = await self._outcome()
                    left = requests.POLL_SECONDS
                    if deadline is not None:
                        left = min(left, deadline - monotonic())
                    if isinstance(found, Ended) or left <= 0:
                        return found
                    told = requests.announced(await heard(left))
                    if told is not None:
                        return told


class AsyncSteps:
    """The steps of an instance, in the order ``run`` asked for them: ``async for``, or ``await steps.all()``.

    The first page belongs to the same moment as the status; a longer history is read page by page.
    """

    def __init__(self, store: AsyncStore, instance: Instance, first: Reading) -> None:
        self._store = store
        self._instance = instance
        self._first = first
        self._found: list[StepStatus] | None = None

    @property
    def complete(self) -> bool:
        """Whether all have been read: after ``all()``, or when one page holds them."""
        return self._found is not None or self._first.is_last

    @property
    def known(self) -> list[StepStatus]:
        """Those that have been read."""
        return self._found if self._found is not None else History(self._first).steps()

    def __deepcopy__(self, memo: Any) -> list[dict[str, Any]]:
        # ``dataclasses.asdict`` copies what it does not know, and a connection cannot be copied.
        return [dataclasses.asdict(step) for step in self.known]

    async def all(self) -> list[StepStatus]:
        """All of them."""
        if self._found is None:
            pages = History(self._first)
            while (page := pages.next_page) is not None:
                try:
                    pages.add(await send(self._store, reading.read(self._store.keys, self._instance, page=page)))
                except InstanceNotFound:
                    break
            self._found = pages.steps()
        return self._found

    async def __aiter__(self) -> AsyncIterator[StepStatus]:
        for step in await self.all():
            yield step

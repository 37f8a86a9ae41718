"""Blocking access for producers and operators: create instances, look at them, steer them.

    client = Client(app)                                # or Client("media", url="redis://…") without the app's code
    instance = client.workflow("approval").create(params={"user": 7})
    instance.send_event("approved", {"by": "ann"})
    instance.result(timeout="1 hour")

What each command means is in ``requests.py``; this module sends. A client may be used from several threads.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

import redis

from workflows import limits
from workflows.client import batches, bulk, creation, explaining, keyed, listing, published, reading, requests
from workflows.client.batches import CreatedBatch, DeletedBatch, Plan
from workflows.client.bulk import BulkResult, BulkVerb, Progress
from workflows.client.creation import CreateOptions
from workflows.client.explaining import explain
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
from workflows.storage.connection import checked, producer, redis_url
from workflows.storage.intake import Target
from workflows.storage.keys import Instance, Keyspace
from workflows.storage.manifest import load_manifest
from workflows.storage.outage import server_errors
from workflows.storage.removal import unring_calls
from workflows.storage.store import Store
from workflows.storage.streams import chunk_command, chunk_of
from workflows.values import durations, names
from workflows.values.byte_stream import ByteStream
from workflows.values.codec import InstanceRef
from workflows.values.rejection import Rejection

if TYPE_CHECKING:
    from workflows.authoring.app import App
    from workflows.client.schedule_handles import Schedules

Answer = TypeVar("Answer")


class Client:
    """A connection to the workflows of one namespace. Redis is reached at first use, not before.

    Args:
        app: the app, or only its name: then the workflows that a worker or ``workflows register`` has published are
            known, and params are not checked against their models here.
        url: where Redis is; None: ``WORKFLOWS_REDIS_URL``, then ``REDIS_URL``, then a ``workflows dev`` that runs in
            the current folder.
        shards: number of shards, if this may be the first use of the namespace; it cannot be changed afterwards.
        clock: another clock than the server's, for tests.
        connection: a connection to use in place of ``url``; closing it stays its owner's business.
    """

    def __init__(
        self,
        app: App | str,
        url: str | None = None,
        *,
        shards: int | None = None,
        clock: Clock | None = None,
        connection: redis.Redis | None = None,
    ) -> None:
        self.namespace = names.check_namespace(app) if isinstance(app, str) else app.name
        self.app = None if isinstance(app, str) else app
        self._shards = shards
        self._clock = clock
        self._owned = connection is None
        if connection is not None:
            self._connection: redis.Redis = checked(connection)
        else:
            self._connection = producer(redis_url(url))

    @cached_property
    def store(self) -> Store:
        """Where the commands go.

        Raises:
            ServerUnavailable: Redis does not answer.
            ConfigError: the namespace has another number of shards.
        """
        bare = Store(self._connection, Keyspace(self.namespace))
        return Store(self._connection, send(bare, requests.keyspace(self.namespace, self._shards)), self._clock)

    def workflow(self, workflow: str | type) -> WorkflowHandle:
        """One workflow, by its name or, with an app, by its class.

        Whether there is one of that name is asked when an instance is created. Everything else works without, so that
        the instances of a workflow whose code is gone can still be found and steered.

        Raises:
            BadName: no workflow can have this name.
            UnknownWorkflow: the class is none of the app's.
        """
        name = requests.workflow_name(self.app, self.namespace, workflow)
        return WorkflowHandle(self.store, name, self._target, self.app)

    def _target(self, name: str) -> Target:
        if self.app is not None:
            return self.app.definition(name)
        with server_errors(self._connection):
            return load_manifest(self.store).workflow(name)

    @overload
    def send_event(
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
    def send_event(
        self, *, token: str, payload: Any = None, id: str | None = None, error: Rejection | None = None
    ) -> str: ...

    def send_event(
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
        """Send an event to everybody who waits for its type with a key, or the answer to one wait by its token.

        What is sent to a key is not kept for those who begin to wait later. An instance gets it once, at the wait with
        the key that it asked for first.

        Args:
            type: not with a token, which has it.
            payload, error: as for ``WorkflowInstance.send_event``.
            key: that of ``step.wait_for_event``.
            token: that of what ``step.wait_for_event(…, token=True)`` returned.
            workflow: whose instances are meant, by name or class; None: of all workflows of the namespace.
            id: a call that is made again with the same one reaches those it had not come to, and nobody twice.
        Returns: with a key, those that got it, in no order; with a token ``"delivered"``, or ``"buffered"`` if the
            instance is too busy to take it at once.
        Raises:
            ConfigError, BadName, BadEvent, PayloadError: nothing has been sent.
            WaitOver: with a token: it was answered before, timed out or was given up.
            InstanceEnded, InstanceNotFound: with a token.
        """
        if token is not None:
            requests.check_token_alone(type, key, workflow)
            answer = requests.answer(self.store.keys, token, payload, id=id, error=error, app=self.app)
            return send(self.store, answer)
        type, key = requests.checked_key(type, key)
        name = None if workflow is None else requests.workflow_name(self.app, self.namespace, workflow)
        plan = keyed.send_to_key(self.store.keys, type, payload, key, workflow=name, id=id, error=error, app=self.app)
        return carry_out(self.store, plan)

    def heartbeat(self, token: str) -> None:
        """Say that the answer to a wait is being worked on: with its ``heartbeat_timeout`` silence begins anew.

        Args:
            token: that of what ``step.wait_for_event(…, token=True)`` returned.
        Raises:
            BadName: it is none.
            WaitOver: no answer is taken any more: stop working on it.
            InstanceEnded, InstanceNotFound.
        """
        send(self.store, requests.heartbeat(self.store.keys, token))

    def chunks(self, stream: ByteStream) -> Iterator[bytes]:
        """The bytes of a stream: what an instance returned, or what a step of it did.

        Args:
            stream: such as ``instance.result()`` or ``instance.status().steps[0].output``.
        Raises:
            StreamLost: its instance was deleted or restarted, or has gone on in another life.
        """
        for n in range(stream.chunks):
            with server_errors(self._connection):
                found = self.store.command(*chunk_command(self.store.keys, stream, n))
            yield chunk_of(stream, found)

    def workflows(self) -> list[str]:
        """The names of the known workflows."""
        if self.app is not None:
            return sorted(name for name, definition in self.app.definitions.items() if not definition.hidden)
        with server_errors(self._connection):
            return load_manifest(self.store).names()

    @property
    def schedules(self) -> Schedules:
        """What creates instances by itself."""
        # Imported here, because few clients steer schedules.
        from workflows.client.schedule_handles import Schedules

        return Schedules(self.store.keys, lambda plan: carry_out(self.store, plan))

    def close(self) -> None:
        """Close the connections, unless they were given."""
        if self._owned:
            self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self.namespace}>"


def send(store: Store, request: Request[Answer]) -> Answer:
    """Send one request and read its answer."""
    with server_errors(store.redis):
        answer = store.call(request.call)
    return request.parse(answer)


def send_all(store: Store, batch: Sequence[Request[Answer]]) -> list[Answer]:
    """Send several requests in one round trip."""
    with server_errors(store.redis):
        answers = store.call_all([request.call for request in batch])
    return [request.parse(answer) for request, answer in zip(batch, answers, strict=True)]


def carry_out(store: Store, plan: Plan[Answer]) -> Answer:
    """Carry out a plan: what it asks for at a time goes in one round trip."""
    try:
        asked = next(plan)
        while True:
            with server_errors(store.redis):
                answers = store.call_all([request.call for request in asked])
            outcomes = [request.outcome(answer) for request, answer in zip(asked, answers, strict=True)]
            asked = plan.send(outcomes)
    except StopIteration as end:
        result: Answer = end.value
        return result


class WorkflowHandle:
    """One workflow: creates and finds its instances."""

    def __init__(self, store: Store, name: str, find: Callable[[str], Target], app: App | None = None) -> None:
        self._store = store
        self._find = find
        self._app = app
        self.name = name

    @cached_property
    def _target(self) -> Target:
        return self._find(self.name)

    def create(
        self,
        id: str | None = None,
        params: Any = None,
        retention: object = None,
        *,
        command_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
        deadline: durations.Duration | None = None,
    ) -> WorkflowInstance:
        """Create an instance; returns once it is stored, not when it has begun or ended.

        Args:
            id: unique per workflow until its retention is over; None: a random UUID.
            params: what ``run`` gets as ``event.payload``, up to 1 MiB; None: ``{}``.
            retention: how long the instance stays readable after its end: a duration (bare numbers are milliseconds),
                or a mapping with ``success`` and ``error``. None: the workflow's own.
            command_id: creating again under the same one gives the same instance instead of an error.
            metadata: up to 10 short texts by name, such as ``{"customer": "acme"}``, kept with the instance; ``list``
                finds it by those whose names ``@app.workflow(metadata=…)`` has declared.
            deadline: how long it may take until its end; then ``run`` is asked to end, see ``docs/cancelling.md``.
                None: as long as the workflow says.
        Raises:
            UnknownWorkflow: names the known ones.
            InstanceAlreadyExists: there is one with this id; ``get(id).restart()`` runs it again.
            BadName, BadParams, BadDuration, PayloadError: nothing has been stored.
        """
        id, request = creation.create(
            self._store.keys,
            self._target,
            id=id,
            params=params,
            retention=retention,
            command_id=command_id,
            metadata=metadata,
            deadline=deadline,
        )
        send(self._store, request)
        return self._instance(id, is_new=True)

    @overload
    def create_batch(self, entries: Mapping[str, Any]) -> CreatedBatch[WorkflowInstance]: ...

    @overload
    def create_batch(self, entries: Iterable[CreateOptions | Mapping[str, Any]]) -> list[WorkflowInstance]: ...

    def create_batch(
        self, entries: Mapping[str, Any] | Iterable[CreateOptions | Mapping[str, Any]]
    ) -> CreatedBatch[WorkflowInstance] | list[WorkflowInstance]:
        """Create 1 to 100 instances in one round trip.

        Args:
            entries: for each a mapping with any of ``id``, ``params``, ``retention``, ``metadata``, ``deadline``, or
                ``CreateOptions``; ids that are there already are skipped and left out of the list that comes back. Or
                ``{"instances": entries}``, which tells of each what became of it: what is wrong or there already does
                not keep the others from being created. Or ``{"count": number}`` with the others for all of them.
        Returns: handles of what is new; for a mapping they are ``created``, beside ``errors``.
        Raises: as ``create``, without InstanceAlreadyExists; one wrong entry of a list and nothing is stored.
        """
        if isinstance(entries, Mapping):
            each, outcome = creation.create_each(self._store.keys, self._target, entries)
            ids, errors = outcome(send_all(self._store, each))
            return CreatedBatch([self._instance(id) for id in ids], errors)
        ids, batch = creation.create_batch(self._store.keys, self._target, entries)
        created = {id for answer in send_all(self._store, batch) for id in answer}
        return [self._instance(id) for id in ids if id in created]

    def send_event(
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
        """Send an event to an instance, and create that with it if it is not there: both or neither.

        So whoever comes first begins, and nobody has to ask before. An instance that has ended takes no event and is
        not created anew.

        Args:
            id: of the instance.
            type, payload, error: as for ``WorkflowInstance.send_event``.
            event_id: an event with an id that was sent before is not accepted again. None: a random one.
            create_with: params of the new instance, ``{}`` for none. None: none is created.
            retention, metadata: of the new instance, as for ``create``.
        Returns: ``"started"`` when it was created with this event, ``"delivered"`` when a wait has it, ``"buffered"``
            when it is kept for a later one.
        Raises:
            BadName, BadEvent, BadParams, BadDuration, PayloadError: nothing has been sent.
            UnknownWorkflow: of a new instance, where no app has it.
            InstanceNotFound: it is not there, and ``create_with`` is None.
            InstanceEnded: it has ended.
        """
        new = None
        if create_with is not None:
            new = creation.item_of(self._target, CreateOptions(id, create_with, retention, None, metadata))
        at = self._store.keys, self._store.keys.instance(self.name, names.check_instance_id(id))
        request = requests.send_event(*at, type, payload, id=event_id, error=error, app=self._app, new=new)
        return send(self._store, request)

    def delete_batch(self, ids: Iterable[str]) -> DeletedBatch:
        """Remove 1 to 100 instances, in whatever status; their ids are free again.

        Returns: the ids that are gone, and an error for each that was not there.
        Raises:
            ConfigError: none, or more than 100.
            BadName: one of them can be no id; nothing has been deleted.
        """
        return carry_out(self._store, batches.delete_batch(self._store.keys, self.name, ids))

    def pause_all(
        self, status: str | Iterable[str] | None = None, *, progress: Progress | None = None, **where: Unpack[Where]
    ) -> BulkResult:
        """Pause all that are queued, running or waiting, or in one of these statuses; see ``terminate_all``."""
        return self._for_all(bulk.PAUSE, status, where, progress)

    def resume_all(
        self, status: str | Iterable[str] | None = None, *, progress: Progress | None = None, **where: Unpack[Where]
    ) -> BulkResult:
        """Let all go on that are paused or on their way there; see ``terminate_all``."""
        return self._for_all(bulk.RESUME, status, where, progress)

    def terminate_all(
        self,
        status: str | Iterable[str] | None = None,
        *,
        rollback: bool = False,
        progress: Progress | None = None,
        **where: Unpack[Where],
    ) -> BulkResult:
        """End all that have not ended, 100 at a time, newest first. Interrupted, it is called again and does the rest.

        Args:
            status: only those that are in this status, or in one of these, when they are listed.
            rollback: see ``WorkflowInstance.terminate``.
            where: only those of which all of this holds too; see ``Where``.
            progress: called after every hundred with what has been done so far.
        Raises:
            ConfigError: it makes no sense in that status; nothing has been done.
        """
        return self._for_all(bulk.ROLL_BACK if rollback else bulk.TERMINATE, status, where, progress)

    def cancel_all(
        self,
        status: str | Iterable[str] | None = None,
        *,
        reason: str | None = None,
        grace: durations.Duration | None = None,
        progress: Progress | None = None,
        **where: Unpack[Where],
    ) -> BulkResult:
        """Ask all to end that have not; see ``terminate_all`` and ``WorkflowInstance.cancel``."""
        return self._for_all(bulk.cancel(reason, grace), status, where, progress)

    def restart_all(
        self,
        status: str | Iterable[str] | None,
        *,
        from_: FromStep | None = None,
        progress: Progress | None = None,
        **where: Unpack[Where],
    ) -> BulkResult:
        """Start all over that are in this status, or in one of these; see ``terminate_all``.

        Args:
            status: any of ``complete``, ``errored``, ``terminated``, ``paused``.
            from_: see ``WorkflowInstance.restart``; those that have not asked for the step are among the errors.
        """
        return self._for_all(bulk.restart(from_), status, where, progress)

    def delete_all(
        self, status: str | Iterable[str] | None, *, progress: Progress | None = None, **where: Unpack[Where]
    ) -> BulkResult:
        """Remove all that are in this status, or in one of these, whatever it is; see ``terminate_all``."""
        return self._for_all(bulk.DELETE, status, where, progress)

    def get(self, id: str) -> WorkflowInstance:
        """An instance that exists.

        Raises:
            InstanceNotFound: there is none with this id, or its retention is over.
        """
        instance = self._instance(names.check_instance_id(id))
        send(self._store, requests.exists(self._store.keys, instance._instance))
        return instance

    def list(
        self,
        status: str | Iterable[str] | None = None,
        limit: int = limits.LIST_PAGE,
        cursor: str | None = None,
        *,
        oldest_first: bool = False,
        **where: Unpack[Where],
    ) -> InstancePage:
        """A page of instances, newest first.

        Args:
            status: only those in this status, or in one of these.
            limit: 1 to 1,000.
            cursor: ``cursor`` of the page before, asked for with the same conditions.
            where: only those of which all of this holds; see ``Where``. With ``ended_from``, ``ended_before`` or
                ``metadata`` a page looks at 2,000 instances at most, so it may be short, or empty, and still have a
                cursor.
        Raises:
            ConfigError: no such status, condition or cursor, a bad limit, a datetime without a time zone, a key of
                metadata that the workflow has not declared.
        """
        selected = selection(status, where, self._declared(where))
        plan = listing.list_instances(
            self._store.keys, self.name, selected, limit=limit, cursor=cursor, oldest_first=oldest_first
        )
        return carry_out(self._store, plan)

    def _for_all(
        self, verb: BulkVerb, status: str | Iterable[str] | None, where: Where, progress: Progress | None
    ) -> BulkResult:
        declared = self._declared(where)
        plan = bulk.for_all(self._store.keys, self.name, verb, status, where, progress, declared)
        return carry_out(self._store, plan)

    def _declared(self, where: Where) -> tuple[str, ...] | None:
        """The names of metadata that instances are found by, if that is asked for; None: its code is gone."""
        if not where.get("metadata"):
            return None
        try:
            return self._target.metadata_keys
        except UnknownWorkflow:
            return None

    def _instance(self, id: str, *, is_new: bool = False) -> WorkflowInstance:
        return WorkflowInstance(self._store, self._store.keys.instance(self.name, id), self._app, is_new=is_new)

    def __repr__(self) -> str:
        return f"<WorkflowHandle {self.name}>"


class WorkflowInstance:
    """One instance. Only a reference: every call looks at Redis anew.

    All commands raise InstanceNotFound when the instance is gone, and ServerUnavailable.
    """

    def __init__(self, store: Store, instance: Instance, app: App | None = None, *, is_new: bool = False) -> None:
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

    def status(self) -> InstanceStatus[LazySteps]:
        """How it is now."""
        seen = self._read(0)
        steps = LazySteps(self._store, self._instance, seen)
        return status_of(seen, steps, explain(self._store, explaining.remark(self._store.keys, seen)))

    def value(self, name: str, default: Any = None) -> Any:
        """What ``run`` has published last under this name (``step.publish``), also after its end.

        Args:
            default: returned where it has published nothing under that name so far.
        Raises: BadName; CorruptPayload: it cannot be read.
        """
        return send(self._store, published.value(self._store.keys, self._instance, name, default))

    def why(self) -> list[Reason]:
        """Why it stands where it stands; what blocks most comes first, and there is at least one reason.

        Each has a sentence and, where something can be done, a way out (``docs/why.md``). That it is not there, or
        cannot be read, is a reason too.
        """
        return explain(self._store, explaining.reasons(self._store.keys, self._instance))

    def result(self, timeout: durations.Duration | None = None) -> Any:
        """Wait for its end and return what ``run`` returned. A restart in between is waited for as well.

        Args:
            timeout: longest wait; bare numbers are milliseconds. None: as long as it takes.
        Raises:
            ResultTimeout: it did not end in time; it goes on.
            InstanceTerminated: it was terminated.
            Exception: what ``run`` raised: of its own class where that class is loaded here, else StepFailed.
        """
        timeout_ms = None if timeout is None else durations.parse_ms(timeout, what="the timeout of result()")
        deadline = None if timeout_ms is None else monotonic() + timeout_ms / 1000
        # Of one that has just been created it is known.
        found = None if self._is_new else self._outcome()
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
                found = self._wait(deadline)
                down_since = None
            except ServerUnavailable:
                # A restart of Redis is not the end of a long wait.
                down_since = down_since or monotonic()
                if monotonic() - down_since > limits.OUTAGE_SECONDS:
                    raise
                time.sleep(0.2)
        return found.unwrap(self._instance)

    def pause(self) -> None:
        """Pause it: attempts in flight finish, nothing else begins. Without effect when paused or ended."""
        send(self._store, requests.pause(self._store.keys, self._instance))

    def resume(self) -> None:
        """Let it go on; timers continue with what was left of them. Without effect when it is not paused."""
        send(self._store, requests.resume(self._store.keys, self._instance))

    def terminate(self, *, rollback: bool = False) -> None:
        """End it now. Raises InvalidTransition when it has ended already.

        Args:
            rollback: nothing new begins, and the handlers of its steps undo what it did, also where it is paused; then
                it ends. This does not wait for that: ``status().rollback`` says how it went. Without, handlers that
                are undoing what it did are cut short.
        """
        send(self._store, requests.terminate(self._store.keys, self._instance, rollback=rollback))

    def cancel(self, reason: str | None = None, *, grace: durations.Duration | None = None) -> bool:
        """Ask it to end: whatever ``run`` waits for raises ``WorkflowCancelled``. This does not wait for the end.

        ``run`` may catch that and clean up, also with further steps; uncaught it ends the instance, as ``terminated``,
        after the handlers of its steps. One that nobody has begun with ends at once. One that is paused goes on.

        Args:
            reason: why; ``run`` and everybody who asks how it ended are told.
            grace: how long ``run`` has; when that is over the instance is ended as by ``terminate(rollback=True)``.
                None: 10 minutes. It stands still while the instance is paused.
        Returns: False: it was asked before, or is rolled back already, and nothing has changed.
        Raises:
            InvalidTransition: it has ended already.
            ConfigError, BadDuration: that is no reason, or no duration.
        """
        return send(self._store, requests.cancel(self._store.keys, self._instance, reason, grace))

    def restart(self, from_: FromStep | None = None) -> None:
        """Start it over, in whatever status: same id and params; what it has done is forgotten.

        Args:
            from_: from a step on, of which it keeps what it had asked for before: those steps are not run again and
                have their results; the step and all that were asked for after it are run again. A name, or
                ``{"name": …, "count": …, "type": …}``: ``count`` is 1 for the first of several with that name, ``type``
                is ``"do"``, ``"sleep"``, ``"waitForEvent"`` or ``"child"``. None: from the beginning.
        Raises:
            ConfigError: ``from_`` names no step.
            InstanceError: it has not asked for such a step; nothing has changed.
        """
        if from_ is None:
            send(self._store, requests.restart(self._store.keys, self._instance))
        else:
            carry_out(self._store, restart_from(self._store.keys, self._instance, Wanted.of(from_)))

    def delete(self) -> None:
        """Remove it with everything it stored, in whatever status. Its id is free again."""
        send(self._store, requests.exists(self._store.keys, self._instance))
        doorbells = send(self._store, requests.delete(self._store.keys, self._instance))
        calls = unring_calls(self._store.keys, self._instance.shard, doorbells)
        if calls:
            with server_errors(self._store.redis):
                self._store.execute(calls)

    def send_event(
        self, type: str, payload: Any = None, *, id: str | None = None, error: Rejection | None = None
    ) -> str:
        """Send an event: stored first, then handed to the oldest wait for its type.

        Args:
            type: what ``step.wait_for_event`` names; letters, digits, ``-`` and ``_``.
            payload: up to 1 MiB; of a client made from the app what the workflow's model of this type takes.
            id: an event with an id that was sent before is not accepted again. None: a random one.
            error: what has failed: a text, an exception, or a mapping with ``message`` and ``name``. The wait raises it
                as EventError; None: it returns.
        Returns: ``"delivered"`` when a wait has it, ``"buffered"`` when it is kept for a later one.
        Raises:
            BadEvent, PayloadError: nothing has been sent.
            InstanceEnded: it has ended.
        """
        at = self._store.keys, self._instance
        return send(self._store, requests.send_event(*at, type, payload, id=id, error=error, app=self._app))

    def subscribe(
        self, cursor: str | None = None, filter: str | Iterable[str] | None = None
    ) -> Generator[InstanceEvent, None, None]:
        """What happens to it: first what has happened so far, then what does, until its end has been told.

        After a restart it is told from its new beginning on, and so it is where a failover has lost something that was
        told; else nothing is told twice and nothing left out. What its status is between two looks is not seen.

        Args:
            cursor: ``event_id`` of the last event that was dealt with, of this or an earlier subscription, of whatever
                process; None: from the beginning.
            filter: a type of events, or several; None: all. The end of the instance ends it in any case.
        Raises:
            ConfigError: no such cursor or type, at once.
            InstanceNotFound: while it goes on, when the instance is not there (any more).
            ServerUnavailable: Redis has not answered for 30 seconds.
        """
        return self._told(Subscription(self._store.keys, self._instance, cursor, filter))

    def __workflow_reference__(self) -> InstanceRef:
        return requests.reference(self._instance)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WorkflowInstance) and other._instance == self._instance

    def __hash__(self) -> int:
        return hash(self._instance)

    def __repr__(self) -> str:
        return f"<WorkflowInstance {self.workflow}/{self.id}>"

    def _read(self, page: int) -> Reading:
        return send(self._store, reading.read(self._store.keys, self._instance, page=page))

    def _outcome(self) -> Any:
        return send(self._store, requests.end(self._store.keys, self._instance))

    def _told(self, subscription: Subscription) -> Generator[InstanceEvent, None, None]:
        while True:
            try:
                yield from send(self._store, subscription.look())
            except ServerUnavailable as error:
                subscription.missed(error)
            if subscription.is_over:
                return
            time.sleep(subscription.pause_seconds)

    def _wait(self, deadline: float | None) -> Any:
        """Look when told that there is more to it, at least every second, until it has ended or the deadline has
        passed.
        """
        channel = self._store.ended_channel(self._instance)
        with server_errors(self._store.redis), self._store.listening(channel) as heard:
            # The look comes after Redis has confirmed the subscription: an end in between would be missed.
            while True:
                found = self._outcome()
                left = requests.POLL_SECONDS
                if deadline is not None:
                    left = min(left, deadline - monotonic())
                if isinstance(found, Ended) or left <= 0:
                    return found
                told = requests.announced(heard(left))
                if told is not None:
                    return told


class LazySteps(Sequence[StepStatus]):
    """The steps of an instance, in the order ``run`` asked for them; read when they are looked at.

    The first page belongs to the same moment as the status; a longer history is read page by page.
    """

    def __init__(self, store: Store, instance: Instance, first: Reading) -> None:
        self._store = store
        self._instance = instance
        self._first = first

    complete = True

    @property
    def known(self) -> list[StepStatus]:
        """All of them."""
        return self._all

    def __deepcopy__(self, memo: Any) -> list[dict[str, Any]]:
        # ``dataclasses.asdict`` copies what it does not know, and a connection cannot be copied.
        return [dataclasses.asdict(step) for step in self.known]

    @cached_property
    def history(self) -> History:
        """The whole journal and everything open, read now."""
        pages = History(self._first)
        while (page := pages.next_page) is not None:
            try:
                pages.add(send(self._store, reading.read(self._store.keys, self._instance, page=page)))
            except InstanceNotFound:
                break
        return pages

    @cached_property
    def _all(self) -> list[StepStatus]:
        return self.history.steps()

    @overload
    def __getitem__(self, place: int) -> StepStatus: ...

    @overload
    def __getitem__(self, place: slice) -> list[StepStatus]: ...

    def __getitem__(self, place: int | slice) -> StepStatus | list[StepStatus]:
        return self._all[place]

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[StepStatus]:
        return iter(self._all)

    def __repr__(self) -> str:
        return repr(self._all)

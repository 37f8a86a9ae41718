"""``self.env.CHILD_WORKFLOW``: the app's own workflows, from inside a step.

A call blocks in a plain callback and is awaited in an async one. What a step creates is tied to the step: when the step
is tried again, the same instance is meant, so a crash between creating and returning makes no second one (M2).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

from workflows.authoring.app import App
from workflows.authoring.context import StepContext, running
from workflows.client import Client, WorkflowHandle, WorkflowInstance
from workflows.values.codec import InstanceRef
from workflows.values.durations import Duration


class WorkflowBinding:
    """One workflow, as a binding."""

    def __init__(self, client: Callable[[], Client], workflow: str) -> None:
        self._client = client
        self._workflow = workflow

    @cached_property
    def _handle(self) -> WorkflowHandle:
        return self._client().workflow(self._workflow)

    def create(
        self,
        id: str | None = None,
        params: Any = None,
        retention: object = None,
        *,
        metadata: Mapping[str, str] | None = None,
        deadline: Duration | None = None,
    ) -> Any:
        """Create an instance; see ``WorkflowHandle.create``. Its handle can be returned from the step.

        Without an id one is derived from the step, so that a repeated attempt finds what the first one created.
        """
        key = _next_key(running.get())

        def act() -> WorkflowInstance:
            return self._handle.create(
                id or _id_from(key), params, retention, command_id=key, metadata=metadata, deadline=deadline
            )

        return _blocking_or_awaitable(act)

    def create_batch(self, entries: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> Any:
        """Create 1 to 100 instances; see ``WorkflowHandle.create_batch``. Give ids: existing ones are skipped."""
        return _blocking_or_awaitable(lambda: self._handle.create_batch(entries))

    def send_event(self, id: str, type: str, payload: Any = None, **options: Any) -> Any:
        """Send an event to an instance, which it may create; see ``WorkflowHandle.send_event``.

        Without an ``event_id`` one is derived from the step, so that a repeated attempt sends it once.
        """
        options.setdefault("event_id", _next_key(running.get()))
        return _blocking_or_awaitable(lambda: self._handle.send_event(id, type, payload, **options))

    def delete_batch(self, ids: Iterable[str]) -> Any:
        """Remove 1 to 100 instances; see ``WorkflowHandle.delete_batch``."""
        return _blocking_or_awaitable(lambda: self._handle.delete_batch(ids))

    def get(self, id: str | InstanceRef | WorkflowInstance) -> Any:
        """An instance that exists, by id or by the reference a step returned."""
        return _blocking_or_awaitable(lambda: self._handle.get(id if isinstance(id, str) else id.id))

    def __repr__(self) -> str:
        return f"<WorkflowBinding {self._workflow}>"


def bindings_of(app: App, connect: Callable[[], Client]) -> dict[str, Any]:
    """The bindings of all workflows of an app, over one client made at first use."""
    made: list[Client] = []

    def client() -> Client:
        if not made:
            made.append(connect())
        return made[0]

    return {binding: WorkflowBinding(client, name) for binding, name in app.workflow_bindings.items()}


def _next_key(context: StepContext | None) -> str | None:
    return None if context is None else context.next_command_id()


def _id_from(key: str | None) -> str | None:
    return None if key is None else hashlib.sha256(key.encode()).hexdigest()[:32]


def _blocking_or_awaitable(act: Callable[[], Any]) -> Any:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return act()
    return asyncio.to_thread(act)

"""``env`` in a test: the app's bindings as its steps see them, workflows included.

    instance = await env.MY_WORKFLOW.create(params={"userId": "123"})

The calls of a workflow's binding are those of the client. In an async test they may be awaited; ``result()`` must be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from workflows.client import WorkflowHandle, WorkflowInstance
from workflows.client.batches import CreatedBatch
from workflows.client.creation import CreateOptions
from workflows.client.restarting import FromStep
from workflows.testing.calls import AwaitsItself, at_once, waiting
from workflows.testing.introspection import InstanceIntrospector, WorkflowIntrospector
from workflows.values.codec import InstanceRef
from workflows.values.durations import Duration

if TYPE_CHECKING:
    from workflows.testing.engine import WorkflowEngine


class TestEnv:
    """The bindings: workflows by their binding names, and what the function under ``@app.bindings`` made."""

    __test__ = False

    def __init__(self, engine: WorkflowEngine) -> None:
        self._engine = engine
        self._workflows = {binding: TestBinding(engine, name) for binding, name in engine.app.workflow_bindings.items()}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = self._workflows.get(name)
        if found is not None:
            return found
        others = self._engine.bindings
        if name not in others:
            known = ", ".join([*self._workflows, *(other for other in others if other not in self._workflows)])
            raise AttributeError(f"env has no binding {name}. It has: {known or 'none'}.")
        return others[name]

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def __dir__(self) -> list[str]:
        return [*self._workflows, *self._engine.bindings]

    def __repr__(self) -> str:
        return f"<env of {self._engine.app.name}>"


class TestBinding:
    """One workflow of the app under test."""

    __test__ = False

    def __init__(self, engine: WorkflowEngine, workflow: str) -> None:
        self.workflow_engine = engine
        self.workflow = workflow

    @property
    def _handle(self) -> WorkflowHandle:
        return self.workflow_engine.client.workflow(self.workflow)

    def create(
        self,
        id: str | None = None,
        params: Any = None,
        retention: object = None,
        *,
        metadata: Mapping[str, str] | None = None,
        deadline: Duration | None = None,
    ) -> TestInstance:
        """Create an instance; see ``WorkflowHandle.create``. It begins at once."""
        made = self._handle.create(id, params, retention, metadata=metadata, deadline=deadline)
        return TestInstance(self.workflow_engine, made)

    def create_batch(self, entries: Mapping[str, Any] | Iterable[CreateOptions | Mapping[str, Any]]) -> Any:
        """Create 1 to 100 instances; see ``WorkflowHandle.create_batch``."""

        def act() -> list[TestInstance] | CreatedBatch[TestInstance]:
            if isinstance(entries, Mapping):
                made = self._handle.create_batch(entries)
                return CreatedBatch(self._all(made.created), made.errors)
            return self._all(self._handle.create_batch(entries))

        return at_once(act)

    def send_event(self, id: str, type: str, payload: Any = None, **options: Any) -> Any:
        """Send an event to an instance, which it may create; see ``WorkflowHandle.send_event``."""
        return at_once(lambda: self._handle.send_event(id, type, payload, **options))

    def delete_batch(self, ids: Iterable[str]) -> Any:
        """Remove 1 to 100 instances; see ``WorkflowHandle.delete_batch``."""
        return at_once(lambda: self._handle.delete_batch(ids))

    def get(self, id: str | InstanceRef | WorkflowInstance | TestInstance) -> TestInstance:
        """An instance that exists. Raises InstanceNotFound."""
        return TestInstance(self.workflow_engine, self._handle.get(id if isinstance(id, str) else id.id))

    def introspect(self, id: str) -> InstanceIntrospector:
        """See ``introspect_workflow_instance``."""
        return InstanceIntrospector(self.workflow_engine, (self.workflow, id))

    def introspect_all(self) -> WorkflowIntrospector:
        """See ``introspect_workflow``."""
        return WorkflowIntrospector(self.workflow_engine, self.workflow)

    def _all(self, instances: Iterable[WorkflowInstance]) -> list[TestInstance]:
        return [TestInstance(self.workflow_engine, instance) for instance in instances]

    def __repr__(self) -> str:
        return f"<TestBinding {self.workflow}>"

    createBatch = create_batch  # noqa: N815
    deleteBatch = delete_batch  # noqa: N815


class TestInstance(AwaitsItself):
    """One instance: the client's verbs, see ``WorkflowInstance``."""

    __test__ = False

    def __init__(self, engine: WorkflowEngine, instance: WorkflowInstance) -> None:
        self._engine = engine
        self._instance = instance

    @property
    def id(self) -> str:
        return self._instance.id

    @property
    def workflow(self) -> str:
        """The workflow's name."""
        return self._instance.workflow

    def status(self) -> Any:
        """How it is now: ``.status``, ``.output``, ``.error``, ``.steps`` and more."""
        return at_once(self._instance.status)

    def value(self, name: str, default: Any = None) -> Any:
        """What ``run`` has published last under this name; see ``WorkflowInstance.value``."""
        return at_once(lambda: self._instance.value(name, default))

    def result(self, timeout: Duration | None = "10s") -> Any:
        """Wait for its end and return what ``run`` returned.

        Args:
            timeout: real time that it may be busy.
        Raises:
            Exception: what ``run`` raised.
            IntrospectionError: it waits for something that only the test can bring about.
        """
        return waiting(lambda: self._engine.result((self.workflow, self.id), timeout))

    def pause(self) -> Any:
        return at_once(self._instance.pause)

    def resume(self) -> Any:
        return at_once(self._instance.resume)

    def cancel(self, *arguments: Any, **options: Any) -> Any:
        return at_once(lambda: self._instance.cancel(*arguments, **options))

    def terminate(self, **options: Any) -> Any:
        return at_once(lambda: self._instance.terminate(**options))

    def restart(self, from_: FromStep | None = None) -> Any:
        """Start it over, or from a step on; see ``WorkflowInstance.restart``."""
        return at_once(lambda: self._instance.restart(from_))

    def delete(self) -> Any:
        return at_once(self._instance.delete)

    def send_event(self, type: str | Mapping[str, Any], payload: Any = None, **options: Any) -> Any:
        """Send an event: ``send_event("approved", {"by": "ann"})``, or Cloudflare's ``{"type": …, "payload": …}``."""
        name, value = (type, payload) if isinstance(type, str) else (str(type["type"]), type.get("payload"))
        return at_once(lambda: self._instance.send_event(name, value, **options))

    def introspect(self) -> InstanceIntrospector:
        """See ``introspect_workflow_instance``."""
        return InstanceIntrospector(self._engine, (self.workflow, self.id))

    def __workflow_reference__(self) -> InstanceRef:
        return self._instance.__workflow_reference__()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TestInstance) and other._instance == self._instance

    def __hash__(self) -> int:
        return hash(self._instance)

    def __repr__(self) -> str:
        return f"<TestInstance {self.workflow}/{self.id}>"

    sendEvent = send_event  # noqa: N815

"""What becomes of a parent and its child when somebody does something to either, on engines warm and cold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.deployment import PATIENCE_SECONDS, Deployment, warm_and_cold
from workflows import (
    App,
    InstanceAlreadyExists,
    InstanceCancelled,
    InstanceNotFound,
    InstanceTerminated,
    WorkflowCancelled,
    WorkflowEntrypoint,
    WorkflowInstance,
    WorkflowTimeoutError,
)
from workflows.clock import monotonic
from workflows.dev.embedded import EmbeddedRedis

app = App("children", queues=("warm", "cold"))


class Parent(WorkflowEntrypoint[Any]):
    """Params: ``child``, the id of the child if it is not to be one of its own making."""

    async def run(self, event: Any, step: Any) -> Any:
        child = event.workflow_name.replace("parent", "child")
        try:
            return await step.invoke(child, {"of": event.instance_id}, id=event.payload.get("child"), name="child")
        except (InstanceTerminated, InstanceNotFound, InstanceAlreadyExists) as error:
            return type(error).__name__


class Guardian(WorkflowEntrypoint[Any]):
    """Params: ``then``, what is to become of its child; or None, to return at once. An event says how it is to end."""

    async def run(self, event: Any, step: Any) -> Any:
        if event.payload["then"] is None:
            return None
        name, id = event.workflow_name.replace("guardian", "child"), child_id(event.instance_id)
        child = step.invoke(name, id=id, on_parent_end=event.payload["then"])
        match (await step.wait_for_event("end", type="end", timeout="1 hour")).payload:
            case "return":
                return None
            case "raise":
                raise ValueError("no luck")
            case "continue as":
                step.continue_as({"then": None})
            case "give up":
                await step.race(child, step.do("quick", lambda: None))
                await step.sleep("long", "1 hour")


class Child(WorkflowEntrypoint[Any]):
    async def run(self, event: Any, step: Any) -> Any:
        try:
            return (await step.wait_for_event("go", type="go")).payload
        except WorkflowCancelled:
            await step.do("clean up", lambda: None)
            raise


@app.workflow(name="line", queue="warm")
class Line(WorkflowEntrypoint[int]):
    """Params: how many are to come after it."""

    async def run(self, event: Any, step: Any) -> None:
        left = event.payload - 1
        if left < 0:
            await step.sleep("long", "1 hour")
        else:
            await step.invoke("line", left, id=f"{event.instance_id}-{left}", on_parent_end="terminate")


def child_id(parent: str) -> str:
    return f"of-{parent}"


for queue in app.queues:
    app.workflow(type("Guardian", (Guardian,), {}), name=f"guardian-{queue}", queue=queue)
    app.workflow(type("Parent", (Parent,), {}), name=f"parent-{queue}", queue=queue)
    app.workflow(type("Child", (Child,), {}), name=f"child-{queue}", queue=queue)


class Family:
    """A parent that waits for its child, which waits for an event."""

    def __init__(self, deployment: Deployment, queue: str, id: str | None = None) -> None:
        self._client = deployment.client
        self._queue = queue
        self.parent = self._client.workflow(f"parent-{queue}").create(params={} if id is None else {"child": id})
        self.child = self.newest_child()
        until(self.child, "waiting")

    def newest_child(self, other_than: WorkflowInstance | None = None) -> WorkflowInstance:
        deadline = monotonic() + PATIENCE_SECONDS
        while True:
            steps = [step for step in self.parent.status().steps if step.child is not None]
            if steps and steps[0].child and (other_than is None or steps[0].child.id != other_than.id):
                try:
                    found = self._client.workflow(f"child-{self._queue}").get(steps[0].child.id)
                    until(found, "waiting")
                    return found
                except InstanceNotFound:
                    pass
            assert monotonic() < deadline, self.parent.status().as_dict()

    def outcome(self) -> Any:
        return self.parent.result(timeout=PATIENCE_SECONDS * 1000)


def until(instance: WorkflowInstance, status: str) -> None:
    deadline = monotonic() + PATIENCE_SECONDS
    while instance.status().status != status:
        assert monotonic() < deadline, instance.status().as_dict()


@pytest.fixture(scope="module")
def deployment(redis_server: EmbeddedRedis) -> Iterator[Deployment]:
    with warm_and_cold(app, redis_server.url) as made:
        yield made


@pytest.fixture(params=app.queues)
def family(deployment: Deployment, request: pytest.FixtureRequest) -> Family:
    return Family(deployment, request.param)


def test_a_parent_waits_for_a_child_that_is_paused_until_it_goes_on(family: Family) -> None:
    family.child.pause()
    family.child.send_event("go", 1)
    with pytest.raises(WorkflowTimeoutError):
        family.parent.result(timeout="100 ms")
    assert family.child.status().status == "paused"
    family.child.resume()
    assert family.outcome() == 1


def test_a_parent_gets_what_the_present_life_of_its_child_returns(family: Family) -> None:
    family.child.pause()
    family.child.send_event("go", "before")
    family.child.restart()
    until(family.child, "waiting")
    family.child.send_event("go", "after")
    assert family.outcome() == "after"


def test_what_a_parent_has_heard_stays_although_its_child_is_restarted(family: Family) -> None:
    family.child.send_event("go", 1)
    assert family.outcome() == 1
    family.child.restart()
    family.child.send_event("go", 2)
    assert family.child.result(timeout=PATIENCE_SECONDS * 1000) == 2
    assert family.parent.status().output == 1


@pytest.mark.parametrize(("verb", "heard"), [("terminate", "InstanceTerminated"), ("delete", "InstanceNotFound")])
def test_a_parent_hears_that_its_child_was_ended_from_outside(family: Family, verb: str, heard: str) -> None:
    getattr(family.child, verb)()
    assert family.outcome() == heard


def test_a_parent_that_is_paused_is_given_what_came_meanwhile_when_it_goes_on(family: Family) -> None:
    family.parent.pause()
    family.child.send_event("go", 1)
    assert family.child.result(timeout=PATIENCE_SECONDS * 1000) == 1
    assert family.parent.status().status == "paused"
    family.parent.resume()
    assert family.outcome() == 1


def test_a_child_goes_on_when_its_parent_is_ended(family: Family) -> None:
    family.parent.terminate()
    family.child.send_event("go", 1)
    assert family.child.result(timeout=PATIENCE_SECONDS * 1000) == 1
    assert family.parent.status().status == "terminated"


def test_a_parent_that_is_restarted_has_another_child_and_hears_nothing_of_the_former(family: Family) -> None:
    former = family.child
    family.parent.restart()
    present = family.newest_child(other_than=former)
    former.send_event("go", "former")
    assert former.result(timeout=PATIENCE_SECONDS * 1000) == "former"
    present.send_event("go", "present")
    assert family.outcome() == "present"


@pytest.mark.parametrize("queue", app.queues)
def test_a_child_whose_id_was_given_is_in_the_way_of_a_parent_that_is_restarted(
    deployment: Deployment, queue: str
) -> None:
    family = Family(deployment, queue, f"mine-{queue}")
    family.parent.restart()
    assert family.outcome() == "InstanceAlreadyExists"


# Children that are to end with their parents


def end(parent: WorkflowInstance, how: str) -> None:
    if how in ("terminate", "cancel", "restart", "delete"):
        getattr(parent, how)()
    elif how != "deadline":
        parent.send_event("end", how)


ENDS = ("return", "raise", "continue as", "give up", "terminate", "cancel", "deadline", "restart", "delete")


def guarded(deployment: Deployment, queue: str, then: str, how: str = "") -> tuple[WorkflowInstance, WorkflowInstance]:
    """A parent, and its child that waits."""
    deadline = "2 seconds" if how == "deadline" else None
    parent = deployment.client.workflow(f"guardian-{queue}").create(params={"then": then}, deadline=deadline)
    return parent, waiting(deployment, f"child-{queue}", child_id(parent.id))


def waiting(deployment: Deployment, workflow: str, id: str) -> WorkflowInstance:
    """An instance that somebody is about to create."""
    deadline = monotonic() + PATIENCE_SECONDS
    while True:
        try:
            found = deployment.client.workflow(workflow).get(id)
            until(found, "waiting")
            return found
        except InstanceNotFound:
            assert monotonic() < deadline


def steps_of(instance: WorkflowInstance) -> list[str]:
    return [step.name for step in instance.status().steps]


@pytest.mark.parametrize("how", ENDS)
def test_a_child_is_terminated_however_its_parent_ends(deployment: Deployment, how: str) -> None:
    parent, child = guarded(deployment, "warm", "terminate", how)
    end(parent, how)
    with pytest.raises(InstanceTerminated):
        child.result(timeout=PATIENCE_SECONDS * 1000)
    assert steps_of(child) == ["go"]


@pytest.mark.parametrize("how", ENDS)
def test_a_child_is_asked_to_end_however_its_parent_ends(deployment: Deployment, how: str) -> None:
    parent, child = guarded(deployment, "cold", "cancel", how)
    end(parent, how)
    with pytest.raises(InstanceCancelled, match=f'"{parent.id}" of workflow "guardian-cold".* waits for it no more'):
        child.result(timeout=PATIENCE_SECONDS * 1000)
    assert steps_of(child) == ["go", "clean up"]


def until_nobody_waits(parent: WorkflowInstance) -> None:
    deadline = monotonic() + PATIENCE_SECONDS
    try:
        while any(step.kind == "child" and step.status == "waiting" for step in parent.status().steps):
            assert monotonic() < deadline, parent.status().as_dict()
    except InstanceNotFound:
        pass


@pytest.mark.parametrize("how", [how for how in ENDS if how != "deadline"])
def test_a_child_goes_on_by_default_however_its_parent_ends(deployment: Deployment, how: str) -> None:
    parent, child = guarded(deployment, "warm", "abandon", how)
    end(parent, how)
    until_nobody_waits(parent)
    child.send_event("go", 1)
    assert child.result(timeout=PATIENCE_SECONDS * 1000) == 1


@pytest.mark.parametrize(("then", "steps"), [("terminate", ["go"]), ("cancel", ["go", "clean up"])])
def test_the_end_of_its_parent_reaches_a_child_that_is_paused(
    deployment: Deployment, then: str, steps: list[str]
) -> None:
    parent, child = guarded(deployment, "warm", then)
    child.pause()
    until(child, "paused")
    parent.terminate()
    with pytest.raises(InstanceTerminated):
        child.result(timeout=PATIENCE_SECONDS * 1000)
    assert steps_of(child) == steps


def test_a_pause_of_its_parent_is_no_end(deployment: Deployment) -> None:
    parent, child = guarded(deployment, "warm", "terminate")
    parent.pause()
    until(parent, "paused")
    child.send_event("go", 1)
    assert child.result(timeout=PATIENCE_SECONDS * 1000) == 1


def test_a_family_of_three_ends_together(deployment: Deployment) -> None:
    line = deployment.client.workflow("line").create(params=2)
    heirs = [waiting(deployment, "line", id) for id in (f"{line.id}-1", f"{line.id}-1-0")]
    line.terminate()
    for heir in heirs:
        with pytest.raises(InstanceTerminated):
            heir.result(timeout=PATIENCE_SECONDS * 1000)

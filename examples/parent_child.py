"""Parent and child: one workflow starts another, goes on with its own work, and takes the child's result later.

Shows that another workflow is a binding like any other, that a handle is a value a step may return, and that the
child is an instance of its own: it has its own retries and its own status, and outlives a parent that fails. Its id
comes from the parent's, so that a second attempt of "start child" cannot start a second child.
Try it with ``python -m examples.parent_child``.
"""

from __future__ import annotations

from typing import Any

from examples.environment import app
from examples.scene import Place, Promise
from workflows import WorkflowEntrypoint, WorkflowEvent, WorkflowStep


@app.workflow
class ParentWorkflow(WorkflowEntrypoint):
    """Params: ``numbers``, a list of integers."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> dict[str, Any]:
        result = await step.do("prepare", lambda: {"data": sorted(event.params.numbers)})
        child = await step.do(
            "start child",
            lambda: self.env.CHILD_WORKFLOW.create(id=f"child-{event.instance_id}", params={"data": result["data"]}),
        )
        note = await step.do("other work", lambda: f"Child started: {child.id}")
        total = await step.wait_for_child("join child", child)
        return {"note": note, "total": total}


@app.workflow
class ChildWorkflow(WorkflowEntrypoint):
    """Params: ``data``, a list of integers."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> int:
        total: int = await step.do("add up", lambda: sum(event.params.data))
        return total


def demonstrate(place: Place) -> list[Promise]:
    """A parent has its child add three numbers."""
    instance = place.client.workflow("parent-workflow").create(id="family", params={"numbers": [3, 1, 2]})
    return [Promise(instance, output={"note": "Child started: child-family", "total": 6})]


if __name__ == "__main__":
    from examples.demo import play

    raise SystemExit(play(app, [demonstrate]))

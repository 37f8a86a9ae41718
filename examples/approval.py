"""Human-in-the-loop approval: ask, wait for up to two days, act on the answer or on the silence.

Shows a wait with a timeout and both branches of an answer. Only the wait stands in the ``try``: with the follow-up
steps in it, a failure in one of them would look like a missing answer and reject what somebody approved.
Try it with ``python -m examples.approval``.
"""

from __future__ import annotations

from typing import Any

from examples.environment import app
from examples.scene import Place, Promise, Reply
from workflows import WorkflowEntrypoint, WorkflowEvent, WorkflowStep, WorkflowTimeoutError


@app.workflow
class ApprovalWorkflow(WorkflowEntrypoint):
    """Params: ``userId``, and optionally ``timeout``, how long to wait for the answer (48h)."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> str:
        # An attempt may run twice, so the insert does nothing when the row is there already.
        await step.do(
            "create approval",
            lambda: (
                self.env.DB.prepare("INSERT OR IGNORE INTO approvals (id, user_id, status) VALUES (?, ?, ?)")
                .bind(event.instance_id, event.params.userId, "pending")
                .run()
            ),
        )
        try:
            reply = await step.wait_for_event(
                "wait for approval", type="approval-response", timeout=event.params.get("timeout", "48h")
            )
        except WorkflowTimeoutError:
            await step.do("auto reject", self.set_status, event.instance_id, "auto-rejected")
            return "auto-rejected"

        if reply.approved:
            await step.do("process approval", self.set_status, event.instance_id, "approved")
            return "approved"
        await step.do("handle rejection", self.set_status, event.instance_id, "rejected")
        return "rejected"

    def set_status(self, approval_id: str, status: str) -> None:
        """Notes the outcome where the rest of the company looks for it."""
        self.env.DB.prepare("UPDATE approvals SET status = ? WHERE id = ?").bind(status, approval_id).run()


def demonstrate(place: Place) -> list[Promise]:
    """One request is approved, one rejected, and one forgotten, which takes one second here."""
    approvals = place.client.workflow("approval-workflow")
    question = "wait for approval"

    def status_of(approval_id: str) -> str | None:
        row = place.database.prepare("SELECT status FROM approvals WHERE id = ?").bind(approval_id).first()
        return str(row["status"]) if row else None

    def promise(approval_id: str, output: str, timeout: str, replies: dict[str, Reply]) -> Promise:
        instance = approvals.create(id=approval_id, params={"userId": "ada", "timeout": timeout})
        return Promise(instance, output, replies, holds=lambda: status_of(approval_id) == output)

    return [
        promise("approve-me", "approved", "48h", {question: Reply("approval-response", {"approved": True})}),
        promise("reject-me", "rejected", "48h", {question: Reply("approval-response", {"approved": False})}),
        promise("forget-me", "auto-rejected", "1s", {}),
    ]


if __name__ == "__main__":
    from examples.demo import play

    raise SystemExit(play(app, [demonstrate]))

"""User lifecycle: welcome somebody, wait for days, then look again and decide.

Shows a sleep of days that costs nothing while it lasts, a decision made inside a step so that it never changes on a
replay, and mail that is shown once although a step may run twice: the step's idempotency key becomes the Message-ID.
Try it with ``python -m examples.user_lifecycle``.
"""

from __future__ import annotations

from typing import Any

from examples.environment import app
from examples.scene import Place, Promise
from workflows import NonRetryableError, StepContext, WorkflowEntrypoint, WorkflowEvent, WorkflowStep


@app.workflow
class UserLifecycleWorkflow(WorkflowEntrypoint):
    """Params: ``userId``, ``email``, and optionally ``trial``, how long the trial lasts (7 days)."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> str:
        email, user_id = event.params.email, event.params.userId

        await step.do("welcome email", self.send_email, email, "Welcome!")
        await step.sleep("trial period", event.params.get("trial", "7 days"))

        if await step.do("check conversion", self.has_converted, user_id):
            return "converted"
        await step.do("trial expiration email", self.send_email, email, "Trial ending")
        return "trial ended"

    def send_email(self, to: str, subject: str, *, ctx: StepContext) -> str:
        """Hands one mail to the server. The key is the same for every attempt, so the reader sees one mail."""
        message_id: str = self.env.MAIL.send(to, subject, key=ctx.idempotency_key)
        return message_id

    def has_converted(self, user_id: str) -> bool:
        """Whether the user pays by now."""
        user = self.env.DB.prepare("SELECT subscription_status FROM users WHERE id = ?").bind(user_id).first()
        if user is None:
            raise NonRetryableError(f"No user {user_id}")
        return bool(user["subscription_status"] == "active")


def demonstrate(place: Place) -> list[Promise]:
    """Ada subscribes during her trial and Bob does not; a trial lasts one second here."""
    lifecycle = place.client.workflow("user-lifecycle-workflow")
    insert = place.database.prepare("INSERT OR REPLACE INTO users (id, email, subscription_status) VALUES (?, ?, ?)")

    def promise(name: str, subscription: str, output: str, mails: list[str]) -> Promise:
        email = f"{name}@example.org"
        insert.bind(name, email, subscription).run()
        instance = lifecycle.create(params={"userId": name, "email": email, "trial": "1 second"})
        return Promise(
            instance, output, holds=lambda: [mail.subject for mail in place.mail.mails if mail.to == email] == mails
        )

    return [
        promise("ada", "active", "converted", ["Welcome!"]),
        promise("bob", "trial", "trial ended", ["Welcome!", "Trial ending"]),
    ]


if __name__ == "__main__":
    from examples.demo import play

    raise SystemExit(play(app, [demonstrate]))

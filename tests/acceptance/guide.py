"""The guide's patterns as close to its JavaScript as Python comes, for people who bring code along.

Only what a test cannot wait for is a param: how long a trial, a race or the time to a follow-up takes. Workers load
this module; ``test_patterns.py`` looks at what the instances have done.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from typing import Any

from examples import environment
from examples.scheduled_chain import DailyWorkflow, scheduled
from tests.acceptance.apps import LOOK_SECONDS, is_open, note
from workflows import App, StepContext, WorkflowEntrypoint

app = App("guide")
app.bindings(environment.env)


@app.workflow
class ImageProcessingWorkflow(WorkflowEntrypoint):
    async def run(self, event: Any, step: Any) -> None:
        image_data = await step.do("fetch", lambda: self.env.BUCKET.get(event.params.imageKey).array_buffer())
        await step.do(
            "generate description",
            lambda: self.env.AI.run(
                "pillow/describe", {"image": list(image_data), "prompt": "Describe this image", "max_tokens": 5}
            ),
        )
        await step.waitForEvent("await approval", {"event": "approved", "timeout": "24h"})
        await step.do("publish", lambda: self.env.BUCKET.put(f"public/{event.params.imageKey}", image_data))


@app.workflow
class UserLifecycleWorkflow(WorkflowEntrypoint):
    async def run(self, event: Any, step: Any) -> None:
        async def welcome(ctx: StepContext) -> None:
            self.env.MAIL.send(event.params.email, "Welcome!", key=ctx.idempotency_key)

        async def check() -> bool:
            find = self.env.DB.prepare("SELECT subscription_status FROM users WHERE id = ?")
            return bool(find.bind(event.params.userId).first()["subscription_status"] == "active")

        await step.do("welcome email", welcome)
        await step.sleepUntil("trial period", event.params.trialEndsAt)
        has_converted = await step.do("check conversion", check)
        if not has_converted:
            await step.do(
                "trial expiration email",
                lambda ctx: self.env.MAIL.send(event.params.email, "Trial ending", key=ctx.idempotency_key),
            )


@app.workflow
class DataPipelineWorkflow(WorkflowEntrypoint):
    async def run(self, event: Any, step: Any) -> Any:
        def extract() -> Any:
            with urllib.request.urlopen(event.params.sourceUrl) as response:
                return json.load(response)

        def store() -> dict[str, str]:
            key = f"processed/{int(time.time() * 1000)}.json"
            self.env.BUCKET.put(key, json.dumps(transformed))
            return {"key": key}

        def load() -> None:
            data = self.env.BUCKET.get(data_ref["key"]).json()
            insert = self.env.DB.prepare("INSERT INTO records VALUES (?, ?)")
            for start in range(0, len(data), 100):
                self.env.DB.batch([insert.bind(item["id"], item["normalized"]) for item in data[start : start + 100]])

        raw_data = await step.do(
            "extract", {"retries": {"limit": 10, "delay": "30s", "backoff": "exponential"}}, extract
        )
        transformed = await step.do(
            "transform", lambda: [{"id": item["id"], "normalized": item["name"].strip()} for item in raw_data]
        )
        data_ref = await step.do("store", store)
        await step.do("load", load)
        return data_ref


@app.workflow
class ApprovalWorkflow(WorkflowEntrypoint):
    async def run(self, event: Any, step: Any) -> str:
        await step.do(
            "create approval",
            lambda: (
                self.env.DB.prepare("INSERT INTO approvals (id, user_id, status) VALUES (?, ?, ?)")
                .bind(event.instanceId, event.params.userId, "pending")
                .run()
            ),
        )
        try:
            approval = await step.waitForEvent(
                "wait for approval", event="approval-response", timeout=event.params.get("timeout", "48h")
            )
            if approval.approved:
                await step.do("process approval", lambda: None)
                return "approved"
            await step.do("handle rejection", lambda: None)
            return "rejected"
        except Exception:
            await step.do(
                "auto reject",
                lambda: (
                    self.env.DB.prepare("UPDATE approvals SET status = ? WHERE id = ?")
                    .bind("auto-rejected", event.instanceId)
                    .run()
                ),
            )
            return "auto-rejected"


@app.workflow
class FanOutWorkflow(WorkflowEntrypoint):
    async def run(self, event: Any, step: Any) -> Any:
        files = await step.do("list", lambda: self.env.BUCKET.list(event.params.prefix))
        return await asyncio.gather(
            *[
                step.do(f"process {i}", lambda: len(self.env.BUCKET.get(file["key"]).array_buffer()))  # noqa: B023  # captured by value
                for i, file in enumerate(files)
            ]
        )


@app.workflow
class ParentWorkflow(WorkflowEntrypoint):
    async def run(self, event: Any, step: Any) -> Any:
        result = await step.do("prepare", lambda: {"data": [1, 2]})
        child = await step.do(
            "start child",
            lambda: self.env.CHILD_WORKFLOW.create(id=f"child-{event.instanceId}", params={"data": result["data"]}),
        )
        await step.do("other work", lambda: print(f"Child started: {child.id}"))
        return await step.waitForChild("join child", child)


@app.workflow
class ChildWorkflow(WorkflowEntrypoint):
    async def run(self, event: Any, step: Any) -> Any:
        return await step.do("add up", lambda: sum(event.params.data))


@app.workflow
class RaceWorkflow(WorkflowEntrypoint):
    async def run(self, event: Any, step: Any) -> Any:
        def slow_operation(ctx: StepContext) -> str:
            note("race/A", "start")
            if ctx.cancelled.wait(event.params.slowSeconds):
                note("race/A", "cancelled")
            return "slow"

        async def fast_operation() -> str:
            # Not before the test has seen the other one begin: a race that nobody else entered shows nothing.
            while not is_open("fast"):
                await asyncio.sleep(LOOK_SECONDS)
            return "fast"

        return await step.race(step.do("option A", slow_operation), step.do("option B", fast_operation))


# The example's own handler and workflow, on a line that fires while a test looks.
app.cron("* * * * * *", name="every-second")(scheduled)
app.workflow(DailyWorkflow)


@app.cron("* * * * * *")
async def in_the_guides_words(event: Any, env: Any) -> None:
    note(f"cron/{event.scheduledTime}", "start")
    await env.CHAIN.create(id=f"daily-{event.scheduledTime}", params={"timestamp": event.scheduledTime})


@app.workflow(name="chain", schedules="* * * * * *")
class Chain(WorkflowEntrypoint):
    async def run(self, event: Any, step: Any) -> Any:
        await step.do("daily task", lambda: None)
        await step.sleep("wait 7 days", event.params.get("pause", 1))
        await step.do("weekly followup", lambda: None)
        return event.schedule.scheduledTime if event.schedule else event.params.timestamp

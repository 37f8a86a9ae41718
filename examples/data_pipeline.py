"""Data pipeline: extract from a flaky source, transform, store, load in batches.

Shows retries with exponential back-off, data kept in a bucket with only its key as the step's result (a result may
have 1 MiB, a bucket object more), and a load that may run twice: every batch is one transaction of upserts, and the
key comes from the instance's id, so that a second attempt replaces the object of the first.
Try it with ``python -m examples.data_pipeline``.
"""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from examples.bindings import flaky_source
from examples.environment import app
from examples.scene import Place, Promise
from workflows import NonRetryableError, WorkflowEntrypoint, WorkflowEvent, WorkflowStep

BATCH_ROWS = 100
FETCH_TIMEOUT_SECONDS = 30.0


@app.workflow
class DataPipelineWorkflow(WorkflowEntrypoint):
    """Params: ``sourceUrl``, and optionally ``retryDelay``, the first delay after a failed fetch (30s)."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> dict[str, Any]:
        delay = event.params.get("retryDelay", "30s")
        raw_data = await step.do(
            "extract",
            {"retries": {"limit": 10, "delay": delay, "backoff": "exponential"}},
            lambda: fetch_json(event.params.sourceUrl),
        )
        transformed = await step.do(
            "transform", lambda: [{"id": item["id"], "normalized": normalize(item)} for item in raw_data]
        )
        data_ref = await step.do("store", self.store, f"processed/{event.instance_id}.json", transformed)
        loaded = await step.do("load", self.load, data_ref["key"])
        return {"key": data_ref["key"], "loaded": loaded}

    def store(self, key: str, records: list[dict[str, Any]]) -> dict[str, str]:
        """Keeps the records in the bucket and returns where."""
        self.env.BUCKET.put(key, json.dumps(records))
        return {"key": key}

    def load(self, key: str) -> int:
        """Moves the stored records into the database, 100 in a transaction; returns how many."""
        insert = self.env.DB.prepare("INSERT OR REPLACE INTO records (id, normalized) VALUES (?, ?)")
        records = self.env.BUCKET.get(key).json()
        for start in range(0, len(records), BATCH_ROWS):
            self.env.DB.batch(
                [insert.bind(item["id"], item["normalized"]) for item in records[start : start + BATCH_ROWS]]
            )
        return len(records)


def fetch_json(url: str) -> Any:
    """What the URL answers, read as JSON.

    Raises:
        NonRetryableError: the URL is not a web address, and never will be.
        urllib.error.HTTPError: the answer's status is not a success; worth another try.
    """
    # urllib would read files, too, and the address comes from whoever created the instance.
    if not url.startswith(("http://", "https://")):
        raise NonRetryableError(f'"{url}" is not an http or https address')
    with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT_SECONDS) as response:
        return json.load(response)


def normalize(item: dict[str, Any]) -> str:
    """The item's name in lower case, with single spaces."""
    return " ".join(str(item["name"]).lower().split())


def demonstrate(place: Place) -> list[Promise]:
    """The source fails twice, then serves 250 items; the delays start at 200 ms here."""
    url = place.until_the_end.enter_context(flaky_source(items=250, failures=2))
    instance = place.client.workflow("data-pipeline-workflow").create(
        id="nightly-import", params={"sourceUrl": url, "retryDelay": "200 ms"}
    )

    def rows() -> list[dict[str, Any]]:
        return place.database.prepare("SELECT normalized FROM records ORDER BY id").all()

    return [
        Promise(
            instance,
            output={"key": "processed/nightly-import.json", "loaded": 250},
            holds=lambda: [row["normalized"] for row in rows()] == [f"item number {n}" for n in range(250)],
        )
    ]


if __name__ == "__main__":
    from examples.demo import play

    raise SystemExit(play(app, [demonstrate]))

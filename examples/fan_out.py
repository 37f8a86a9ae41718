"""Fan-out: list the work in one step, then do every piece at once, each in a step of its own.

Shows ``asyncio.gather`` over steps: the pieces run in parallel on all workers, a piece that fails is tried again
alone, and finished pieces never run again. The list comes from a step, so that a replay sees the same pieces under
the same names whatever the bucket holds by then. Try it with ``python -m examples.fan_out``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from examples.environment import app
from examples.scene import Place, Promise
from workflows import WorkflowEntrypoint, WorkflowEvent, WorkflowStep


@app.workflow
class FanOutWorkflow(WorkflowEntrypoint):
    """Params: ``prefix``, what the keys of the texts to count start with."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> dict[str, int]:
        keys = await step.do("list", lambda: [file.key for file in self.env.BUCKET.list(event.params.prefix)])
        counts = await asyncio.gather(
            *[step.do(f"process {index}", self.count_words, key) for index, key in enumerate(keys)]
        )
        return dict(zip(keys, counts, strict=True))

    def count_words(self, key: str) -> int:
        """How many words one text has."""
        return len(self.env.BUCKET.get(key).text().split())


def demonstrate(place: Place) -> list[Promise]:
    """Eight texts of one to eight words."""
    expected = {f"texts/{number}.txt": number for number in range(1, 9)}
    for key, words in expected.items():
        place.bucket.put(key, "word " * words)
    instance = place.client.workflow("fan-out-workflow").create(params={"prefix": "texts/"})
    return [Promise(instance, output=expected)]


if __name__ == "__main__":
    from examples.demo import play

    raise SystemExit(play(app, [demonstrate]))

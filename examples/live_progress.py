"""Live progress: show somebody what a workflow does while it does it.

Shows ``subscribe``: a listener outside of the workflow hears of every step as it happens, here to move a progress bar.
It may go away and come back: with the ``event_id`` of the last event it has dealt with, it is told the rest, nothing
twice. The workflow knows nothing of it. Try it with ``python -m examples.live_progress``.
"""

from __future__ import annotations

import threading
from typing import Any

from examples.environment import app
from examples.scene import Place, Promise
from workflows import WorkflowEntrypoint, WorkflowEvent, WorkflowInstance, WorkflowStep


@app.workflow
class LiveProgressWorkflow(WorkflowEntrypoint):
    """Params: ``chapters``, a list of texts."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> int:
        words = 0
        for chapter in event.params.chapters:
            words += await step.do("count words", lambda chapter=chapter: len(chapter.split()))
            await step.sleep("turn the page", "50 ms")
        return words


class ProgressBar:
    """What a reader sees: how many chapters are done."""

    def __init__(self, instance: WorkflowInstance) -> None:
        self._instance = instance
        self.done: list[int] = []

    def follow(self, cursor: str | None = None, *, most: int | None = None) -> str | None:
        """Listen until the end, or until so many chapters more are done. Returns: the cursor to go on with."""
        for event in self._instance.subscribe(cursor, filter="step_completed"):
            self.done.append(event.output)
            cursor = event.event_id
            if most is not None and len(self.done) >= most:
                break
        return cursor


def demonstrate(place: Place) -> list[Promise]:
    """Three chapters, and a reader who goes away after the first, comes back, and is told of each of them once."""
    chapters = ["It was a dark and stormy night", "Nothing happened", "The end"]
    instance = place.client.workflow("live-progress-workflow").create(params={"chapters": chapters})
    bar = ProgressBar(instance)
    reader = threading.Thread(target=lambda: bar.follow(bar.follow(most=1)), daemon=True)
    reader.start()

    def has_been_told() -> bool:
        reader.join(timeout=10)
        return bar.done == [7, 2, 2]

    return [Promise(instance, output=11, holds=has_been_told)]


if __name__ == "__main__":
    from examples.demo import play

    raise SystemExit(play(app, [demonstrate]))

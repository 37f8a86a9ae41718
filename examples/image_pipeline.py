"""Image processing pipeline: fetch, describe, wait for a person, publish.

Shows bytes as a step result (up to 1 MiB; return a key instead for more), a call to a model in a step of its own, and
a wait for an approval from outside. Try it with ``python -m examples.image_pipeline``.
"""

from __future__ import annotations

import io
from typing import Any

from PIL import Image, ImageDraw

from examples.environment import app
from examples.scene import Place, Promise, Reply
from workflows import WorkflowEntrypoint, WorkflowEvent, WorkflowStep


@app.workflow
class ImageProcessingWorkflow(WorkflowEntrypoint):
    """Params: ``imageKey``, the picture's key in the bucket."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> dict[str, str]:
        key = event.params.imageKey
        image = await step.do("fetch", lambda: self.env.BUCKET.get(key).array_buffer())
        described = await step.do(
            "generate description",
            lambda: self.env.AI.run(
                "pillow/describe", {"image": image, "prompt": "Describe this image", "max_tokens": 50}
            ),
        )
        await step.wait_for_event("await approval", event="approved", timeout="24h")
        await step.do("publish", lambda: self.env.BUCKET.put(f"public/{key}", image))
        return {"published": f"public/{key}", "description": described["description"]}


def demonstrate(place: Place) -> list[Promise]:
    """A picture of a house is uploaded, described, approved and published."""
    picture = draw_house()
    place.bucket.put("house.png", picture)
    instance = place.client.workflow("image-processing-workflow").create(params={"imageKey": "house.png"})
    return [
        Promise(
            instance,
            output={
                "published": "public/house.png",
                "description": "A medium-bright landscape picture of 320 by 200 pixels, mostly sky blue (56%) "
                "and green (26%), with some detail.",
            },
            replies={"await approval": Reply("approved")},
            holds=lambda: place.bucket.get("public/house.png").bytes() == picture,
        )
    ]


def draw_house() -> bytes:
    """A small PNG: a red house on a meadow under the sky."""
    image = Image.new("RGB", (320, 200), (130, 195, 240))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 140, 320, 200), fill=(50, 150, 60))
    draw.rectangle((110, 80, 210, 160), fill=(210, 40, 40))
    draw.polygon([(100, 80), (160, 30), (220, 80)], fill=(120, 75, 40))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    from examples.demo import play

    raise SystemExit(play(app, [demonstrate]))

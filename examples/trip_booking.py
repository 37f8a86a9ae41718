"""Trip booking, a saga: what was booked is cancelled again when a part of the trip cannot be had.

Shows handlers that undo steps: they run the last one first, each tried again until it succeeds, and on whatever worker
is there. Booking and cancelling may both run twice, so both are the same when repeated; and a booking that failed half
way may stand all the same, so its handler runs as well.
Try it with ``python -m examples.trip_booking``.
"""

from __future__ import annotations

from typing import Any

from examples.environment import app
from examples.scene import Place, Promise
from workflows import NonRetryableError, StepContext, WorkflowEntrypoint, WorkflowEvent, WorkflowStep

PARTS = ("flight", "hotel", "car")


@app.workflow
class TripWorkflow(WorkflowEntrypoint):
    """Params: ``soldOut``, optionally: what cannot be booked."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> str:
        sold_out = event.params.get("soldOut")
        patient = {"retries": {"limit": 20, "delay": "30 seconds"}}
        for part in PARTS:
            await step.do(part, self.book, part, part == sold_out, rollback=self.cancel, rollback_config=patient)
        return "have a good trip"

    def book(self, part: str, is_sold_out: bool, *, ctx: StepContext) -> str:
        """Books one part, once however often it is called."""
        if is_sold_out:
            raise NonRetryableError(f"no {part} is left")
        self.env.DB.prepare("INSERT OR IGNORE INTO bookings (trip, part) VALUES (?, ?)").bind(
            ctx.instance_id, part
        ).run()
        return f"{part} for {ctx.instance_id}"

    def cancel(self, output: str | None, *, ctx: StepContext) -> None:
        """Undoes it; ``output`` is None where the booking failed, and there may be nothing to undo."""
        self.env.DB.prepare("DELETE FROM bookings WHERE trip = ? AND part = ?").bind(
            ctx.instance_id, ctx.step.name
        ).run()


def demonstrate(place: Place) -> list[Promise]:
    """One trip is booked, and of the other one nothing is left, for there is no car."""
    trips = place.client.workflow("trip-workflow")

    def booked(trip: str) -> list[str]:
        rows = place.database.prepare("SELECT part FROM bookings WHERE trip = ?").bind(trip).all()
        return sorted(str(row["part"]) for row in rows)

    return [
        Promise(
            trips.create(id="to-rome", params={}), "have a good trip", holds=lambda: booked("to-rome") == sorted(PARTS)
        ),
        Promise(
            trips.create(id="to-oslo", params={"soldOut": "car"}),
            None,
            error="no car is left",
            holds=lambda: booked("to-oslo") == [],
        ),
    ]


if __name__ == "__main__":
    from examples.demo import play

    raise SystemExit(play(app, [demonstrate]))

"""What ``run`` is given is made of the first entry of its journal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgpack
import pytest

from workflows import App, BadParams, WorkflowEntrypoint, WorkflowEvent
from workflows.errors import CorruptPayload, UnknownWorkflow
from workflows.replay.replay import Replay, Returned
from workflows.replay.start import event_of, replay_of
from workflows.storage.journal import Start
from workflows.storage.keys import Keyspace
from workflows.storage.records import Firing
from workflows.values import codec

app = App("shop")
AT_MS = 1_790_000_000_000
ORDER = Keyspace("shop").instance("order", "a1")


@dataclass
class Params:
    n: int


@app.workflow(name="order")
class Order(WorkflowEntrypoint[Params]):
    async def run(self, event: WorkflowEvent[Params], step: Any) -> Any:
        at = event.schedule.scheduled_time if event.schedule else None
        return [event.payload.n, event.instance_id, event.workflow_name, event.timestamp, at]


def start(params: Any = None, schedule: bytes | None = None) -> Start:
    return Start(AT_MS, codec.encode({"n": 7} if params is None else params, what="params"), schedule)


def test_run_is_given_its_params_as_their_model_and_when_and_why_it_was_created() -> None:
    first = start(schedule=Firing("0 9 * * *", AT_MS - 5).wire())
    replay = replay_of(Replay, app, ORDER, "g1", first)
    replay.feed([first])
    moments = [datetime.fromtimestamp(ms / 1000, UTC) for ms in (AT_MS, AT_MS - 5)]
    assert replay.end == Returned([7, "a1", "order", *moments])


def test_what_a_later_version_says_of_a_schedule_is_passed_over() -> None:
    blob = msgpack.packb({"cron": "0 9 * * *", "at": 5, "mood": "good"}, use_bin_type=False)
    event = event_of(app, ORDER, start(schedule=blob))
    assert event.schedule is not None
    assert (event.schedule.cron, int(event.schedule.scheduled_time)) == ("0 9 * * *", 5)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Rome"])
def test_a_schedule_knows_whose_clock_it_was_compared_with(zone: str) -> None:
    event = event_of(app, ORDER, start(schedule=Firing("0 9 * * *", 5, zone).wire()))
    assert event.schedule is not None
    assert event.schedule.timezone == zone


@pytest.mark.parametrize("blob", [b"\xc1", b"no", msgpack.packb({"cron": "0 9 * * *"}), msgpack.packb([])])
def test_a_schedule_that_cannot_be_read_is_said_to_be_corrupt(blob: bytes) -> None:
    with pytest.raises(CorruptPayload, match="schedule of an instance"):
        event_of(app, ORDER, start(schedule=blob))


def test_nothing_is_replayed_without_its_workflow_or_with_params_of_another_model() -> None:
    with pytest.raises(UnknownWorkflow):
        replay_of(Replay, app, Keyspace("shop").instance("nobody", "a1"), "g1", start())
    with pytest.raises(BadParams):
        replay_of(Replay, app, ORDER, "g1", start({"n": "many"}))

"""The event ``run`` is given, and the one it waits for."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from workflows.authoring.event import (
    FrozenDict,
    ReceivedEvent,
    Schedule,
    ScheduledTime,
    WorkflowEvent,
    freeze,
    moment,
    thaw,
)
from workflows.values import codec

CREATED = datetime(2026, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=2)))


def event_of(payload: Any, **options: Any) -> WorkflowEvent[Any]:
    return WorkflowEvent(payload, timestamp=CREATED, instance_id="one", workflow_name="flow", **options)


def test_attributes_keys_and_both_spellings_agree() -> None:
    event = event_of({"a": 1})
    assert event.payload == event.params == event["payload"] == event["params"] == {"a": 1}
    assert event.instance_id == event.instanceId == event["instanceId"] == event["instance_id"] == "one"
    assert event.workflow_name == event.workflowName == event["workflowName"] == "flow"
    assert event.timestamp == event["timestamp"] == CREATED
    assert event.timestamp.tzinfo is UTC


def test_it_is_a_mapping_with_the_models_keys() -> None:
    event = event_of({})
    assert list(event) == ["payload", "timestamp", "instanceId", "workflowName"]
    assert dict(**event)["instanceId"] == "one"
    assert len(event) == 4 and "payload" in event and event.get("nothing") is None
    with pytest.raises(KeyError, match="there are: payload"):
        event["nothing"]


def test_payload_is_within_reach_by_attribute() -> None:
    event = event_of({"imageKey": "k", "nested": {"list": [{"x": 1}]}})
    assert event.params.imageKey == "k"
    assert event.params.nested.list[0].x == 1
    with pytest.raises(AttributeError, match="there are: imageKey, nested"):
        _ = event.params.imagekey


def test_payload_is_made_of_real_dicts_and_lists() -> None:
    payload = event_of({"a": [1, {"b": (2, {"c": 3})}]}).payload
    assert isinstance(payload, dict) and isinstance(payload["a"], list)
    assert json.loads(json.dumps(payload)) == {"a": [1, {"b": [2, {"c": 3}]}]}
    assert dict(**payload) == payload
    assert payload | {"x": 1} == {"a": payload["a"], "x": 1}
    assert codec.decode(codec.encode(payload, what="x")) == {"a": [1, {"b": (2, {"c": 3})}]}
    assert {**payload}["a"][0] == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda event: setattr(event, "payload", 1),
        lambda event: setattr(event, "new", 1),
        lambda event: event.__setitem__("payload", 1),
        lambda event: delattr(event, "payload"),
        lambda event: event.payload.__setitem__("a", 1),
        lambda event: event.payload.__delitem__("a"),
        lambda event: setattr(event.payload, "a", 1),
        lambda event: event.payload.update(a=1),
        lambda event: event.payload.pop("a"),
        lambda event: event.payload.setdefault("b", 1),
        lambda event: event.payload.clear(),
        lambda event: event.payload.__ior__({"b": 1}),
        lambda event: event.payload["a"].append(1),
        lambda event: event.payload["a"].__setitem__(0, 1),
        lambda event: event.payload["a"].__iadd__([1]),
        lambda event: event.payload["a"].sort(),
        lambda event: event.payload["a"][0].update(x=1),
    ],
)
@pytest.mark.parametrize("error", [TypeError, AttributeError])
def test_changing_anything_raises_and_says_what_to_do(change: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="Make a copy"):
        change(event_of({"a": [{"x": 0}]}))


@pytest.mark.parametrize("copied", [copy.deepcopy, thaw])
def test_deep_copies_may_be_changed(copied: Any) -> None:
    mine = copied(event_of({"a": [{"x": 0}], "t": ({"y": 1},)}).payload)
    mine["a"][0]["x"] = 1
    mine["a"].append(2)
    mine["t"][0]["y"] = 2
    assert mine == {"a": [{"x": 1}, 2], "t": ({"y": 2},)}
    assert type(mine) is dict and type(mine["a"]) is list


def test_shallow_copies_may_be_changed() -> None:
    payload = event_of({"a": [1]}).payload
    for mine in (dict(payload), payload.copy(), copy.copy(payload)):
        mine["b"] = 2
    for items in (list(payload["a"]), payload["a"].copy(), copy.copy(payload["a"]), payload["a"][:]):
        items.append(2)
    assert payload == {"a": [1]}


def test_freezing_leaves_other_values_alone() -> None:
    marker = object()
    assert freeze(marker) is marker
    assert type(freeze({})) is FrozenDict


def test_schedule_is_there_only_for_scheduled_instances() -> None:
    assert event_of({}).schedule is None
    with pytest.raises(LookupError, match="not created by a schedule"):
        _ = event_of({}).scheduled_time
    due = ScheduledTime.from_ms(1_790_000_000_000)
    event = event_of({}, schedule=Schedule("0 9 * * *", due))
    assert event.schedule is not None
    assert event.schedule.cron == event.cron == event["schedule"]["cron"] == "0 9 * * *"
    assert event.scheduled_time == moment(1_790_000_000_000)
    assert f"daily-{int(event.scheduled_time)}" == f"daily-{event.scheduledTime}" == "daily-1790000000000"  # type: ignore[call-overload]
    assert list(event)[-1] == "schedule"


def test_timestamp_needs_a_time_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        WorkflowEvent({}, timestamp=datetime(2026, 1, 1), instance_id="a", workflow_name="b")


def test_received_event_is_an_envelope_that_lets_the_payload_through() -> None:
    reply = ReceivedEvent({"approved": True, "type": "inner"}, type="answer", timestamp=CREATED)
    assert reply.approved is reply["approved"] is reply.payload["approved"] is True
    assert reply.type == reply["type"] == "answer"
    assert dict(reply) == {"payload": reply.payload, "type": "answer", "timestamp": CREATED}
    assert "approved" in reply and "missing" not in reply
    with pytest.raises(AttributeError, match="there are: payload, type, timestamp, approved"):
        _ = reply.missing
    with pytest.raises(TypeError):
        reply.approved = False
    assert codec.decode(codec.encode(reply, what="x"))["type"] == "answer"


def test_received_event_without_a_mapping_has_its_three_fields() -> None:
    reply = ReceivedEvent([1], type="answer", timestamp=CREATED)
    assert reply.payload == [1]
    with pytest.raises(AttributeError):
        _ = reply.approved
    with pytest.raises(KeyError):
        reply["approved"]

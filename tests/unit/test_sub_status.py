"""What an instance of a listing is doing: made of its header and its open records."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from workflows.health.sub_status import WORDS, sub_status
from workflows.storage.records import Open, OpenChild, OpenSleep, OpenStep, OpenWait
from workflows.values import failure

AT = 1_800_000_000_000
FAILURE = (1, AT - 20, AT - 10, failure.make("ValueError", "no"))


def header(status: str = "running", **fields: str) -> dict[str, bytes]:
    names = ("st", "want", "turn", "queue", "started", "ended", "reason", "slot", "stood", "rb", "err")
    return {name: fields.get(name, status if name == "st" else "").encode() for name in names}


def step(state: str, seq: int = 1, **more: object) -> OpenStep:
    return OpenStep(seq, f"step {seq}", 1, state=state, **more)  # type: ignore[arg-type]


HELD = step("held")
READY = step("ready", 2, queue="gpu")
BACK = step("back", 3, failures=[FAILURE], due=AT)
SLEEP = OpenSleep(4, "nap", 1, due=AT)
WAIT = OpenWait(5, "packing", 1, type="packed", due=AT)
CHILD = OpenChild(6, "child", 1, workflow="parcel", id="p-1")


@pytest.mark.parametrize(
    ("head", "records", "word", "detail"),
    [
        (header("queued", turn="r|n"), [], "unclaimed", "default"),
        (header("queued", turn="r|n", queue="gpu"), [], "unclaimed", "gpu"),
        (header("queued", slot="a|1|12|1f|-"), [], "slot", ""),
        (header(turn="h|worker|token"), [], "running", ""),
        (header(), [HELD], "running", "step 1"),
        (header(), [HELD, READY], "unclaimed", "gpu"),
        (header(), [HELD, READY, BACK], "retrying", "step 3"),
        (header(), [step("held", failures=[FAILURE])], "retrying", "step 1"),
        (header("waiting"), [BACK], "retrying", "step 3"),
        (header("waiting"), [SLEEP], "sleeping", "nap"),
        (header("waiting"), [SLEEP, WAIT], "event", "packed"),
        (header("waiting"), [SLEEP, CHILD], "child", "parcel/p-1"),
        (header("paused", want="pause"), [WAIT], "", ""),
        (header("paused", want="park", reason="the code has changed"), [WAIT], "parked", "the code has changed"),
        (header("complete"), [], "", ""),
        (header("waiting"), [], "", ""),
    ],
)
def test_of_several_things_it_does_the_one_that_deserves_attention_first_is_told(
    head: dict[str, bytes], records: list[Open], word: str, detail: str
) -> None:
    found = sub_status(head, records)
    assert (found.word, found.detail) == (word, detail)
    assert not word or head["st"].decode() in WORDS[word]


def test_what_time_moves_says_when_by_the_clock_of_the_server() -> None:
    assert sub_status(header("waiting", stood="500"), [WAIT]).until == datetime.fromtimestamp(AT / 1000 + 0.5, UTC)
    until_then = OpenSleep(1, "nap", 1, due=AT, absolute=True)
    assert sub_status(header("waiting", stood="500"), [until_then]).until == datetime.fromtimestamp(AT / 1000, UTC)


def test_one_that_is_tried_again_tells_what_failed() -> None:
    found = sub_status(header("waiting"), [BACK])
    assert str(found.error) == "ValueError: no"


def test_one_that_has_failed_tells_with_what() -> None:
    head = header("errored", started=str(AT), ended=str(AT + 5)) | {"err": failure.make("KeyError", "sku")}
    found = sub_status(head, [])
    assert str(found.error) == "KeyError: sku"
    assert found.ended_at is not None
    assert not found.is_rolling_back


def test_one_that_is_rolled_back_says_so() -> None:
    assert sub_status(header(rb="terminate"), []).is_rolling_back

"""Members of the shards' sets: what the scripts write comes back, and nothing else passes for one."""

from __future__ import annotations

import pytest

from workflows.storage.keys import Held, Intent, Timer

INTENT = "a|order|o-1|a1b2c3|7|x_-Y9z|gpu-2"
HELD = "w12|t|order|o-1|a1b2c3|0|deadbeef"
TIMER = "w|order|o-1|a1b2c3|12"
HUGE = "9" * 5_000


def test_what_was_written_is_read_back_from_text_and_from_bytes() -> None:
    for member in (INTENT, INTENT.encode()):
        assert Intent.parse(member) == Intent("a", "order", "o-1", "a1b2c3", 7, "x_-Y9z", "gpu-2")
    assert Intent.parse(INTENT).member == INTENT
    assert Held.parse(HELD.encode()).member == HELD
    assert Timer.parse(TIMER.encode()) == Timer("w", "order", "o-1", "a1b2c3", 12)


@pytest.mark.parametrize(
    ("shape", "member"),
    [
        (Intent, b"\xff\xfe"),
        (Intent, ""),
        (Intent, INTENT + "|more"),
        (Intent, INTENT.replace("|7|", f"|{HUGE}|")),
        (Intent, INTENT.replace("|7|", "|9999999999|")),
        (Intent, INTENT.replace("|7|", "|-7|")),
        (Intent, INTENT.replace("|7|", "|\u0667|")),
        (Intent, INTENT.replace("gpu-2", "gpu:2")),
        (Intent, INTENT.replace("gpu-2", "")),
        (Intent, "x" + INTENT[1:]),
        (Intent, INTENT + "\n"),
        (Held, HELD.replace("|t|", "|z|")),
        (Held, HELD.replace("|0|", f"|{HUGE}|")),
        (Held, HELD.encode() + b"\xff"),
        (Timer, TIMER.replace("w|", "q|")),
        (Timer, TIMER.replace("|12", "|1e3")),
        (Timer, TIMER.replace("order", "o" * 200)),
    ],
)
def test_anything_else_is_refused_with_one_kind_of_error(
    shape: type[Intent | Held | Timer], member: str | bytes
) -> None:
    """A number that msgpack cannot carry, or bytes that are no text, must not become another error later on."""
    with pytest.raises(ValueError, match="not a"):
        shape.parse(member)

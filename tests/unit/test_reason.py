"""What a reason says to people and to programs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

from workflows.insight.reason import CATALOGUE, Level, Reason


def test_a_reason_has_the_level_of_its_code() -> None:
    for code, level in CATALOGUE.items():
        assert Reason.of(code, "so it is").level == level
        assert level in get_args(Level)


def test_a_reason_is_json_with_its_hints() -> None:
    hint = Reason.of("hint.event-type", "it holds an event of type 'pakced'", "send another", types={"pakced": 1})
    reason = Reason.of("wait.event", "waits for 'packed'", None, hint, type="packed")
    shown = json.loads(json.dumps(reason.as_dict()))
    assert shown["code"] == "wait.event"
    assert shown["facts"] == {"type": "packed"}
    assert [one["way_out"] for one in shown["hints"]] == ["send another"]


def test_a_reason_for_people_has_its_ways_out_behind_all_sentences() -> None:
    hint = Reason.of("hint.event-type", "it holds an event of type 'pakced'", "send another")
    reason = Reason.of("queue.no-worker", "nobody is there", "start one", hint)
    assert list(reason.lines()) == [
        "nobody is there   queue.no-worker",
        "  it holds an event of type 'pakced'   hint.event-type",
        "  → start one",
        "  → send another",
    ]


def test_the_page_tells_of_every_code_with_its_level_in_this_order() -> None:
    page = (Path(__file__).parents[2] / "docs" / "why.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `([a-z.-]+)` \| (\w+) \|", page, flags=re.MULTILINE)
    assert told == [(code, str(level)) for code, level in CATALOGUE.items()]

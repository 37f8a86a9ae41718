"""Do scripts and Python mean the same structures, and is every script made of the parts it names?"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import orchestrator
import worker
import workflows
from workflows import limits
from workflows.errors import CorruptPayload
from workflows.storage import doorbell, store
from workflows.storage.intake import CreateItem, EventItem
from workflows.storage.keys import INSTANCE_KEY_NAMES, SHARD_KEY_NAMES, Holder
from workflows.storage.messages import (
    ChildOutcome,
    InvokeChild,
    SlotGranted,
    SlotMessage,
    StopChild,
    WatchChild,
    message,
)
from workflows.storage.records import (
    HEADER,
    OPEN,
    Decision,
    Firing,
    OpenStep,
    ParentStep,
    Settlement,
    Slot,
    open_record,
)
from workflows.storage.store import PARTS, packb, script, unpackb

PACKAGES = [Path(package.__path__[0]) for package in (workflows, worker, orchestrator)]
PART_FOLDER = Path(store.__file__).parent / "parts"
SCRIPTS = sorted(path for folder in PACKAGES for path in folder.rglob("*.lua") if path.parent != PART_FOLDER)


def part(name: str) -> str:
    return (PART_FOLDER / f"{name}.lua").read_text(encoding="utf-8")


def table(text: str, name: str) -> str:
    """What stands in the braces of ``local name = {…}``."""
    begin = text.index(f"local {name} = {{")
    depth, at = 0, text.index("{", begin)
    for end, character in enumerate(text[at:], at):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return text[at : end + 1]
    raise AssertionError(f"{name} does not end")


def words(text: str) -> list[str]:
    return re.findall(r"'(\w+)'", text)


@pytest.mark.parametrize("kind", OPEN)
def test_an_open_record_has_the_same_values_on_both_sides(kind: str) -> None:
    declared = ["kind", *(one.name for one in dataclasses.fields(OPEN[kind]))]
    text = part("record")
    branches = re.findall(r"if (kind == [^\n]*) then\n    return \{(.*?)\}\n", text, flags=re.DOTALL)
    (reading,) = [values for kinds, values in branches if f"'{kind}'" in kinds]
    assert re.findall(r"(\w+) = v\[(\d+)\]", reading) == [(name, str(at)) for at, name in enumerate(declared, 1)]
    assert f"behind(v, {len(declared)})" in reading
    writing = [re.findall(r"r\.(\w+)", values) for values in re.findall(r"    v = \{(.*?)\}\n", text, flags=re.DOTALL)]
    assert declared in writing


def fields(text: str, name: str) -> tuple[list[str], set[str]]:
    """The fields that a line at the head of a script declares, in order, and those that may be absent."""
    (inner,) = re.findall(rf"^--   {name} +\{{(.*)\}}", text, flags=re.MULTILINE)
    return re.findall(r"\w+", inner), set(re.findall(r"\[(\w+)\]", inner))


PARENT = ParentStep("order", "p1", "g1", 7)
LEAST = CreateItem("order", "a1", "g1", b"params", "default", 1, 2)
SLOT = Slot("-", 0, "", "0", "=acme")
WHOLE = replace(
    LEAST,
    slot=SLOT,
    command="c1",
    firing=Firing("0 9 * * *", 5),
    parent=PARENT,
    taken=b"taken",
    metadata=b"about",
    told_version="v1",
    deadline_ms=5,
)
EVENT = EventItem("e1", "packed", b"payload")
WHOLE_EVENT = replace(EVENT, error=b"failed", new=LEAST, line="packed=k|order|a1|g1|1", life="g1")


HELD = Settlement("g1", 1, "token")
ENDED = replace(
    HELD,
    entry=b"entry",
    stream=(1, 2),
    retry=(5, [1, 0, 0, b"failed"]),
    again=(5, 9, b"in vain"),
    details=b"row 5",
    base=1,
    decision=Decision(),
    eager="next",
)


@pytest.mark.parametrize(
    ("script_name", "least", "whole"),
    [
        ("create", LEAST, WHOLE),
        ("send_event", EVENT, WHOLE_EVENT),
        ("settle", HELD, ENDED),
    ],
)
def test_an_item_has_the_fields_at_the_head_of_its_script(script_name: str, least: Any, whole: Any) -> None:
    (path,) = [path for path in SCRIPTS if path.stem == script_name]
    text = path.read_text(encoding="utf-8")
    declared, optional = fields(text, "ITEM")
    assert ["i", *whole.wire()] == declared
    assert {"i", *least.wire()} == set(declared) - optional
    assert set(re.findall(r"\ba\.(\w+)", text)) <= set(declared)


ASKER = {"pwf": PARENT.workflow, "pid": PARENT.id, "pgen": PARENT.generation, "pseq": PARENT.seq}
TOLD = {"op": "outcome", **PARENT.wire(), "cwf": "job", "cid": "c", "st": "complete", "v": b"value", "x": b"error"}
HOLDER = Holder("order", "=acme", "a1", "g1", 3)
HOLDS = {"wf": "order", "id": "a1", "gen": "g1", "n": 3, "key": "=acme"}
LIMITED = replace(LEAST, slot=SLOT, told_version="v1", deadline_ms=5)
STORED = {
    "PARENT": (PARENT.wire(), PARENT),
    "INVOKE": (
        {**InvokeChild(LIMITED).wire(), **ASKER, "stop": "cancel"},
        InvokeChild(LIMITED, PARENT, "cancel"),
    ),
    "STOP": (
        {"op": "stop", "wf": "order", "id": "a1", **ASKER, "stop": "terminate"},
        StopChild("order", "a1", PARENT, "terminate"),
    ),
    "WATCH": ({**WatchChild("order", "a1").wire(), **ASKER}, WatchChild("order", "a1", PARENT)),
    "OUTCOME": (TOLD, ChildOutcome(PARENT, "job", "c", b"value", b"error")),
    "SLOT": ({"op": "slot", **HOLDS, "ord": "1000", "st": "a"}, SlotMessage(HOLDER, "1000", "a")),
    "GRANT": ({"op": "grant", **HOLDS, "ord": "1000"}, SlotGranted(HOLDER, "1000")),
}
MESSAGES = [name for name in STORED if name != "PARENT"]


@pytest.mark.parametrize("name", STORED)
def test_who_waits_and_what_is_sent_between_shards_has_the_same_fields_on_both_sides(name: str) -> None:
    declared, _ = fields(part("slot" if name in ("SLOT", "GRANT") else "ending"), name)
    assert list(STORED[name][0]) == declared


def test_a_permit_has_the_same_fields_on_both_sides() -> None:
    declared, _ = fields(part("waking"), "PERMIT")
    assert list(unpackb(doorbell.permit("shop", ["order"]))) == [name.encode() for name in declared]
    assert set(re.findall(r"\bp\.(\w+)", part("waking"))) == set(declared)


def test_who_waits_is_read_as_it_is_written() -> None:
    assert ParentStep.of(unpackb(packb(PARENT.wire()))) == PARENT


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_is_read_as_it_is_written_and_fields_of_a_later_version_are_passed_over(name: str) -> None:
    wire, read = STORED[name]
    assert message(packb({**wire, "later": [1]})) == read


OPTIONAL = {"OUTCOME": {"st", "v", "x"}, "INVOKE": {"slot", "tell", "dl", "stop"}}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_without_a_field_it_needs_is_refused(name: str) -> None:
    wire, _ = STORED[name]
    for field in wire.keys() - OPTIONAL.get(name, set()):
        with pytest.raises(CorruptPayload):
            message(packb({other: value for other, value in wire.items() if other != field}))


WRONG: list[tuple[str, dict[str, Any]]] = [
    *[(name, {field: wrong}) for name in ("INVOKE", "WATCH") for field, wrong in [("wf", "x" * 65), ("id", "-a")]],
    *[("INVOKE", {field: wrong}) for field, wrong in [("qu", "q" * 65), ("ok", -1), ("p", b"p" * 1_100_000), ("p", 7)]],
    *[(name, {"stop": "abandon"}) for name in ("INVOKE", "STOP")],
    *[(name, {"op": "nonsense"}) for name in MESSAGES],
    *[("INVOKE", {"slot": wrong}) for wrong in ("", "x|0||0|-", "-|0||0|a|b")],
    *[
        ("SLOT", {field: wrong})
        for field, wrong in [("key", "acme"), ("n", 1e9), ("ord", "1 "), ("st", "x"), ("gen", "a|b")]
    ],
    *[("GRANT", {field: wrong}) for field, wrong in [("key", "=a|b"), ("id", ""), ("ord", "1" * 17)]],
    *[("OUTCOME", {field: wrong}) for field, wrong in [("seq", 1e15), ("gen", "a|b"), ("v", 7), ("id", 7)]],
]


@pytest.mark.parametrize(("name", "wrong"), WRONG, ids=[f"{name}-{next(iter(wrong))}" for name, wrong in WRONG])
def test_a_message_with_what_cannot_be_is_refused(name: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(CorruptPayload):
        message(packb({**STORED[name][0], **wrong}))


@pytest.mark.parametrize("blob", [b"", b"\xc1", packb([]), packb({}), packb({"op": []})])
def test_what_is_no_message_is_said_to_be_none(blob: bytes) -> None:
    with pytest.raises(CorruptPayload):
        message(blob)


def test_scripts_read_no_field_of_a_header_that_is_not_declared() -> None:
    assert set(words(table(part("instance"), "HEADER"))) <= HEADER.keys()
    written = {
        field
        for path in [*SCRIPTS, *PART_FOLDER.glob("*.lua")]
        for field in re.findall(r"instance\.set\(I, '(\w+)'", path.read_text(encoding="utf-8"))
    }
    assert written <= HEADER.keys()


def test_the_keys_of_a_shard_and_of_an_instance_are_those_of_keys_py() -> None:
    named = re.findall(r"(\w+) = KEYS\[(\d+)\]", part("shard"))
    assert [name for name, _ in named] == list(SHARD_KEY_NAMES)
    assert [int(place) for _, place in named] == list(range(1, len(SHARD_KEY_NAMES) + 1))
    assert f"SHARD_KEYS, INSTANCE_KEYS = {len(SHARD_KEY_NAMES)}, {len(INSTANCE_KEY_NAMES)}" in part("shard")


def test_every_part_is_known_and_stands_behind_those_it_uses() -> None:
    assert sorted(PARTS) == sorted(path.stem for path in PART_FOLDER.glob("*.lua"))
    for name in PARTS:
        for used in re.findall(r"^-- uses:(.*)$", part(name), flags=re.MULTILINE):
            assert all(PARTS.index(one) < PARTS.index(name) for one in used.split()), name


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_hides_no_part_it_is_made_of(path: Path) -> None:
    """A local variable with the name of a part would be asked for its functions."""
    text = script(path).text
    used = [name for name in PARTS if re.search(rf"^local {name}\b", text, flags=re.MULTILINE)]
    own = path.read_text(encoding="utf-8")
    hidden = [name for name in used if re.search(rf"\blocal (?:\w+, )*{name}\b", own)]
    assert not hidden


def test_a_limit_that_is_not_there_is_an_error_at_load(tmp_path: Path) -> None:
    (tmp_path / "wrong.lua").write_text("return limits.NO_SUCH_LIMIT")
    with pytest.raises(KeyError, match="NO_SUCH_LIMIT"):
        script(tmp_path / "wrong.lua")
    (tmp_path / "right.lua").write_text("return limits.SCRIPT_ELEMENTS")
    assert script(tmp_path / "right.lua").text.endswith(f"return {limits.SCRIPT_ELEMENTS}")


@pytest.mark.parametrize("blob", [b"", b"\x00", packb([]), packb(["no"]), packb(["do"]), packb({}), packb(["do", 1])])
def test_what_is_no_open_record_is_said_to_be_none(blob: bytes) -> None:
    with pytest.raises((CorruptPayload, ValueError)):
        open_record(unpackb(blob))


@given(st.lists(st.none() | st.booleans() | st.integers() | st.binary(), max_size=30))
def test_values_of_a_later_version_are_passed_over(more: list[object]) -> None:
    known = [b"do", 1, b"a", 1, 5, b"due", b"default", 60, b"c", 0, 0, 0, 0, *[False] * 9]
    assert open_record([*known, *more]) == OpenStep(1, "a", 1, asked=5, state="due", timeout=60, config=b"c")

"""Ids made of names that other systems give, and back."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from workflows import BadName, external_name, workflow_id
from workflows.values.names import check_instance_id

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
DOCUMENTED = re.findall(
    r"^\| `([^`]+)` \| `([\w-]+)` \|$",
    (Path(__file__).parents[2] / "docs/producers.md").read_text(),
    re.MULTILINE,
)


@pytest.mark.parametrize(("name", "id"), DOCUMENTED)
def test_documented_names_have_the_documented_ids(name: str, id: str) -> None:
    assert (workflow_id(name), external_name(id)) == (id, name)


def test_there_is_a_table_for_those_who_write_it_in_another_language() -> None:
    assert len(DOCUMENTED) >= 8


@given(NAMES)
def test_every_name_that_is_short_enough_has_an_id_and_comes_back(name: str) -> None:
    try:
        id = workflow_id(name)
    except BadName:
        assert len(name.encode()) > 33
    else:
        assert check_instance_id(id) == id
        assert external_name(id) == name


@given(NAMES, NAMES)
def test_two_names_never_have_one_id(one: str, other: str) -> None:
    assume(one != other and len(one.encode()) <= 33 and len(other.encode()) <= 33)
    assert workflow_id(one) != workflow_id(other)


@given(NAMES)
def test_the_rule_is_percent_encoding_with_another_sign(name: str) -> None:
    assume(len(name.encode()) <= 33 and not name.startswith("-"))
    as_percent = re.sub(r"[_.~]", lambda one: f"%{ord(one[0]):02X}", quote(name, safe=""))
    assert workflow_id(name) == as_percent.replace("%", "_")
    assert unquote(workflow_id(name).replace("_", "%")) == name


@given(st.text("abXY019_-", max_size=12))
def test_an_id_is_read_only_if_it_is_the_id_of_what_is_read(id: str) -> None:
    try:
        name = external_name(id)
    except BadName:
        return
    assert workflow_id(name) == id


@pytest.mark.parametrize("id", ["", "a_", "a_3a7", "a_41", "_FF", "-a", "a b", "order:7", "a_3A" * 40, None])
def test_an_id_that_was_not_made_of_a_name_is_refused(id: str) -> None:
    with pytest.raises(BadName, match="is not an id that workflow_id makes"):
        external_name(id)


@pytest.mark.parametrize("name", ["", None, 7, b"order:7"])
def test_what_is_no_text_has_no_id(name: str) -> None:
    with pytest.raises(BadName, match="made of text that is not empty"):
        workflow_id(name)


def test_half_of_a_surrogate_pair_has_no_id() -> None:
    with pytest.raises(BadName, match=r"U\+D800 at position 1"):
        workflow_id("a\ud800")


def test_a_name_has_an_id_up_to_its_longest_and_is_told_by_how_much_it_is_longer() -> None:
    assert workflow_id("a" * 97 + ":") == "a" * 97 + "_3A"
    with pytest.raises(BadName, match="would have 101 characters, and 100 is the most"):
        workflow_id("a" * 98 + ":")

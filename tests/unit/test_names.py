"""Which names are accepted, and what refused ones are told."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.errors import BadName
from workflows.values.names import (
    binding_name_of,
    check_event_type,
    check_instance_id,
    check_step_name,
    check_workflow_name,
    workflow_name_of,
)

IDENTIFIERS = [(check_workflow_name, 64), (check_instance_id, 100), (check_event_type, 100)]


@pytest.mark.parametrize(("check", "longest"), IDENTIFIERS)
def test_identifier_up_to_its_longest_is_accepted(check: Callable[[object], str], longest: int) -> None:
    for name in ("a", "_", "0", "a-b_C-9", "a" * longest):
        assert check(name) == name


@pytest.mark.parametrize(("check", "longest"), IDENTIFIERS)
@pytest.mark.parametrize("name", ["", "-a", "a b", "a.b", "a/b", "ä", "a\n", "a\x00", "٣", None, 1, b"a", ["a"]])
def test_other_names_are_refused(check: Callable[[object], str], longest: int, name: object) -> None:
    with pytest.raises(BadName):
        check(name)


@pytest.mark.parametrize(("check", "longest"), IDENTIFIERS)
def test_one_character_too_many_is_refused(check: Callable[[object], str], longest: int) -> None:
    with pytest.raises(BadName, match=f"it has {longest + 1} characters. Use 1 to {longest} letters"):
        check("a" * (longest + 1))


def test_refusals_begin_with_the_texts_of_the_model() -> None:
    with pytest.raises(BadName, match=r"^Workflow instance has invalid id: 'a b': "):
        check_instance_id("a b")
    with pytest.raises(BadName, match=r"^\(workflow\.invalid_event_type\) Provided event type is invalid: 'a\.b': "):
        check_event_type("a.b")
    text = 'Step name "a\\tb" exceeds max length (256 chars) or invalid characters found'
    with pytest.raises(BadName, match="^" + re.escape(text.replace("\\t", "\t"))):
        check_step_name("a\tb")


@pytest.mark.parametrize("name", ["a", "wait 7 days", "größe ✓", "x" * 256, "\x7f", "a-1", " "])
def test_printable_text_names_a_step(name: str) -> None:
    assert check_step_name(name) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "it is empty"),
        ("x" * 257, "it has 257 characters"),
        ("a\n", r"U\+000A at position 1 is a control character"),
        ("\x00", r"U\+0000 at position 0"),
        ("a\ud800", "half of a surrogate pair"),
        (None, "must be a string, not None"),
        (lambda: None, "must be a string"),
    ],
)
def test_refused_step_name_says_why(name: object, reason: str) -> None:
    with pytest.raises(BadName, match=reason):
        check_step_name(name)


def test_huge_name_is_shortened_in_the_message() -> None:
    with pytest.raises(BadName) as refused:
        check_step_name("x" * 10_000_000)
    assert len(str(refused.value)) < 1_000


@given(st.text(max_size=300))
def test_any_step_name_is_returned_or_refused(name: str) -> None:
    try:
        assert check_step_name(name) == name
    except BadName as refused:
        str(refused).encode(errors="surrogatepass")


@pytest.mark.parametrize(
    ("class_name", "name"),
    [
        ("ApprovalWorkflow", "approval-workflow"),
        ("HTTPServerWorkflow", "http-server-workflow"),
        ("Step2Workflow", "step2-workflow"),
        ("_Private", "private"),
        ("snake_case", "snake-case"),
        ("A", "a"),
        ("ETL", "etl"),
    ],
)
def test_class_name_becomes_a_workflow_name(class_name: str, name: str) -> None:
    assert workflow_name_of(class_name) == name


@pytest.mark.parametrize("class_name", ["Überblick", "_", "A" + "b" * 64])
def test_class_name_that_cannot_name_a_workflow_is_refused(class_name: str) -> None:
    with pytest.raises(BadName):
        workflow_name_of(class_name)


def test_binding_name_is_upper_case_with_underscores() -> None:
    assert binding_name_of("approval-workflow") == "APPROVAL_WORKFLOW"

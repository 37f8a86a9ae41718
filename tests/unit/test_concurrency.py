"""Limits on running instances: what may be declared, and whose slots an instance takes."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows import App, BadParams, Concurrency, ConfigError, WorkflowEntrypoint
from workflows.storage.concurrency import combined
from workflows.storage.keys import Holder
from workflows.storage.manifest import read_manifest
from workflows.values import codec
from workflows.values.concurrency import NO_KEY, key_text, shown_key


class Job(WorkflowEntrypoint):
    async def run(self, event: Any, step: Any) -> None: ...


def blob(params: Any) -> bytes:
    return codec.encode(params, what="params")


@pytest.mark.parametrize("limit", [0, -1, 1_000_001, True, 1.5, "3", None])
def test_a_limit_is_a_whole_number_from_one_on(limit: Any) -> None:
    with pytest.raises(ConfigError, match="use 1 to 1000000"):
        Concurrency(limit)


@pytest.mark.parametrize("key", ["", ".", "a.", ".a", "a..b", "a b", "a|b", "k" * 201, 7])
def test_a_key_is_a_path_of_names(key: Any) -> None:
    with pytest.raises(ConfigError, match="a name in the params"):
        Concurrency(3, key)


@pytest.mark.parametrize(
    ("key", "params", "found"),
    [
        ("tenant", {"tenant": "acme"}, "=acme"),
        ("tenant", {"tenant": 7}, "=7"),
        ("customer.id", {"customer": {"id": "x"}}, "=x"),
        (None, {"tenant": "acme"}, NO_KEY),
    ],
)
def test_whose_slots_an_instance_takes_stands_in_its_params(key: str | None, params: Any, found: str) -> None:
    assert Concurrency(3, key).key_of(blob(params)) == found


@pytest.mark.parametrize(
    "params", [{}, {"tenant": None}, {"tenant": True}, {"tenant": 1.5}, {"tenant": ["a"]}, [], "a"]
)
def test_an_instance_without_the_key_counts_with_all_others_without_it_and_clients_refuse_it(params: Any) -> None:
    limit = Concurrency(3, "tenant")
    assert limit.key_of(blob(params)) == NO_KEY
    with pytest.raises(BadParams, match="need 'tenant'"):
        limit.check(blob(params), "job")


@given(st.text(), st.text())
def test_a_key_is_a_part_of_members_and_no_two_are_alike(one: str, other: str) -> None:
    text = key_text(one)
    assert Holder.parse(f"job|{text}|a|g|1").key == text
    assert (text == key_text(other)) == (one == other)


@given(st.text())
def test_a_key_is_shown_as_it_was_as_far_as_it_is_short(value: str) -> None:
    shown = shown_key(key_text(value))
    assert shown is not None
    assert shown == value or (shown.endswith("…") and len(key_text(value)) > 60)


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=10))
def test_plain_names_stay_readable(value: str) -> None:
    if re.fullmatch(r"[A-Za-z0-9_.-]*", value):
        assert key_text(value) == f"={value}"


def test_an_app_declares_a_limit_and_its_manifest_tells_it() -> None:
    app = App("shop")
    app.workflow(concurrency=3)(Job)
    app.workflow(name="keyed", binding="KEYED", concurrency=Concurrency(2, key="tenant"))(Job)
    app.workflow(name="free", binding="FREE")(Job)
    workflows = app.manifest()["workflows"]
    assert workflows["job"]["concurrency"] == {"limit": 3}
    assert workflows["keyed"]["concurrency"] == {"limit": 2, "key": "tenant"}
    assert "concurrency" not in workflows["free"]


def test_what_cannot_be_a_limit_names_its_workflow() -> None:
    with pytest.raises(ConfigError, match=r'use 1 to 1000000.*workflow "job"'):
        App("shop").workflow(concurrency=0)(Job)


def test_a_scheduled_workflow_has_no_params_to_count_by() -> None:
    with pytest.raises(ConfigError, match="Leave out one of them"):
        App("shop").workflow(schedules="0 9 * * *", concurrency=Concurrency(1, "tenant"))(Job)


MANIFEST = {
    b"shop": b'{"code": "v1", "queues": ["default"], "workflows": {'
    b'"keyed": {"queue": "default", "retention": {"success_ms": 1, "error_ms": 1},'
    b' "concurrency": {"limit": 3, "key": "tenant"}},'
    b'"free": {"queue": "default", "retention": {"success_ms": 1, "error_ms": 1}}}}'
}


def test_what_a_person_has_set_counts_in_place_of_what_is_declared() -> None:
    found = combined(read_manifest(MANIFEST), {b"keyed": b'{"limit": 5}', b"free": b'{"limit": 1, "key": "id"}'})
    assert found.limits == {"keyed": Concurrency(5, "tenant"), "free": Concurrency(1, "id")}
    assert found.set == {"keyed", "free"}


@pytest.mark.parametrize(
    "text", [b"", b"7", b"{}", b'{"limit": 0}', b'{"limit": 2, "key": 7}', b"\xff", b"[" * 100_000]
)
def test_what_cannot_be_read_is_not_set(text: bytes) -> None:
    found = combined(read_manifest(MANIFEST), {b"keyed": text})
    assert found.limits == {"keyed": Concurrency(3, "tenant"), "free": None}
    assert found.set == frozenset()

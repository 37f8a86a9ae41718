"""What tests and their instances are sent, and created with."""

from __future__ import annotations

from typing import Any


def test_an_event_may_create_the_instance_it_is_for(env: Any) -> None:
    assert env.MAIL.send_event("m-1", "letter", "first", create_with={}) == "started"
    assert env.MAIL.send_event("m-1", "letter", "second") in ("delivered", "buffered")
    assert env.MAIL.get("m-1").result() == ["first", "second"]


def test_an_instance_has_the_metadata_it_is_created_with(env: Any) -> None:
    assert env.QUICK.create(params={"n": 1}, metadata={"for": "ann"}).status().metadata == {"for": "ann"}

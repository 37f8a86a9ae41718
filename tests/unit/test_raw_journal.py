"""The journal as it is stored, apart from what a step keeps from people who look."""

from __future__ import annotations

from typing import Any

import pytest

from workflows import Retry, StepConfig
from workflows.authoring.retries import to_wire
from workflows.client.raw_journal import RawPage, raw_journal
from workflows.client.reading import Reading
from workflows.errors import ConfigError
from workflows.storage import journal
from workflows.storage.keys import Keyspace
from workflows.storage.store import packb
from workflows.values import codec

KEYS = Keyspace("shop")
ORDER = KEYS.instance("order", "order-1")


def settled(nonce: str, **settings: Any) -> bytes:
    return journal.encode_settled(
        nonce=nonce,
        seq=1,
        name="charge",
        count=1,
        at_ms=1,
        started_at_ms=1,
        attempts=1,
        value=codec.encode("receipt", what="a result"),
        config=to_wire(StepConfig(Retry(), 1_000, **settings)),
    )


def page(*blobs: bytes, length: int | None = None, cursor: str | None = None) -> RawPage:
    """What is told of a journal of which this much is read at a time."""
    plan = raw_journal(KEYS, ORDER, cursor)
    next(plan)
    start = int(cursor or 0)
    with pytest.raises(StopIteration) as end:
        plan.send([Reading(ORDER, 0, {}, length or start + len(blobs), start, blobs, ())])
    found = end.value.value
    assert isinstance(found, RawPage)
    return found


def test_an_entry_is_told_with_its_place_and_nonce() -> None:
    (entry,) = page(settled("aaaaaaaa"), cursor="7").entries
    assert (entry.position, entry.nonce, entry.kind) == (7, "aaaaaaaa", "Settled")
    assert entry.content["value"] == "receipt"


def test_a_sensitive_result_is_not_told() -> None:
    (entry,) = page(settled("aaaaaaaa", sensitive=True)).entries
    assert entry.content["value"] == "[REDACTED]"
    assert "receipt" not in str(entry)


@pytest.mark.parametrize(("more", "shown"), [({}, "receipt"), ({"se": True}, "[REDACTED]")])
def test_a_sensitive_payload_is_not_told(more: dict[str, bool], shown: str) -> None:
    body = {"q": 1, "n": "w", "c": 1, "t": 1, "ty": "paid", "et": 1, "ev": "e1", "ac": 1, **more}
    body["p"] = codec.encode("receipt", what="a payload")
    (entry,) = page(journal.FORMAT + journal.EVENT + b"aaaaaaaa" + packb(body)).entries
    assert (entry.kind, entry.content["payload"]) == ("EventReceived", shown)


def test_what_cannot_be_read_says_so_and_hides_nothing_else() -> None:
    broken, entry = page(b"\x07 nothing of ours", settled("bbbbbbbb")).entries
    assert (broken.kind, entry.kind) == ("unreadable", "Settled")
    assert "format" in broken.content["reason"]


def test_a_long_journal_goes_on_at_its_cursor() -> None:
    assert page(settled("aaaaaaaa"), length=2).cursor == "1"
    assert page(settled("bbbbbbbb"), cursor="1").cursor is None
    with pytest.raises(ConfigError, match="not a cursor"):
        next(raw_journal(KEYS, ORDER, "-1"))

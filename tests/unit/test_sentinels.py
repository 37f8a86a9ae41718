"""Whom does a process believe when Sentinels contradict each other?"""

from __future__ import annotations

from typing import Any

import pytest
import redis as redis_py

from workflows.storage.outage import Away, Unfit
from workflows.storage.sentinels import Address, Sentinels, _Inquiry

PLACES = [("one", 26379), ("two", 26379), ("three", 26379)]
GONE = redis_py.ConnectionError("refused")
STRANGE = redis_py.ResponseError("No such master with that name")


def said(port: int, epoch: int, flags: str = "master") -> list[bytes]:
    told = {"ip": "10.0.0.1", "port": port, "config-epoch": epoch, "flags": flags}
    return [str(part).encode() for pair in told.items() for part in pair]


def asked(sentinels: Sentinels, *replies: Any) -> tuple[int, Address]:
    """How many were asked until it was settled, and the answer."""
    inquiry, count = _Inquiry(sentinels), 0
    for place, reply in zip(PLACES, replies, strict=False):
        count += 1
        if inquiry.is_settled_by(place, reply):
            break
    return count, sentinels._learn(inquiry.answer(sentinels.known))


@pytest.fixture
def sentinels() -> Sentinels:
    return Sentinels(PLACES, "main", {})


def test_the_first_that_knows_a_primary_is_believed(sentinels: Sentinels) -> None:
    assert asked(sentinels, GONE, said(1, 0), said(2, 1)) == (2, ("10.0.0.1", 1))
    assert asked(sentinels, STRANGE, said(1, 0)) == (2, ("10.0.0.1", 1))


def test_one_that_missed_a_failover_is_not_believed(sentinels: Sentinels) -> None:
    asked(sentinels, said(2, 1))
    assert asked(sentinels, said(1, 0), said(2, 1)) == (2, ("10.0.0.1", 2))
    assert asked(sentinels, said(1, 0), said(1, 0), GONE) == (3, ("10.0.0.1", 2))


def test_all_of_them_together_are_believed_although_they_were_made_anew(sentinels: Sentinels) -> None:
    asked(sentinels, said(2, 7))
    assert asked(sentinels, said(3, 0), said(3, 0), said(3, 0)) == (3, ("10.0.0.1", 3))


def test_what_was_learnt_while_one_was_asked_stays(sentinels: Sentinels) -> None:
    inquiry = _Inquiry(sentinels)
    assert inquiry.is_settled_by(PLACES[0], said(1, 0))
    asked(sentinels, said(2, 1))
    assert sentinels._learn(inquiry.answer(sentinels.known)) == ("10.0.0.1", 2)


def test_a_primary_that_is_down_is_none(sentinels: Sentinels) -> None:
    assert asked(sentinels, said(1, 0, "s_down,master"), said(1, 0)) == (2, ("10.0.0.1", 1))
    for flags in ("s_down,master", "master,s_down,o_down,disconnected", "slave"):
        with pytest.raises(Away, match="none is elected yet"):
            asked(sentinels, said(1, 0, flags), GONE, GONE)


def test_what_waiting_does_not_mend_is_told_apart(sentinels: Sentinels) -> None:
    with pytest.raises(Away, match=r"No Sentinel of 'main' answers: one:26379 \(refused\); two:26379 \(refused\)"):
        asked(sentinels, GONE, GONE, GONE)
    with pytest.raises(Unfit, match="No Sentinel knows the service in the URL: main of the Sentinels at one:26379"):
        asked(sentinels, STRANGE, GONE, STRANGE)
    with pytest.raises(Unfit, match="its credentials are"):
        asked(sentinels, redis_py.AuthenticationError("no"), GONE, redis_py.exceptions.NoPermissionError("no"))
    with pytest.raises(Unfit, match=r"one:26379 \(unknown command 'SENTINEL'\)$"):
        asked(sentinels, redis_py.ResponseError("unknown command 'SENTINEL'"), GONE, GONE)


def test_connections_to_another_server_than_the_primary_are_cut() -> None:
    cut: list[str] = []
    unwatched = Sentinels(PLACES, "main", {}, watching=False)
    asked(unwatched, said(1, 0))
    unwatched.opened(1, lambda: cut.append("former"), ("10.0.0.1", 1))
    unwatched.opened(2, lambda: cut.append("closed"), ("10.0.0.1", 1))
    unwatched.opened(3, lambda: cut.append("new"), ("10.0.0.1", 2))
    unwatched.closed(2)
    asked(unwatched, said(2, 1))
    assert cut == ["former"]

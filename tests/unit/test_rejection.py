"""What the sender of an event says has failed."""

from __future__ import annotations

from typing import Any

import pytest

from workflows.errors import PayloadNotSerializable
from workflows.values import failure, rejection
from workflows.values.failure import Failure


@pytest.mark.parametrize(
    ("error", "name", "message"),
    [
        ("too dear", "EventError", "too dear"),
        ({"message": "too dear"}, "EventError", "too dear"),
        ({"message": "too dear", "name": "Rejected"}, "Rejected", "too dear"),
        (ValueError("too dear"), "ValueError", "too dear"),
    ],
)
def test_an_error_is_sent_in_each_form_and_raised_as_one_class(error: Any, name: str, message: str) -> None:
    made = rejection.decode(rejection.encode(error), "approved", 7)
    assert (type(made).__name__, made.name, made.message, made.payload, made.type) == (
        *("EventError", name, message),
        *(7, "approved"),
    )


def test_an_error_that_run_lets_through_keeps_what_it_says() -> None:
    """As a parent gets it, say."""
    raised = rejection.decode(rejection.encode({"message": "too dear", "name": "Rejected"}), "approved", {"by": "Ann"})
    again: Any = Failure.from_blob(failure.capture(raised)).to_exception()
    assert (type(again), again.name, again.payload) == (type(raised), "Rejected", {"by": "Ann"})


@pytest.mark.parametrize("wrong", [5, {}, {"name": "Rejected"}, {"message": 5}, {"message": "", "code": "7"}, ["text"]])
def test_what_is_no_error_is_refused_before_anything_is_sent(wrong: Any) -> None:
    with pytest.raises(PayloadNotSerializable, match="is a text, an exception, or a mapping"):
        rejection.encode(wrong)

"""Forms from JSON schemas: what a person fills in becomes the value that the model wants."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.ui.forms import Form, Unshowable, read_json


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Line(pydantic.BaseModel):
    sku: str
    count: int = 1


class Order(pydantic.BaseModel):
    customer: str = pydantic.Field(min_length=2, max_length=40, description="Who pays")
    total: int = pydantic.Field(ge=1, le=1000)
    weight: float | None = None
    price: Decimal = Decimal("1.5")
    express: bool = False
    signed: bool | None = None
    colour: Colour = Colour.RED
    size: Literal["s", "m"] = "s"
    due: datetime
    day: date | None = None
    tags: list[str] = []
    counts: list[int] = []
    first: Line
    lines: list[Line] = []
    notes: dict[str, int] = {}
    either: int | str = 3


FORM = Form.of(Order.model_json_schema())
FILLED = {
    "/customer": "Ann",
    "/total": "12",
    "/weight": "",
    "/express": "true",
    "/signed": "",
    "/colour": '"blue"',
    "/due": "2026-11-27T09:30",
    "/tags": "new\r\n\r\ngift wrapped",
    "/counts": "1\n2",
    "/first/sku": "b-1",
    "/first/count": "2",
    "/lines": '[{"sku": "b-2"}]',
}


def test_every_kind_of_field_is_found() -> None:
    kinds = {field.key: field.kind for field in FORM.fields}
    assert kinds == {
        "customer": "text",
        "total": "integer",
        "weight": "number",
        "price": "json",
        "express": "boolean",
        "signed": "boolean",
        "colour": "choice",
        "size": "choice",
        "due": "moment",
        "day": "date",
        "tags": "list",
        "counts": "list",
        "first": "group",
        "lines": "json",
        "notes": "json",
        "either": "json",
    }
    assert FORM.fields[0].description == "Who pays"


def test_what_is_filled_in_is_what_the_model_takes() -> None:
    value, errors = FORM.read(FILLED)
    assert not errors
    order = Order.model_validate(value)
    assert order.total == 12
    assert order.express is True
    assert order.signed is None
    assert order.colour is Colour.BLUE
    assert order.due == datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
    assert order.tags == ["new", "gift wrapped"]
    assert order.counts == [1, 2]
    assert order.first == Line(sku="b-1", count=2)
    assert order.lines == [Line(sku="b-2")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("/customer", "", "is required"),
        ("/customer", "A", "must have at least 2 characters"),
        ("/total", "1.5", "must be a whole number"),
        ("/total", "1001", "must be at most 1,000"),
        ("/weight", "nan", "must be a number"),
        ("/weight", "1e999", "must be a number"),
        ("/colour", '"green"', 'must be one of "red", "blue"'),
        ("/due", "tomorrow", "must be a moment, such as 2026-11-27T09:30:00"),
        ("/day", "27.11.", "must be a date, such as 2026-11-27"),
        ("/counts", "1\n\ntwo", "line 3: must be a whole number"),
        ("/first/sku", " ", "is required"),
        ("/lines", "[1,", "not JSON: Expecting value in line 1, column 4"),
        ("/notes", "NaN", "NaN is not JSON"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field(name: str, text: str, message: str) -> None:
    if (name, text) == ("/first/sku", " "):
        text = ""
    assert FORM.read({**FILLED, name: text})[1] == {name: message}


def test_what_stands_in_the_fields_to_begin_with_are_the_defaults() -> None:
    texts = FORM.defaults()
    assert texts["/colour"] == '"red"'
    assert texts["/first/count"] == "1"
    assert "/weight" not in texts


def test_a_default_that_somebody_takes_away_is_taken_away() -> None:
    form = Form.of(pydantic.create_model("P", a=(int | None, 3), b=(list[int], [1])).model_json_schema())
    assert form.read({"/a": "", "/b": ""}) == ({"a": None, "b": []}, {})


@pytest.mark.parametrize("schema", [None, {}, {"type": "array"}, {"$ref": "#/$defs/gone"}, {"type": "object"}, []])
def test_what_is_no_object_with_fields_is_written_as_json(schema: Any) -> None:
    assert Form.of(schema).fields == ()


def test_schemas_that_lead_in_a_circle_end() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}}
    assert [field.kind for field in Form.of(schema).fields] == ["json"]


def test_every_field_has_a_name_and_an_id_of_its_own() -> None:
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in ("a/b", "a~b", "a b", "ä", '"<')}}
    fields = Form.of(schema).fields
    assert len({field.name for field in fields}) == len({field.id for field in fields}) == 5
    assert all(field.id.replace("_", "").isalnum() for field in fields)


def test_json_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json("[" * 100_000)


TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Zs"]), min_size=2, max_size=40)
ORDERS = st.fixed_dictionaries(
    {
        "customer": TEXT,
        "total": st.integers(1, 1000),
        "express": st.booleans(),
        "due": st.datetimes(min_value=datetime(1970, 1, 1)).map(lambda at: at.replace(microsecond=0).isoformat() + "Z"),
        "first": st.fixed_dictionaries({"sku": TEXT, "count": st.integers()}),
        "tags": st.lists(TEXT),
        "counts": st.lists(st.integers()),
    },
    optional={
        "weight": st.floats(allow_nan=False, allow_infinity=False, width=32),
        "signed": st.booleans(),
        "colour": st.sampled_from(["red", "blue"]),
        "day": st.dates().map(str),
        "lines": st.just([{"sku": "a"}]),
        "either": st.integers() | TEXT,
        "notes": st.dictionaries(TEXT, st.integers()),
    },
)


@given(ORDERS)
def test_a_value_that_is_shown_and_posted_is_the_same_value(order: dict[str, Any]) -> None:
    value, errors = FORM.read(FORM.shown(order))
    assert not errors
    assert Order.model_validate(value) == Order.model_validate(order)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON, st.sampled_from([FORM, Form.of(None)]))
def test_whatever_the_fields_cannot_show_is_not_shown_as_something_else(value: Any, form: Form) -> None:
    try:
        texts = form.shown(value)
    except Unshowable:
        return
    again, errors = form.read(texts)
    assert not errors
    assert value.items() <= again.items()


@given(JSON)
def test_no_schema_makes_it_fail(schema: Any) -> None:
    form = Form.of(schema)
    form.read({field.name: "x" for field in form.every()})


SCHEMAS = st.recursive(
    st.sampled_from(["string", "integer", "number", "boolean", "null", "array", "object", 3]).map(
        lambda kind: {"type": kind}
    )
    | st.just({"enum": ["a", 1, None]})
    | JSON,
    lambda inner: (
        st.dictionaries(st.text(), inner).map(lambda of: {"type": "object", "properties": of})
        | inner.map(lambda of: {"type": "array", "items": of})
        | st.lists(inner).map(lambda of: {"anyOf": of})
    ),
    max_leaves=12,
)


@given(SCHEMAS, st.text())
def test_no_schema_of_parts_makes_it_fail(schema: Any, text: str) -> None:
    form = Form.of(schema)
    form.defaults()
    form.read({field.name: text for field in form.every()})

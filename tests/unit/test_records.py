"""Models, dataclasses and enums come back as what they were, or are refused before anything depends on them."""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
import math
from collections.abc import Awaitable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypedDict, TypeVar, Union

import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    Json,
    RootModel,
    SecretStr,
    Tag,
    ValidationError,
    computed_field,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass as pydantic_dataclass

from workflows import App, BadParams, ConfigError, PayloadNotSerializable, WorkflowEntrypoint, WorkflowEvent
from workflows.values import codec
from workflows.values.models import declared_record, record_of

WHAT = 'the result of step "charge-1"'
T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    DARK = (1, 2)


class Aliased(BaseModel):
    customer_id: int = Field(alias="customerId")


class AliasedWithDefault(BaseModel):
    customer_id: int = Field(0, alias="customerId")


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")
    unit_price: Decimal
    ordered_by: list[Aliased]


class OtherWayOut(BaseModel):
    total: int = Field(validation_alias=AliasChoices("t", "sum"), serialization_alias="somethingElse")
    deep: int = Field(validation_alias=AliasPath("a", "b"))


class ByAliasOnly(BaseModel):
    model_config = ConfigDict(validate_by_name=False, validate_by_alias=True)
    number: int = Field(alias="no")


class Swapped(BaseModel):
    a: int = Field(alias="b")
    b: int = Field(alias="a")


class Computed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    net: int

    @computed_field
    @property
    def gross(self) -> int:
        return self.net * 2


class Excluded(BaseModel):
    shown: int
    hidden: int = Field(exclude=True)


class ExcludedWithDefault(BaseModel):
    hidden: int = Field(0, exclude=True)


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    color: Color
    colors: tuple[Color, ...]
    at: datetime
    inner: Optional[Strict] = None  # noqa: UP045


class StrictField(BaseModel):
    color: Color = Field(strict=True)


class WrittenOtherwise(BaseModel):
    at: datetime

    @field_serializer("at")
    def write(self, at: datetime) -> str:
        return f"the year {at.year}"


class WithUrls(BaseModel):
    site: HttpUrl
    hosts: dict[str, ipaddress.IPv4Address]
    path: Path


class Parsed(BaseModel):
    numbers: Json[list[int]]


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    known: int


class Cat(BaseModel):
    kind: Literal["cat"] = Field("cat", alias="type")


class Dog(BaseModel):
    kind: Literal["dog"] = Field("dog", alias="type")


class Home(BaseModel):
    pet: Cat | Dog = Field(discriminator="kind", alias="thePet")


class Page(BaseModel, Generic[T]):
    items: list[T] = Field(alias="theItems")


class Revalidated(BaseModel):
    model_config = ConfigDict(revalidate_instances="always")
    number: int = Field(alias="no")


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    x: int


@dataclasses.dataclass
class Point:
    x: int
    color: Color = Color.RED


@dataclasses.dataclass
class WithModel:
    one: Aliased
    later: int = dataclasses.field(init=False, default=3)


@pydantic_dataclass
class Typed:
    x: int = Field(alias="theX")


class Row(TypedDict):
    customer: Aliased
    color: Color


class Pair(NamedTuple):
    left: int
    right: Color


CustomerId = NewType("CustomerId", Aliased)
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
ALIASED = Aliased(customerId=3)
later = WithModel(ALIASED)
later.later = 4


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Aliased, ALIASED),
        (AliasedWithDefault, AliasedWithDefault(customerId=3)),
        (Camel, Camel(unitPrice=Decimal("1.50"), orderedBy=[ALIASED])),
        (OtherWayOut, OtherWayOut.model_validate({"sum": 1, "a": {"b": 2}})),
        (ByAliasOnly, ByAliasOnly(no=1)),
        (Swapped, Swapped(a=1, b=2)),
        (Computed, Computed(net=1)),
        (Excluded, Excluded(shown=1, hidden=2)),
        (ExcludedWithDefault, ExcludedWithDefault(hidden=2)),
        (Strict, Strict(color=Color.RED, colors=(Color.DARK,), at=MOMENT)),
        (Strict, Strict(color=Color.RED, colors=(), at=MOMENT, inner=Strict(color=Color.DARK, colors=(), at=MOMENT))),
        (StrictField, StrictField(color=Color.RED)),
        (WrittenOtherwise, WrittenOtherwise(at=MOMENT)),
        (WithUrls, WithUrls(site="http://a.b/c", hosts={"a": "10.0.0.1"}, path="/x")),
        (Parsed, Parsed(numbers="[1, 2]")),
        (Open, Open(known=1, more=[1])),
        (Home, Home(thePet={"type": "dog"})),
        (Page[Aliased], Page[Aliased](theItems=[{"customerId": 1}])),
        (Revalidated, Revalidated(no=1)),
        (Frozen, Frozen(x=1)),
        (RootModel[list[Aliased]], RootModel[list[Aliased]]([ALIASED])),
        (Point, Point(1, Color.DARK)),
        (Typed, Typed(theX=1)),
        (Color, Color.DARK),
        (Row, {"customer": ALIASED, "color": Color.RED}),
        (Pair, Pair(1, Color.RED)),
        (list[Aliased], [ALIASED]),
        (dict[str, Aliased], {"a": ALIASED}),
        (tuple[Aliased, ...], (ALIASED,)),
        (Optional[Aliased], None),  # noqa: UP045
        (Optional[Aliased], ALIASED),  # noqa: UP045
        (Aliased | None, ALIASED),
        (Union[Cat, Dog, None], Dog(type="dog")),  # noqa: UP007
        (Annotated[Aliased, Field(description="one")], ALIASED),
        (Annotated[Annotated[Cat, Tag("cat")] | Dog, []], Dog(type="dog")),
        (CustomerId, ALIASED),
        (Awaitable[Aliased], ALIASED),
        (frozenset[Frozen], frozenset([Frozen(x=1)])),
        (list[Point] | None, [Point(1), Point(2)]),
    ],
)
def test_what_pydantic_allows_comes_back_as_it_was(annotation: Any, value: Any) -> None:
    record = record_of(annotation)
    assert record is not None
    back = record.rebuild(codec.decode(record.encode(value, what=WHAT)))
    assert back == value and type(back) is type(value)


def test_nan_is_no_difference() -> None:
    class Measured(BaseModel):
        value: float

    record = record_of(Measured)
    assert record is not None
    assert math.isnan(record.rebuild(codec.decode(record.encode(Measured(value=math.nan), what=WHAT))).value)


def test_data_that_the_annotation_makes_into_a_model_is_read_by_its_own_rules() -> None:
    record = record_of(Swapped)
    assert record is not None
    back = record.rebuild(codec.decode(record.encode({"a": 1, "b": 2}, what=WHAT)))
    assert (back.a, back.b) == (2, 1)


@pytest.mark.parametrize("stored", [{"customerId": 5}, {"customer_id": 5}])
def test_what_was_stored_by_somebody_else_is_read_by_alias_and_by_name(stored: Any) -> None:
    record = record_of(AliasedWithDefault)
    assert record is not None and record.rebuild(stored).customer_id == 5


class Hashed(BaseModel):
    password: str

    @field_validator("password")
    @classmethod
    def hash(cls, password: str) -> str:
        return f"hash of {password}"


class Renamed(BaseModel):
    number: int

    @model_validator(mode="before")
    @classmethod
    def from_old_form(cls, data: Any) -> Any:
        return {"number": data["no"]} if isinstance(data, dict) else data


class Secret(BaseModel):
    site: HttpUrl
    password: SecretStr


@dataclasses.dataclass
class Doubled:
    x: float

    def __post_init__(self) -> None:
        self.x *= 2


@dataclasses.dataclass
class Counted:
    x: int
    seen: int = dataclasses.field(init=False, default=0)


@dataclasses.dataclass
class Seeded:
    x: int
    seed: dataclasses.InitVar[int]


class Small(BaseModel):
    x: int


class Twin(BaseModel):
    x: int


def counted() -> Counted:
    made = Counted(1)
    made.seen = 5
    return made


@pytest.mark.parametrize(
    ("annotation", "value", "where"),
    [
        (Hashed, Hashed(password="x"), "at .password, 'hash of x' would come back as 'hash of hash of x'"),
        (list[Hashed], [Hashed(password="x")], "at [0].password, "),
        (Renamed, Renamed.model_construct(number=1), "KeyError: 'no'"),
        (Secret, Secret(site="http://a.b", password="x"), "at .password, "),
        (Doubled, Doubled(1), "at .x, 2 would come back as 4"),
        (Counted, counted(), "at .seen, 5 would come back as 0"),
        (Seeded, Seeded(1, 2), "at seed, Field required"),
        (Small | Twin, Twin(x=1), "a Twin would come back as a Small"),
        (Small, 5, "at the top, "),
        (Small, {"y": 1}, "at x, Field required"),
        (Row, {"customer": ALIASED, "color": "green"}, "at color, "),
        (Point, Point(object()), "at .x, it is a builtins.object"),  # type: ignore[arg-type]
    ],
)
def test_what_would_not_come_back_is_refused_with_its_place(annotation: Any, value: Any, where: str) -> None:
    record = record_of(annotation)
    assert record is not None
    with pytest.raises(PayloadNotSerializable) as refused:
        record.encode(value, what=WHAT)
    assert str(refused.value).startswith('The result of step "charge-1" ')
    assert where in str(refused.value)


@pytest.mark.parametrize("annotation", [int, list[str], dict[str, Any], Any, "", None, Literal["Aliased"], object])
def test_plain_data_needs_no_record(annotation: Any) -> None:
    assert record_of(annotation) is None


# Params


def workflow_with(model: Any) -> tuple[App, type[WorkflowEntrypoint]]:
    class Flow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> None: ...

    Flow.run.__annotations__["event"] = WorkflowEvent[model]
    app = App("shop")
    return app, app.workflow(Flow)


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (Aliased, {"customerId": 3}),
        (Computed, {"net": 1}),
        (Excluded, {"shown": 1, "hidden": 2}),
        (Strict, {"color": Color.RED, "colors": (), "at": MOMENT}),
        (WithUrls, {"site": "http://a.b", "hosts": {}, "path": "/x"}),
        (Row, {"customer": {"customerId": 3}, "color": Color.RED}),
        (Typed, {"theX": 3}),
        (list[Aliased], [{"customerId": 3}]),
    ],
)
def test_params_come_back_as_what_was_accepted(model: Any, given: Any) -> None:
    app, _ = workflow_with(model)
    definition = app.definition("flow")
    accepted = declared_record(model).validate(given)
    assert definition.load_params(codec.decode(definition.encode_params(given))) == accepted
    assert definition.load_params(definition.validate_params(given)) == accepted


def test_params_that_would_not_come_back_are_refused_at_the_call() -> None:
    app, _ = workflow_with(Hashed)
    with pytest.raises(PayloadNotSerializable, match=r"The params of workflow \"flow\" .*at \.password"):
        app.encode_params("flow", {"password": "x"}, what='the params of workflow "flow"')


def test_params_that_do_not_fit_are_bad_params() -> None:
    app, _ = workflow_with(Aliased)
    with pytest.raises(BadParams, match="customerId"):
        app.definition("flow").encode_params({})


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (Swapped, '"b" is the alias of the field "a" and the name of another'),
        (list[Swapped], "the name of another"),
        (Seeded, '"seed" (an InitVar)'),
    ],
)
def test_params_that_cannot_come_back_are_refused_at_registration(model: Any, text: str) -> None:
    with pytest.raises(ConfigError, match='The params of workflow "flow" are ') as refused:
        workflow_with(model)
    assert text in str(refused.value)


def test_rebuilding_says_what_does_not_fit() -> None:
    record = record_of(Aliased)
    assert record is not None
    with pytest.raises(ValidationError, match="customerId"):
        record.rebuild({})

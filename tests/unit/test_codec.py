"""What can be stored comes back equal; what cannot is refused; hostile bytes do no harm (F51, F52, F54)."""

from __future__ import annotations

import dataclasses
import enum
import math
import threading
import types
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import msgpack
import pydantic
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from workflows import limits
from workflows.errors import CorruptPayload, PayloadNotSerializable, PayloadTooLarge
from workflows.values.codec import InstanceRef, decode, encode

WHAT = 'the result of step "fetch"'

texts = st.text(st.characters(exclude_categories=["Cs"]))
zones = st.sampled_from(
    [None, UTC, timezone(timedelta(hours=5, minutes=30)), ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")]
)
hashables = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**64) - 2, 2**64 + 2),
    st.floats(allow_nan=False),
    texts,
    st.binary(),
    st.datetimes(timezones=zones, allow_imaginary=False),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.decimals(allow_nan=False),
    st.builds(InstanceRef, texts, texts),
)
keys = hashables | st.tuples(hashables, hashables)
values = st.recursive(
    hashables | st.frozensets(hashables, max_size=4) | st.sets(hashables, max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)


def stored(value: Any) -> Any:
    return decode(encode(value, what=WHAT))


def nested(levels: int, wrap: Any, inner: Any = None) -> Any:
    for _ in range(levels):
        inner = wrap(inner)
    return inner


def typed(value: Any) -> Any:
    """A form in which 1, True and 1.0, or 0.0 and -0.0, are not the same."""
    if isinstance(value, dict):
        return [(typed(key), typed(member)) for key, member in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [typed(member) for member in value]
    if isinstance(value, set | frozenset):
        return type(value), sorted(repr(typed(member)) for member in value)
    return type(value), repr(value)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(values)
def test_value_comes_back_equal_and_of_the_same_types(value: Any) -> None:
    assert typed(stored(value)) == typed(value)


def test_nan_infinities_and_minus_zero_are_kept() -> None:
    nan, infinite, minus, zero = stored([math.nan, math.inf, -math.inf, -0.0])
    assert math.isnan(nan) and infinite == math.inf and minus == -math.inf and math.copysign(1, zero) == -1
    assert stored(Decimal("NaN")).is_nan() and str(stored(Decimal("-1.500"))) == "-1.500"


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**1000, -(10**1000), 255, -128])
def test_integer_of_any_size_is_kept(number: int) -> None:
    assert stored(number) == number


def test_named_zone_is_kept_with_its_rules() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    moment = datetime(2026, 10, 25, 2, 30, tzinfo=berlin, fold=1)
    back = stored(moment)
    assert back.tzinfo is berlin and back.fold == 1 and back.utcoffset() == timedelta(hours=1)
    assert stored(time(12, tzinfo=berlin)) == time(12, tzinfo=berlin)


def test_zone_unknown_to_this_machine_becomes_its_offset() -> None:
    moment = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    blob = encode(moment, what=WHAT).replace(b"Europe/Berlin", b"Europe/Erewon")
    assert decode(blob) == moment and decode(blob).utcoffset() == timedelta(hours=2)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/localtime", "a/b/c/d", "a.b", "", "\x00"])
def test_zone_name_that_is_a_path_is_refused(name: str) -> None:
    body = msgpack.packb(["2026-07-01T12:00:00", 0, 0, name])
    with pytest.raises(CorruptPayload):
        decode(b"\x01" + msgpack.packb(msgpack.ExtType(5, body)))


class Color(enum.Enum):
    RED = "red"
    PAIR = (1, 2)
    BIG = 2**70


class Level(enum.IntEnum):
    LOW = 1


class Flavour(enum.StrEnum):
    SWEET = "sweet"


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    color: Color = Color.RED


class Order(pydantic.BaseModel):
    id: UUID
    points: list[Point]
    at: datetime


Pair = namedtuple("Pair", "left right")


class Text(str):
    def __str__(self) -> str:
        return "something else"


def test_enum_is_stored_as_its_value() -> None:
    assert typed(stored([*Color, Level.LOW, Flavour.SWEET])) == typed(["red", (1, 2), 2**70, 1, "sweet"])


def test_dataclass_and_model_are_stored_as_dicts() -> None:
    order = Order(id=uuid4(), points=[Point(1)], at=datetime(2026, 1, 1, tzinfo=UTC))
    assert stored(Point(1)) == {"x": 1, "color": "red"}
    assert stored([order]) == [{"id": order.id, "points": [{"x": 1, "color": "red"}], "at": order.at}]
    assert stored(pydantic.RootModel[Color](Color.RED)) == "red"


def test_subclass_is_stored_as_its_base() -> None:
    pairs = [
        (Text("a"), "a"),
        (OrderedDict(a=1), {"a": 1}),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (Pair(1, 2), (1, 2)),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
        (type("Moment", (datetime,), {})(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)),
        (type("Day", (date,), {})(2026, 1, 2), date(2026, 1, 2)),
        (type("Number", (float,), {})(1.5), 1.5),
        (type("Whole", (int,), {})(2**70), 2**70),
    ]
    for value, plain in pairs:
        assert typed(stored(value)) == typed(plain)


def test_handle_is_stored_as_a_reference() -> None:
    class Handle:
        def __init__(self) -> None:
            self.socket = threading.Lock()

        def __workflow_reference__(self) -> InstanceRef:
            return InstanceRef("child", "7")

    assert stored({"child": Handle()}) == {"child": InstanceRef("child", "7")}


class Broken:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError


class Exiting:
    def __workflow_reference__(self) -> Any:
        raise SystemExit(3)

    def __repr__(self) -> str:
        raise SystemExit(3)


@dataclasses.dataclass
class Holder:
    inside: Any


def cycle_of(kind: str) -> Any:
    ring: list[Any] = []
    if kind == "list":
        ring.append(ring)
    elif kind == "dict":
        ring.append({"a": ring})
    elif kind == "tuple":
        ring.append((ring,))
    else:
        ring.append(Holder(ring))
    return ring


@pytest.mark.parametrize("kind", ["list", "dict", "tuple", "dataclass"])
def test_cycle_is_refused_as_such(kind: str) -> None:
    with pytest.raises(PayloadNotSerializable, match=r'^The result of step "fetch" is not serialisable: at .*itself'):
        encode(cycle_of(kind), what=WHAT)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": [1, 2, 3, threading.Lock()]}, 'at ["a"][3], it is a _thread.lock'),
        (object(), "serialisable: it is a builtins.object"),
        ([lambda: None], "at [0], it is a builtins.function"),
        ((1, (2, object())), "at [1][1], it is a builtins.object"),
        (Holder(Holder(object())), "at .inside.inside, it is a builtins.object"),
        ({1: {"x": {frozenset([int])}}}, "it is a builtins.type"),
        ({object: 1}, "it is a builtins.type"),
        ("\ud800", "it is a string with half of a surrogate pair (U+D800 at position 0)"),
        (["a\udfff"], "at [0], it is a string with half of a surrogate pair"),
        ({"\ud800": 1}, "it is a string with half of a surrogate pair"),
        ([Broken()], "at [0], it is a test_codec.Broken"),
        ({"a": [Exiting()]}, 'at ["a"][0], it is a test_codec.Exiting that cannot be converted: SystemExit: 3'),
        ({("a", Exiting()): 1}, "it is a test_codec.Exiting that cannot be converted: SystemExit: 3"),
        ([msgpack.ExtType(1, b"\x90")], "at [0], it is a msgpack.ext.ExtType"),
        ([(1,), msgpack.ExtType(1, b"\x90")], "at [1], it is a msgpack.ext.ExtType"),
        (msgpack.Timestamp(1, 2), "it is a msgpack.ext.Timestamp"),
        ({Color.RED: 1, "red": 2}, "equal"),
        ({Color.RED, "red"}, "equal"),
        ({Point(1): 1}, "unhashable"),
    ],
)
def test_refusal_names_place_type_and_way_out(value: Any, where: str) -> None:
    with pytest.raises(PayloadNotSerializable) as refused:
        encode(value, what=WHAT)
    assert str(refused.value).startswith('The result of step "fetch" is not serialisable: ')
    assert where.replace("test_codec", __name__) in str(refused.value)
    assert str(refused.value).endswith("in your bucket and return its key.")


WRAPS = {
    "list": lambda inner: [inner],
    "dict": lambda inner: {"a": inner},
    "tuple": lambda inner: (inner,),
    "dataclass": Holder,
    "frozenset": lambda inner: frozenset([inner]),
    "key": lambda inner: (
        {(inner,) if isinstance(inner, int | tuple) else 0: 1} if not isinstance(inner, dict) else [inner]
    ),
}


@pytest.mark.parametrize("kind", WRAPS)
def test_64_levels_are_stored_and_read(kind: str) -> None:
    stored(nested(limits.CODEC_DEPTH, WRAPS[kind], datetime(2026, 1, 1)))


@pytest.mark.parametrize("levels", [65, 600, 20_000])
@pytest.mark.parametrize("kind", ["list", "dict", "tuple", "dataclass"])
def test_more_than_64_levels_are_refused(kind: str, levels: int) -> None:
    with pytest.raises(PayloadNotSerializable, match="more than 64 levels deep"):
        encode(nested(levels, WRAPS[kind]), what=WHAT)


def test_100000_members_are_stored_and_one_more_is_refused() -> None:
    assert stored([None] * limits.CODEC_ITEMS) == [None] * limits.CODEC_ITEMS
    for many in (
        [None] * (limits.CODEC_ITEMS + 1),
        [[None] * 1000] * 100,
        dict.fromkeys(range(limits.CODEC_ITEMS + 1)),
    ):
        with pytest.raises(PayloadNotSerializable, match="more than 100,000 members"):
            encode(many, what=WHAT)


@pytest.mark.parametrize("length", [-1, 0])
def test_value_up_to_the_limit_is_stored(length: int) -> None:
    """F51: format byte, five bytes of header, then the text."""
    assert len(encode("x" * (limits.PAYLOAD_BYTES - 6 + length), what=WHAT)) == limits.PAYLOAD_BYTES + length


def test_one_byte_more_is_refused_with_size_and_way_out() -> None:
    text = r'^The result of step "fetch" is too large\. Maximum allowed size is 1MiB, and this is 1,048,577 bytes'
    with pytest.raises(PayloadTooLarge, match=text):
        encode("x" * (limits.PAYLOAD_BYTES - 5), what=WHAT)


def test_every_read_builds_a_new_value() -> None:
    blob = encode([[1]], what=WHAT)
    decode(blob)[0].append(2)
    assert decode(blob) == [[1]]


@pytest.mark.parametrize(
    ("value", "blob"),
    [
        ({"a": [1, None, True, 1.5, b"x"]}, "0181a16195 01c0c3cb3ff8000000000000c40178"),
        ((1, 2), "01c70301920102"),
        ({1}, "01d5029101"),
        (2**64, "01c70904010000000000000000"),
        (datetime(2026, 1, 2, 3, 4, 5), "01c7180594b3323032362d30312d30325430333a30343a303500c0c0"),
        (date(2026, 1, 2), "01c70a06323032362d30312d3032"),
        (timedelta(1, 2, 3), "01d60893010203"),
        (Decimal("1.50"), "01d60a312e3530"),
        (InstanceRef("w", "i"), "01c7050b92a177a169"),
    ],
)
def test_stored_form_of_version_1_does_not_change(value: Any, blob: str) -> None:
    """F54: instances outlive upgrades. A change here needs a new format byte and a reader for both."""
    assert encode(value, what=WHAT) == bytes.fromhex(blob)
    assert decode(bytes.fromhex(blob)) == value


@pytest.mark.parametrize("blob", [b"", b"\x00\xc0", b"\x02\xc0", b"\x80", b"\xc0"])
def test_other_format_is_refused(blob: bytes) -> None:
    with pytest.raises(CorruptPayload, match="has format"):
        decode(blob)


def ext(code: int, value: Any) -> bytes:
    packed: bytes = msgpack.packb(msgpack.ExtType(code, value))
    return packed


def ext_nested(levels: int) -> bytes:
    packed = b"\x90"
    for _ in range(levels):
        packed = b"\x91" + ext(1, packed)
    return packed


@pytest.mark.parametrize(
    "packed",
    [
        b"\x91" * 65 + b"\xc0",
        b"\x91" * 5_000 + b"\xc0",
        b"\x81\x01" * 65 + b"\xc0",
        ext_nested(65),
        ext_nested(2_000),
        b"\xdd\xff\xff\xff\xff",
        b"\xdd\x00\x0f\xff\xff" * 200_000,
        b"\xdf\x00\x00\xff\xff" * 1_000,
        b"\x93" + b"\xdd\x00\x01\x11\x70" * 3 + b"\xc0" * 210_000,
        msgpack.packb([[[]] * 50_000, [[]] * 50_001]),
        msgpack.packb([0] * 100_001),
        msgpack.packb([[0] * 1_000] * 101),
        b"\xc0\xc0",
        b"\xc1",
        b"\xa1\xff",
        b"\x81\x90\x01",
        b"\x81\x80\x01",
        msgpack.packb(msgpack.Timestamp(1, 2)),
        msgpack.packb([{"a": msgpack.Timestamp(2**40, 2)}]),
        b"\xd6\xff\x00\x00\x00\x00",
        ext(0, b""),
        ext(12, b"x"),
        ext(127, b"x"),
        ext(1, b""),
        ext(1, b"\x80"),
        ext(2, b"\x92\x01\x01"),
        ext(2, b"\x91\x90"),
        ext(5, msgpack.packb(["2026-01-01T00:00:00+00:00", 0, None, None])),
        ext(5, msgpack.packb(["nonsense", 0, None, None])),
        ext(5, msgpack.packb(["2026-01-01", 7, None, None])),
        ext(5, msgpack.packb(["2026-01-01", 0, 10**15, None])),
        ext(5, msgpack.packb([])),
        ext(6, b"2026-13-01"),
        ext(7, b"\x94"),
        ext(8, msgpack.packb([10**12, 0, 0])),
        ext(9, b"short"),
        ext(10, b"1e99999999999999999999"),
        ext(10, b"\xff"),
        ext(11, msgpack.packb([1, 2])),
    ],
    ids=lambda packed: f"{packed[:6].hex()}-{len(packed)}",
)
def test_hostile_bytes_are_refused(packed: bytes) -> None:
    with pytest.raises(CorruptPayload):
        decode(b"\x01" + packed)


@settings(max_examples=300)
@given(st.binary(max_size=400))
@example(b"\xdc\xff\xff" * 100)
def test_any_bytes_are_read_or_refused(packed: bytes) -> None:
    """Whatever is read can be stored again: both directions hold to one set of rules."""
    try:
        value = decode(b"\x01" + packed)
    except CorruptPayload:
        return
    encode(value, what=WHAT)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(values, st.data())
def test_damaged_blob_is_read_or_refused(value: Any, data: st.DataObject) -> None:
    blob = bytearray(encode(value, what=WHAT))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(blob) - 1))
        blob[position : position + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
        if not blob:
            return
    try:
        decode(bytes(blob))
    except CorruptPayload:
        pass


# Hostile keys: numbers, and what is made of numbers, have hashes that anybody can compute (F52)

PRIME = 2**61 - 1  # what Python's hash of a number is modulo
_LANE_1, _LANE_2, _LANE_5 = 11400714785074694791, 14029467366897019727, 2870177450012600261
_WORD = 2**64


def colliding_pairs(count: int) -> list[tuple[int, int]]:
    """Pairs of ints with the hash of ``(0, 0)``: the second undoes what the first does to the hash of a tuple."""

    def mix(state: int, lane: int) -> int:
        state = (state + lane * _LANE_2) % _WORD
        return (state << 31 | state >> 33) % _WORD * _LANE_1 % _WORD

    target = mix(mix(_LANE_5, 0), 0)
    back = target * pow(_LANE_1, -1, _WORD) % _WORD
    back = (back >> 31 | back << 33) % _WORD
    pairs, first = [], 0
    while len(pairs) < count:
        second = (back - mix(_LANE_5, first)) * pow(_LANE_2, -1, _WORD) % _WORD
        if second < PRIME:
            pairs.append((first, second))
        first += 1
    return pairs


HOSTILE_KEYS: dict[str, list[bytes]] = {
    "ints": [ext(4, (number * PRIME).to_bytes(20, "big")) for number in range(10, 20_000)],
    "decimals": [ext(10, str(number * PRIME).encode()) for number in range(10, 20_000)],
    "uuids": [ext(9, (number * PRIME).to_bytes(16, "big")) for number in range(10, 20_000)],
    "tuples": [ext(1, msgpack.packb(list(pair))) for pair in colliding_pairs(15_000)],
    "timestamps": [b"\xd7\xff" + msgpack.Timestamp(number ^ 5, number).to_bytes() for number in range(6, 20_000)],
}


def counted_hashes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often members were compared, for the types whose comparison can be seen."""
    compared = [0]
    for kind in (UUID, msgpack.Timestamp):
        plain = kind.__eq__

        def counting(self: Any, other: Any, plain: Any = plain) -> Any:
            compared[0] += 1
            return plain(self, other)

        monkeypatch.setattr(kind, "__eq__", counting)
    return compared


@pytest.mark.parametrize("kind", HOSTILE_KEYS)
@pytest.mark.parametrize("where", ["dict", "set", "dicts in a list"])
def test_members_made_up_to_have_one_hash_are_refused_early(
    kind: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = HOSTILE_KEYS[kind]
    if where == "set":
        packed = ext(2, msgpack.Packer().pack_array_header(len(keys)) + b"".join(keys))
    else:
        packed = msgpack.Packer().pack_map_header(len(keys)) + b"".join(key + b"\xc0" for key in keys)
        packed = packed if where == "dict" else b"\x91" + packed
    compared = counted_hashes(monkeypatch)
    with pytest.raises(CorruptPayload):
        decode(b"\x01" + packed)
    assert compared[0] <= 64 * 64


def test_long_number_is_not_compared_with_a_decimal_of_its_hash() -> None:
    long = 10**100_000 // PRIME * PRIME
    keys = [ext(4, long.to_bytes(long.bit_length() // 8 + 1, "big")), ext(10, b"%de99980" % PRIME)]
    with pytest.raises(CorruptPayload, match="a long number"):
        decode(b"\x01" + msgpack.Packer().pack_map_header(2) + b"".join(key + b"\xc0" for key in keys))


def test_equal_keys_over_and_over_are_compared_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [ext(9, (number * PRIME).to_bytes(16, "big")) for number in range(10, 60)]
    packed = msgpack.Packer().pack_map_header(20_050) + b"".join(key + b"\xc0" for key in [*keys, *[keys[-1]] * 20_000])
    compared = counted_hashes(monkeypatch)
    assert len(decode(b"\x01" + packed)) == 50
    assert compared[0] <= 64 * 20_050


@pytest.mark.parametrize(
    "value",
    [
        [Decimal("0.00")] * 5000,
        [(0, 0)] * 5000,
        [(x, y, z) for x in range(-9, 9) for y in range(-9, 9) for z in range(-9, 9)],
        {(x, y): 1 for x in range(-40, 40) for y in range(-40, 40)},
        {2.0**power for power in range(-1000, 1000)},
        [2**power for power in range(3000)],
        {uuid4() for _ in range(2000)},
        {timedelta(seconds=second) for second in range(5000)},
        {frozenset([n, n + 1]) for n in range(5000)},
        {Decimal(n) / 100 for n in range(5000)},
    ],
)
def test_honest_members_are_not_mistaken_for_hostile_ones(value: Any) -> None:
    assert stored(value) == value


def test_unknown_zones_are_looked_for_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def unknown(name: str) -> Any:
        looked.append(name)
        raise KeyError(name)

    monkeypatch.setattr("workflows.values.codec.ZoneInfo", unknown)
    body = msgpack.packb(["2026-01-01T00:00:00", 0, 0, "No/Where"])
    moments = decode(b"\x01" + msgpack.Packer().pack_array_header(5000) + ext(5, body) * 5000)
    assert moments[-1] == datetime(2026, 1, 1, tzinfo=UTC) and looked == ["No/Where"]
    many = b"".join(ext(5, msgpack.packb(["2026-01-01T00:00:00", 0, 0, f"No/{n}"])) for n in range(5000))
    with pytest.raises(CorruptPayload, match="time zones"):
        decode(b"\x01" + msgpack.Packer().pack_array_header(5000) + many)
    assert len(looked) <= 1001

"""The serializer msgpack: which values arrive as they were, and which are refused."""

from __future__ import annotations

import enum
import uuid
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, NamedTuple, TypedDict
from zoneinfo import ZoneInfo

import msgspec
import pytest

from docket import Docket, Logged
from docket.errors import DeserializationError, PayloadTooLarge, UnfitValue
from docket.serialization.serializers import serializer_named

pytestmark = pytest.mark.anyio


class Color(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    LARGE = 3


class Shade(enum.StrEnum):
    DARK = "dark"


@dataclass
class Line:
    sku: str
    amount: int = 1


@dataclass(eq=False)
class Order:
    number: uuid.UUID
    lines: list[Line] = field(default_factory=list[Line])


class Customer(msgspec.Struct):
    name: str
    since: date


class Options(TypedDict, total=False):
    express: bool
    color: Color


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Meeting:
    at: datetime
    place: str = ""

    @cached_property
    def day(self) -> date:
        return self.at.date()


class Text(str):
    __slots__ = ()


class Number(float):
    __slots__ = ()


class Items(list[Any]):
    pass


class Always(tzinfo):
    """A zone of the user's own, an hour east of UTC."""

    def utcoffset(self, dt: datetime | None) -> timedelta:
        return timedelta(hours=1)

    def dst(self, dt: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, dt: datetime | None) -> str:
        return "HOUSE"


VIENNA = ZoneInfo("Europe/Vienna")
EAST = timezone(timedelta(hours=2))
NOON = datetime.fromisoformat("2030-03-31T12:00:00.000005")


VALUES: list[tuple[Any, Any]] = [
    (int, -5),
    (float, 2),
    (float, float("nan")),
    (str, "päckchen"),
    (bytes, b"\0\xff"),
    (bool, True),
    (None, None),
    (list[int], [1, 2]),
    (tuple[int, ...], (1, 2)),
    (set[str], {"a", "b"}),
    (frozenset[int], frozenset({1})),
    (dict[str, float], {"a": 0.5}),
    (dict[uuid.UUID, int], {uuid.UUID(int=7): 1}),
    (datetime, datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)),
    (datetime, datetime.fromisoformat("2026-03-01T12:30")),
    (date, date(2026, 3, 1)),
    (timedelta, timedelta(days=-3, microseconds=1)),
    (uuid.UUID, uuid.UUID(int=42)),
    (Decimal, Decimal("1.50")),
    (Decimal, Decimal("NaN")),
    (Color, Color.RED),
    (Size, Size.LARGE),
    (Line, Line("a", 3)),
    (Customer, Customer("Ada", date(1815, 12, 10))),
    (Options, {"express": True, "color": Color.RED}),
    (Point, Point(1, 2)),
    (list[Line] | None, [Line("a")]),
    (Any, {"a": [1, None, 2.5, "x", b"y", {"z": True}]}),
    (Annotated[int, msgspec.Meta(ge=0)], 5),
    (Annotated[list[int], Logged()], [1]),
    (datetime, NOON.replace(tzinfo=EAST)),
    (datetime, NOON.replace(tzinfo=timezone(-timedelta(hours=3, minutes=30)))),
    (datetime, NOON.replace(tzinfo=ZoneInfo("UTC"))),
    (time, time(9, tzinfo=EAST)),
    (time, time(9, 30)),
    (Any, NOON.replace(tzinfo=UTC)),
    (list[datetime], [NOON, NOON.replace(tzinfo=EAST), NOON.replace(tzinfo=UTC)]),
    (dict[str, set[datetime]], {"a": {NOON.replace(tzinfo=EAST)}}),
    (dict[int, list[Any]], {1: [b"x", NOON.replace(tzinfo=UTC)]}),
    (Meeting, Meeting(NOON.replace(tzinfo=EAST), "here")),
    (Shade, Shade.DARK),
    (set[Shade], {Shade.DARK}),
    (dict[Shade, Size], {Shade.DARK: Size.LARGE}),
    (bytearray, bytearray(b"x")),
    (tuple[Point, ...], (Point(1, 2),)),
]


def task_of(annotation: Any) -> Any:
    async def task(value: Any, *rest: Any, **named: Any) -> Any: ...

    task.__annotations__ = dict.fromkeys(("value", "rest", "named", "return"), annotation)
    return task


@pytest.mark.parametrize(("annotation", "value"), VALUES)
def test_a_value_arrives_as_what_it_was(annotation: Any, value: Any) -> None:
    msgpack, task = serializer_named("msgpack"), task_of(annotation)

    payload = msgpack.encode_call(task, (value, value), {"more": value})
    (first, second), named = msgpack.decode_call(task, payload)
    result = msgpack.decode_result(task, msgpack.encode_result(task, value))

    for arrived in (first, second, named["more"], result):
        assert type(arrived) is type(value) or annotation is float
        assert repr(arrived) == repr(value) or arrived == value
        if isinstance(value, datetime):
            assert str(arrived) == str(value)


def test_a_dataclass_without_equality_arrives_whole() -> None:
    msgpack, task = serializer_named("msgpack"), task_of(Order)
    order = Order(uuid.UUID(int=1), [Line("a"), Line("b", 2)])

    (arrived,), _ = msgpack.decode_call(task, msgpack.encode_call(task, (order,), {}))

    assert isinstance(arrived, Order)
    assert vars(arrived) == vars(order)


class Hidden:
    pass


UNFIT: list[tuple[Any, Any, str]] = [
    (int, "7", "Expected `int`, got `str`"),
    (int, True, "Expected `int`, got `bool`"),
    (int, 2**70, "OverflowError"),
    (str, 7, "Expected `str`, got `int`"),
    (str, "\ud800", "UnicodeEncodeError"),
    (str, uuid.UUID(int=1), "a UUID would arrive as a str"),
    (uuid.UUID, "no uuid", "Invalid UUID"),
    (Line, Order(uuid.UUID(int=1)), "missing required field `sku`"),
    (Line, {"sku": "a"}, "a dict would arrive as a Line"),
    (Options, {"express": True, "surprise": 1}, "its key 'surprise' would be lost"),
    (list[Line], [Line("a"), Line("b", "many")], "Expected `int`, got `str`"),  # type: ignore[arg-type]
    (Any, (1, 2), "a tuple would arrive as a list"),
    (Any, {"a": [uuid.UUID(int=1)]}, r"at 'a', at \[0\], a UUID would arrive as a str"),
    (Any, Color.RED, "a Color would arrive as a str"),
    (Any, Line("a"), "a Line would arrive as a dict"),
    (Any, object(), "Encoding objects of type object is unsupported"),
    (Hidden, Hidden(), "Encoding objects of type Hidden is unsupported"),
    (Annotated[int, msgspec.Meta(ge=0)], -1, "Expected `int` >= 0"),
    (int, Size.LARGE, "a Size would arrive as a int"),
    (str, Shade.DARK, "a Shade would arrive as a str"),
    (Any, Shade.DARK, "a Shade would arrive as a str"),
    (Any, Text("x"), "Encoding objects of type Text is unsupported"),
    (float, Number(1), "Encoding objects of type Number is unsupported"),
    (float, Size.LARGE, "a Size would arrive as a float"),
    (list[int], Items([1]), "a Items would arrive as a list"),
    (Any, OrderedDict(a=1), "a OrderedDict would arrive as a dict"),
    (dict[str, int], defaultdict(int, a=1), "a defaultdict would arrive as a dict"),
    (tuple[int, int], Point(1, 2), "a Point would arrive as a tuple"),
    (Any, bytearray(b"x"), "a bytearray would arrive as a bytes"),
    (set[str], {Shade.DARK}, "a Shade would arrive as a str"),
    (frozenset[tuple[str, int]], frozenset({("a", Size.LARGE)}), "a Size would arrive as a int"),
    (dict[str, int], {Shade.DARK: 1}, "a Shade would arrive as a str"),
    (dict[str, list[str]], {"a": [Shade.DARK]}, r"at 'a', at \[0\], a Shade would arrive as a str"),
    (Line, Line(Shade.DARK), "at 'sku', a Shade would arrive as a str"),
    (datetime, NOON.replace(tzinfo=VIENNA), "without its time zone, Europe/Vienna"),
    (datetime, NOON.replace(tzinfo=timezone(timedelta(hours=1), "CET")), "time zone, CET"),
    (datetime, NOON.replace(tzinfo=timezone(timedelta(seconds=90))), "time zone, UTC"),
    (datetime, NOON.replace(tzinfo=Always()), "without its time zone"),
    (datetime, NOON.replace(fold=1), "without its fold"),
    (Any, NOON.replace(tzinfo=EAST), "time zone"),
    (time, time(9, tzinfo=VIENNA), "without its time zone, Europe/Vienna"),
    (time, time(9, fold=1), "without its fold"),
    (set[datetime], {NOON.replace(tzinfo=VIENNA)}, "without its time zone"),
    (dict[datetime, int], {NOON.replace(tzinfo=VIENNA): 1}, "without its time zone"),
    (Meeting, Meeting(NOON.replace(tzinfo=VIENNA)), "at 'at', a datetime would arrive without"),
    (Point, Point(Size.LARGE, 1), r"at \[0\], a Size would arrive as a int"),
    (ZoneInfo, VIENNA, "ZoneInfo is unsupported"),
    ("NotDefined", 1, "does not fit"),
]


@pytest.mark.parametrize(("annotation", "value", "reason"), UNFIT)
async def test_what_does_not_fit_is_refused_in_the_caller_with_the_parameters_name(
    docket: Docket, annotation: Any, value: Any, reason: str
) -> None:
    task = task_of(annotation)
    del task.__annotations__["return"]  # which may be refused before any argument is

    with pytest.raises(UnfitValue, match=f"'value' of task 'task'.*{reason}"):
        await docket.add(task, key="k")(value)
    with pytest.raises(UnfitValue, match="'more' of task 'task'"):
        await docket.add(task, key="k")(more=value)
    with pytest.raises(TypeError):
        await docket.add_many([docket.call(task, key="k")(value)])

    assert await docket.get_execution("k") is None


def test_what_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(UnfitValue, match="RecursionError"):
        serializer_named("msgpack").encode_call(task_of(Any), (endless,), {})


def test_what_lost_something_on_the_way_is_refused() -> None:
    @dataclass
    class Special(Line):
        extra: str = ""

    with pytest.raises(UnfitValue, match=r"a .*Special would arrive as a Line"):
        serializer_named("msgpack").encode_call(task_of(Line), (Special("a"),), {})


def test_what_was_put_on_an_object_beside_its_fields_is_refused_but_for_what_it_computes() -> None:
    msgpack, task = serializer_named("msgpack"), task_of(Meeting)
    meeting = Meeting(NOON)
    assert meeting.day == date(2030, 3, 31)
    assert msgpack.decode_call(task, msgpack.encode_call(task, (meeting,), {})) == ((meeting,), {})

    vars(meeting)["room"] = 7
    with pytest.raises(UnfitValue, match="its attribute 'room' would be lost"):
        msgpack.encode_call(task, (meeting,), {})


@pytest.mark.parametrize(
    ("annotation", "value"), [(datetime, NOON.replace(tzinfo=VIENNA)), (str, Shade.DARK)]
)
def test_a_result_that_would_arrive_otherwise_is_refused(annotation: Any, value: Any) -> None:
    msgpack = serializer_named("msgpack")

    with pytest.raises(UnfitValue, match="The result of task 'task' does not fit"):
        msgpack.encode_result(task_of(annotation), value)


def test_what_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("docket.serialization.pickle_codec.MAX_PAYLOAD_BYTES", 100)
    msgpack, task = serializer_named("msgpack"), task_of(str)

    with pytest.raises(PayloadTooLarge):
        msgpack.encode_call(task, ("x" * 100,), {})
    with pytest.raises(PayloadTooLarge):
        msgpack.encode_result(task, "x" * 100)


@pytest.mark.parametrize("payload", [b"", b"\xc1\x01", b"\xc1\x01\x92\x90", b"\xc1\x01\x01", b"x"])
def test_garbage_is_a_clear_error(payload: bytes) -> None:
    msgpack = serializer_named("msgpack")

    with pytest.raises(DeserializationError):
        msgpack.decode_call(task_of(Order), payload)
    with pytest.raises(DeserializationError):
        msgpack.decode_result(task_of(Order), payload)
    assert isinstance(msgpack.decode_error(payload), DeserializationError)

"""The serializer msgpack: which values arrive as they were, and which are refused."""

from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, NamedTuple, TypedDict

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
    (int, Size.LARGE),
    (Line, Line("a", 3)),
    (Customer, Customer("Ada", date(1815, 12, 10))),
    (Options, {"express": True, "color": Color.RED}),
    (Point, Point(1, 2)),
    (list[Line] | None, [Line("a")]),
    (Any, {"a": [1, None, 2.5, "x", b"y", {"z": True}]}),
    (Annotated[int, msgspec.Meta(ge=0)], 5),
    (Annotated[list[int], Logged()], [1]),
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
        assert repr(arrived) == repr(value) or arrived == value


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
    ("NotDefined", 1, "does not fit"),
]


@pytest.mark.parametrize(("annotation", "value", "reason"), UNFIT)
async def test_what_does_not_fit_is_refused_in_the_caller_with_the_parameters_name(
    docket: Docket, annotation: Any, value: Any, reason: str
) -> None:
    task = task_of(annotation)

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

"""Whatever is accepted by a serializer arrives as it was; what is not is refused by its sender."""

from __future__ import annotations

import contextlib
import enum
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from docket.errors import DeserializationError, UnfitValue
from docket.serialization.serializers import serializer_named

MSGPACK, PICKLE = serializer_named("msgpack"), serializer_named("pickle")


ZONES = (
    st.none()
    | st.just(UTC)
    | st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
)


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


@dataclass
class Node:
    name: str
    size: Decimal
    mood: Mood
    children: list[Node]
    tags: dict[str, uuid.UUID | int | None]


TEXT = st.text()
NODES: st.SearchStrategy[Node] = st.deferred(
    lambda: st.builds(
        Node,
        name=TEXT,
        size=st.decimals(allow_nan=False),
        mood=st.sampled_from(Mood),
        children=st.lists(NODES, max_size=2),
        tags=st.dictionaries(TEXT, st.none() | st.integers(-(2**63), 2**64 - 1), max_size=3),
    )
)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | TEXT
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
ANYTHING = st.recursive(
    PLAIN
    | st.uuids()
    | st.dates()
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.timedeltas()
    | st.decimals()
    | st.integers()
    | st.sampled_from(Mood)
    | st.text(st.characters(codec=None)),
    lambda inner: st.tuples(inner, inner) | st.lists(inner, max_size=3),
    max_leaves=6,
)


async def typed(
    node: Node, when: datetime, day: date, pause: timedelta, *rest: uuid.UUID, **named: Decimal
) -> Node:
    raise NotImplementedError


async def untyped(*args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError


@given(
    NODES,
    st.datetimes(timezones=ZONES),
    st.dates(),
    st.timedeltas(),
    st.lists(st.uuids(), max_size=2),
    st.dictionaries(TEXT, st.decimals(allow_nan=False), max_size=2),
)
def test_typed_arguments_arrive_as_they_were(
    node: Node,
    when: datetime,
    day: date,
    pause: timedelta,
    rest: list[uuid.UUID],
    named: dict[str, Decimal],
) -> None:
    named = {k: v for k, v in named.items() if k not in ("node", "when", "day", "pause")}
    args = (node, when, day, pause, *rest)
    try:
        payload = MSGPACK.encode_call(typed, args, dict(named))
    except UnfitValue as error:
        # Some instants near the ends of the calendar cannot be written in UTC.
        assume("'when'" not in str(error) and "'pause'" not in str(error))
        raise

    assert MSGPACK.decode_call(typed, payload) == (args, named)
    assert MSGPACK.decode_result(typed, MSGPACK.encode_result(typed, node)) == node


@given(st.lists(PLAIN, max_size=3), st.dictionaries(TEXT, PLAIN, max_size=3))
def test_plain_values_need_no_annotation(args: list[Any], kwargs: dict[str, Any]) -> None:
    for serializer in (MSGPACK, PICKLE):
        payload = serializer.encode_call(untyped, tuple(args), kwargs)
        assert serializer.decode_call(untyped, payload) == (tuple(args), kwargs)


@given(ANYTHING)
def test_what_is_accepted_without_an_annotation_arrives_as_it_was_or_is_refused(
    value: object,
) -> None:
    try:
        payload = MSGPACK.encode_call(untyped, (value,), {})
    except UnfitValue:
        return
    (arrived,), _ = MSGPACK.decode_call(untyped, payload)
    assert arrived == value or repr(arrived) == repr(value)
    assert type(arrived) is type(value)


# Keys that are equal, or become so where they are stored --------------------------------------


class Named(enum.StrEnum):
    A = "a"


class Numbered(enum.IntEnum):
    ONE = 1


class Alike(enum.Enum):
    A = "a"
    ONE = 1


class Text(str):
    """Equal to nothing but itself."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


class Number(float):
    """As Text."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


ODD_KEYS: list[Any] = [
    "a", "1", "1.0", 1, 2, True, False, 0, -1, 1.5, 2**53, 2**53 + 1, b"a", b"1", None,
    Named.A, Numbered.ONE, Alike.A, Alike.ONE, Text("a"), Text("1"), Number(1), (1,), Decimal(1),
    float("nan"), Decimal("1.0"), uuid.UUID(int=1), str(uuid.UUID(int=1)), date(2030, 1, 1),
    "2030-01-01", datetime(2030, 1, 1, tzinfo=UTC), timedelta(1), "P1D",
]  # fmt: skip
HINTS: list[Any] = [
    Any, dict[Any, Any], *(dict[k, Any] for k in (str, int, float, bytes, Alike, Named, Numbered)),
    *(dict[k, Any] for k in (str | int, str | bytes, int | float, uuid.UUID, Decimal, date | str)),
    dict[datetime, Any], dict[tuple[int, ...], Any],
]  # fmt: skip
SET_HINTS: list[Any] = [set[Any], set[str], set[float], set[int | str], set[bytes], set[Alike]]


def taking(hint: Any) -> Any:
    async def task(value: Any) -> Any:
        raise NotImplementedError

    task.__annotations__ = {"value": hint, "return": hint}
    return task


async def boxed(value: dict[str, list[dict[Any, Any]]]) -> dict[str, list[dict[Any, Any]]]:
    raise NotImplementedError


TAKING = {repr(hint): taking(hint) for hint in [*HINTS, *SET_HINTS]}


def arrivals(task: Any, value: Any) -> list[Any]:
    """The value as an argument, a named argument and a result, as far as it is accepted."""
    arrived: list[Any] = []
    with contextlib.suppress(UnfitValue):
        arrived.append(MSGPACK.decode_call(task, MSGPACK.encode_call(task, (value,), {}))[0][0])
    with contextlib.suppress(UnfitValue):
        named = MSGPACK.encode_call(task, (), {"value": value})
        arrived.append(MSGPACK.decode_call(task, named)[1]["value"])
    with contextlib.suppress(UnfitValue):
        arrived.append(MSGPACK.decode_result(task, MSGPACK.encode_result(task, value)))
    return arrived


@given(
    st.lists(st.sampled_from(ODD_KEYS), min_size=1, max_size=4),
    st.sampled_from(HINTS),
    st.sampled_from(SET_HINTS),
)
def test_no_item_is_lost_to_another_whose_key_becomes_the_same(
    keys: list[Any], hint: Any, set_hint: Any
) -> None:
    value = {key: place for place, key in enumerate(keys)}

    for arrived in arrivals(TAKING[repr(hint)], value):
        assert len(arrived) == len(value)
        assert list(arrived.values()) == list(value.values())
    for arrived in arrivals(boxed, {"inside": [value]}):
        assert len(arrived["inside"][0]) == len(value)
    for arrived in arrivals(TAKING[repr(set_hint)], set(keys)):
        assert len(arrived) == len(set(keys))


@pytest.mark.parametrize("value", [{Alike.A: 1, "a": 2}, {Numbered.ONE: 1}, {Text("a"): 1, "a": 2}])
def test_keys_that_would_arrive_as_others_are_refused_by_the_name_of_the_parameter(
    value: dict[Any, int],
) -> None:
    for each in (value, {"deep": [value]}):
        with pytest.raises(UnfitValue, match="'value' of task 'task'"):
            MSGPACK.encode_call(TAKING[repr(dict[str, Any])], (each,), {})
        with pytest.raises(UnfitValue, match="The result of task 'task'"):
            MSGPACK.encode_result(TAKING[repr(dict[str, Any])], each)


def test_no_argument_is_lost_to_another_whose_name_becomes_the_same() -> None:
    with pytest.raises(UnfitValue, match="Two arguments of task 'untyped' have the same name"):
        MSGPACK.encode_call(untyped, (), {Text("a"): 1, "a": 2})


@given(st.binary())
def test_no_payload_does_more_than_be_refused(payload: bytes) -> None:
    for body in (payload, b"\xc1\x01" + payload):
        try:
            MSGPACK.decode_call(typed, body)
        except DeserializationError:
            continue


@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
def test_any_exception_arrives_as_text(message: str, more: str) -> None:
    error = MSGPACK.decode_error(MSGPACK.encode_error(ValueError(message, more)))

    assert str(error).startswith("ValueError: ")

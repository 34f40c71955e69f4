"""Whatever is accepted by a serializer arrives as it was; what is not is refused by its sender."""

from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

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

"""Strikes whose values were chosen to collide in a hash table: nobody waits for them."""

import asyncio
import logging
import time
from collections.abc import Callable, Hashable
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from docket import Docket, StrikeList
from docket.errors import UnfitValue
from docket.serialization import typed_values
from docket.store.strikes import Fields
from docket.strike_rules import Operator, Rule, Strike, from_message
from docket.strike_table import INCOMPATIBLE_TOLD, MAX_COLLIDING, MAX_COMPARED, StrikeTable

pytestmark = pytest.mark.anyio

#: What Python takes a number modulo, to hash it.
MODULUS = 2**61 - 1
#: With as many, a set of ints took half a minute to fill.
MANY = 40_000

#: Each makes different values of one hash.
COLLIDING: list[Callable[[int], Hashable]] = [
    lambda i: i * MODULUS,
    lambda i: Decimal(i * MODULUS),
    lambda i: UUID(int=i * MODULUS),
    lambda i: ("order", i * MODULUS),
]


async def send(customer: Any) -> None: ...


def strike(value: Hashable, operator: Operator = Operator.EQUAL) -> Strike:
    return Strike("send", "customer", operator, value)


@pytest.mark.parametrize("value", COLLIDING)
def test_values_of_one_hash_are_refused_beyond_a_few_and_cost_no_more_than_others(
    value: Callable[[int], Hashable],
) -> None:
    assert len({hash(value(i)) for i in range(MANY)}) == 1
    table = StrikeTable()

    began = time.process_time()
    table.reload([strike(value(i)) for i in range(MANY)])
    table.apply(strike("acme"), is_shared=True)
    found = [
        table.strikes_call("send", send, (each,), {}) for each in ("acme", value(0), value(MANY))
    ]
    used = time.process_time() - began

    assert found == [True, True, False]
    assert len(table) == MAX_COLLIDING + 1
    assert table.refused == MANY - MAX_COLLIDING
    assert used < 5


async def test_who_opens_a_docket_with_colliding_strikes_goes_on_meanwhile(
    server: str, docket_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Docket(docket_name, server) as docket:
        adding = docket.connections.client().pipeline(transaction=False)
        for i in range(MANY // 4):
            adding.xadd(docket.keys.strikes, strike(i * MODULUS).as_message())  # type: ignore[arg-type]
        await adding.execute()
        await docket.strike("send", "customer", "==", "acme")

    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - before)

    watching = asyncio.create_task(watch())
    strikes = StrikeList(server, docket_name)
    await strikes.follow()
    await strikes.wait_for_strikes_loaded()
    watching.cancel()
    assert strikes.in_effect == MAX_COLLIDING + 1
    with pytest.raises(UnfitValue, match="has the hash of 32 others"):
        await strikes.strike("send", "customer", "==", -MODULUS)
    await strikes.close()

    assert longest < 1
    assert f"{MANY // 4 - MAX_COLLIDING} strikes have no effect in this process" in caplog.text


def message(value: bytes) -> Fields:
    return {**strike(1).as_message(), b"value": value}


def a_map() -> bytes:
    # msgpack has arrays as keys, of which Python makes tuples.
    return b"m" + msgspec.msgpack.encode({("order", i): i for i in range(10)})


def a_map_within() -> bytes:
    return b"t" + msgspec.msgpack.encode(["tuple", {1: 2}])


def a_set_of(count: int) -> bytes:
    members = [msgspec.msgpack.encode(["int", f"{i * MODULUS:x}"]) for i in range(count)]
    packed = [msgspec.Raw(each) for each in members]
    return b"t" + msgspec.msgpack.encode(["frozenset", *packed])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (a_map(), "a map is no value of a strike"),
        (a_map_within(), "a map is no value of a strike"),
        (a_set_of(20_000), "a frozenset of 20000 members, over the limit of 1000"),
        (b"m" + b"\xdb\x00\x20\x00\x00" + b"x" * 0x200000, "over the limit of 1048576"),
    ],
)
def test_a_value_that_takes_the_square_of_its_size_to_read_is_not_read(
    value: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    began = time.process_time()
    assert from_message(message(value)) is None
    assert time.process_time() - began < 1
    assert reason in caplog.text


def test_a_set_is_stored_up_to_the_size_that_is_read() -> None:
    assert typed_values.decode(typed_values.encode(frozenset(range(1000)))) == frozenset(
        range(1000)
    )
    with pytest.raises(typed_values.Untyped, match="a frozenset of 1001 members"):
        typed_values.encode(frozenset(range(1001)))


def test_strikes_that_are_compared_one_by_one_have_a_bound() -> None:
    table = StrikeTable()
    table.reload([strike(i, Operator.LESS_THAN) for i in range(MAX_COMPARED + 10)])
    assert len(table) == MAX_COMPARED
    assert table.refused == 10

    # One that is restored makes room for another.
    table.apply(strike(-1), is_shared=True)
    rule = Rule("send", "customer", Operator.GREATER_THAN, 0)
    assert table.refusal(rule) is not None
    table.reload([strike(i, Operator.LESS_THAN) for i in range(MAX_COMPARED - 1)])
    assert table.refusal(rule) is None


def test_comparisons_that_are_not_possible_are_told_of_with_a_bound(
    caplog: pytest.LogCaptureFixture,
) -> None:
    table = StrikeTable()
    table.reload([strike(i, Operator.LESS_THAN) for i in range(1000)])

    assert not table.strikes_call("send", send, ("acme",), {})

    told = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(told) == INCOMPATIBLE_TOLD + 1
    assert told[-1] == f"{1000 - INCOMPATIBLE_TOLD} more strike conditions have incompatible types"


VALUES = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([MODULUS, -MODULUS, 1.0, -2.0, True, False, None, Decimal(1), Decimal("1.0")]),
    st.sampled_from(["a", b"a", "", (1, 2), (1.0, 2), (), frozenset({1}), frozenset({1.0})]),
)


@given(st.lists(st.tuples(st.booleans(), VALUES)), VALUES)
def test_values_are_equal_as_those_of_a_set_are(
    steps: list[tuple[bool, Hashable]], argument: Hashable
) -> None:
    table, expected = StrikeTable(), set[Hashable]()
    for is_strike, value in steps:
        rule = strike(value)
        if is_strike:
            table.apply(rule, is_shared=True)
            expected.add(value)
        else:
            restored = from_message({**rule.as_message(), b"direction": b"restore"})
            assert restored is not None
            table.apply(restored, is_shared=True)
            expected.discard(value)

    assert len(table) == len(expected)
    assert table.strikes_call("send", send, (argument,), {}) == (argument in expected)

"""What is stricken: operators, parameters, defaults, and comparisons that are not possible."""

import logging
from collections.abc import Hashable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from docket import Docket, Execution, StrikeList
from docket.errors import UnfitValue
from docket.strike_rules import from_message
from docket.strikelist import Operator, Restore, Strike

NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def send(customer: Any, amount: int = 1, *others: Any, **options: Any) -> None: ...


async def other(customer: Any) -> None: ...


def call(*args: Any, function: Any = send, **kwargs: Any) -> Execution:
    return Execution(Docket(), function, args, kwargs, "key", NOW, 1)


def stricken(rule: Strike, target: Any) -> bool:
    strikes = StrikeList()
    strikes.update(rule)
    return strikes.is_stricken(target)


@pytest.mark.parametrize(
    ("operator", "value", "matching", "others"),
    [
        ("==", 3, [3, 3.0], [2, "3", None, [3]]),
        ("!=", 3, [2, "3", None, [3]], [3, 3.0]),
        (">", 3, [4, 3.5], [3, 2]),
        (">=", 3, [4, 3], [2]),
        ("<", 3, [2], [3, 4]),
        ("<=", 3, [2, 3], [4]),
        ("between", (1, 3), [1, 2, 3], [0, 4]),
        ("between", ("b", "d"), ["b", "c", "d"], ["a", "e"]),
        ("==", None, [None], [0, ""]),
        ("==", ("a", 1), [("a", 1)], [("a",), ["a", 1]]),
    ],
)
def test_an_argument_is_compared_by_the_operator(
    operator: str, value: Hashable, matching: list[Any], others: list[Any]
) -> None:
    rule = Strike("send", "customer", Operator(operator), value)

    assert [stricken(rule, call(argument)) for argument in matching] == [True] * len(matching)
    assert [stricken(rule, call(argument)) for argument in others] == [False] * len(others)


@pytest.mark.parametrize(
    ("operator", "value", "argument"),
    [
        (">", 3, "a"),
        ("<", "a", 3),
        ("between", ("a", "b"), 2),
        ("between", 1, 2),
        ("between", (1, 2, 3), 2),
        ("between", (3, 1), 2),
        (">=", None, 2),
    ],
)
def test_a_comparison_that_is_not_possible_is_no_match_and_is_logged(
    operator: str, value: Hashable, argument: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rule = Strike("send", "customer", Operator(operator), value)

    assert not stricken(rule, call(argument))

    is_reversed = value == (3, 1)  # Possible, and never true.
    assert ("Incompatible type for strike condition: " in caplog.text) is not is_reversed


class Unfriendly:
    """Cannot be hashed, compared or shown."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not with me")

    def __repr__(self) -> str:
        raise RuntimeError("not me")


@pytest.mark.parametrize("operator", ["==", "!=", "<", "between"])
def test_an_argument_that_breaks_when_it_is_touched_is_no_match(
    operator: str, caplog: pytest.LogCaptureFixture
) -> None:
    rule = Strike("send", "customer", Operator(operator), (1, 2))

    assert not stricken(rule, call(Unfriendly()))

    assert "Incompatible type for strike condition: <Unfriendly" in caplog.text


def test_a_value_that_cannot_be_hashed_is_logged_and_strikes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    value: Any = [1]

    assert not stricken(Strike("send", "customer", Operator.EQUAL, value), call([1]))

    assert "Incompatible type for strike condition: == [1]" in caplog.text


@pytest.mark.parametrize(
    ("parameter", "value", "target"),
    [
        ("customer", 5, call(5)),
        ("customer", 5, call(customer=5)),
        ("amount", 1, call(5)),
        ("amount", 7, call(5, 7)),
        ("others", (8, 9), call(5, 7, 8, 9)),
        ("urgent", True, call(5, urgent=True)),
    ],
)
def test_arguments_are_found_by_position_name_or_default(
    parameter: str, value: Hashable, target: Execution
) -> None:
    assert stricken(Strike("send", parameter, Operator.EQUAL, value), target)
    assert not stricken(Strike("send", parameter, Operator.EQUAL, "else"), target)


def test_a_parameter_that_the_task_does_not_have_strikes_nothing() -> None:
    assert not stricken(Strike("send", "nobody", Operator.NOT_EQUAL, 1), call(5))


def test_a_call_that_the_function_does_not_take_is_judged_by_its_names() -> None:
    wrong = call(1, 2, customer=5)

    assert stricken(Strike("send", "customer", Operator.EQUAL, 5), wrong)
    assert not stricken(Strike("send", "amount", Operator.EQUAL, 2), wrong)


@pytest.mark.parametrize(
    ("rule", "strikes_send", "strikes_other"),
    [
        (Strike(None, None, Operator.EQUAL, None), True, True),
        (Strike("send", None, Operator.EQUAL, None), True, False),
        (Strike(None, "customer", Operator.EQUAL, 5), True, True),
        (Strike("send", "customer", Operator.EQUAL, 5), True, False),
        (Strike("other", "customer", Operator.EQUAL, 5), False, True),
        (Strike(None, "amount", Operator.EQUAL, 1), True, False),
        (Strike("nobody", None, Operator.EQUAL, None), False, False),
    ],
)
def test_none_stands_for_all_tasks_and_for_every_call(
    rule: Strike, strikes_send: bool, strikes_other: bool
) -> None:
    assert stricken(rule, call(5)) is strikes_send
    assert stricken(rule, call(5, function=other)) is strikes_other


def test_values_without_a_task_are_compared_with_the_strikes_of_all_tasks_only() -> None:
    assert stricken(Strike(None, "customer", Operator.EQUAL, 5), {"customer": 5})
    assert stricken(Strike(None, "customer", Operator.GREATER_THAN, 5), {"customer": 6})
    assert not stricken(Strike(None, "customer", Operator.EQUAL, 5), {"customer": 6})
    assert not stricken(Strike(None, "customer", Operator.EQUAL, 5), {})
    assert not stricken(Strike("send", "customer", Operator.EQUAL, 5), {"customer": 5})
    assert not stricken(Strike(None, None, Operator.EQUAL, None), {"customer": 5})


def test_restoring_takes_back_the_very_strike_and_no_other() -> None:
    strikes = StrikeList()
    strikes.update(Strike("send", None, Operator.EQUAL, None))
    strikes.update(Strike("send", "customer", Operator.EQUAL, 5))
    strikes.update(Strike("send", "customer", Operator.EQUAL, 5))
    assert strikes.in_effect == 2

    strikes.update(Restore("send", None, Operator.EQUAL, None))
    assert strikes.is_stricken(call(5))
    assert not strikes.is_stricken(call(6))
    strikes.update(Restore("send", "customer", Operator.EQUAL, 6))
    strikes.update(Restore("send", "customer", Operator.NOT_EQUAL, 5))
    strikes.update(Restore(None, "customer", Operator.EQUAL, 5))
    assert strikes.is_stricken(call(5))
    strikes.update(Restore("send", "customer", Operator.EQUAL, 5))

    assert not strikes.is_stricken(call(5))
    assert strikes.is_empty
    assert strikes.in_effect == 0


def test_without_a_parameter_operator_and_value_say_nothing() -> None:
    strikes = StrikeList()
    strikes.update(Strike("send", None, Operator.GREATER_THAN, 5))
    assert strikes.is_stricken(call(1))

    strikes.update(Restore("send", None, Operator.EQUAL, None))

    assert not strikes.is_stricken(call(1))


def test_a_condition_strikes_executions_until_it_is_removed() -> None:
    strikes = StrikeList()

    def is_late(execution: Execution) -> bool:
        return execution.key == "key"

    strikes.add_condition(is_late)
    assert not strikes.is_empty
    assert strikes.is_stricken(call(5))
    assert not strikes.is_stricken({"customer": 5})
    strikes.remove_condition(is_late)

    assert strikes.is_empty
    assert not strikes.is_stricken(call(5))
    with pytest.raises(ValueError, match="not in list"):
        strikes.remove_condition(is_late)


def test_a_task_that_is_known_by_another_name_is_struck_by_that() -> None:
    target = Execution(Docket(), send, (5,), {}, "key", NOW, 1, function_name="post")

    assert stricken(Strike("post", None, Operator.EQUAL, None), target)
    assert not stricken(Strike("send", None, Operator.EQUAL, None), target)


@pytest.mark.parametrize(
    ("rule", "shown"),
    [
        (Strike("send", None, Operator.EQUAL, None), "Striking 'send(* == *)'"),
        (Strike(None, None, Operator.EQUAL, None), "Striking '*(* == *)'"),
        (Strike(None, "x", Operator.BETWEEN, (1, 2)), "Striking '*(x between (1, 2))'"),
        (Restore("send", "x", Operator.EQUAL, 3), "Restoring 'send(x == 3)'"),
    ],
)
@pytest.mark.statement(17)
def test_an_instruction_reads_as_the_calls_that_it_means(
    rule: Strike | Restore, shown: str
) -> None:
    assert str(rule) == shown


def test_what_changes_is_logged_and_what_stands_already_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "docket.strikelist")
    strikes = StrikeList()

    for _ in range(2):
        strikes.update(Strike("send", None, Operator.EQUAL, None))
    for _ in range(2):
        strikes.update(Restore("send", None, Operator.EQUAL, None))

    assert caplog.messages == ["Striking 'send(* == *)'", "Restoring 'send(* == *)'"]


class Colour(Enum):
    RED = 1


class TextColour(StrEnum):
    RED = "red"


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.dates()
    | st.datetimes(timezones=st.none() | st.timezones() | st.just(timezone(timedelta(hours=-3))))
    | st.times()
    | st.timedeltas()
    | st.sampled_from([Colour.RED, TextColour.RED]),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)


@given(
    value=values,
    operator=st.sampled_from(list(Operator)),
    name=st.none() | st.text("aé{", min_size=1),
)
def test_an_instruction_comes_back_from_the_stream_as_it_was(
    value: Hashable, operator: Operator, name: str | None
) -> None:
    for kind in (Strike, Restore):
        sent = kind(name, "parameter", operator, value)

        received = from_message(sent.as_message(), may_unpickle=True)

        assert received == sent
        assert received is not None
        assert type(received.value) is type(value)


@pytest.mark.parametrize(
    "value", [1, -(2**63), 1.5, True, None, "text", b"bytes", ("a", (1, None)), ()]
)
def test_plain_values_are_stored_without_code(value: Hashable) -> None:
    message = Strike("send", "x", Operator.EQUAL, value).as_message()

    assert message[b"value"][:1] == b"m"


@pytest.mark.parametrize(
    "value",
    [
        UUID(int=1),
        Decimal("-1.50"),
        date(2026, 1, 1),
        time(12, 30),
        timedelta(days=-1, microseconds=1),
        datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
        -(2**70),
        frozenset({"a", "b", 3}),
        (date(2026, 1, 1), date(2026, 2, 1)),
        (UUID(int=1), (1, (None, Decimal("Infinity")))),
    ],
)
def test_values_of_the_types_of_data_are_stored_without_code(value: Hashable) -> None:
    message = Strike("send", "x", Operator.EQUAL, value).as_message(may_pickle=False)

    assert message[b"value"][:1] == b"t"
    received = from_message(message)
    assert received is not None
    assert received.value == value
    assert repr(received.value) == repr(value) or isinstance(value, frozenset)


def test_a_set_is_stored_in_one_order() -> None:
    letters = [chr(code) for code in range(97, 123)]
    sets = [frozenset(letters), frozenset(reversed(letters))]
    stored = {Strike("s", "x", Operator.EQUAL, each).as_message()[b"value"] for each in sets}
    assert len(stored) == 1


class Shade(datetime):
    """A class of a user's, whatever it inherits."""


@pytest.mark.parametrize(
    "value",
    [Colour.RED, TextColour.RED, Shade(2026, 1, 1), ("a", (Colour.RED,)), frozenset({Colour.RED})],
)
def test_values_of_other_classes_are_pickled_or_refused(value: Hashable) -> None:
    strike = Strike("send", "x", Operator.EQUAL, value)

    message = strike.as_message()

    assert message[b"value"][:1] == b"p"
    with pytest.raises(UnfitValue, match="A strike cannot hold"):
        strike.as_message(may_pickle=False)
    assert from_message(message) is None, "by default nothing is unpickled"
    assert from_message(message, may_unpickle=True) == strike


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"t",
        b"x",
        b"t\xc1",
        b"t\x90",
        *(
            b"t" + msgspec.msgpack.encode(node)
            for node in (
                ["eval", "1"],
                [["tuple"]],
                ["int", 5],
                ["int", "x"],
                ["int", "f" * 5000],
                ["uuid", "1"],
                ["datetime", "2026-01-01T00:00:00", 0, "../../etc/passwd"],
                ["datetime", "2026-01-01T00:00:00", 7, None],
                ["timedelta", 10**12, 0, 0],
                ["frozenset", {}],
                {"a": 1},
            )
        ),
        b"t" + b"\x92\xa5tuple" * 5000 + b"\xc0",
    ],
)
def test_a_value_that_is_malformed_is_no_strike(stored: bytes) -> None:
    message = {**Strike("s", "x", Operator.EQUAL, 1).as_message(), b"value": stored}

    assert from_message(message, may_unpickle=True) is None

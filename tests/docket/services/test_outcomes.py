"""Outcomes as rows of the exchange script, and what each counts as."""

import pickle

import pytest

from docket import Docket
from docket.clock import EPOCH
from docket.instrumentation import Counters
from docket.lifecycle import (
    Cancelled,
    Completed,
    Due,
    Failed,
    Outcome,
    Perpetuated,
    Requeued,
    Retried,
    Successor,
    Superseded,
)
from docket.serialization.pickle_codec import decode_call, decode_error, decode_result
from docket.services.outcomes import count, error_text, row_of, weight
from docket.services.payloads import Payloads
from docket.store.transitions import OutcomeRow
from tests.docket.services.test_runs import claim

ROW = (b"k", b"sk", b"1")


def row(outcome: Outcome) -> OutcomeRow:
    return row_of(claim("k"), outcome, Payloads(Docket()))


@pytest.mark.parametrize(
    ("outcome", "kind", "expected"),
    [
        (Completed(None), "N", {"succeeded"}),
        (Completed(1), "C", {"succeeded"}),
        (Failed(ValueError("x")), "F", {"failed"}),
        (Retried(1.5, 2), "A", {"failed", "retried"}),
        (Perpetuated(Completed(None), Successor(Due.at(EPOCH))), "P", {"succeeded", "perpetuated"}),
        (Cancelled(), "X", {"cancelled"}),
        (Requeued(), "H", set()),
        (Superseded(), "S", {"superseded"}),
    ],
)
def test_every_outcome_has_its_kind_and_its_counters(
    outcome: Outcome, kind: str, expected: set[str]
) -> None:
    found = row(outcome)
    assert found[:4] == (kind, *ROW)
    counters = Counters()
    count(counters, outcome)
    assert counted_in(counters) == expected


@pytest.mark.parametrize(("is_suspect", "told"), [(True, ""), (False, "1")])
def test_who_hands_a_task_back_says_if_it_is_suspect_no_more(is_suspect: bool, told: str) -> None:
    handed_back = row_of(claim("k"), Requeued(), Payloads(Docket()), is_suspect=is_suspect)
    assert handed_back[4] == told


@pytest.mark.statement(53)
@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Completed(None), {"succeeded"}),
        (Retried(1.5, 2), {"failed"}),
        (Perpetuated(Failed(ValueError("x")), Successor(Due.at(EPOCH))), {"failed"}),
        (Superseded(), set()),
    ],
)
def test_an_attempt_that_ended_too_late_counts_as_such_and_nothing_follows_it(
    outcome: Outcome, expected: set[str]
) -> None:
    counters = Counters()
    count(counters, outcome, is_superseded=True)
    assert counted_in(counters) == {"superseded", *expected}


def counted_in(counters: Counters) -> set[str]:
    return {name for name in Counters.__slots__ if getattr(counters, name) == 1}


def test_a_result_an_error_and_new_arguments_can_be_read_back() -> None:
    completed = row(Completed({"a": 1}))
    assert isinstance(completed[4], bytes)
    assert decode_result(completed[4]) == {"a": 1}
    failed = row(Failed(ValueError("broken")))
    assert isinstance(failed[4], bytes)
    assert str(decode_error(failed[4])) == "broken"
    assert failed[5] == "ValueError: broken"
    again = row(Retried(1.5, 2, args=(1,), kwargs={"b": 2}))
    assert again[4:6] == (1_500_000, 2)
    assert isinstance(again[6], bytes)
    assert decode_call(again[6]) == ((1,), {"b": 2})
    assert row(Retried(0, 2))[6] == ""


def test_the_weight_of_a_row_is_that_of_its_payloads() -> None:
    big = bytes(1000)
    assert weight(row(Completed(big))) >= 1000
    assert weight(row(Retried(0, 2, args=(big,)))) >= 1000
    assert weight(row(Cancelled())) == 0


def test_the_text_of_an_error_is_bounded_and_always_there() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    assert error_text(Mute()).startswith("Mute: ")
    assert len(error_text(ValueError("x" * 10_000))) <= 4096


def test_what_cannot_be_pickled_is_raised_for_the_exchanger_to_fail_the_task_with() -> None:
    class Stubborn:
        def __reduce__(self) -> tuple[object, ...]:
            raise pickle.PicklingError("never")

    with pytest.raises(pickle.PicklingError):
        row(Completed(Stubborn()))

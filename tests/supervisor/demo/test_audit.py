from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docket import ExecutionState
from supervisor.demo.audit import FileResult, percentile, total
from supervisor.demo.tasks import Counts

A = FileResult("a", ExecutionState.COMPLETED, Counts(1, 2, 3, 4), waited_seconds=0.2)
B = FileResult("b", ExecutionState.COMPLETED, Counts(10, 20, 30, 40), waited_seconds=0.1)
BAD = FileResult(
    "bad", ExecutionState.FAILED, error="SyntaxError: invalid syntax", waited_seconds=0.3
)


def test_the_sums_are_over_the_files_that_were_parsed_and_the_waits_over_all() -> None:
    totals = total(["a", "b", "bad"], [A, B, BAD])
    assert (totals.files, totals.parsed) == (3, 2)
    assert totals.counts == Counts(11, 22, 33, 44)
    assert totals.waits == (0.1, 0.2, 0.3)
    assert totals.failures == (BAD,)
    assert totals.adds_up


@pytest.mark.parametrize(
    ("keys", "results", "wrong"),
    [
        (["a", "b"], [A], "b: no record"),
        (
            ["a", "b"],
            [A, replace(B, state=ExecutionState.QUEUED)],
            "b: still queued",
        ),
        (["a", "b"], [A, replace(B, generation=2)], "b: scheduled 2 times"),
        (["a", "b"], [A, B, B], "b: accounted for 2 times"),
        (["a"], [A, B], "b: a record of no file"),
        (["a", "a"], [A], "a: 2 files have this key"),
    ],
)
def test_a_file_that_is_not_accounted_for_exactly_once_is_reported(
    keys: list[str], results: list[FileResult], wrong: str
) -> None:
    totals = total(keys, results)
    assert not totals.adds_up
    assert any(each.startswith(wrong) for each in totals.wrong)


@given(st.lists(st.sampled_from("abcde")), st.lists(st.sampled_from("abcde")))
def test_it_adds_up_only_if_files_and_records_are_the_same_set(
    keys: list[str], recorded: list[str]
) -> None:
    totals = total(keys, [FileResult(key, ExecutionState.COMPLETED) for key in recorded])
    assert totals.adds_up == (sorted(keys) == sorted(recorded) and len(set(keys)) == len(keys))


def test_without_a_parsed_file_all_counts_are_zero() -> None:
    assert total(["bad"], [BAD]).counts == Counts(0, 0, 0, 0)


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(n) for n in range(1, 101)]
    assert percentile(values, 50) == 50
    assert percentile(values, 99) == 99
    assert percentile(values, 100) == 100
    assert percentile([7.0], 50) == percentile([7.0], 99) == 7.0
    assert percentile([1.0, 2.0], 0) == 1.0
    assert percentile([], 50) is None

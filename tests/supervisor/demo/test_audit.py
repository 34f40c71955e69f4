from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.demo.audit import FileAccount, FileOutcome, percentile, total
from supervisor.demo.tasks import Counts

A = FileAccount("a", FileOutcome.PARSED, Counts(1, 2, 3, 4), waited_seconds=0.2)
B = FileAccount("b", FileOutcome.PARSED, Counts(10, 20, 30, 40), waited_seconds=0.1)
BAD = FileAccount(
    "bad", FileOutcome.FAILED, error="SyntaxError: invalid syntax", waited_seconds=0.3
)


def test_the_sums_are_over_the_files_that_were_parsed_and_the_waits_over_all() -> None:
    totals = total(["a", "b", "bad"], [A, B, BAD])
    assert (totals.files, totals.parsed, totals.failed) == (3, 2, 1)
    assert totals.counts == Counts(11, 22, 33, 44)
    assert totals.waits == (0.1, 0.2, 0.3)
    assert totals.failures == (BAD,)
    assert totals.adds_up


@pytest.mark.parametrize(
    ("keys", "accounts", "wrong"),
    [
        (["a", "b"], [A], "b: no record"),
        (
            ["a", "b"],
            [A, replace(B, outcome=FileOutcome.UNFINISHED, error="still queued")],
            "b: still",
        ),
        (["a", "b"], [A, replace(B, generation=2)], "b: scheduled 2 times"),
        (["a", "b"], [A, B, B], "b: accounted for 2 times"),
        (["a"], [A, B], "b: a record of no file"),
        (["a", "a"], [A], "a: 2 files have this key"),
    ],
)
def test_a_file_that_is_not_accounted_for_exactly_once_is_told_of(
    keys: list[str], accounts: list[FileAccount], wrong: str
) -> None:
    totals = total(keys, accounts)
    assert not totals.adds_up
    assert any(each.startswith(wrong) for each in totals.wrong)


@given(st.lists(st.sampled_from("abcde")), st.lists(st.sampled_from("abcde")))
def test_it_adds_up_only_if_files_and_records_are_the_same_set(
    keys: list[str], recorded: list[str]
) -> None:
    totals = total(keys, [FileAccount(key, FileOutcome.PARSED) for key in recorded])
    assert totals.adds_up == (sorted(keys) == sorted(recorded) and len(set(keys)) == len(keys))


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(n) for n in range(1, 101)]
    assert percentile(values, 50) == 50
    assert percentile(values, 99) == 99
    assert percentile(values, 100) == 100
    assert percentile([7.0], 50) == percentile([7.0], 99) == 7.0
    assert percentile([1.0, 2.0], 0) == 1.0
    assert percentile([], 50) is None

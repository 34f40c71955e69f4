"""The accounts of the demo: how each file ended, by its record, and what all of them sum to (pure).

Only records count. A file is accounted for exactly once when its record exists, has ended as
parsed or failed, and is of the first and only execution of its key.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from supervisor.demo.tasks import Counts


class FileOutcome(StrEnum):
    """How a record says that its file ended."""

    PARSED = "parsed"
    FAILED = "failed"
    UNFINISHED = "unfinished"


NOTHING = Counts()


@dataclass(frozen=True, slots=True)
class FileAccount:
    """What the record of one file says.

    Arguments:
        key: of its task.
        outcome: how it ended.
        counts: of a parsed file.
        error: of a failed one; of an unfinished one the state it is in.
        waited_seconds: from being queued to being started, of its last attempt.
        generation: how many executions this key has had; more than one is one too many.
    """

    key: str
    outcome: FileOutcome
    counts: Counts = NOTHING
    error: str | None = None
    waited_seconds: float | None = None
    generation: int = 1


@dataclass(frozen=True, slots=True)
class AuditTotals:
    """The sums over all accounts. `wrong` says of each file that does not add up why not."""

    files: int
    parsed: int
    failed: int
    counts: Counts
    waits: tuple[float, ...]
    failures: tuple[FileAccount, ...]
    wrong: tuple[str, ...]

    @property
    def adds_up(self) -> bool:
        """Whether every file is accounted for exactly once."""
        return not self.wrong and self.parsed + self.failed == self.files


def total(keys: Sequence[str], accounts: Iterable[FileAccount]) -> AuditTotals:
    """Hold the accounts against the files.

    Arguments:
        keys: one for each file.
        accounts: one for each record that was found.
    """
    found = list(accounts)
    by_key = {account.key: account for account in found}
    parsed = [each for each in found if each.outcome is FileOutcome.PARSED]
    failed = [each for each in found if each.outcome is FileOutcome.FAILED]
    counts = NOTHING
    for account in parsed:
        counts = counts.plus(account.counts)
    return AuditTotals(
        files=len(keys),
        parsed=len(parsed),
        failed=len(failed),
        counts=counts,
        waits=tuple(sorted(e.waited_seconds for e in found if e.waited_seconds is not None)),
        failures=tuple(failed),
        wrong=tuple(_wrong(keys, found, by_key)),
    )


def _wrong(
    keys: Sequence[str], found: Sequence[FileAccount], by_key: Mapping[str, FileAccount]
) -> Iterable[str]:
    for key, times in Counter(keys).items():
        if times > 1:
            yield f"{key}: {times} files have this key"
        if key not in by_key:
            yield f"{key}: no record"
    known = frozenset(keys)
    for key, times in Counter(account.key for account in found).items():
        if times > 1:
            yield f"{key}: accounted for {times} times"
    for account in found:
        if account.key not in known:
            yield f"{account.key}: a record of no file"
        if account.outcome is FileOutcome.UNFINISHED:
            yield f"{account.key}: {account.error}"
        if account.generation != 1:
            yield f"{account.key}: scheduled {account.generation} times"


def percentile(ascending: Sequence[float], percent: float) -> float | None:
    """The smallest value that at least `percent` of the values do not exceed; None without any."""
    if not ascending:
        return None
    return ascending[max(0, math.ceil(len(ascending) * percent / 100) - 1)]

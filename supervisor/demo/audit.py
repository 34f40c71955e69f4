"""The audit of the demo: the results of all files, held against the list of files (pure).

Only records count. A file is accounted for exactly once if its record exists, is completed or
failed, and belongs to the first and only execution of its key.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from docket import Execution, ExecutionState
from supervisor.demo.tasks import Counts

NO_COUNTS = Counts()
#: The errors of a text that is not valid Python.
SYNTAX_ERRORS = frozenset({"SyntaxError", "IndentationError", "TabError"})


@dataclass(frozen=True, slots=True)
class FileResult:
    """The record of one file.

    Arguments:
        key: of its task.
        state: of its task.
        counts: of a parsed file.
        error: of a failed one.
        waited_seconds: from being queued to being started, of its last attempt.
        generation: executions of this key so far; more than one is one too many.
    """

    key: str
    state: ExecutionState
    counts: Counts = NO_COUNTS
    error: str | None = None
    waited_seconds: float | None = None
    generation: int = 1

    @property
    def is_not_python(self) -> bool:
        """Tell whether it is a syntax error that its task failed with."""
        return (self.error or "").partition(":")[0] in SYNTAX_ERRORS


def result_of(execution: Execution, counts: Counts) -> FileResult:
    """The result of a file whose record `execution` has just been read from."""
    waited = None
    if execution.started_at is not None:
        waited = (execution.started_at - execution.when).total_seconds()
    return FileResult(
        execution.key, execution.state, counts, execution.error, waited, execution.generation
    )


@dataclass(frozen=True, slots=True)
class AuditTotals:
    """The sums over all results; `wrong` has a line for each fault that was found."""

    files: int
    parsed: int
    counts: Counts
    waits: tuple[float, ...]
    failures: tuple[FileResult, ...]
    wrong: tuple[str, ...]

    @property
    def adds_up(self) -> bool:
        """Tell whether every file is accounted for exactly once."""
        return not self.wrong and self.parsed + len(self.failures) == self.files

    @property
    def not_python(self) -> tuple[FileResult, ...]:
        """The files that are not valid Python: no task could parse them."""
        return tuple(each for each in self.failures if each.is_not_python)

    @property
    def other_failures(self) -> tuple[FileResult, ...]:
        """The files that failed although they may be valid Python."""
        return tuple(each for each in self.failures if not each.is_not_python)


def total(keys: Sequence[str], results: Sequence[FileResult]) -> AuditTotals:
    """Compare the results with the files.

    Arguments:
        keys: one for each file.
        results: one for each record that was found.
    """
    parsed = [each for each in results if each.state is ExecutionState.COMPLETED]
    counts = (each.counts for each in parsed)
    return AuditTotals(
        files=len(keys),
        parsed=len(parsed),
        counts=Counts(*map(sum, zip(*counts, strict=True))),
        waits=tuple(sorted(e.waited_seconds for e in results if e.waited_seconds is not None)),
        failures=tuple(each for each in results if each.state is ExecutionState.FAILED),
        wrong=tuple(_wrong(Counter(keys), results)),
    )


def _wrong(keys: Counter[str], results: Sequence[FileResult]) -> Iterable[str]:
    found = Counter(each.key for each in results)
    yield from (f"{key}: {n} files have this key" for key, n in keys.items() if n > 1)
    yield from (f"{key}: no record" for key in keys if key not in found)
    yield from (f"{key}: accounted for {n} times" for key, n in found.items() if n > 1)
    for each in results:
        if each.key not in keys:
            yield f"{each.key}: a record of no file"
        if each.state not in (ExecutionState.COMPLETED, ExecutionState.FAILED):
            yield f"{each.key}: still {each.state.value}"
        if each.generation != 1:
            yield f"{each.key}: scheduled {each.generation} times"


def percentile(ascending: Sequence[float], percent: float) -> float | None:
    """The smallest value that at least `percent` of the values do not exceed; None without any."""
    if not ascending:
        return None
    return ascending[max(0, math.ceil(len(ascending) * percent / 100) - 1)]

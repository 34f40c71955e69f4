"""Metrics of an outage, from the noted times (pure). Times are monotonic seconds."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stress.chaos.checker import Knowledge, Run, find_duplicates
from stress.history import Event

#: The rate is back when a window has this part of the rate before.
FULL_PART = 0.8
WINDOW_SECONDS = 0.5
#: The rate before is that of the last seconds before the outage.
BEFORE_SECONDS = 3.0
#: Connections are counted in bins of this size.
BIN_SECONDS = 0.1
#: Connections are counted for this long after the return.
RETURN_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of an endpoint; `code` 0: there was none."""

    at: float
    path: str
    code: int
    body: str


@dataclass(frozen=True, slots=True)
class Outage:
    """The span in which the server was away, until it answered PING again."""

    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """The duration."""
        return self.ended - self.began


def first_finishes(runs: Iterable[Run], workers: Iterable[int], at: float) -> dict[int, float]:
    """Find the end of the first task that each worker began after the return; inf: none.

    Arguments:
        workers: their pids.
        at: the return; the results are seconds after it.
    """
    found = dict.fromkeys(workers, float("inf"))
    for run in runs:
        if run.pid in found and run.started >= at and run.how is Event.FINISHED:
            assert run.ended is not None
            found[run.pid] = min(found[run.pid], run.ended - at)
    return found


def rate_before(runs: Iterable[Run], at: float) -> float:
    """Count the tasks that finished in a second, before the outage began."""
    ends = _ends(runs)
    return (bisect_left(ends, at) - bisect_left(ends, at - BEFORE_SECONDS)) / BEFORE_SECONDS


def seconds_to_full_rate(runs: Iterable[Run], before: float, at: float) -> float:
    """Measure from the return to the first window with the full rate; inf: it never came.

    Tasks that ended during the outage do not count: only those that began after it.
    """
    ends = _ends(run for run in runs if run.started >= at)
    needed = max(1, int(before * WINDOW_SECONDS * FULL_PART))
    for number, first in enumerate(ends[: len(ends) - needed + 1]):
        if ends[number + needed - 1] - first <= WINDOW_SECONDS:
            return first - at
    return float("inf")


def _ends(runs: Iterable[Run]) -> list[float]:
    return sorted(run.ended for run in runs if run.how is Event.FINISHED and run.ended is not None)


def accepted_after(accepted: Sequence[float], at: float) -> list[int]:
    """Count the connections in each tenth of a second after the return."""
    bins = Counter(int((each - at) / BIN_SECONDS) for each in accepted if each >= at)
    return [bins[number] for number in range(round(RETURN_SECONDS / BIN_SECONDS))]


def attempts_a_second(accepted: Sequence[float], outage: Outage) -> float:
    """Count the attempts to connect in a second, while the server was away."""
    return sum(outage.began <= each < outage.ended for each in accepted) / outage.seconds


def answers_within(answers: Iterable[Answer], path: str, begin: float, end: float) -> list[Answer]:
    """Select the answers of an endpoint in that time."""
    return [each for each in answers if each.path == path and begin <= each.at < end]


def ran_again(runs: Iterable[Run]) -> list[str]:
    """Find the keys of which a link or an attempt began more than once, for any cause."""
    duplicates = find_duplicates(runs, Knowledge({}, {}, {}))
    return sorted({each.first.key for each in duplicates})

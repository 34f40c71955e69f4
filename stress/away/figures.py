"""What an outage came to, from the times that were noted (pure). Times are monotonic seconds."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stress.chaos.judge import Run
from stress.chaos.ledger import Event

#: The rate is back when so much of a window is as it was: a part of the rate before.
FULL_PART = 0.8
WINDOW_SECONDS = 0.5
#: The rate before is that of so many seconds, the last before the outage.
BEFORE_SECONDS = 3.0
#: Connections are counted by this.
BIN_SECONDS = 0.1
#: How long after the return connections are counted.
RETURN_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint said at an instant; `code` 0: it did not answer."""

    at: float
    path: str
    code: int
    body: str


@dataclass(frozen=True, slots=True)
class Outage:
    """From when to when the server was away: gone, and answering PING again."""

    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long that was."""
        return self.ended - self.began


def first_finishes(runs: Iterable[Run], workers: Iterable[int], at: float) -> dict[int, float]:
    """Seconds from the return to the end of the first task that each worker then began; inf: none.

    Arguments:
        workers: their pids.
        at: when the server answered again.
    """
    found = dict.fromkeys(workers, float("inf"))
    for run in runs:
        if run.pid in found and run.started >= at and run.how is Event.FINISHED:
            assert run.ended is not None
            found[run.pid] = min(found[run.pid], run.ended - at)
    return found


def rate_before(runs: Iterable[Run], at: float) -> float:
    """Tasks that finished in a second, before the outage began."""
    ends = _ends(runs)
    return (bisect_left(ends, at) - bisect_left(ends, at - BEFORE_SECONDS)) / BEFORE_SECONDS


def seconds_to_full_rate(runs: Iterable[Run], before: float, at: float) -> float:
    """From the return to the beginning of the first window with the full rate; inf: it never came.

    What ended during the outage does not count: only tasks that began after it.
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
    """Connections in each tenth of a second after the return."""
    bins = Counter(int((each - at) / BIN_SECONDS) for each in accepted if each >= at)
    return [bins[number] for number in range(round(RETURN_SECONDS / BIN_SECONDS))]


def attempts_a_second(accepted: Sequence[float], outage: Outage) -> float:
    """Connections that were tried in a second, while the server was away."""
    return sum(outage.began <= each < outage.ended for each in accepted) / outage.seconds


def answers_within(answers: Iterable[Answer], path: str, begin: float, end: float) -> list[Answer]:
    """What that endpoint said in that time."""
    return [each for each in answers if each.path == path and begin <= each.at < end]


def ran_again(runs: Iterable[Run]) -> list[str]:
    """Keys of which a link or an attempt was begun more than once; the automatic task aside."""
    begun = Counter((run.key, run.number, run.attempt) for run in runs if run.kind != "tick")
    return sorted(key for (key, _, _), times in begun.items() if times > 1)

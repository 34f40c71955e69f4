"""Checks of what operators asked for (pure): every violation is a sentence."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from stress.chaos.checker import Knowledge, Run
from stress.chaos.operators import RETRIED, Pause
from stress.chaos.record import End
from stress.history import Event, Line

#: From the answer to a pause until no task of the function begins any more: claimed before it.
HELD_SECONDS = 1.0
#: For so long after an outage what was claimed may wait for its slots or its connection.
AFTERMATH_SECONDS = 3.0
#: Kinds that block the loop of their process, which begins late what it has claimed.
_BLOCKING = frozenset({"blocker", "holder", "hanging"})


def check_pauses(runs: Iterable[Run], pauses: Iterable[Pause], knowledge: Knowledge) -> list[str]:
    """Check that nothing that was paused began to run meanwhile.

    Excused is what was claimed before: in a process that was stopped, cut off or blocked since, or
    after an outage, when all calls come at once.
    """
    runs = list(runs)
    blocked: dict[int, list[Run]] = defaultdict(list)
    for run in runs:
        if run.kind in _BLOCKING:
            blocked[run.pid].append(run)
    return [
        f"{run.key} began {run.started - pause.since:.3f} s after the pause of"
        f" {pause.function or 'the docket'}, in {run.pid}"
        for pause in pauses
        for run in runs
        if pause.function in (None, run.kind)
        and pause.since + HELD_SECONDS < run.started < pause.until
        and not _was_late(run, pause, blocked[run.pid], knowledge)
    ]


def _was_late(run: Run, pause: Pause, blocked: Iterable[Run], knowledge: Knowledge) -> bool:
    claimed = pause.since - AFTERMATH_SECONDS
    return (
        knowledge.longest_freeze(run.pid, claimed, run.started) > 0
        or knowledge.was_away(claimed, run.started)
        or any(
            each.started <= run.started and knowledge.end_of(each) >= pause.since
            for each in blocked
        )
    )


def check_retries(
    accepted: Mapping[str, str],
    ends: Mapping[str, End],
    promised: Iterable[Line],
    made: int,
    doubtful: int,
    *,
    may_be_lost: bool,
) -> list[str]:
    """Check that each retry made one more execution, and nothing else did.

    Arguments:
        made, doubtful: retries that were answered, and at most so many that were not.
        may_be_lost: a failover may have taken some back.
    """
    again = sum(line.event is Event.AGAIN and line.kind in RETRIED for line in promised)
    more = sum(
        max(0, end.generation - 1) for key, end in ends.items() if accepted.get(key) in RETRIED
    )
    if more < made and not may_be_lost:
        return [f"{made} failures were retried, but only {more} more executions were made"]
    if more > made + doubtful + again:
        most = f"{made} retries, {doubtful} without an answer, and {again} repeated adds"
        return [f"{more} more executions were made of {most}"]
    return []

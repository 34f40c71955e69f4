"""A check of the history against the promises (pure): every violation is a sentence."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import pairwise

from stress.chaos.record import End, Rollback
from stress.chaos.task_kinds import LINKS, MOST_AT_ONCE
from stress.history import Event, Line

#: The ends that a kind of task may have; one that is not listed has to complete.
ENDS: dict[str, frozenset[str]] = {
    "failing": frozenset({"failed"}),
    "late": frozenset({"failed"}),
    "poison": frozenset({"failed"}),
    "hanging": frozenset({"failed"}),
    "cool": frozenset({"completed", "cancelled"}),
    "settled": frozenset({"completed", "cancelled"}),
    "cancelled": frozenset({"completed", "cancelled"}),
}
COMPLETES = frozenset({"completed"})
#: From the claim of a task to the start of its run, in a process whose loop is blocked.
CLAIMED_SECONDS = 2.0
#: An innocent task may fail as poison if so many kills of the plan hit it, at least: beside one
#: poison task it dies once, and counts none of the further deaths of that.
EXCUSING_HITS = 1
#: Kinds that hold the GIL in one call of C, which silences the whole process.
_HOLDS_GIL = frozenset({"holder", "hanging"})
#: Kinds that may end without a finished run.
_NEED_NO_RUN = frozenset({"failing", "late", "poison", "hanging", "cool", "settled", "cancelled"})


@dataclass(slots=True)
class Run:
    """One run of a task. Times are monotonic seconds; `ended` None: its process died first."""

    kind: str
    key: str
    number: int
    attempt: int
    pid: int
    started: float
    ended: float | None = None
    how: Event | None = None


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Two runs of one attempt, and the cause."""

    first: Run
    second: Run
    cause: str | None


@dataclass(frozen=True, slots=True)
class Redelivery:
    """A run that died with its process, and started again so many seconds later.

    Arguments:
        was_away: the server was away for some of that time, when nobody could take over.
    """

    seconds: float
    was_away: bool


@dataclass(slots=True)
class Verdict:
    """The findings of the checker."""

    violations: list[str] = field(default_factory=list[str])
    duplicates: list[Duplicate] = field(default_factory=list[Duplicate])
    runs: int = 0
    #: Pauses that held, and retries of failures.
    pauses: int = 0
    retries: int = 0
    #: Accepted tasks that were lost with a primary, as asynchronous replication may.
    lost: list[str] = field(default_factory=list[str])
    redeliveries: list[Redelivery] = field(default_factory=list[Redelivery])


def runs_of(lines: Iterable[Line]) -> list[Run]:
    """Pair each start with the end that follows in its process; in the order of the starts."""
    open_runs: dict[tuple[str, int, int, int], Run] = {}
    runs: list[Run] = []
    for line in sorted(lines, key=lambda line: line.at):
        place = (line.key, line.number, line.attempt, line.pid)
        if line.event is Event.STARTED:
            run = Run(line.kind, line.key, line.number, line.attempt, line.pid, line.at)
            open_runs[place] = run
            runs.append(run)
        elif (run := open_runs.pop(place, None)) is not None:
            run.ended, run.how = line.at, line.event
    return runs


def check_ends(
    accepted: Mapping[str, str],
    ends: Mapping[str, End],
    runs: Iterable[Run],
    hits: Counter[str],
    perishable: Set[str] = frozenset(),
) -> list[str]:
    """Check that each accepted key ended as its kind has to, with the runs that this takes.

    Arguments:
        hits: the number of a key's runs that died by a kill of the plan.
        perishable: keys that may be gone without a trace. Those that are there have to end.
    """
    finished: dict[str, set[int]] = defaultdict(set)
    for run in runs:
        if run.how is Event.FINISHED:
            finished[run.key].add(run.number)
    wrong: list[str] = []
    for key, kind in accepted.items():
        end = ends.get(key)
        if end is None:
            wrong.append(f"{key} was accepted and never ended")
        elif end.state == "lost" and key in perishable:
            continue
        elif end.error.startswith("PoisonTask") and hits[key] >= EXCUSING_HITS:
            continue  # three kills in a row look like poison
        elif end.state not in ENDS.get(kind, COMPLETES):
            wrong.append(f"{key} ended as {end.state}: {end.error}")
        elif kind not in _NEED_NO_RUN:
            needed = set(range(LINKS)) if kind == "chain" else set[int]()
            if not finished[key] or not needed <= finished[key]:
                wrong.append(f"{key} ended as {end.state}, but finished only {finished[key]}")
    wrong += _broken_relays(accepted, perishable)
    return wrong


def _broken_relays(accepted: Mapping[str, str], perishable: Set[str]) -> list[str]:
    links: dict[str, set[int]] = defaultdict(set)
    for key, kind in accepted.items():
        if kind == "relay":
            head, _, number = key.rpartition(".")
            links[head].add(int(number))
    whole = set(range(LINKS))
    lost = {key.rpartition(".")[0] for key in perishable}
    return [
        f"{head} stopped after {sorted(had)}"
        for head, had in links.items()
        if had != whole and head not in lost
    ]


def find_perishable(
    promised: Iterable[Line], runs: Iterable[Run], knowledge: "Knowledge"
) -> frozenset[str]:
    """Find the keys that were accepted in a span whose writes may have been lost.

    A producer notes the time, unless it is killed first; such a key was accepted before it ran.
    The successor of a relay was accepted while that ran.
    """
    accepted = [line for line in promised if line.event is Event.ACCEPTED]
    added = {
        line.key for line in accepted if knowledge.may_be_lost(line.at - ANSWERED_SECONDS, line.at)
    }
    known = {line.key for line in accepted}
    shaken = [
        run
        for run in runs
        if knowledge.may_be_lost(run.started - ANSWERED_SECONDS, knowledge.end_of(run))
    ]
    unknown = {run.key for run in shaken if run.key not in known}
    relayed = {_successor(run.key) for run in shaken if run.kind == "relay"}
    return frozenset(added | unknown | relayed)


def _successor(key: str) -> str:
    head, _, number = key.rpartition(".")
    return f"{head}.{int(number) + 1}"


def check_replaced(
    promised: Iterable[Line],
    runs: Iterable[Run],
    knowledge: "Knowledge",
    perishable: Set[str] = frozenset(),
) -> list[str]:
    """Check that a task whose replacement was accepted runs in its newer revision last.

    A run that was claimed before the replacement goes on: it begins within a moment, or as soon as
    its process continues.
    """
    accepted = {
        line.key: line.at
        for line in promised
        if line.kind == "replaced" and line.event is Event.ACCEPTED and line.key not in perishable
    }
    last: dict[str, Run] = {}
    for run in runs:
        if run.key in accepted and run.how is Event.FINISHED:
            last[run.key] = run
    return [
        f"{key} ran its old revision last"
        for key, run in last.items()
        if run.number == 0
        and run.started > accepted[key] + CLAIMED_SECONDS
        and knowledge.longest_freeze(run.pid, accepted[key], run.started) < LEAST_FREEZE_SECONDS
    ]


@dataclass(frozen=True, slots=True)
class Knowledge:
    """The known facts about processes and faults. Times are monotonic seconds.

    Arguments:
        killed: pid -> when it died by force, of whatever cause.
        gone: pid -> when it was gone, for any reason.
        frozen: pid -> spans in which it was stopped, or cut off from the server: (from, to).
        rollbacks: spans whose writes may have been lost.
        alive: pid -> when it was last seen alive, of those that are gone.
        away: spans in which the server answered nobody, or took no writes: (from, to).
        orphaned: pid -> when the supervisor of that worker was killed, of those that ended later.
        added_again: key -> when it was added once more, because its add was not answered.
    """

    killed: Mapping[int, float]
    gone: Mapping[int, float]
    frozen: Mapping[int, list[tuple[float, float]]]
    rollbacks: tuple[Rollback, ...] = ()
    alive: Mapping[int, float] = field(default_factory=dict[int, float])
    away: tuple[tuple[float, float], ...] = ()
    orphaned: Mapping[int, float] = field(default_factory=dict[int, float])
    added_again: Mapping[str, Sequence[float]] = field(default_factory=dict[str, list[float]])

    def could_not_hand_in(self, run: Run, by_then: float) -> bool:
        """Return True if its worker, whose supervisor was killed, ended while the server was away.

        Such a worker has little time to drain, and nobody is left to log its death.
        """
        ended = self.gone.get(run.pid, math.inf)
        if run.pid not in self.orphaned or not run.started <= ended <= by_then:
            return False
        cut_off = self.longest_freeze(run.pid, run.started, ended) > 0
        return run.how is None or cut_off or self.was_away(run.started, ended)

    def was_added_again(self, key: str, begun: float) -> bool:
        """Return True if a run may have begun because its key was added once more."""
        again = self.added_again.get(key, ())
        return any(begun - ADDED_SECONDS <= at <= begun for at in again)

    def was_away(self, begin: float, end: float) -> bool:
        """Return True if the server was away at any moment of that time."""
        return any(since <= end and begin <= to for since, to in self.away)

    def may_be_lost(self, begin: float, end: float) -> bool:
        """Return True if something that was written in that time may be gone."""
        return any(each.since <= end and begin <= each.until for each in self.rollbacks)

    def end_of(self, run: Run) -> float:
        """The latest time at which a run may have stopped."""
        if run.ended is not None:
            return run.ended
        return self.gone.get(run.pid, float("inf"))

    def surely_ran_until(self, run: Run) -> float:
        """The latest time at which a run surely went on: its process may have died right after."""
        if run.ended is None and run.pid in self.alive and run.pid in self.gone:
            return max(run.started, self.alive[run.pid])
        return self.end_of(run)

    def longest_freeze(self, pid: int, begin: float, end: float) -> float:
        """The longest time within the span in which a process could not renew a lease."""
        spans = self.frozen.get(pid, [])
        return max((min(end, to) - max(begin, since) for since, to in spans), default=0.0)


def add_unvouched(runs: Iterable[Run], knowledge: Knowledge) -> Knowledge:
    """Add the spans in which processes held the GIL and nobody could vouch for them.

    Such a process renews no lease itself, so it is like a stopped one once its supervisor is gone,
    or an outage took the few seconds that the others have to renew for it.
    """
    frozen = defaultdict(list, {pid: list(spans) for pid, spans in knowledge.frozen.items()})
    for run in runs:
        if run.kind in _HOLDS_GIL:
            to = knowledge.end_of(run)
            outages = [began for began, ended in knowledge.away if run.started <= ended]
            alone = min([knowledge.orphaned.get(run.pid, math.inf), *outages])
            if alone < to:
                frozen[run.pid].append((max(run.started, alone), to))
    return replace(knowledge, frozen=dict(frozen))


#: A run may have been claimed so long before its start, if its process stood still meanwhile.
STALE_CLAIM_SECONDS = 15.0
#: A death that no fault caused is found by looking, this much too late at most.
LATE_LOOK_SECONDS = 1.0
#: From a repeated add to the start of the task, at most.
ADDED_SECONDS = 30.0
#: Between a write and its line in the history, at most, in either order.
ANSWERED_SECONDS = 1.0
#: A lease is renewed several times in its length: only a freeze this long can lose one.
LEAST_FREEZE_SECONDS = 1.5


def explain(first: Run, second: Run, knowledge: Knowledge) -> str | None:
    """Find the cause of a second run of an attempt; None if no fault explains it."""
    by_then = second.started + LATE_LOOK_SECONDS
    died = knowledge.killed.get(first.pid, math.inf)
    # A lease runs from the claim, which comes before the start; and the second run, too, may have
    # been claimed first, and frozen before it could begin.
    stood_still = max(
        knowledge.longest_freeze(run.pid, run.started - STALE_CLAIM_SECONDS, second.started)
        for run in (first, second)
    )
    # Its claim, a renewal of its lease, or its outcome was written where it was lost.
    ended = min(knowledge.end_of(first) + ANSWERED_SECONDS, second.started)
    causes = (
        ("handed back", first.how is Event.CANCELLED),
        ("its process was killed", first.started <= died <= by_then),
        (
            "its supervisor was killed, and the server was away when it ended",
            knowledge.could_not_hand_in(first, by_then),
        ),
        (
            "it was added again: its producer had not heard that it was accepted",
            knowledge.was_added_again(second.key, second.started),
        ),
        ("its lease was lost", stood_still >= LEAST_FREEZE_SECONDS),
        ("failover", knowledge.may_be_lost(first.started - ANSWERED_SECONDS, ended)),
    )
    return next((cause for cause, holds in causes if holds), None)


def find_duplicates(runs: Iterable[Run], knowledge: Knowledge) -> list[Duplicate]:
    """Find every pair of successive runs of the same key, number and attempt."""
    by_attempt: dict[tuple[str, int, int], list[Run]] = defaultdict(list)
    for run in runs:
        if run.kind not in ("tick", "poison"):
            by_attempt[run.key, run.number, run.attempt].append(run)
    found = [
        Duplicate(first, second, explain(first, second, knowledge))
        for same in by_attempt.values()
        for first, second in pairwise(same)
    ]
    return _follow_relays(found)


def _follow_relays(found: list[Duplicate]) -> list[Duplicate]:
    """Explain second runs of relays: a task that ran twice adds its successor twice."""
    twice = {each.first.key for each in found}
    followed: list[Duplicate] = []
    for each in found:
        head, _, number = each.first.key.rpartition(".")
        cause = each.cause
        if cause is None and each.first.kind == "relay" and f"{head}.{int(number) - 1}" in twice:
            cause = "its predecessor ran twice"
        followed.append(Duplicate(each.first, each.second, cause))
    return followed


def check_limits(runs: Iterable[Run], knowledge: Knowledge) -> list[str]:
    """Check that no more runs of a customer went on at once than its limit allows.

    A stopped process is excused, which cannot know that its lease has ended; one that is only cut
    off from the server can, and has to end its run in time. A slot whose grant was lost with a
    primary is free.
    """
    changes: dict[int, list[tuple[float, int, Run]]] = defaultdict(list)
    for run in runs:
        if run.kind != "limited":
            continue
        end = knowledge.surely_ran_until(run)
        if knowledge.longest_freeze(run.pid, run.started, end) >= LEAST_FREEZE_SECONDS:
            continue
        if knowledge.may_be_lost(run.started, end):
            continue
        changes[run.number] += [(run.started, 1, run), (end, -1, run)]
    wrong: list[str] = []
    for customer, marks in changes.items():
        at_once = 0
        for at, change, run in sorted(marks, key=lambda mark: (mark[0], mark[1])):
            at_once += change
            if at_once > MOST_AT_ONCE and change > 0:
                wrong.append(
                    f"{at_once} runs at once for customer {customer} at {at:.3f}, with {run.key}"
                )
    return wrong


def find_redeliveries(runs: Iterable[Run], knowledge: Knowledge) -> list[Redelivery]:
    """Find the next start of each run that died with its process."""
    by_number: dict[tuple[str, int], list[Run]] = defaultdict(list)
    for run in runs:
        by_number[run.key, run.number].append(run)
    found: list[Redelivery] = []
    for same in by_number.values():
        for first, second in pairwise(same):
            died, again = knowledge.killed.get(first.pid), second.started
            if first.how is None and died is not None and died <= again:
                found.append(Redelivery(again - died, knowledge.was_away(died, again)))
    return found

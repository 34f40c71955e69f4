"""The checker of chaos: what it reports as broken, and what it accepts; without any chaos."""

import os
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stress.chaos import checker, evidence
from stress.chaos.checker import Knowledge, Redelivery, Run
from stress.chaos.evidence import died_by_force
from stress.chaos.plan import (
    Fault,
    Kind,
)
from stress.chaos.record import End, InjectedFault, Rollback
from stress.chaos.task_kinds import LINKS, MOST_AT_ONCE
from stress.history import Event, HistoryWriter, Line, Tail, parse, read
from stress.processes import Census

NOBODY = Knowledge({}, {}, {})


def run(key: str, started: float, ended: float | None = None, **rest: object) -> Run:
    """A run of a plain task, unless told otherwise."""
    values: dict[str, object] = {"kind": "plain", "number": 0, "attempt": 1, "pid": 1}
    how = Event.FINISHED if ended is not None else None
    return Run(**{**values, "how": how, **rest}, key=key, started=started, ended=ended)  # type: ignore[arg-type]


def end(key: str, state: str = "completed", error: str = "") -> End:
    return End(key, state, error, 9.0)


# The history.


def test_lines_are_read_as_they_were_written(tmp_path: Path) -> None:
    history, tail = HistoryWriter(tmp_path, "runs"), Tail(tmp_path, "runs")
    history.note("plain", Event.STARTED, "plain:a-1")
    (first,) = tail.read()
    history.note("chain", Event.FINISHED, "chain:a-2", 3, 2)
    (second,) = tail.read()
    assert [first, second] == list(read(tmp_path, "runs"))
    assert (second.kind, second.number, second.attempt, second.pid) == ("chain", 3, 2, os.getpid())
    assert parse(second.text()) == second
    assert list(read(tmp_path, "adds")) == list(tail.read()) == []


LINES = st.lists(
    st.builds(
        Line,
        st.floats(0, 100).map(lambda at: round(at, 6)),
        st.sampled_from(["plain", "chain"]),
        st.sampled_from(Event),
        st.sampled_from(["a", "b-1", "d\u00e9"]),
        *(st.integers(1, 3),) * 3,
    ),
    max_size=5,
)


@given(LINES, st.data())
def test_lines_are_the_same_however_the_file_is_torn(
    lines: list[Line], data: st.DataObject
) -> None:
    whole = "".join(line.text() for line in lines).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    with tempfile.TemporaryDirectory() as folder:
        tail, found = Tail(Path(folder), "runs"), list[Line]()
        for end in [*cuts, len(whole)]:
            Path(folder, "runs-1").write_bytes(whole[:end])
            found += tail.read()
            assert found == lines[: whole[:end].count(b"\n")]


def test_a_run_ends_with_the_end_that_its_own_process_noted() -> None:
    lines = [
        Line(1.0, "plain", Event.STARTED, "k", 0, 1, 10),
        Line(2.0, "plain", Event.STARTED, "k", 0, 1, 11),
        Line(3.0, "plain", Event.FINISHED, "k", 0, 1, 11),
    ]
    first, second = checker.runs_of(lines)
    assert (first.pid, first.ended, first.how) == (10, None, None)
    assert (second.pid, second.ended, second.how) == (11, 3.0, Event.FINISHED)


# Ends.


def broken_ends(kind: str, *ends: End, runs: tuple[Run, ...] = (), hit: int = 0) -> list[str]:
    key = f"{kind}:a"
    by_key = {each.key: each for each in ends}
    return checker.check_ends({key: kind}, by_key, runs, Counter({key: hit}))


def test_accepted_and_finished_is_kept() -> None:
    assert broken_ends("plain", end("plain:a"), runs=(run("plain:a", 1, 2),)) == []


def test_accepted_and_never_ended_is_broken() -> None:
    assert broken_ends("plain") == ["plain:a was accepted and never ended"]


def test_completed_without_a_run_that_finished_is_broken() -> None:
    (wrong,) = broken_ends("plain", end("plain:a"), runs=(run("plain:a", 1),))
    assert wrong == "plain:a ended as completed, but finished only set()"


@pytest.mark.parametrize(
    ("kind", "state", "kept"),
    [
        ("plain", "failed", False),
        ("plain", "lost", False),
        ("failing", "failed", True),
        ("failing", "completed", False),
        ("hanging", "failed", True),
        ("hanging", "completed", False),
        ("cool", "cancelled", True),
        ("cancelled", "cancelled", True),
        ("cancelled", "failed", False),
        ("limited", "cancelled", False),
    ],
)
def test_each_kind_ends_as_it_has_to(kind: str, state: str, kept: bool) -> None:
    assert (broken_ends(kind, end(f"{kind}:a", state)) == []) is kept


def test_an_innocent_that_is_taken_for_poison_is_broken_unless_the_plan_killed_it_itself() -> None:
    poisoned = end("plain:a", "failed", "PoisonTask: 3 worker processes died")
    assert len(broken_ends("plain", poisoned, hit=0)) == 1
    assert broken_ends("plain", poisoned, hit=1) == []


def test_a_chain_needs_every_link() -> None:
    links = [run("chain:a", n, n + 0.5, kind="chain", number=n) for n in range(LINKS)]
    assert broken_ends("chain", end("chain:a"), runs=tuple(links)) == []
    assert len(broken_ends("chain", end("chain:a"), runs=tuple(links[1:]))) == 1


def test_a_relay_that_stops_is_broken() -> None:
    accepted = {f"relay:a.{n}": "relay" for n in range(LINKS - 1)}
    ends = {key: end(key) for key in accepted}
    runs = [run(key, 1, 2, kind="relay") for key in accepted]
    assert checker.check_ends(accepted, ends, runs, Counter()) == [
        f"relay:a stopped after {list(range(LINKS - 1))}"
    ]


def test_an_old_revision_may_run_last_only_if_the_new_one_was_never_promised() -> None:
    runs = [run("replaced:a", 1, 2, number=1), run("replaced:a", 3, 4, number=0)]
    claimed_before = [runs[0], run("replaced:a", 1.5, 2.5, number=0)]
    accepted = Line(0.5, "replaced", Event.ACCEPTED, "replaced:a", 1, 1, 1)
    stopped = Knowledge({}, {}, {1: [(0.6, 2.9)]})
    assert checker.check_replaced([], runs, NOBODY) == []
    assert checker.check_replaced([accepted], runs, NOBODY) == [
        "replaced:a ran its old revision last"
    ]
    assert checker.check_replaced([accepted], runs, stopped) == []
    assert checker.check_replaced([accepted], runs[:1], NOBODY) == []
    assert checker.check_replaced([accepted], claimed_before, NOBODY) == []


# Duplicates.


def cause_of(first: Run, second: Run, knowledge: Knowledge = NOBODY) -> str | None:
    (duplicate,) = checker.find_duplicates([first, second], knowledge)
    return duplicate.cause


def test_a_second_run_without_a_cause_has_none() -> None:
    assert cause_of(run("k", 1, 2), run("k", 3, 4)) is None


def test_another_attempt_or_another_link_is_no_duplicate() -> None:
    runs = [run("k", 1, 2), run("k", 3, 4, attempt=2), run("k", 5, 6, number=1)]
    assert checker.find_duplicates(runs, NOBODY) == []


def test_a_cancelled_run_was_handed_back() -> None:
    assert cause_of(run("k", 1, 2, how=Event.CANCELLED), run("k", 3, 4)) == "handed back"


def test_a_death_explains_what_began_before_it_and_came_back_after_it() -> None:
    killed = Knowledge({1: 2.5}, {}, {})
    assert cause_of(run("k", 1, 2), run("k", 3, 4), killed) == "its process was killed"
    assert cause_of(run("k", 2.6, 2.7), run("k", 3, 4), killed) is None
    assert cause_of(run("k", 0.1, 0.2), run("k", 1, 1.2), killed) is None


def test_a_long_freeze_explains_a_lost_lease_and_a_short_one_does_not() -> None:
    first, second = run("k", 1, None), run("k", 8, 9, pid=2)
    assert cause_of(first, second, Knowledge({}, {}, {1: [(2.0, 6.0)]})) == "its lease was lost"
    assert cause_of(first, second, Knowledge({}, {}, {1: [(2.0, 3.0)]})) is None
    assert cause_of(first, second, Knowledge({}, {}, {3: [(2.0, 6.0)]})) is None


def test_a_freeze_between_claim_and_start_explains_a_run_that_comes_too_late() -> None:
    first, late = run("k", 5, 6), run("k", 7, 8, pid=2)
    assert cause_of(first, late, Knowledge({}, {}, {2: [(2.0, 6.5)]})) == "its lease was lost"


def test_an_orphan_that_ended_without_its_server_explains_what_it_could_not_hand_in() -> None:
    first, second = run("k", 1, 2), run("k", 9, 10, pid=2)
    cause = "its supervisor was killed, and the server was away when it ended"
    away = Knowledge({}, {1: 6.0}, {}, away=((3.0, 5.0),), orphaned={1: 2.5})
    assert cause_of(first, second, away) == cause
    served = Knowledge({}, {1: 6.0}, {}, orphaned={1: 2.5})
    assert cause_of(first, second, served) is None
    assert cause_of(run("k", 1, None), second, served) == cause
    cut_off = Knowledge({}, {1: 6.0}, {1: [(5.0, 5.9)]}, orphaned={1: 2.5})
    assert cause_of(first, second, cut_off) == cause
    assert cause_of(first, run("k", 4, 5, pid=2), away) is None
    assert cause_of(first, second, Knowledge({}, {1: 6.0}, {}, away=((3.0, 5.0),))) is None


def test_c_code_that_holds_the_gil_is_a_freeze_once_nobody_can_vouch_for_its_process() -> None:
    hanging, beside = run("h", 1.0, kind="hanging"), run("k", 0.5)
    second = run("k", 8.0, pid=2)
    orphan = Knowledge({}, {1: 12.0}, {}, orphaned={1: 3.0})
    known = checker.add_unvouched([hanging, beside], orphan)
    assert known.frozen == {1: [(3.0, 12.0)]}
    assert cause_of(beside, second, known) == "its lease was lost"
    ended_before = run("h", 1.0, 2.0, kind="holder")
    elsewhere = run("h", 1.0, kind="hanging", pid=3)
    assert checker.add_unvouched([ended_before, elsewhere, beside], orphan).frozen == {}
    outages = Knowledge({}, {1: 12.0}, {}, away=((0.2, 0.9), (2.0, 2.5), (13.0, 14.0)))
    assert checker.add_unvouched([hanging, beside], outages).frozen == {1: [(2.0, 12.0)]}
    assert checker.add_unvouched([hanging], Knowledge({}, {1: 12.0}, {})).frozen == {}


def test_a_task_that_its_producer_added_again_explains_a_second_run() -> None:
    first, second = run("k", 1, 2), run("k", 9, 10)
    again = Knowledge({}, {}, {}, added_again={"k": [8.0]})
    assert cause_of(first, second, again) == (
        "it was added again: its producer had not heard that it was accepted"
    )
    assert cause_of(first, second, Knowledge({}, {}, {}, added_again={"k": [9.5]})) is None
    assert cause_of(first, run("k", 60, 61), again) is None
    assert cause_of(first, second, Knowledge({}, {}, {}, added_again={"l": [8.0]})) is None


def test_who_ended_soon_after_its_supervisor_was_killed_is_an_orphan() -> None:
    census = Census()
    census.gone.update({11: 14.0, 12: 60.0, 13: 9.0, 21: 14.0})
    fault = Fault(5.0, Kind.KILL_SUPERVISOR, 0, 0.0, 0.5)
    injected = InjectedFault(fault, 10.0, [10], signalled=10.1, ended=11.0)
    again = Line(3.0, "plain", Event.AGAIN, "plain:a", 0, 1, 1)
    known = evidence.knowledge([], census, [injected], {0: {11, 12, 13}, 1: {21}}, (), [again])
    assert known.orphaned == {11: 10.1}
    assert known.added_again == {"plain:a": [3.0]}


def test_whom_a_fault_killed_died_then_and_not_when_that_was_seen(tmp_path: Path) -> None:
    census = Census()
    census.gone.update({11: 14.0, 12: 9.0, 13: 20.0})
    log = tmp_path / "host-0.log"
    log.write_text("".join(f"worker 1 (pid {pid}) died: killed\n" for pid in (11, 12, 13)))
    fault = Fault(5.0, Kind.KILL_WORKERS, 0, 0.0, 0.5)
    injected = InjectedFault(fault, 10.0, [11, 12], signalled=10.1, ended=11.0)
    known = evidence.knowledge([log], census, [injected], {})
    assert known.killed == {11: 10.1, 12: 9.0, 13: 20.0}


def test_a_relay_that_ran_twice_runs_its_successors_twice() -> None:
    killed = Knowledge({1: 1.5}, {}, {})
    first = [run("relay:a.0", 1, 1.2, kind="relay"), run("relay:a.0", 2, 2.2, kind="relay", pid=2)]
    then = [run("relay:a.1", 1.4, 1.45, kind="relay", pid=3)]
    then += [run("relay:a.1", 2.4, 2.5, kind="relay", pid=3)]
    causes = [each.cause for each in checker.find_duplicates([*first, *then], killed)]
    assert causes == ["its process was killed", "its predecessor ran twice"]
    assert checker.find_duplicates(then, killed)[0].cause is None


# Failovers.

#: Writes from 2 to 4 may be lost.
LOST = Knowledge({}, {}, {}, (Rollback(2.0, 4.0),))


@pytest.mark.parametrize(
    ("first", "second", "cause"),
    [
        (run("k", 2.5, 2.6), run("k", 5, 6), "failover"),  # claim and outcome
        (run("k", 1.5, 2.5), run("k", 5, 6), "failover"),  # the outcome
        (run("k", 0.2, 1.5), run("k", 5, 6), "failover"),  # an outcome written a moment later
        (run("k", 0.1, 9.0), run("k", 5, 6), "failover"),  # a renewal of the lease
        (run("k", 0.1, 0.5), run("k", 5, 6), None),
        (run("k", 5.5, 6.0), run("k", 7, 8), None),
        (run("k", 0.1, 0.2), run("k", 0.5, 6), None),
    ],
)
def test_a_failover_explains_a_second_run_of_what_was_written_in_its_span(
    first: Run, second: Run, cause: str | None
) -> None:
    assert cause_of(first, second, LOST) == cause


def accepted(key: str, at: float) -> Line:
    return Line(at, key.partition(":")[0], Event.ACCEPTED, key, 0, 1, 1)


def test_what_was_accepted_in_a_failover_is_perishable_and_nothing_else_is() -> None:
    promised = [accepted("plain:a", 1.5), accepted("plain:b", 3.0), accepted("plain:c", 5.5)]
    runs = [run("plain:a", 3.0, 3.5), run("plain:c", 5.6, 5.7)]
    assert checker.find_perishable(promised, runs, LOST) == {"plain:b"}
    assert checker.find_perishable(promised, runs, NOBODY) == frozenset()


def test_what_a_killed_producer_added_is_perishable_if_it_ran_in_the_failover() -> None:
    wanted = Line(3.0, "plain", Event.WANTED, "plain:a", 0, 1, 1)
    assert checker.find_perishable([wanted], [run("plain:a", 3.1, 3.2)], LOST) == {"plain:a"}
    assert checker.find_perishable([wanted], [run("plain:a", 6.0, 6.2)], LOST) == frozenset()


def test_a_perishable_task_may_be_gone_but_not_stuck_nor_end_as_something_else() -> None:
    perishable = frozenset({"plain:a"})

    def check(*ends: End) -> list[str]:
        by_key = {each.key: each for each in ends}
        return checker.check_ends({"plain:a": "plain"}, by_key, (), Counter(), perishable)

    assert check(end("plain:a", "lost")) == []
    assert check() == ["plain:a was accepted and never ended"]
    assert check(end("plain:a", "failed", "x")) == ["plain:a ended as failed: x"]
    assert check(end("plain:a")) == ["plain:a ended as completed, but finished only set()"]


def test_a_relay_may_stop_where_a_failover_lost_the_next_link() -> None:
    links = {"relay:a.0": "relay", "relay:a.1": "relay"}
    ends = {key: end(key) for key in links}
    runs = [run("relay:a.0", 1, 1.2, kind="relay"), run("relay:a.1", 3, 3.2, kind="relay")]
    perishable = checker.find_perishable([accepted("relay:a.0", 0.5)], runs, LOST)
    assert "relay:a.2" in perishable
    assert checker.check_ends(links, ends, runs, Counter(), perishable) == []
    assert checker.check_ends(links, ends, runs, Counter()) == ["relay:a stopped after [0, 1]"]


def test_a_replacement_that_a_failover_lost_need_not_run() -> None:
    runs = [run("replaced:a", 7, 8, number=0)]
    promised = [accepted("replaced:a", 3.0)]
    perishable = checker.find_perishable(promised, runs, LOST)
    assert checker.check_replaced(promised, runs, LOST, perishable) == []
    assert checker.check_replaced(promised, runs, LOST) == ["replaced:a ran its old revision last"]


def test_supervisors_tell_who_did_not_end_by_itself() -> None:
    log = (
        "WARNING supervisor: worker 1 (pid 11) died: killed by SIGKILL; replaced at once\n"
        "INFO supervisor: worker 2 (pid 12) ended: drained\n"
        "INFO supervisor: worker 3 (pid 13) ended: killed at the end of the drain\n"
        "INFO supervisor: worker 1 ready: vm#1, pid 14, 1.8 s after its fork\n"
    )
    assert died_by_force(log) == [11, 13]


def test_a_worker_that_gives_up_by_an_error_of_its_own_breaks_a_promise() -> None:
    log = (
        "2026-01-01 00:00:00.000 INFO [worker 1] docket.worker: The worker goes on\n"
        "2026-01-01 00:00:00.001 ERROR [worker 3] docket.supervisor.worker: "
        "The worker cannot go on\n"
        "Traceback (most recent call last):\n"
        "RuntimeError: closed\n"
        "2026-01-01 00:00:00.002 ERROR supervisor: worker 3 (pid 7) cannot go on: closed\n"
    )
    (told,) = evidence.faults_of_ours(log)
    assert told.startswith("a worker gave up: [worker 3] docket.supervisor.worker: ")
    assert told.endswith("RuntimeError: closed")
    assert evidence.faults_of_ours(log.splitlines()[0]) == []


# Limits.


def limited(started: float, ended: float | None, pid: int = 1) -> Run:
    return run(f"limited:{started}", started, ended, kind="limited", number=5, pid=pid)


def test_as_many_at_once_as_the_limit_says_are_kept_and_one_more_is_broken() -> None:
    at_most = [limited(n / 10, 5.0) for n in range(MOST_AT_ONCE)]
    assert checker.check_limits(at_most, NOBODY) == []
    (wrong,) = checker.check_limits([*at_most, limited(4.0, 6.0)], NOBODY)
    assert wrong.startswith(f"{MOST_AT_ONCE + 1} runs at once for customer 5 at 4.000")
    assert checker.check_limits([*at_most, limited(5.0, 6.0)], NOBODY) == []


def test_a_dead_process_holds_its_slot_until_it_is_gone() -> None:
    at_most = [limited(n / 10, None, pid=n) for n in range(MOST_AT_ONCE)]
    gone = dict.fromkeys(range(MOST_AT_ONCE), 2.0)
    assert checker.check_limits([*at_most, limited(3.0, 4.0, 9)], Knowledge({}, gone, {})) == []
    assert len(checker.check_limits([*at_most, limited(1.0, 4.0, 9)], Knowledge({}, gone, {}))) == 1
    seen = Knowledge({}, gone, {}, alive=dict.fromkeys(gone, 0.9))
    assert checker.check_limits([*at_most, limited(1.0, 4.0, 9)], seen) == []
    assert len(checker.check_limits([*at_most, limited(0.8, 4.0, 9)], seen)) == 1


def test_a_stopped_process_cannot_know_that_its_lease_has_ended() -> None:
    runs = [*(limited(n / 10, 9.0, pid=1) for n in range(MOST_AT_ONCE)), limited(7.0, 8.0, 2)]
    assert checker.check_limits(runs, Knowledge({}, {}, {1: [(1.0, 6.5)]})) == []


def test_a_slot_whose_grant_was_lost_in_a_failover_is_free() -> None:
    runs = [limited(1.0 + n / 10, 9.0) for n in range(MOST_AT_ONCE + 1)]
    assert checker.check_limits(runs, LOST) == []
    assert len(checker.check_limits(runs, NOBODY)) == 1
    later = [limited(5.0 + n / 10, 9.0) for n in range(MOST_AT_ONCE + 1)]
    assert len(checker.check_limits(later, LOST)) == 1


def test_the_delay_of_a_redelivery_is_from_the_death_to_the_next_start() -> None:
    runs = [run("k", 1, None), run("k", 4, 5, pid=2), run("j", 1, 2)]
    assert checker.find_redeliveries(runs, Knowledge({1: 3.5}, {}, {})) == [Redelivery(0.5, False)]


@pytest.mark.parametrize(
    ("outage", "was_away"), [((1.0, 3.4), False), ((1.0, 3.6), True), ((4.1, 5.0), False)]
)
def test_nobody_could_take_over_while_the_server_was_away(
    outage: tuple[float, float], was_away: bool
) -> None:
    runs = [run("k", 1, None), run("k", 4, 5, pid=2)]
    known = Knowledge({1: 3.5}, {}, {}, away=(outage,))
    assert checker.find_redeliveries(runs, known) == [Redelivery(0.5, was_away)]

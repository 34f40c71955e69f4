"""The metrics of an outage, from noted times; without any outage."""

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from stress.chaos.checker import Run
from stress.chaos.outage import metrics
from stress.chaos.outage.cli import away
from stress.chaos.outage.kinds import OutageKind
from stress.chaos.outage.metrics import Answer, Outage
from stress.chaos.outage.monitor import service_manager
from stress.chaos.outage.report import MOST_SHOWN, as_text, shortened
from stress.chaos.outage.run import OutageResult, OutageSettings
from stress.history import Event
from tests.support.store import until

INFINITE = float("inf")


def run(started: float, ended: float | None, pid: int = 1, key: str = "k", **rest: object) -> Run:
    values: dict[str, object] = {"kind": "plain", "number": 0, "attempt": 1}
    how = Event.FINISHED if ended is not None else None
    return Run(**{**values, "how": how, **rest}, key=key, pid=pid, started=started, ended=ended)  # type: ignore[arg-type]


def test_only_what_began_after_the_return_is_a_workers_first_task() -> None:
    runs = [run(9, 10.5), run(10.5, 11), run(10.2, 10.4, pid=2), run(10.1, 10.2, pid=7)]
    assert metrics.first_finishes(runs, [1, 2, 3], 10.0) == pytest.approx(
        {1: 1.0, 2: 0.4, 3: INFINITE}
    )


def test_a_run_that_failed_is_no_first_task() -> None:
    assert metrics.first_finishes([run(10, 11, how=Event.RAISED)], [1], 10.0) == {1: INFINITE}


def test_the_rate_is_that_of_the_last_seconds_before_the_outage() -> None:
    runs = [run(0, at / 10) for at in range(100)]
    assert metrics.rate_before(runs, 10.0) == pytest.approx(10.0)


def test_the_rate_is_back_with_the_first_window_that_is_as_full_as_before() -> None:
    trickle = [run(10.0, 10.0 + n * 0.4) for n in range(1, 4)]
    flood = [run(11.5, 12.0 + n * 0.05) for n in range(40)]
    before = [run(9.0, 10.0 + n * 0.01) for n in range(100)]
    assert metrics.seconds_to_full_rate([*before, *trickle, *flood], 20.0, 10.0) == 2.0
    assert metrics.seconds_to_full_rate(trickle, 20.0, 10.0) == INFINITE


def test_connections_are_counted_by_tenths_after_the_return_and_by_seconds_before_it() -> None:
    accepted = [8.0, 9.0, 10.01, 10.02, 10.15, 14.0]
    bins = metrics.accepted_after(accepted, 10.0)
    assert bins[:3] == [2, 1, 0]
    assert sum(bins) == 3
    assert metrics.attempts_a_second(accepted, Outage(6.0, 10.0)) == 0.5


def test_answers_are_those_of_one_endpoint_in_one_span() -> None:
    answers = [Answer(1, "/livez", 200, "ok"), Answer(2, "/readyz", 503, "x")]
    answers += [Answer(9, "/readyz", 200, "y")]
    assert metrics.answers_within(answers, "/readyz", 0, 5) == [answers[1]]


def test_another_attempt_or_another_link_ran_no_second_time() -> None:
    runs = [run(1, 2), run(3, 4, attempt=2), run(5, 6, number=1)]
    assert metrics.ran_again(runs) == []
    assert metrics.ran_again([*runs, run(7, 8, pid=2)]) == ["k"]
    assert metrics.ran_again([run(1, 2, kind="tick"), run(3, 4, kind="tick")]) == []


@pytest.mark.anyio
async def test_a_service_manager_keeps_the_words_of_each_status(tmp_path: Path) -> None:
    async with service_manager(tmp_path / "notify") as manager:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as pool:
            pool.sendto(b"READY=1\nSTATUS=fine", str(manager.path))
            pool.sendto(b"STATUS=the server is away", str(manager.path))
        await until(lambda: len(manager.statuses) == 2)
    assert [words for _, words in manager.statuses] == ["fine", "the server is away"]


# The report.


def test_a_long_log_is_shown_with_its_beginning_and_its_end() -> None:
    few = [str(n) for n in range(2 * MOST_SHOWN)]
    assert shortened(few) == few
    many = shortened([str(n) for n in range(100)])
    assert (many[0], many[MOST_SHOWN], many[-1]) == ("0", "... 76 more ...", "99")
    assert len(many) == 2 * MOST_SHOWN + 1


def test_the_report_explains_each_metric(tmp_path: Path) -> None:
    runs = [run(9.0, 9.5, key="a"), run(20.1, 20.3), run(20.1, 20.2, key="tick", kind="tick")]
    answers = [Answer(11.4, "/readyz", 503, "server away"), Answer(20.2, "/readyz", 200, "ok")]
    result = OutageResult(
        OutageSettings(tmp_path, OutageKind.KILL, 10.0, 1),
        Outage(10.0, 20.0),
        runs,
        workers=[1],
        answers=answers,
        accepted=[12.0, 20.05],
        statuses=[(11.4, "the server is away")],
        log=["lost", "↬ a task", "↩ a task", "back"],
        ends={"k": "completed"},
        status={"workers": [{"slot": 1, "restarts": 0}]},
        exit_code=0,
    )
    assert as_text(result).splitlines() == [
        "kill: the server was away for 10.0 s",
        "  workers: 1, tasks: 1",
        "  rate before: 0 tasks a second",
        "after its return:",
        "  first task of a worker: after 0.20 s to after 0.20 s",
        "  full rate: after 0.20 s",
        "  /readyz 200: after 0.20 s",
        "  most connections in 0.1 s: 1",
        "while it was away:",
        "  attempts to connect: 0.1 a second, of all workers",
        "  /readyz 503: after 1.40 s",
        "  its reason: server away",
        "log, 2 lines:",
        "  lost",
        "  back",
        "statuses for the service manager:",
        "  the server is away",
        "every promise was kept",
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["--seconds", "0"],
        ["--seconds", "12"],
        ["--seconds", "12", "--way", "stop"],
        ["--seconds", "1e9"],
        ["--processes", "0"],
    ],
)
def test_numbers_with_which_nothing_can_be_shown_are_refused(words: list[str]) -> None:
    assert CliRunner().invoke(away, words).exit_code == 2

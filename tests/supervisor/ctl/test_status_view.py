"""The report of a pool, as exact text."""

import json
import re
import signal
from typing import Any

import pytest
from msgspec import structs
from rich.text import Text

from supervisor.ctl.report import (
    PoolReport,
    ReportedBacklog,
    ReportedChange,
    ReportedPool,
    ReportedScaling,
    ReportedTask,
    ReportedTotals,
    ReportedWorker,
    read_report,
)
from supervisor.ctl.status_view import render
from supervisor.errors import OrderFailed
from supervisor.monitoring.status import report
from supervisor.pool.state.inbox_events import SignalReceived
from supervisor.pool.state.scaling import SizeChange
from supervisor.process_range import ProcessRange
from supervisor.signals import ReceivedSignal
from tests.support.recording_process_control import Rig

POOL = ReportedPool(4711, "running", 11_523.4, 1, 2, "orders", "redis://localhost:6379/0")
CALM = ReportedWorker(
    slot=1,
    pid=4712,
    generation=1,
    state="ready",
    uptime_seconds=11_522.0,
    started=100,
    succeeded=100,
    loop_lag_seconds=0.0004,
    heartbeat_age_seconds=0.3,
    rss_bytes=28_000_000,
    cpu_percent=0.4,
    open_descriptors=21,
)
BUSY = ReportedWorker(
    slot=2,
    pid=4713,
    generation=2,
    state="draining",
    uptime_seconds=75.0,
    restarts=1,
    in_flight=2,
    tasks=[ReportedTask("order-1", "shop.send", 61.5), ReportedTask("order-2", "shop.send", 3.2)],
    started=12_345,
    succeeded=12_000,
    failed=3,
    retried=4,
    redelivered=5,
    loop_lag_seconds=0.25,
    heartbeat_age_seconds=0.1,
    rss_bytes=1_234_000_000,
    cpu_percent=99.6,
    open_descriptors=1_004,
)
SUMS = ReportedTotals(12_445, 12_100, 3, 4, 5, poisoned=1, crashes=2, restarts=2, stalls=1)
EVENTFUL = PoolReport(POOL, [CALM, BUSY], SUMS)
QUIET = PoolReport(POOL, [CALM], ReportedTotals(100, 100))


def drawn(report: PoolReport, width: int | None = None, height: int | None = None) -> str:
    return "\n".join(line.plain.rstrip() for line in render(report, width, height))


def styles(lines: list[Text], text: str) -> set[str]:
    """The styles of `text` wherever it stands, as words of its own."""
    found: set[str] = set()
    for line in lines:
        for match in re.finditer(rf"(?<!\S){re.escape(text)}(?!\S)", line.plain):
            spans = [each for each in line.spans if each.start <= match.start() < each.end]
            assert all(each[:2] == match.span() for each in spans)
            found |= {str(each.style) for each in spans} or {str(line.style)}
    return found


def test_a_backlog_is_a_line_of_its_own() -> None:
    report = structs.replace(
        QUIET, backlog=ReportedBacklog(queued=3, scheduled=1_200, places=20, places_used=7)
    )

    assert drawn(report).splitlines()[2:4] == [
        "3 queued; 1,200 scheduled; 7 of 20 places used",
        "",
    ]


def test_a_backlog_tells_what_waits_for_long_and_what_is_held_up() -> None:
    backlog = ReportedBacklog(
        scheduled=5,
        queued=3,
        waiting=4,
        paused=2,
        oldest_ready_seconds=75.0,
        lateness_seconds=12.0,
        pauses=1,
        failed_kept=9,
    )
    lines = render(structs.replace(QUIET, backlog=backlog))

    assert lines[2].plain == (
        "3 queued, the oldest for 1m15s; 5 scheduled, the first 12.0 s late; "
        "4 waiting for a limit; 2 paused; 1 pause; 9 failed kept; 0 of 0 places used"
    )
    coloured = {lines[2].plain[span.start : span.end]: span.style for span in lines[2].spans}
    assert coloured[", the oldest for 1m15s"] == "red"
    assert coloured[", the first 12.0 s late"] == "yellow"
    assert coloured["9 failed kept"] == "red"


def scaling_line(scaling: ReportedScaling) -> str:
    pool = structs.replace(POOL, scaling=scaling)
    return drawn(PoolReport(pool, [CALM])).splitlines()[2]


def test_a_size_that_follows_the_work_is_a_line_of_its_own() -> None:
    assert scaling_line(ReportedScaling(2, 16)) == "2 to 16 workers, as the work needs"


def test_the_last_change_of_the_size_and_what_holds_it_are_told() -> None:
    change = ReportedChange(4, 8, "the oldest ready task has waited 3.2 s", 75.0)
    assert scaling_line(ReportedScaling(2, 16, "workers start", change)) == (
        "2 to 16 workers, as the work needs; held: workers start; "
        "1m15s ago from 4 to 8: the oldest ready task has waited 3.2 s"
    )


def test_a_quiet_pool_at_a_glance() -> None:
    assert drawn(QUIET) == (
        "docket orders at redis://localhost:6379/0\n"
        "running, 1 of 2 workers ready, up 3h12m, generation 1, pid 4711\n"
        "\n"
        "slot   pid  state  gen     up  restarts  running  started   ok  failed"
        "  retried  redelivered   lag   memory  cpu  fds\n"
        "   1  4712  ready    1  3h12m         0        0      100  100       0"
        "        0            0  0 ms  28.0 MB   0%   21\n"
        " all                                  0        0      100  100       0"
        "        0            0        28.0 MB   0%   21\n"
        "\n"
        "nothing is running"
    )


def test_an_eventful_pool_at_a_glance() -> None:
    assert drawn(EVENTFUL) == (
        "docket orders at redis://localhost:6379/0\n"
        "running, 1 of 2 workers ready, up 3h12m, generation 1, pid 4711\n"
        "\n"
        "slot   pid  state     gen     up  restarts  running  started      ok  failed"
        "  retried  redelivered     lag   memory   cpu    fds\n"
        "   1  4712  ready       1  3h12m         0        0      100     100       0"
        "        0            0    0 ms  28.0 MB    0%     21\n"
        "   2  4713  draining    2  1m15s         1        2   12,345  12,000       3"
        "        4            5  250 ms   1.2 GB  100%  1,004\n"
        " all                                     2        2   12,445  12,100       3"
        "        4            5           1.3 GB  100%  1,025\n"
        "\n"
        "so far: 2 crashes, 1 stall, 1 task failed as poison\n"
        "longest running  task       key      slot\n"
        "          1m01s  shop.send  order-1     2\n"
        "             3s  shop.send  order-2     2"
    )


def test_on_a_narrow_terminal_columns_without_news_go_first() -> None:
    assert drawn(QUIET, 64) == (
        "docket orders at redis://localhost:6379/0\n"
        "running, 1 of 2 workers ready, up 3h12m, generation 1, pid 4711\n"
        "\n"
        "slot   pid  state  running  started   ok  failed   lag   memory\n"
        "   1  4712  ready        0      100  100       0  0 ms  28.0 MB\n"
        " all                     0      100  100       0        28.0 MB\n"
        "\n"
        "nothing is running\n"
        "no room for: gen, up, restarts, retried, redelivered, cpu, fds"
    )


def test_a_narrow_terminal_keeps_state_running_ok_and_failed_and_cuts_no_sentence() -> None:
    assert drawn(EVENTFUL, 44) == (
        "docket orders at redis://localhost:6379/0\n"
        "running, 1 of 2 workers ready, up 3h12m,\n"
        "generation 1, pid 4711\n"
        "\n"
        "slot  state     running      ok  failed\n"
        "   1  ready           0     100       0\n"
        "   2  draining        2  12,000       3\n"
        " all                  2  12,100       3\n"
        "\n"
        "so far: 2 crashes, 1 stall, 1 task failed as\n"
        "poison\n"
        "longest running  task       key      slot\n"
        "          1m01s  shop.send  order-1     2\n"
        "             3s  shop.send  order-2     2\n"
        "no room for: pid, gen, up, restarts,\n"
        "started, retried, redelivered, lag, memory,\n"
        "cpu, fds"
    )


@pytest.mark.parametrize("width", [120, 80, 50])
def test_long_names_lose_their_middle_and_their_slot_stays(width: int) -> None:
    task = ReportedTask("reminder:" + "k" * 40 + ":17", "shop.orders.send_invoice_reminder", 61.5)
    busy = structs.replace(BUSY, tasks=[task])
    lines = drawn(PoolReport(POOL, [busy], SUMS), width).splitlines()
    (row,) = [line for line in lines if line.lstrip().startswith("1m01s")]
    assert re.search(r"  shop\S+nder +remi\S*\.\.\.\S*17 +2$", row)
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize(
    ("left", "line"),
    [
        (12.3, "what still runs in 13s is handed back"),
        (3600.0, "what still runs in 1h00m is handed back"),
        (0.0, "what still runs is handed back now"),
    ],
)
def test_a_drain_counts_down_to_its_deadline(left: float, line: str) -> None:
    pool = structs.replace(POOL, state="draining", drain_seconds_left=left)
    lines = render(PoolReport(pool, [BUSY]))
    assert lines[2].plain == line
    assert str(lines[2].style) == "yellow"
    assert "handed back" not in drawn(EVENTFUL)


def test_a_pool_that_drains_reports_the_seconds_to_its_deadline() -> None:
    rig = Rig(1).boot()
    read = read_report(json.dumps(report(rig.pool_state, rig.now)))
    assert read.supervisor.drain_seconds_left is None
    rig.feed(SignalReceived(ReceivedSignal(signal.SIGTERM, rig.now)))
    seconds = rig.pool_state.config.drain_timeout.total_seconds()
    read = read_report(json.dumps(report(rig.pool_state, rig.now + 4.0)))
    assert read.supervisor.drain_seconds_left == seconds - 4.0


def test_of_what_says_something_descriptors_go_first_and_the_cpu_next() -> None:
    whole = len(drawn(EVENTFUL).splitlines()[3])
    assert drawn(EVENTFUL, whole - 1).splitlines()[-1] == "no room for: fds"
    assert drawn(EVENTFUL, whole - len("  1,004") - 1).splitlines()[-1] == "no room for: cpu, fds"
    assert drawn(QUIET, 80).splitlines()[3].endswith("  lag   memory  cpu  fds")


def test_on_a_low_terminal_the_last_workers_are_only_counted() -> None:
    many = PoolReport(POOL, [CALM] * 20, ReportedTotals(100, 100))
    lines = drawn(many, None, 14).splitlines()
    assert len(lines) <= 14
    assert lines[4:10] == [lines[4]] * 5 + ["and 15 workers more"]
    assert lines[10].startswith(" all")
    assert drawn(many, None, 5).count("ready ") == 3


def test_a_failed_reload_is_shown_in_one_line_below_the_state() -> None:
    pool = ReportedPool(reload_error="ImportError: no module\n  named shop\x1b[2J")
    lines = render(PoolReport(pool))
    assert lines[2].plain == ("the last reload failed: ImportError: no module named shop\\x1b[2J")
    assert (lines[2].style, lines[2].spans) == ("red", [])


def test_a_silent_loop_is_shown_instead_of_its_last_lag() -> None:
    silent = ReportedWorker(state="ready", loop_lag_seconds=0.001, heartbeat_age_seconds=7.9)
    lines = render(PoolReport(POOL, [silent]))
    assert styles(lines, "silent 7s") == {"red"}
    assert styles(lines, "1 ms") == set()


def test_a_dead_worker_has_neither_lag_nor_silence_and_uses_nothing() -> None:
    dead = ReportedWorker(
        state="dead", loop_lag_seconds=0.001, heartbeat_age_seconds=7.9, rss_bytes=5_000_000
    )
    assert drawn(PoolReport(POOL, [dead])).splitlines()[4].split()[-4:] == ["-"] * 4
    sums = drawn(PoolReport(POOL, [dead, CALM])).splitlines()[6].split()
    assert sums[-4:] == ["28.0", "MB", "0%", "21"]


@pytest.mark.parametrize(
    ("lag", "shown", "style"),
    [
        (None, "-", ""),
        (0.0, "0 ms", ""),
        (0.099, "99 ms", ""),
        (0.1, "100 ms", "yellow"),
        (1.0, "1.0 s", "red"),
    ],
)
def test_a_late_loop_stands_out(lag: float | None, shown: str, style: str) -> None:
    lines = render(PoolReport(POOL, [ReportedWorker(loop_lag_seconds=lag, pid=1, rss_bytes=1)]))
    assert styles(lines, shown) == {style}


@pytest.mark.parametrize(
    ("state", "style"),
    [
        ("ready", "green"),
        ("starting", "yellow"),
        ("draining", "yellow"),
        ("dead", "red"),
        ("unheard of", ""),
    ],
)
def test_a_state_has_its_colour(state: str, style: str) -> None:
    assert styles(render(PoolReport(POOL, [ReportedWorker(state=state)])), state) == {style}


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        (999_999, "999,999"),
        (1_000_000, "1.00M"),
        (12_345_678, "12.35M"),
        (2_500_000_000, "2.50G"),
    ],
)
def test_a_number_is_exact_until_it_is_too_long_for_a_column(number: int, shown: str) -> None:
    lines = render(PoolReport(POOL, [ReportedWorker(started=number)]))
    assert styles(lines, shown) <= {"", "dim"}
    assert styles(lines, shown) != set()


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.9, "0s"), (59.9, "59s"), (60, "1m00s"), (3600, "1h00m"), (86_400 * 5 + 3 * 3600, "5d03h")],
)
def test_an_age_has_the_precision_that_a_reader_wants(seconds: float, shown: str) -> None:
    assert f", up {shown}, " in drawn(PoolReport(ReportedPool(uptime_seconds=seconds)))


def test_a_worker_that_never_lived_has_dashes() -> None:
    line = drawn(PoolReport(POOL, [ReportedWorker(slot=3, state="starting")])).splitlines()[4]
    assert line.split() == ["3", "-", "starting", "0", "0s", *"000000", "0", *"----"]


def test_of_the_running_tasks_the_five_longest_are_listed_with_names_that_fit() -> None:
    tasks = [ReportedTask(f"\x1b[31mkey-{n}" + "x" * 50, "f", float(n)) for n in range(9)]
    lines = drawn(PoolReport(POOL, [ReportedWorker(slot=4, tasks=tasks)])).splitlines()[-5:]
    assert [line.split()[0] for line in lines] == ["8s", "7s", "6s", "5s", "4s"]
    assert lines[0].split()[2] == "\\x1b[31mkey-8" + "x" * 6 + "..." + "x" * 18


def test_the_report_of_a_real_pool_is_understood() -> None:
    rig = Rig(2).boot()
    rig.beat(rig.first, "order-1", started=3, succeeded=2)
    text = json.dumps(report(rig.pool_state, rig.now + 2.0))
    read = read_report(text)
    assert [each.state for each in read.workers] == ["ready", "ready"]
    assert (read.supervisor.state, read.supervisor.target) == ("running", 2)
    assert read.workers[0].tasks == [ReportedTask("order-1", "f", 0.1)]
    assert read.totals.started == 3
    assert "order-1" in drawn(read)


def test_every_field_that_is_shown_is_one_that_a_pool_reports() -> None:
    rig = Rig(1).boot()
    rig.beat(rig.first, "order-1")
    reported: dict[str, Any] = report(rig.pool_state, rig.now)
    fields = [
        (ReportedPool, reported["supervisor"]),
        (ReportedWorker, reported["workers"][0]),
        (ReportedTask, reported["workers"][0]["tasks"][0]),
        (ReportedTotals, reported["totals"]),
    ]
    for kind, values in fields:
        assert set(kind.__struct_fields__) <= set(values), kind


def test_every_field_of_a_size_that_follows_the_work_is_one_that_a_pool_reports() -> None:
    rig = Rig(ProcessRange(1, 4)).boot()
    scaling = rig.pool_state.scaling
    assert scaling is not None
    scaling.last_change = SizeChange(1, 2, "a task waited", rig.now)
    told = report(rig.pool_state, rig.now)["supervisor"]["scaling"]
    assert set(ReportedScaling.__struct_fields__) == set(told)
    assert set(ReportedChange.__struct_fields__) == set(told["last_change"])


def test_an_older_pool_that_reports_less_and_a_newer_one_that_reports_more_are_shown() -> None:
    assert "nothing is running" in drawn(read_report("{}"))
    older = drawn(read_report('{"workers": [{"slot": 1, "state": "ready"}]}'), 80).splitlines()
    assert "cpu, fds" in older[-1], "what an older one does not tell goes before all the rest"
    newer = '{"supervisor": {"docket": "d", "mood": "fine"}, "weather": {}}'
    assert read_report(newer).supervisor.docket == "d"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"workers": 3}',
        '{"workers": [{"slot": "one"}]}',
        pytest.param('{"newer": ' + "[" * 100_000 + "]" * 100_000 + "}", id="nested too deeply"),
    ],
)
def test_a_malformed_report_is_refused(text: str) -> None:
    with pytest.raises(OrderFailed, match=r"not one that this program understands .*--json shows"):
        read_report(text)

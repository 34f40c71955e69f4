"""/metrics: well-formed, bounded, complete, and with counters that never fall."""

from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from docket.instrumentation import COLLECTOR, DURATION_BUCKETS
from ipc.messages import Backlog, Heartbeat, Histogram, Waiting, WorkerCounters
from supervisor.logs import log_setup
from supervisor.monitoring import metrics
from supervisor.monitoring.metrics import PoolCollector, registry_of, render
from supervisor.pool.state.inbox_events import CommandReceived
from supervisor.pool.state.pool_commands import Drain, Reload, Scale
from supervisor.pool.state.pool_state import BACKLOG_LASTS_SECONDS
from supervisor.pool.state.process_control import ProcessUsage
from supervisor.pool.state.replacement import Reason
from supervisor.pool.state.worker_registry import LATE_SECONDS, Cause
from tests.support.exposition import families, faults, labels_by_name, series
from tests.support.recording_process_control import Rig


def scrape_text(rig: Rig) -> str:
    return render(registry_of(rig.pool_state, lambda: rig.now)).decode()


class Scrape:
    """The samples of one scrape of a rig, by name without its prefix."""

    def __init__(self, rig: Rig) -> None:
        self._series = series(scrape_text(rig))

    def __getitem__(self, name: str) -> float:
        """The value of the only series of a name."""
        (value,) = self.by_labels(name).values()
        return value

    def by_labels(self, name: str) -> dict[tuple[str, ...], float]:
        """The values of a name, by the values of its labels in the order of their names."""
        return {
            tuple(value for _, value in labels): number
            for (found, labels), number in self._series.items()
            if found in (f"docket_supervisor_{name}", name)
        }


def busy_rig() -> Rig:
    """A pool with some of every event behind it."""
    rig = Rig(2).boot()
    duration = Histogram([1, 2, *[0] * 15, 4], 9.5)
    counters = WorkerCounters(started=7, succeeded=6, duration=duration, log_lines_dropped=3)
    rig.say(rig.first, Heartbeat(1, 0.001, [], 2, counters, 2_000_000))
    rig.beat(rig.second)
    rig.exit(rig.first)
    rig.pool_state.totals.redelivered_after(0.06)
    return rig


def test_the_text_is_well_formed_before_anything_runs_and_after_much_has_happened() -> None:
    assert faults(scrape_text(Rig(2))) == []
    assert faults(scrape_text(busy_rig())) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("# HELP docket_x x\n# TYPE docket_x counter\ndocket_x 1\n", "_total is missing"),
        (
            "# HELP docket_x_total x\n# TYPE docket_x_total gauge\ndocket_x_total 1\n",
            "is for counters",
        ),
        ("# HELP docket_x x\n# TYPE docket_x gauge\ndocket_x 1", "no end"),
        ("# TYPE docket_x gauge\ndocket_x 1\n", "no HELP"),
        ("# HELP docket_x x\n# TYPE docket_x untyped\ndocket_x 1\n", "of type"),
        ("# HELP docket_x x\n# TYPE docket_x gauge\ndocket_x NaN\n", "has the value"),
        ("# HELP docket_x_ms x\n# TYPE docket_x_ms gauge\ndocket_x_ms 1\n", "no base unit"),
        ("# HELP x x\n# TYPE x gauge\nx 1\n", "another style"),
        ('# HELP docket_x x\n# TYPE docket_x gauge\ndocket_x{le="1"} 1\n', "label le"),
        ("# HELP docket_x x\n# HELP docket_x x\n# TYPE docket_x gauge\ndocket_x 1\n", "HELP twice"),
        ("# HELP docket_x x\n# TYPE docket_x gauge\ndocket_x 1\ndocket_x 1\n", "docket_x: twice"),
    ],
)
def test_a_text_that_is_not_well_formed_is_reported(text: str, fault: str) -> None:
    assert any(fault in found for found in faults(text))


@pytest.mark.parametrize(
    ("buckets", "fault"),
    [
        ('{le="2.0"} 1,{le="1.0"} 1,{le="+Inf"} 1', "not in order"),
        ('{le="1.0"} 1', "not in order"),
        ('{le="1.0"} 2,{le="+Inf"} 1', "not cumulative"),
        ('{le="1.0"} 1,{le="+Inf"} 2', "not the count"),
    ],
)
def test_buckets_that_are_wrong_are_reported(buckets: str, fault: str) -> None:
    lines = "\n".join(f"docket_x_seconds_bucket{each}" for each in buckets.split(","))
    head = "# HELP docket_x_seconds x\n# TYPE docket_x_seconds histogram\n"
    text = f"{head}{lines}\ndocket_x_seconds_count 1\ndocket_x_seconds_sum 1\n"
    assert any(fault in found for found in faults(text))
    untyped = text.replace("x_seconds", "x")
    assert any("unit is not in the name" in found for found in faults(untyped))


def test_labels_are_words_and_slots_that_the_pool_bounds() -> None:
    names = {
        label for labels in labels_by_name(scrape_text(busy_rig())).values() for label in labels
    }
    bounded = {"docket", "version", "slot", "state", "reason", "outcome", "direction", "le"}
    assert names == bounded | {"docket_name", "docket_worker"}


def test_the_bounds_of_the_buckets_are_those_that_workers_count_by() -> None:
    assert metrics.TASK_BUCKETS == DURATION_BUCKETS


def test_the_backlog_is_what_the_steward_told_last() -> None:
    rig = Rig(2, concurrency=4).boot()
    rig.beat(rig.first, "a", "b")
    rig.beat(rig.second)
    told = Backlog(scheduled=1, queued=2, running=3, waiting=4, paused=5)
    rig.say(rig.first, structs.replace(told, oldest_ready_seconds=6.5, failed_kept=7, workers=8))

    scrape = Scrape(rig)

    assert scrape.by_labels("docket_backlog_tasks") == {
        ("docket", state): number
        for number, state in enumerate(
            ("scheduled", "queued", "running", "waiting", "paused"), start=1
        )
    }
    assert scrape["docket_backlog_oldest_ready_seconds"] == 6.5
    assert scrape["docket_backlog_lateness_seconds"] == 0
    assert (scrape["docket_backlog_failed_kept"], scrape["docket_backlog_workers"]) == (7, 8)
    assert (scrape["docket_places"], scrape["docket_places_used"]) == (8, 2)


def test_a_docket_has_one_name_in_all_labels_and_it_is_printable() -> None:
    rig = Rig(1, docket="orders\x1b]0;owned\x07\u202e\nforged").boot()
    rig.say(rig.first, Backlog(queued=1))

    text = scrape_text(rig)

    assert all(line.isprintable() for line in text.splitlines())
    labels = {value for found in series(text) for name, value in found[1] if name == "docket_name"}
    assert labels == {r"orders\x1b]0;owned\x07\u202e\nforged"}


def test_a_backlog_that_nobody_tells_any_more_has_no_value() -> None:
    rig = Rig(1).boot()
    assert Scrape(rig).by_labels("docket_backlog_tasks") == {}
    rig.say(rig.first, Backlog(queued=1))
    rig.now += BACKLOG_LASTS_SECONDS + 1

    scrape = Scrape(rig)

    assert scrape.by_labels("docket_backlog_tasks") == {}
    assert scrape.by_labels("docket_backlog_workers") == {}


def test_the_gauges_of_the_backlog_are_those_of_a_worker_by_itself() -> None:
    """As `docket worker --metrics-port` has them: dashboards show both."""
    rig = Rig(1).boot()
    rig.say(rig.first, Backlog())
    of_a_pool = {
        name: family.documentation
        for name, family in families(scrape_text(rig)).items()
        if name.startswith(("docket_backlog", "docket_places"))
    }
    own = {family.name: family.documentation for family in COLLECTOR.collect()}

    assert len(of_a_pool) == 8
    assert of_a_pool.items() <= own.items()


def test_every_counter_is_there_from_the_start_so_that_rates_see_the_first_event() -> None:
    scrape = Scrape(Rig(2))
    assert scrape.by_labels("docket_tasks_failed_total") == {("docket", "1"): 0, ("docket", "2"): 0}
    assert scrape.by_labels("worker_restarts_total") == {(cause.value,): 0 for cause in Cause}
    assert scrape.by_labels("worker_replacements_total") == {(why.value,): 0 for why in Reason}
    assert scrape.by_labels("reloads_total") == {("failed",): 0, ("succeeded",): 0}
    assert scrape["redelivery_seconds_count"] == 0


@pytest.mark.statement(53)
def test_attempts_that_ended_are_counted_in_whatever_state() -> None:
    rig = Rig(1).boot()
    counters = WorkerCounters(started=9, succeeded=4, failed=3, retried=2, cancelled=1)
    rig.say(rig.first, Heartbeat(1, 0.001, [], 0, counters, 2_000_000))

    assert Scrape(rig).by_labels("docket_tasks_completed_total") == {("docket", "1"): 8}


def test_counters_and_histograms_keep_the_work_of_dead_workers() -> None:
    scrape = Scrape(busy_rig())
    assert scrape.by_labels("docket_tasks_started_total")["docket", "1"] == 7
    assert scrape.by_labels("docket_task_duration_seconds_bucket")["docket", "0.001"] == 1
    assert scrape.by_labels("docket_task_duration_seconds_bucket")["docket", "0.0025"] == 3
    assert scrape.by_labels("docket_task_duration_seconds_bucket")["docket", "+Inf"] == 7
    assert scrape["docket_task_duration_seconds_sum"] == 9.5
    assert scrape.by_labels("redelivery_seconds_bucket")[("0.05",)] == 0
    assert scrape.by_labels("redelivery_seconds_bucket")[("0.075",)] == 1
    assert scrape.by_labels("worker_restarts_total")[("crash",)] == 1
    assert scrape["crashes_total"] == 1


def test_lost_log_lines_of_workers_and_of_the_supervisor_are_added(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_setup, "dropped_lines", lambda: 5)
    assert Scrape(busy_rig())["log_lines_dropped_total"] == 3 + 5


def test_gauges_follow_the_state_of_the_pool() -> None:
    rig = Rig(2, docket="orders")
    scrape = Scrape(rig)
    assert scrape["ready"] == 0
    assert scrape["generation"] == 0
    assert scrape.by_labels("state")[("starting",)] == 1
    rig.boot()
    scrape = Scrape(rig)
    assert scrape["ready"] == 1
    assert scrape["generation"] == 1
    assert scrape["target_workers"] == 2
    assert scrape["server_away"] == 0
    assert scrape["last_reload_successful"] == 1
    assert scrape.by_labels("info") == {("orders", metrics.VERSION): 1}
    assert scrape.by_labels("workers") == {
        ("starting",): 0,
        ("ready",): 2,
        ("waiting",): 0,
        ("silent",): 0,
        ("draining",): 0,
        ("dead",): 0,
    }
    rig.say(rig.first, Waiting("gone"))
    assert Scrape(rig)["server_away"] == 1
    assert Scrape(rig).by_labels("workers")[("waiting",)] == 1
    rig.now += LATE_SECONDS + 0.1
    assert Scrape(rig).by_labels("workers")[("silent",)] == 1
    assert Scrape(rig).by_labels("workers")[("ready",)] == 0
    assert Scrape(rig)["ready"] == 0
    rig.exit(rig.first)
    assert Scrape(rig)["adoptions_held"] == 1
    rig.pool_state.reload_error = "it does not import"
    assert Scrape(rig)["last_reload_successful"] == 0
    rig.feed(CommandReceived(Drain()))
    scrape = Scrape(rig)
    assert scrape.by_labels("state") == {
        ("starting",): 0,
        ("running",): 0,
        ("reloading",): 0,
        ("draining",): 1,
    }
    assert scrape["ready"] == 0


def test_the_gauges_of_a_slot_are_of_its_last_heartbeat_and_end_with_its_worker() -> None:
    rig = Rig(2).boot()
    rig.beat(rig.first, "a", "b")
    rig.now += 0.75
    scrape = Scrape(rig)
    assert scrape.by_labels("heartbeat_age_seconds") == {("1",): 0.75}
    assert scrape.by_labels("loop_lag_seconds") == {("1",): 0.001}
    assert scrape.by_labels("worker_rss_bytes") == {("1",): 2_000_000}
    assert scrape.by_labels("worker_tasks_running") == {("1",): 2}
    assert scrape.by_labels("worker_open_descriptors") == {("1",): 17}
    rig.exit(rig.first)
    assert Scrape(rig).by_labels("worker_rss_bytes") == {}
    assert Scrape(rig).by_labels("worker_open_descriptors") == {}


def test_while_a_worker_is_replaced_its_slot_has_the_memory_of_both() -> None:
    rig = Rig(1).boot()
    rig.beat(rig.first, "a")
    rig.feed(CommandReceived(Reload()))
    rig.load()
    successor = rig.process_control.spawned[-1]
    rig.fork(successor)
    rig.ready(successor)
    rig.now += 0.5
    rig.beat(successor)
    scrape = Scrape(rig)
    assert scrape.by_labels("worker_rss_bytes") == {("1",): 4_000_000}
    assert scrape.by_labels("worker_open_descriptors") == {("1",): 34}
    assert scrape.by_labels("worker_tasks_running") == {("1",): 1}
    assert scrape.by_labels("heartbeat_age_seconds") == {("1",): 0.5}
    assert scrape.by_labels("worker_replacements_total")[("reload",)] == 1


def test_descriptors_that_cannot_be_counted_are_left_out_not_told_as_none() -> None:
    rig = Rig(1).boot()
    rig.beat(rig.first)
    rig.process_control.uses = ProcessUsage()
    assert Scrape(rig).by_labels("worker_open_descriptors") == {}


def test_the_cpu_of_a_slot_is_told_from_the_start_and_after_it_was_given_up() -> None:
    rig = Rig(2).boot()
    registry = registry_of(rig.pool_state, lambda: rig.now)

    def told() -> dict[str, float]:
        found = families(render(registry).decode())["docket_supervisor_worker_cpu_seconds"]
        return {sample.labels["slot"]: sample.value for sample in found.samples}

    assert told() == {"1": 0, "2": 0}
    rig.process_control.cpu_seconds = {1: 2.5, 2: 0.75}
    rig.feed(CommandReceived(Scale(1)))
    assert told() == {"1": 2.5, "2": 0.75}


def test_the_time_of_the_start_does_not_move_with_the_clock() -> None:
    rig, wall = Rig(1), [1_000_000.0]
    collector = PoolCollector(rig.pool_state, lambda: rig.now, lambda: wall[0])

    def started_at() -> float:
        found: dict[str, Any] = {family.name: family for family in collector.collect()}
        return found["docket_supervisor_start_time_seconds"].samples[0].value

    assert started_at() == 1_000_000.0
    rig.now += 50
    wall[0] += 3000
    assert started_at() == 1_000_000.0


def test_a_source_tree_that_is_not_installed_has_no_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_such(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(metrics, "version", no_such)
    assert metrics.installed_version() == "unknown"


def counters_of(collector: PoolCollector) -> dict[Any, float]:
    """The series that may only rise, read without the text, which is parsed often enough above."""
    return {
        (sample.name, *sample.labels.items()): sample.value
        for family in collector.collect()
        if family.type != "gauge"
        for sample in family.samples
    }


EVENTS = st.one_of(
    st.tuples(st.just("beat"), st.integers(0, 5), st.integers(0, 50)),
    st.tuples(st.just("kill"), st.integers(0, 5), st.just(0)),
    st.tuples(st.just("scale"), st.integers(1, 5), st.just(0)),
    st.tuples(st.just("reload"), st.booleans(), st.just(0)),
    st.tuples(st.just("settle"), st.just(0), st.just(0)),
)


def happens(rig: Rig, event: tuple[str, Any, int], counted: dict[int, int]) -> None:
    kind, which, more = event
    alive = list(rig.pool_state.registry.alive())
    match kind:
        case "beat" | "kill" if not alive or which >= len(alive):
            return
        case "beat":
            worker = alive[which]
            counted[worker.number] = now = counted.get(worker.number, 0) + more
            counters = WorkerCounters(
                started=now, failed=now // 2, duration=Histogram([now, 0, now], now / 10)
            )
            rig.say(worker, Heartbeat(1, 0.0, [], 0, counters, 1))
        case "kill":
            rig.exit(alive[which])
        case "scale":
            rig.feed(CommandReceived(Scale(which)))
        case "reload":
            rig.feed(CommandReceived(Reload()))
        case _:
            settle(rig)


def settle(rig: Rig) -> None:
    """Fork and boot the workers that are due, and let draining ones exit."""
    rig.pass_seconds(1.0)
    if rig.pool_state.nurseries.alive()[-1].loaded_at is None:
        rig.load()
    for worker in list(rig.pool_state.registry.alive()):
        if worker.spawned_at is None:
            rig.fork(worker)
        if worker.is_starting:
            rig.ready(worker)
    for worker in list(rig.pool_state.registry.alive()):
        if worker.state.shown == "draining":
            rig.drain_and_exit(worker)


@settings(max_examples=60)
@given(st.lists(EVENTS, min_size=5, max_size=25))
def test_no_series_of_a_counter_falls_or_vanishes_whatever_happens(
    events: list[tuple[str, Any, int]],
) -> None:
    rig = Rig(3, max_restarts=1000).boot()
    counted: dict[int, int] = {}
    collector = PoolCollector(rig.pool_state, lambda: rig.now)
    before = counters_of(collector)
    for event in events:
        happens(rig, event, counted)
        now = counters_of(collector)
        assert before.keys() <= now.keys()
        fallen = {key: (was, now[key]) for key, was in before.items() if now[key] < was}
        assert fallen == {}
        before = now
    started = [value for key, value in before.items() if key[0] == "docket_tasks_started_total"]
    assert sum(started) == sum(counted.values())

"""The metrics of /metrics: the pool's counters in the format of Prometheus.

They are collected on request from the totals of the pool: there is no second set of counters that
could disagree. Labels are bounded by the size of the pool and by fixed words: slots, states,
reasons; never pids, keys or functions. A counter's series is there from the start, at 0, and stays
when its slot is removed: rates see the first event, and no sum falls.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from docket_display.printable import on_one_line
from supervisor.logs import log_setup
from supervisor.monitoring.status import worker_states
from supervisor.pool.state.pool_state import PoolState
from supervisor.pool.state.replacement import Reason
from supervisor.pool.state.scaling import Direction
from supervisor.pool.state.totals import REDELIVERY_BUCKETS, RELOAD_OUTCOMES, Buckets
from supervisor.pool.state.worker_registry import Cause, WorkerProcess
from supervisor.task_counters import ENDS, TASK_COUNTERS

#: The content type of the text of `render`.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Bounds in seconds of the histograms that workers send, the same as docket's own (a test
#: compares them): importing docket for them would bring the Redis client into this process.
TASK_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0),
)

#: Counters of tasks: name, the counters of workers that are summed, help.
_TASK_FAMILIES = (
    *((name, (name,), help_text) for name, help_text in TASK_COUNTERS.items()),
    ("completed", ENDS, "Attempts that ended, in whatever state."),
)

#: The values of the label of docket_supervisor_state.
STATES = ("starting", "running", "reloading", "draining")

_PREFIX = "docket_supervisor_"

#: Gauges of the docket, by the steward's report: name, the field of the message, help. The same as
#: those of `docket worker` (a test compares them).
BACKLOG_GAUGES = (
    (
        "docket_backlog_oldest_ready_seconds",
        "oldest_ready_seconds",
        "Time for which the oldest ready task has waited for a worker.",
    ),
    (
        "docket_backlog_lateness_seconds",
        "lateness_seconds",
        "Time since the first scheduled task was due.",
    ),
    ("docket_backlog_pauses", "pauses", "Pauses in effect."),
    ("docket_backlog_failed_kept", "failed_kept", "Failed executions that are kept."),
    ("docket_backlog_workers", "workers", "Workers of the docket, on every host."),
    ("docket_places", "places", "Tasks that the workers here can run at once."),
    ("docket_places_used", "places_used", "Tasks that the workers here run now."),
)
#: The values of the label of docket_backlog_tasks, which are fields of the message.
BACKLOG_STATES = ("scheduled", "queued", "running", "waiting", "paused")

#: Gauges by slot: name, help, and the value for the live workers of one slot. During a replacement
#: there are two: their usage is added, and of their delays the longer one counts.
_SLOT_GAUGES: tuple[tuple[str, str, Callable[[list[WorkerProcess], float], float]], ...] = (
    (
        "loop_lag_seconds",
        "Lag of a worker's event loop.",
        lambda workers, now: max(
            each.heartbeat.loop_lag_seconds for each in workers if each.heartbeat is not None
        ),
    ),
    (
        "heartbeat_age_seconds",
        "Time since the last heartbeat of a worker's event loop.",
        lambda workers, now: max(
            now - each.heartbeat_at for each in workers if each.heartbeat_at is not None
        ),
    ),
    (
        "worker_rss_bytes",
        "Resident memory of a worker, pages that it shares with others included.",
        lambda workers, now: sum(each.rss_bytes for each in workers),
    ),
    (
        "worker_tasks_running",
        "Tasks that a worker runs now.",
        lambda workers, now: sum(each.in_flight for each in workers),
    ),
)


class PoolCollector(Collector):
    """Read one pool. Used on the supervisor's loop only, where the totals are changed.

    Arguments:
        pool_state: the pool.
        now: seconds of the monotonic clock, as in `pool_state`.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        pool_state: PoolState,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._pool_state = pool_state
        self._now = now
        #: For labels: a name may hold anything.
        self._docket = on_one_line(pool_state.config.docket)
        #: Slots whose counters were exported once, and stay so: one may be removed at 0.
        self._exported_slots: set[int] = set()
        # Once: a start that moved with every correction of the clock would look like a restart.
        self._started_at = wall() - (now() - pool_state.started_at)

    def collect(self) -> Iterable[Metric]:
        """Read every family now."""
        yield from self._tasks()
        yield from self._backlog()
        yield from self._pool()
        yield from self._slot_gauges()
        yield from self._events()

    def _tasks(self) -> Iterator[Metric]:
        totals = self._pool_state.totals
        docket = self._docket
        self._exported_slots |= {slot.number for slot in self._pool_state.registry.slots()}
        slots = self._exported_slots | totals.by_slot.keys()
        none = Counter[str]()
        for name, parts, help_text in _TASK_FAMILIES:
            family = CounterMetricFamily(
                f"docket_tasks_{name}", help_text, labels=["docket_name", "docket_worker"]
            )
            for slot in sorted(slots):
                counted = totals.by_slot.get(slot, none)
                family.add_metric([docket, str(slot)], sum(counted[part] for part in parts))
            yield family
        for name, buckets, help_text in (
            ("docket_task_duration_seconds", totals.duration, "Seconds that runs took."),
            ("docket_task_punctuality_seconds", totals.punctuality, "Seconds from due to claimed."),
        ):
            family = HistogramMetricFamily(name, help_text, labels=["docket_name"])
            family.add_metric([docket], _cumulative(TASK_BUCKETS, buckets), buckets.sum)
            yield family

    def _backlog(self) -> Iterator[Metric]:
        """Read the docket's own gauges; without a value while nobody tells of it."""
        backlog = self._pool_state.present_backlog(self._now())
        docket = self._docket
        tasks = GaugeMetricFamily(
            "docket_backlog_tasks",
            "Tasks on the docket, by state.",
            labels=["docket_name", "docket_state"],
        )
        for state in BACKLOG_STATES if backlog is not None else ():
            tasks.add_metric([docket, state], getattr(backlog, state))
        yield tasks
        for name, field, help_text in BACKLOG_GAUGES:
            family = GaugeMetricFamily(name, help_text, labels=["docket_name"])
            if backlog is not None:
                family.add_metric([docket], getattr(backlog, field) or 0)
            yield family

    def _pool(self) -> Iterator[Metric]:
        pool_state = self._pool_state
        info = {"docket": self._docket, "version": VERSION}
        yield _gauge("info", "What runs here; always 1.", labels=info, value=1)
        states = {state: float(state == pool_state.state) for state in STATES}
        yield _by("state", "1 for the state the pool is in.", "state", states)
        yield _by("workers", "Workers by state.", "state", worker_states(pool_state, self._now()))
        current, now = pool_state.nurseries.current, self._now()
        target, scaling = pool_state.registry.target, pool_state.scaling
        for name, help_text, value in (
            ("target_workers", "Worker slots that are to be filled.", target),
            (
                "least_workers",
                "Fewest slots that the work may leave; the target, if the size is fixed.",
                target if scaling is None else scaling.bounds.least,
            ),
            (
                "most_workers",
                "Most slots that the work may ask for; the target, if the size is fixed.",
                target if scaling is None else scaling.bounds.most,
            ),
            ("ready", "1 while /readyz is 200.", pool_state.not_ready_because(now) is None),
            ("generation", "Generation of the code.", current.generation if current else 0),
            ("start_time_seconds", "When the pool was started (epoch).", self._started_at),
            ("server_away", "1 while a worker waits for the server.", pool_state.server_is_away),
            (
                "adoptions_held",
                "Dead workers whose tasks are not put back yet.",
                len(pool_state.adoptions),
            ),
            (
                "last_reload_successful",
                "0 after a reload that failed, until one succeeds.",
                pool_state.reload_error is None,
            ),
        ):
            yield _gauge(name, help_text, value=value)

    def _slot_gauges(self) -> Iterator[Metric]:
        workers: dict[int, list[WorkerProcess]] = {}
        for each in self._pool_state.registry.alive():
            if each.heartbeat is not None and not each.adopts_only:
                workers.setdefault(each.slot, []).append(each)
        now = self._now()
        for name, help_text, read in _SLOT_GAUGES:
            values = {str(slot): read(found, now) for slot, found in sorted(workers.items())}
            yield _by(name, help_text, "slot", values)
        yield self._descriptors(workers)
        yield self._cpu()

    def _descriptors(self, workers: Mapping[int, list[WorkerProcess]]) -> Metric:
        usage = self._pool_state.process_control.usage
        values: dict[str, float] = {}
        for slot, found in sorted(workers.items()):
            counts = [usage(each).open_descriptors for each in found]
            known = [count for count in counts if count is not None]
            if known:
                values[str(slot)] = sum(known)
        return _by("worker_open_descriptors", "Descriptors that a worker has open.", "slot", values)

    def _cpu(self) -> Metric:
        used = self._pool_state.process_control.cpu_seconds_by_slot()
        family = CounterMetricFamily(
            f"{_PREFIX}worker_cpu_seconds", "CPU that the workers of a slot used.", labels=["slot"]
        )
        for slot in sorted(self._exported_slots):
            family.add_metric([str(slot)], used.get(slot, 0.0))
        return family

    def _events(self) -> Iterator[Metric]:
        totals = self._pool_state.totals
        for name, help_text, label, words, counts in (
            ("worker_restarts", "Slots filled anew, by reason.", "reason", Cause, totals.restarts),
            (
                "worker_replacements",
                "Living workers that a successor replaced, by reason.",
                "reason",
                Reason,
                totals.replacements,
            ),
            ("reloads", "Reloads that ended.", "outcome", RELOAD_OUTCOMES, totals.reloads),
            (
                "scalings",
                "Changes of the size of the pool that its work asked for.",
                "direction",
                Direction,
                totals.scalings,
            ),
        ):
            family = CounterMetricFamily(_PREFIX + name, help_text, labels=[label])
            for word in sorted({str(each) for each in words} | counts.keys()):
                family.add_metric([word], counts[word])
            yield family
        dropped = totals.log_lines_dropped + log_setup.dropped_lines()
        for name, help_text, count in (
            ("poisoned", "Tasks failed because workers died under them.", totals.poisoned),
            ("crashes", "Workers that died unasked.", totals.crashes),
            ("stalls", "Workers killed because their loop was silent.", totals.stalls),
            ("log_lines_dropped", "Log lines lost because stderr was not read.", dropped),
        ):
            yield CounterMetricFamily(_PREFIX + name, help_text, value=count)
        seconds = Buckets(totals.redelivery_seconds, totals.redelivery_sum)
        yield HistogramMetricFamily(
            _PREFIX + "redelivery_seconds",
            "From a death seen to the first of its tasks claimed.",
            buckets=_cumulative(REDELIVERY_BUCKETS, seconds),
            sum_value=seconds.sum,
        )


def render(registry: CollectorRegistry) -> bytes:
    """Write the text of /metrics."""
    return generate_latest(registry)


def registry_of(
    pool_state: PoolState, now: Callable[[], float] = time.monotonic
) -> CollectorRegistry:
    """Make a registry of this pool and of the supervisor's process (`process_*`, on Linux)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(PoolCollector(pool_state, now))
    ProcessCollector(registry=registry)
    return registry


def _gauge(
    name: str, help_text: str, *, value: float, labels: Mapping[str, str] | None = None
) -> Metric:
    labels = labels or {}
    family = GaugeMetricFamily(_PREFIX + name, help_text, labels=list(labels))
    family.add_metric(list(labels.values()), float(value))
    return family


def _by(name: str, help_text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(_PREFIX + name, help_text, labels=[label])
    for word, value in values.items():
        family.add_metric([word], value)
    return family


def _cumulative(bounds: tuple[float, ...], buckets: Buckets) -> list[tuple[str, float]]:
    """Cumulative buckets, each with all values up to its bound, as Prometheus has them."""
    counts = [*buckets.counts, *[0] * (len(bounds) + 1 - len(buckets.counts))]
    names = [*(str(bound) for bound in bounds), "+Inf"]
    return list(zip(names, accumulate(counts), strict=False))


def installed_version() -> str:
    """The version of this package, for the info metric."""
    try:
        return version("docket-supervisor")
    except PackageNotFoundError:
        return "unknown"  # run from a source tree that is not installed


#: Looked up once: it reads the installed metadata.
VERSION = installed_version()

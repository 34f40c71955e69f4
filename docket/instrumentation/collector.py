"""The metrics of a process, made on each scrape from the counters of its workers and dockets.

Nothing is counted twice and nothing is sampled: the numbers are those of the counters, and the
server is asked for the backlog on each scrape.

Imported by the first scrape, since prometheus_client takes as much memory as half of docket: most
processes are never scraped.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeout
from functools import cached_property, partial
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from docket.backlog import Backlog
from docket.errors import DocketError
from docket.instrumentation.counters import (
    DURATION_BUCKETS,
    OTHERS,
    Counters,
    Histogram,
    Producer,
    TaskCounters,
)
from docket.instrumentation.process_registry import (
    BACKLOG_PATIENCE_SECONDS,
    ProcessRegistry,
    RunningWorker,
)
from docket_display.printable import on_one_line

logger = logging.getLogger("docket.metrics")

#: The type of `metrics_text`, for the header of a response.
CONTENT_TYPE = CONTENT_TYPE_LATEST

#: The labels of what is counted for each task.
_LABELS = ("docket_name", "docket_worker", "docket_task")
_OF_DOCKET = _LABELS[:1]

#: The help texts of the metrics, by the names of the counters that they show.
_OF_RUNS = {
    "started": "Runs of tasks that were started.",
    "redelivered": "Runs of tasks whose earlier run was lost.",
    "superseded": "Runs that ended after a newer one took their place.",
    "completed": "Attempts that ended, in whatever state.",
    "failed": "Attempts that raised, those that are tried again too.",
    "succeeded": "Attempts that returned.",
    "retried": "Attempts that raised and are tried again.",
    "perpetuated": "Runs of perpetual tasks that a successor follows.",
}
_OF_SCHEDULING = {
    "added": "Executions put on the docket by add.",
    "replaced": "Executions put on the docket by replace.",
    "scheduled": "Executions put on the docket.",
}
_BACKLOG_STATES = ("scheduled", "queued", "running", "waiting", "paused")
_OF_BACKLOG = {
    "oldest_ready_seconds": "Time for which the oldest ready task has waited for a worker.",
    "lateness_seconds": "Time since the first scheduled task was due.",
    "pauses": "Pauses in effect.",
    "failed_kept": "Failed executions that are kept.",
    "workers": "Workers of the docket, on every host.",
}
_HISTOGRAMS = {
    "duration": "Seconds that runs took.",
    "punctuality": "Seconds from the instant a task was due to its start.",
}

CountersByLabels = dict[tuple[str, str], TaskCounters]


class Snapshot:
    """The counters of a process at one moment, each read when it is first asked for.

    Args:
        registry: the workers and dockets of the process.
    """

    def __init__(self, registry: ProcessRegistry) -> None:
        self._registry = registry

    @cached_property
    def counters_by_labels(self) -> CountersByLabels:
        """The counters of workers, by docket and worker."""
        return self._registry.counters_by_labels()

    @cached_property
    def workers(self) -> list[RunningWorker]:
        """The workers that run."""
        return self._registry.running_workers()

    @cached_property
    def producers(self) -> list[tuple[str, Producer]]:
        """The counters of this process as a producer, by docket."""
        return self._registry.producers()

    @cached_property
    def disruptions(self) -> dict[tuple[str, str], int]:
        """The number of times that connections broke, by docket and worker."""
        return self._registry.disruptions()

    @cached_property
    def backlogs(self) -> dict[str, Backlog]:
        """The backlogs of the dockets whose server answers in time."""
        one_each = {worker.docket: worker for worker in self.workers}
        asked = ((docket, _ask(worker)) for docket, worker in sorted(one_each.items()))
        return {docket: backlog for docket, backlog in asked if backlog is not None}

    def rows(self) -> Iterator[tuple[list[str], Counters]]:
        """Yield the counters of each task with their labels."""
        for (docket, worker), task_counters in sorted(
            self.counters_by_labels.items(), key=lambda item: item[0]
        ):
            for task, counters in task_counters.by_task():
                yield [docket, worker, task], counters


def families(registry: ProcessRegistry) -> Iterator[Metric]:
    """Yield every family with its present values; see `DocketCollector`."""
    snapshot = Snapshot(registry)
    return (_printable(make(snapshot)) for make in (*FAMILIES.values(), *HISTOGRAMS.values()))


def metrics_text(registry: ProcessRegistry) -> bytes:
    """Return the families of docket, and those of prometheus_client's own registry, as text."""
    merged = CollectorRegistry(auto_describe=False)
    merged.register(_MergedCollector(registry, REGISTRY))
    return generate_latest(merged)


def _printable(family: Metric) -> Metric:
    """Escape what is not printable in labels: a name of a docket or a task may hold anything."""
    family.samples = [
        sample
        if all(map(str.isprintable, sample.labels.values()))
        else sample._replace(labels={k: on_one_line(v) for k, v in sample.labels.items()})
        for sample in family.samples
    ]
    return family


class _MergedCollector(Collector):
    """The families of docket, and those of a registry that docket does not have."""

    def __init__(self, processes: ProcessRegistry, registry: CollectorRegistry) -> None:
        self._processes = processes
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        """Yield the families, docket's first."""
        ours = list(families(self._processes))
        names = {family.name for family in ours}
        yield from ours
        yield from (family for family in self._registry.collect() if family.name not in names)


def _of_runs(name: str, text: str, snapshot: Snapshot) -> Metric:
    family = CounterMetricFamily(f"docket_tasks_{name}", text, labels=_LABELS)
    for labels, counters in snapshot.rows():
        family.add_metric(labels, getattr(counters, name))
    return family


def _of_scheduling(name: str, text: str, snapshot: Snapshot) -> Metric:
    labels = ["docket_name", "docket_task"]
    family = CounterMetricFamily(f"docket_tasks_{name}", text, labels=labels)
    for docket, producer in snapshot.producers:
        for task, scheduled in producer.by_task():
            family.add_metric([docket, task], getattr(scheduled, name))
    return family


def _stricken(snapshot: Snapshot) -> Metric:
    text = "Tasks dropped because of a strike: by a worker, or when they were to be scheduled."
    family = CounterMetricFamily("docket_tasks_stricken", text, labels=(*_LABELS, "docket_where"))
    for labels, counters in snapshot.rows():
        family.add_metric((*labels, "worker"), counters.stricken)
    for docket, producer in snapshot.producers:
        for task, scheduled in producer.by_task():
            family.add_metric([docket, "", task, "docket"], scheduled.stricken)
    return family


def _cancelled(snapshot: Snapshot) -> Metric:
    text = "Executions that were cancelled: while they ran, by a worker; before, by a docket."
    family = CounterMetricFamily("docket_tasks_cancelled", text, labels=_LABELS)
    for labels, counters in snapshot.rows():
        family.add_metric(labels, counters.cancelled)
    for docket, producer in snapshot.producers:
        family.add_metric([docket, "", ""], producer.cancelled)
    return family


def _cleared(snapshot: Snapshot) -> Metric:
    text = "Executions taken off the docket by clear."
    family = CounterMetricFamily("docket_tasks_cleared", text, labels=_OF_DOCKET)
    for docket, producer in snapshot.producers:
        family.add_metric([docket], producer.cleared)
    return family


def _disruptions(snapshot: Snapshot) -> Metric:
    text = "Times that a connection to the server broke."
    family = CounterMetricFamily("docket_redis_disruptions", text, labels=_LABELS[:2])
    for labels, count in sorted(snapshot.disruptions.items()):
        family.add_metric(list(labels), count)
    return family


def _running(snapshot: Snapshot) -> Metric:
    family = GaugeMetricFamily("docket_tasks_running", "Tasks that run now.", labels=_LABELS)
    # Tasks that are not running now are reported as 0 rather than omitted.
    running = Counter({tuple(labels): 0 for labels, _ in snapshot.rows()})
    for worker in snapshot.workers:
        for function in worker.running():
            labels = (worker.docket, worker.label, function.decode(errors="replace"))
            # Under the name that it is counted by: labels that come and go have no number.
            running[labels if labels in running else (*labels[:2], OTHERS)] += 1
    for labels, count in sorted(running.items()):
        family.add_metric(list(labels), count)
    return family


def _ready(snapshot: Snapshot) -> Metric:
    text = "Tasks that wait and are due."
    family = GaugeMetricFamily("docket_queue_depth", text, labels=_OF_DOCKET)
    for docket, backlog in snapshot.backlogs.items():
        family.add_metric([docket], backlog.queued)
    return family


def _later(snapshot: Snapshot) -> Metric:
    family = GaugeMetricFamily("docket_schedule_depth", "Tasks for later.", labels=_OF_DOCKET)
    for docket, backlog in snapshot.backlogs.items():
        later = backlog.scheduled + backlog.waiting + backlog.paused
        family.add_metric([docket], later)
    return family


def _by_state(snapshot: Snapshot) -> Metric:
    labels = ["docket_name", "docket_state"]
    text = "Tasks on the docket, by state."
    family = GaugeMetricFamily("docket_backlog_tasks", text, labels=labels)
    for docket, backlog in snapshot.backlogs.items():
        for state in _BACKLOG_STATES:
            family.add_metric([docket, state], getattr(backlog, state))
    return family


def _of_backlog(name: str, text: str, snapshot: Snapshot) -> Metric:
    family = GaugeMetricFamily(f"docket_backlog_{name}", text, labels=_OF_DOCKET)
    for docket, backlog in snapshot.backlogs.items():
        family.add_metric([docket], getattr(backlog, name) or 0)
    return family


def _places(snapshot: Snapshot) -> Metric:
    text = "Tasks that the workers here can run at once."
    return _by_docket("docket_places", text, snapshot, lambda worker: worker.places())


def _places_used(snapshot: Snapshot) -> Metric:
    text = "Tasks that the workers here run now."
    return _by_docket("docket_places_used", text, snapshot, lambda worker: len(worker.running()))


def _by_docket(
    name: str, text: str, snapshot: Snapshot, read: Callable[[RunningWorker], int]
) -> Metric:
    family = GaugeMetricFamily(name, text, labels=_OF_DOCKET)
    sums = Counter[str]()
    for worker in snapshot.workers:
        sums[worker.docket] += read(worker)
    for docket, count in sorted(sums.items()):
        family.add_metric([docket], count)
    return family


def _strikes(snapshot: Snapshot) -> Metric:
    text = "Strikes that are in effect."
    family = GaugeMetricFamily("docket_strikes_in_effect", text, labels=_OF_DOCKET)
    in_effect = {worker.docket: worker.strikes() for worker in snapshot.workers}
    for docket, count in sorted(in_effect.items()):
        family.add_metric([docket], count)
    return family


def _histogram(name: str, text: str, snapshot: Snapshot) -> Metric:
    family = HistogramMetricFamily(f"docket_task_{name}_seconds", text, labels=_LABELS)
    for labels, counters in snapshot.rows():
        histogram: Histogram = getattr(counters, name)
        family.add_metric(labels, cumulative(histogram.counts), histogram.sum)
    return family


def cumulative(counts: list[int]) -> list[tuple[str, float]]:
    """Return cumulative buckets as in Prometheus: each counts all values up to its bound."""
    names = [*(str(bound) for bound in DURATION_BUCKETS), "+Inf"]
    return list(zip(names, accumulate(counts), strict=True))


def _ask(worker: RunningWorker) -> Backlog | None:
    """Return the backlog of a worker's docket; None if the server does not answer in time."""
    if _is_running_here(worker.loop):
        return None
    try:
        asked = asyncio.run_coroutine_threadsafe(_backlog_of(worker), worker.loop)
    except RuntimeError:
        return None  # Its loop was closed meanwhile.
    try:
        return asked.result(BACKLOG_PATIENCE_SECONDS)
    except (DocketError, FutureTimeout, CancelledError) as error:
        asked.cancel()
        logger.debug("The backlog of %s is left out: %r", worker.docket, error)
        return None


async def _backlog_of(worker: RunningWorker) -> Backlog:
    return await worker.backlog()


def _is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


#: The makers of the families of counters and gauges, by the metric's name.
FAMILIES: dict[str, Callable[[Snapshot], Metric]] = {
    **{
        f"docket_tasks_{name}": partial(_of_scheduling, name, text)
        for name, text in _OF_SCHEDULING.items()
    },
    "docket_tasks_cancelled": _cancelled,
    "docket_tasks_cleared": _cleared,
    **{f"docket_tasks_{name}": partial(_of_runs, name, text) for name, text in _OF_RUNS.items()},
    "docket_tasks_stricken": _stricken,
    "docket_tasks_running": _running,
    "docket_queue_depth": _ready,
    "docket_schedule_depth": _later,
    "docket_backlog_tasks": _by_state,
    **{
        f"docket_backlog_{name}": partial(_of_backlog, name, text)
        for name, text in _OF_BACKLOG.items()
    },
    "docket_places": _places,
    "docket_places_used": _places_used,
    "docket_redis_disruptions": _disruptions,
    "docket_strikes_in_effect": _strikes,
}

#: The makers of the histograms, by the metric's name.
HISTOGRAMS: dict[str, Callable[[Snapshot], Metric]] = {
    f"docket_task_{name}_seconds": partial(_histogram, name, text)
    for name, text in _HISTOGRAMS.items()
}

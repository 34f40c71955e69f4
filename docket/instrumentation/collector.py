"""The metrics of a process, made on each scrape from the counters of its workers and dockets.

Nothing is counted twice and nothing is sampled: the numbers are those of the counters, and the
server is asked for the queue depths on each scrape.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeout
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from docket.errors import DocketError
from docket.instrumentation.counters import (
    DURATION_BUCKETS,
    Counters,
    Histogram,
    TaskCounters,
)
from docket.instrumentation.process_registry import Depths, ProcessRegistry, RunningWorker

logger = logging.getLogger("docket.metrics")

#: Longest wait of a scrape for the server, in seconds; without an answer the depths are omitted.
DEPTHS_PATIENCE_SECONDS = 1.0

_LABELS = ("docket", "worker", "task")

#: The help texts of the metrics, by the names of the counters that they show.
_OF_RUNS = {
    "started": "Runs of tasks that were started.",
    "redelivered": "Runs of tasks whose earlier run was lost.",
    "stricken": "Tasks dropped because of a strike.",
    "superseded": "Runs dropped because a newer one took their place.",
    "completed": "Executions that ended, in whatever state.",
    "failed": "Runs that raised and are not tried again.",
    "succeeded": "Runs that returned.",
    "retried": "Runs that raised and are tried again.",
    "perpetuated": "Runs of perpetual tasks that a successor follows.",
}
_OF_SCHEDULING = {
    "added": "Executions put on the docket by add.",
    "replaced": "Executions put on the docket by replace.",
    "scheduled": "Executions put on the docket.",
}
_HISTOGRAMS = {
    "duration": "Seconds that runs took.",
    "punctuality": "Seconds from the instant a task was due to its start.",
}

CountersByLabels = dict[tuple[str, str], TaskCounters]


class DocketCollector(Collector):
    """A Prometheus collector for the workers and dockets of a process.

    Call it on a thread: on the event loop of a worker it omits the depths, since it cannot wait for
    them there.

    Args:
        registry: the workers and dockets of the process.
    """

    def __init__(self, registry: ProcessRegistry) -> None:
        self._registry = registry

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering the collector does not collect."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Yield every family with its present values."""
        counters_by_labels = self._registry.counters_by_labels()
        yield from self._of_scheduling()
        yield self._cancelled(counters_by_labels)
        yield self._cleared()
        yield from _of_runs(counters_by_labels)
        yield from _histograms(counters_by_labels)
        workers = self._registry.running_workers()
        yield _running(workers)
        yield from _depths(workers)
        yield self._disruptions()
        yield _strikes(workers)

    def _of_scheduling(self) -> Iterator[Metric]:
        producers = self._registry.producers()
        for name, text in _OF_SCHEDULING.items():
            family = CounterMetricFamily(f"docket_tasks_{name}", text, labels=["docket", "task"])
            for docket, producer in producers:
                for task, scheduled in producer.by_task():
                    family.add_metric([docket, task], getattr(scheduled, name))
            yield family

    def _cancelled(self, counters_by_labels: CountersByLabels) -> Metric:
        text = "Executions that were cancelled: while they ran, by a worker; before, by a docket."
        family = CounterMetricFamily("docket_tasks_cancelled", text, labels=_LABELS)
        for labels, counters in _rows(counters_by_labels):
            family.add_metric(labels, counters.cancelled)
        for docket, producer in self._registry.producers():
            family.add_metric([docket, "", ""], producer.cancelled)
        return family

    def _cleared(self) -> Metric:
        text = "Executions taken off the docket by clear."
        family = CounterMetricFamily("docket_tasks_cleared", text, labels=["docket"])
        for docket, producer in self._registry.producers():
            family.add_metric([docket], producer.cleared)
        return family

    def _disruptions(self) -> Metric:
        text = "Times that a connection to the server broke."
        family = CounterMetricFamily("docket_redis_disruptions", text, labels=["docket", "worker"])
        for labels, count in sorted(self._registry.disruptions().items()):
            family.add_metric(list(labels), count)
        return family


class MergedCollector(Collector):
    """A collector, and those families of a registry that the collector does not have."""

    def __init__(self, collector: Collector, registry: CollectorRegistry) -> None:
        self._collector = collector
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        """Yield the families, the collector's first."""
        ours = list(self._collector.collect())
        names = {family.name for family in ours}
        yield from ours
        yield from (family for family in self._registry.collect() if family.name not in names)


def _rows(counters_by_labels: CountersByLabels) -> Iterator[tuple[list[str], Counters]]:
    for (docket, worker), task_counters in sorted(
        counters_by_labels.items(), key=lambda item: item[0]
    ):
        for task, counters in task_counters.by_task():
            yield [docket, worker, task], counters


def _of_runs(counters_by_labels: CountersByLabels) -> Iterator[Metric]:
    for name, text in _OF_RUNS.items():
        family = CounterMetricFamily(f"docket_tasks_{name}", text, labels=_LABELS)
        for labels, counters in _rows(counters_by_labels):
            family.add_metric(labels, getattr(counters, name))
        yield family


def _histograms(counters_by_labels: CountersByLabels) -> Iterator[Metric]:
    for name, text in _HISTOGRAMS.items():
        family = HistogramMetricFamily(f"docket_task_{name}", text, labels=_LABELS)
        for labels, counters in _rows(counters_by_labels):
            histogram: Histogram = getattr(counters, name)
            family.add_metric(labels, cumulative(histogram.counts), histogram.sum)
        yield family


def cumulative(counts: list[int]) -> list[tuple[str, float]]:
    """Return cumulative buckets as in Prometheus: each counts all values up to its bound."""
    names = [*(str(bound) for bound in DURATION_BUCKETS), "+Inf"]
    return list(zip(names, accumulate(counts), strict=True))


def _running(workers: list[RunningWorker]) -> Metric:
    family = GaugeMetricFamily("docket_tasks_running", "Tasks that run now.", labels=_LABELS)
    running = Counter[tuple[str, str, str]]()
    for worker in workers:
        for function in worker.running():
            running[worker.docket, worker.label, function.decode(errors="replace")] += 1
        # Tasks that are not running now are reported as 0 rather than omitted.
        for task, _ in worker.task_counters.by_task():
            running[worker.docket, worker.label, task] += 0
    for labels, count in sorted(running.items()):
        family.add_metric(list(labels), count)
    return family


def _depths(workers: list[RunningWorker]) -> Iterator[Metric]:
    ready = GaugeMetricFamily(
        "docket_queue_depth", "Tasks that wait and are due.", labels=_LABELS[:1]
    )
    later = GaugeMetricFamily("docket_schedule_depth", "Tasks for later.", labels=_LABELS[:1])
    one_each = {worker.docket: worker for worker in workers}
    for docket, worker in sorted(one_each.items()):
        depths = _ask(worker)
        if depths is not None:
            ready.add_metric([docket], depths.ready)
            later.add_metric([docket], depths.later)
    yield ready
    yield later


def _ask(worker: RunningWorker) -> Depths | None:
    """Return the depths of a worker's docket; None if the server does not answer in time."""
    if _is_running_here(worker.loop):
        return None
    try:
        asked = asyncio.run_coroutine_threadsafe(_depths_of(worker), worker.loop)
    except RuntimeError:
        return None  # Its loop was closed meanwhile.
    try:
        return asked.result(DEPTHS_PATIENCE_SECONDS)
    except (DocketError, FutureTimeout, CancelledError) as error:
        asked.cancel()
        logger.debug("The depths of %s are left out: %r", worker.docket, error)
        return None


async def _depths_of(worker: RunningWorker) -> Depths:
    return await worker.depths()


def _is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _strikes(workers: list[RunningWorker]) -> Metric:
    text = "Strikes that are in effect."
    family = GaugeMetricFamily("docket_strikes_in_effect", text, labels=["docket"])
    in_effect = {worker.docket: worker.strikes() for worker in workers}
    for docket, count in sorted(in_effect.items()):
        family.add_metric([docket], count)
    return family

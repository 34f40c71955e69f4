"""The metrics of a process, made when somebody asks from what its workers and dockets count.

Nothing is counted twice and nothing is sampled: the numbers are those of the counters, and how
much waits is asked of the server at that moment.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
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
    ScheduledCounts,
    TaskCounters,
)
from docket.instrumentation.process_registry import Depths, ProcessRegistry, RunningWorker

logger = logging.getLogger("docket.metrics")

#: How long a scrape waits for the server, in seconds; without an answer the depths are left out.
DEPTHS_PATIENCE_SECONDS = 1.0

_LABELS = ("docket", "worker", "task")

_OF_RUNS: dict[str, tuple[str, Callable[[Counters], int]]] = {
    "started": ("Runs of tasks that were started.", lambda c: c.started),
    "redelivered": ("Runs of tasks whose earlier run was lost.", lambda c: c.redelivered),
    "stricken": ("Tasks dropped because of a strike.", lambda c: c.stricken),
    "superseded": ("Runs dropped because a newer one took their place.", lambda c: c.superseded),
    "completed": (
        "Executions that ended, in whatever state.",
        lambda c: c.succeeded + c.failed + c.cancelled,
    ),
    "failed": ("Runs that raised and are not tried again.", lambda c: c.failed),
    "succeeded": ("Runs that returned.", lambda c: c.succeeded),
    "retried": ("Runs that raised and are tried again.", lambda c: c.retried),
    "perpetuated": ("Runs of perpetual tasks that a successor follows.", lambda c: c.perpetuated),
}
_OF_SCHEDULING: dict[str, tuple[str, Callable[[ScheduledCounts], int]]] = {
    "added": ("Executions put on the docket by add.", lambda s: s.added),
    "replaced": ("Executions put on the docket by replace.", lambda s: s.replaced),
    "scheduled": ("Executions put on the docket.", lambda s: s.scheduled),
}
_HISTOGRAMS: dict[str, tuple[str, Callable[[Counters], Histogram]]] = {
    "duration": ("Seconds that runs took.", lambda c: c.duration),
    "punctuality": (
        "Seconds from the instant a task was due to its start.",
        lambda c: c.punctuality,
    ),
}

Tallies = dict[tuple[str, str], TaskCounters]


class DocketCollector(Collector):
    """Reads what a process knows of its workers and dockets.

    Asked on a thread of its own; on the event loop of a worker it leaves the depths out, since to
    wait for them there is not possible.

    Args:
        ledger: of the process.
    """

    def __init__(self, ledger: ProcessRegistry) -> None:
        self._registry = ledger

    def describe(self) -> list[Metric]:
        """Nothing, so that to register it asks nobody anything."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Every family, as it is now."""
        counters_by_labels = self._registry.counters_by_labels()
        yield from self._of_scheduling()
        yield self._cancelled(counters_by_labels)
        yield self._cleared()
        yield from _of_runs(counters_by_labels)
        yield from _histograms(counters_by_labels)
        posts = self._registry.posts()
        yield _running(posts)
        yield from _depths(posts)
        yield self._disruptions()
        yield _strikes(posts)

    def _of_scheduling(self) -> Iterator[Metric]:
        producers = self._registry.producers()
        for name, (text, value) in _OF_SCHEDULING.items():
            family = CounterMetricFamily(f"docket_tasks_{name}", text, labels=["docket", "task"])
            for docket, producer in producers:
                for task, scheduled in producer.by_task():
                    family.add_metric([docket, task], value(scheduled))
            yield family

    def _cancelled(self, counters_by_labels: Tallies) -> Metric:
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
    """A collector and, beside it, the families of a registry that it has not itself."""

    def __init__(self, collector: Collector, registry: CollectorRegistry) -> None:
        self._collector = collector
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        """The collector's families first."""
        ours = list(self._collector.collect())
        names = {family.name for family in ours}
        yield from ours
        yield from (family for family in self._registry.collect() if family.name not in names)


def _rows(counters_by_labels: Tallies) -> Iterator[tuple[list[str], Counters]]:
    for (docket, worker), task_counters in sorted(
        counters_by_labels.items(), key=lambda item: item[0]
    ):
        for task, counters in task_counters.by_task():
            yield [docket, worker, task], counters


def _of_runs(counters_by_labels: Tallies) -> Iterator[Metric]:
    for name, (text, value) in _OF_RUNS.items():
        family = CounterMetricFamily(f"docket_tasks_{name}", text, labels=_LABELS)
        for labels, counters in _rows(counters_by_labels):
            family.add_metric(labels, value(counters))
        yield family


def _histograms(counters_by_labels: Tallies) -> Iterator[Metric]:
    for name, (text, histogram_of) in _HISTOGRAMS.items():
        family = HistogramMetricFamily(f"docket_task_{name}", text, labels=_LABELS)
        for labels, counters in _rows(counters_by_labels):
            histogram = histogram_of(counters)
            family.add_metric(labels, cumulative(histogram.counts), histogram.sum)
        yield family


def cumulative(counts: list[int]) -> list[tuple[str, float]]:
    """As Prometheus has them: each bucket holds all that are not above its bound."""
    names = [*(str(bound) for bound in DURATION_BUCKETS), "+Inf"]
    return list(zip(names, accumulate(counts), strict=True))


def _running(posts: list[RunningWorker]) -> Metric:
    family = GaugeMetricFamily("docket_tasks_running", "Tasks that run now.", labels=_LABELS)
    running = Counter[tuple[str, str, str]]()
    for post in posts:
        for function in post.running():
            running[post.docket, post.worker, function.decode(errors="replace")] += 1
        # Those that do not run at this moment are at 0, rather than gone.
        for task, _ in post.task_counters.by_task():
            running[post.docket, post.worker, task] += 0
    for labels, count in sorted(running.items()):
        family.add_metric(list(labels), count)
    return family


def _depths(posts: list[RunningWorker]) -> Iterator[Metric]:
    ready = GaugeMetricFamily(
        "docket_queue_depth", "Tasks that wait and are due.", labels=_LABELS[:1]
    )
    later = GaugeMetricFamily("docket_schedule_depth", "Tasks for later.", labels=_LABELS[:1])
    one_each = {post.docket: post for post in posts}
    for docket, post in sorted(one_each.items()):
        depths = _ask(post)
        if depths is not None:
            ready.add_metric([docket], depths.ready)
            later.add_metric([docket], depths.later)
    yield ready
    yield later


def _ask(post: RunningWorker) -> Depths | None:
    """How much waits on a worker's docket; None if that cannot be known in time."""
    if _is_running_here(post.loop):
        return None
    try:
        asked = asyncio.run_coroutine_threadsafe(_depths_of(post), post.loop)
    except RuntimeError:
        return None  # Its loop was closed meanwhile.
    try:
        return asked.result(DEPTHS_PATIENCE_SECONDS)
    except (DocketError, FutureTimeout, CancelledError) as error:
        asked.cancel()
        logger.debug("The depths of %s are left out: %r", post.docket, error)
        return None


async def _depths_of(post: RunningWorker) -> Depths:
    return await post.depths()


def _is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _strikes(posts: list[RunningWorker]) -> Metric:
    text = "Strikes that are in effect."
    family = GaugeMetricFamily("docket_strikes_in_effect", text, labels=["docket"])
    in_effect = {post.docket: post.strikes() for post in posts}
    for docket, count in sorted(in_effect.items()):
        family.add_metric([docket], count)
    return family

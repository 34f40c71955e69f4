"""What /metrics says: the pool's counters in the format of Prometheus.

Collected when asked, from the totals that the pool keeps: there is no second set of counters that
could disagree. Labels are bounded by the size of the pool: slots and states, never pids.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from supervisor.ground import Ground
from supervisor.status import worker_states
from supervisor.totals import REDELIVERY_BUCKETS, TASK_COUNTERS, Buckets

#: What the text of `render` is, for the header of the answer.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Bounds in seconds of the histograms that workers send, the same as docket's own (a test
#: compares them): importing docket for them would bring the Redis client into this process.
TASK_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0),
)

_TASK_HELP = {
    "started": "Runs of tasks that were started.",
    "succeeded": "Runs that returned.",
    "failed": "Runs that raised and are not tried again.",
    "retried": "Runs that raised and are tried again.",
    "redelivered": "Runs of tasks whose earlier run was lost.",
    "superseded": "Runs dropped because a newer execution took their place.",
    "stricken": "Tasks dropped because of a strike.",
    "cancelled": "Runs that were cancelled.",
    "perpetuated": "Runs whose successor was scheduled in the same step.",
}


class PoolCollector(Collector):
    """Reads one pool. Asked on the supervisor's loop only, where the totals are changed."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def collect(self) -> Iterable[Metric]:
        """Every family, read now."""
        yield from self._tasks()
        yield from self._workers()
        yield from self._pool()

    def _tasks(self) -> Iterator[Metric]:
        totals, docket = self._ground.totals, self._ground.config.docket
        for name in TASK_COUNTERS:
            family = CounterMetricFamily(
                f"docket_tasks_{name}", _TASK_HELP[name], labels=["docket", "worker"]
            )
            for slot, counters in sorted(totals.by_slot.items()):
                family.add_metric([docket, str(slot)], counters[name])
            yield family
        for name, buckets, help_text in (
            ("docket_task_duration", totals.duration, "Seconds that runs took."),
            ("docket_task_punctuality", totals.punctuality, "Seconds from due to claimed."),
        ):
            family = HistogramMetricFamily(name, help_text, labels=["docket"])
            family.add_metric([docket], _cumulative(TASK_BUCKETS, buckets), buckets.sum)
            yield family

    def _workers(self) -> Iterator[Metric]:
        states = GaugeMetricFamily(
            "docket_supervisor_workers", "Worker slots by state.", labels=["state"]
        )
        for state, count in worker_states(self._ground).items():
            states.add_metric([state], count)
        yield states
        lag = GaugeMetricFamily(
            "docket_supervisor_loop_lag_seconds", "Lag of a worker's event loop.", labels=["slot"]
        )
        rss = GaugeMetricFamily(
            "docket_supervisor_worker_rss_bytes", "Resident memory of a worker.", labels=["slot"]
        )
        for slot in self._ground.registry.slots():
            worker = slot.current
            if worker is not None and worker.alive and worker.heartbeat is not None:
                lag.add_metric([str(slot.number)], worker.heartbeat.loop_lag_seconds)
                rss.add_metric([str(slot.number)], worker.rss_bytes)
        yield lag
        yield rss

    def _pool(self) -> Iterator[Metric]:
        totals = self._ground.totals
        restarts = CounterMetricFamily(
            "docket_supervisor_worker_restarts", "Restarts by reason.", labels=["reason"]
        )
        for reason, count in sorted(totals.restarts.items()):
            restarts.add_metric([reason], count)
        yield restarts
        sums = totals.sums()
        for name, help_text in (
            ("poisoned", "Tasks failed because too many workers died under them."),
            ("crashes", "Workers that died unasked."),
            ("stalls", "Workers killed because their loop was silent."),
        ):
            yield CounterMetricFamily(f"docket_supervisor_{name}", help_text, value=sums[name])
        seconds = Buckets(totals.redelivery_seconds, totals.redelivery_sum)
        yield HistogramMetricFamily(
            "docket_supervisor_redelivery_seconds",
            "From a death seen to the first of its tasks claimed.",
            buckets=_cumulative(REDELIVERY_BUCKETS, seconds),
            sum_value=seconds.sum,
        )


def render(registry: CollectorRegistry) -> bytes:
    """The text of /metrics."""
    return generate_latest(registry)


def registry_of(ground: Ground) -> CollectorRegistry:
    """A registry with this pool and nothing else in it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(PoolCollector(ground))
    return registry


def _cumulative(bounds: tuple[float, ...], buckets: Buckets) -> list[tuple[str, float]]:
    """As Prometheus has them: each bucket holds all that are not above its bound."""
    counts = [*buckets.counts, *[0] * (len(bounds) + 1 - len(buckets.counts))]
    names = [*(str(bound) for bound in bounds), "+Inf"]
    return list(zip(names, accumulate(counts), strict=False))

"""OpenTelemetry metrics: the counters of this process as instruments of the meter `docket`.

They need opentelemetry-api (the extra `otel`) and a meter provider that the application sets.
Counters and gauges are observable: the provider reads them from the same tables as Prometheus when
it collects, so that no task pays for them. The histograms record each run, if there is a provider
when a worker meets a task for the first time.
"""

# The names of the extra are bound wherever _is_installed was checked; pyright cannot see that.
# pyright: reportPossiblyUnboundVariable=false

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from docket.instrumentation.counters import Counters, Histogram
from docket.instrumentation.process_registry import PROCESS_REGISTRY

try:
    from opentelemetry import metrics
    from opentelemetry.metrics import Observation
except ImportError:
    _is_installed = False
else:
    _is_installed = True

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram as OtelHistogram


class RecordedHistogram(Histogram):
    """A histogram whose observations are recorded in one of OpenTelemetry too.

    Args:
        instrument: that one.
        attributes: the attributes of each observation.
    """

    __slots__ = ("_attributes", "_instrument")

    def __init__(self, instrument: OtelHistogram, attributes: Mapping[str, str]) -> None:
        super().__init__()
        self._instrument = instrument
        self._attributes = attributes

    def observe(self, seconds: float) -> None:
        """Count one observation, and record it."""
        super().observe(seconds)
        self._instrument.record(seconds, self._attributes)


def counters_of(labels: Mapping[str, str]) -> Callable[[str], Counters]:
    """Return a maker of counters for the tasks of a worker with these labels."""

    def make(task: str) -> Counters:
        if TASK_DURATION is None or not _is_provided():
            return Counters()
        attributes = {**labels, "docket.task": task}
        return Counters(
            duration=RecordedHistogram(TASK_DURATION, attributes),
            punctuality=RecordedHistogram(TASK_PUNCTUALITY, attributes),
        )

    return make


def _is_provided() -> bool:
    # The providers of the API itself, which stand in for a missing one, record nothing.
    return not type(metrics.get_meter_provider()).__module__.startswith("opentelemetry.metrics")


def _observing(name: str) -> Callable[[Any], Iterable[Observation]]:
    def observe(_: object) -> Iterable[Observation]:
        # Not before a provider collects: few processes have one.
        collector = importlib.import_module("docket.instrumentation.collector")
        for sample in collector.FAMILIES[name](collector.Snapshot(PROCESS_REGISTRY)).samples:
            labels = sample.labels.items()
            yield Observation(
                sample.value,
                {label.replace("_", ".", 1): value for label, value in labels if value},
            )

    return observe


def _instrument(make: str, name: str, **options: Any) -> Any:
    """Make an instrument; None without the extra."""
    if not _is_installed:
        return None
    return getattr(metrics.get_meter("docket"), f"create_{make}")(name, **options)


def _observable(kind: str, name: str) -> Any:
    return _instrument(f"observable_{kind}", name, callbacks=[_observing(name)], unit="1")


TASKS_ADDED = _observable("counter", "docket_tasks_added")
TASKS_REPLACED = _observable("counter", "docket_tasks_replaced")
TASKS_SCHEDULED = _observable("counter", "docket_tasks_scheduled")
TASKS_CANCELLED = _observable("counter", "docket_tasks_cancelled")
TASKS_CLEARED = _observable("counter", "docket_tasks_cleared")
TASKS_STARTED = _observable("counter", "docket_tasks_started")
TASKS_REDELIVERED = _observable("counter", "docket_tasks_redelivered")
TASKS_STRICKEN = _observable("counter", "docket_tasks_stricken")
TASKS_SUPERSEDED = _observable("counter", "docket_tasks_superseded")
TASKS_COMPLETED = _observable("counter", "docket_tasks_completed")
TASKS_FAILED = _observable("counter", "docket_tasks_failed")
TASKS_SUCCEEDED = _observable("counter", "docket_tasks_succeeded")
TASKS_RETRIED = _observable("counter", "docket_tasks_retried")
TASKS_PERPETUATED = _observable("counter", "docket_tasks_perpetuated")
REDIS_DISRUPTIONS = _observable("counter", "docket_redis_disruptions")
TASKS_RUNNING = _observable("up_down_counter", "docket_tasks_running")
STRIKES_IN_EFFECT = _observable("up_down_counter", "docket_strikes_in_effect")
QUEUE_DEPTH = _observable("gauge", "docket_queue_depth")
SCHEDULE_DEPTH = _observable("gauge", "docket_schedule_depth")
BACKLOG_TASKS = _observable("gauge", "docket_backlog_tasks")
BACKLOG_OLDEST_READY = _observable("gauge", "docket_backlog_oldest_ready_seconds")
BACKLOG_LATENESS = _observable("gauge", "docket_backlog_lateness_seconds")
BACKLOG_PAUSES = _observable("gauge", "docket_backlog_pauses")
BACKLOG_FAILED_KEPT = _observable("gauge", "docket_backlog_failed_kept")
BACKLOG_WORKERS = _observable("gauge", "docket_backlog_workers")
PLACES = _observable("gauge", "docket_places")
PLACES_USED = _observable("gauge", "docket_places_used")
TASK_DURATION = _instrument("histogram", "docket_task_duration", unit="s")
TASK_PUNCTUALITY = _instrument("histogram", "docket_task_punctuality", unit="s")

"""Metrics, health probes and traces of a process that runs workers."""

from docket.instrumentation.counters import DURATION_BUCKETS, Counters, Histogram
from docket.instrumentation.servers import (
    COLLECTOR,
    EVERYWHERE,
    health,
    healthcheck_server,
    metrics_server,
    metrics_text,
)

__all__ = [
    "COLLECTOR",
    "DURATION_BUCKETS",
    "EVERYWHERE",
    "Counters",
    "Histogram",
    "health",
    "healthcheck_server",
    "metrics_server",
    "metrics_text",
]

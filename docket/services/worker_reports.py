"""The reports of a worker: the tasks that it can run, to the log; its figures, to metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from docket.annotations import evaluated_signature
from docket.execution.signatures import compact_signature
from docket.inspection import backlog_of
from docket.instrumentation.counters import TaskCounters
from docket.instrumentation.process_registry import BACKLOG_PATIENCE_SECONDS, RunningWorker
from docket.instrumentation.readiness import Readiness
from docket.services.runs import Runs
from docket.services.statistics_reporter import StatisticsReporter
from docket.store.statistics import StatisticsStore

if TYPE_CHECKING:
    from docket.docket import Docket

logger = logging.getLogger("docket.worker")


def log_tasks(docket: Docket, worker_name: str, attributes: Mapping[str, str]) -> None:
    """Log the tasks of a worker that begins to run, each with what its caller gives."""
    logger.info("Starting worker %r with the following tasks:", worker_name, extra=attributes)
    for name, function in docket.tasks.items():
        signature = compact_signature(evaluated_signature(function))
        logger.info("* %s(%s)", name, signature, extra=attributes)


def figures_of(
    docket: Docket,
    label: str,
    counters: TaskCounters,
    readiness: Readiness,
    runs: Runs,
    places: Callable[[], int],
) -> RunningWorker:
    """Make the figures of a worker that runs on this loop, for the process's registry.

    Args:
        label: its name in metrics.
        counters: those of this run.
        places: returns the number of tasks that it can run at once.
    """
    pipeline, disruptions = docket.connections.pipeline, docket.connections.pipeline.disruptions
    return RunningWorker(
        docket.name,
        label,
        counters,
        readiness,
        running=runs.functions,
        places=places,
        disruptions=lambda: pipeline.disruptions - disruptions,
        strikes=lambda: docket.strike_list.in_effect,
        backlog=lambda: backlog_of(docket, BACKLOG_PATIENCE_SECONDS),
        loop=asyncio.get_running_loop(),
    )


def backlog_reporter(docket: Docket, readiness: Readiness) -> Callable[[], Awaitable[None]]:
    """Make a function that reads the backlog and reports it to the runtime.

    It raises ServerUnavailable if the server does not answer in time.
    """

    async def report() -> None:
        readiness.backlog(await backlog_of(docket, BACKLOG_PATIENCE_SECONDS))

    return report


def statistics_reporter(docket: Docket, counters: TaskCounters) -> StatisticsReporter | None:
    """Make the reporter of a worker's counters; None if the docket keeps no statistics."""
    if not docket.keep_statistics:
        return None
    store = StatisticsStore(docket.connections.pipeline, docket.keys, docket.keep_statistics)
    return StatisticsReporter(store, counters)

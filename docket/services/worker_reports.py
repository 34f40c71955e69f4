"""The reports of a worker: the tasks that it can run, to the log; its figures, to metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from docket.annotations import evaluated_signature
from docket.execution.signatures import compact_signature
from docket.inspection import backlog_of
from docket.instrumentation.collector import BACKLOG_PATIENCE_SECONDS
from docket.instrumentation.counters import TaskCounters
from docket.instrumentation.process_registry import RunningWorker
from docket.instrumentation.readiness import Readiness
from docket.services.runs import Runs

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
    docket: Docket, label: str, counters: TaskCounters, readiness: Readiness, runs: Runs
) -> RunningWorker:
    """Make the figures of a worker that runs on this loop, for the process's registry.

    Args:
        label: its name in metrics.
        counters: those of this run.
    """
    pipeline, disruptions = docket.connections.pipeline, docket.connections.pipeline.disruptions
    return RunningWorker(
        docket.name,
        label,
        counters,
        readiness,
        running=runs.functions,
        disruptions=lambda: pipeline.disruptions - disruptions,
        strikes=lambda: docket.strike_list.in_effect,
        backlog=lambda: backlog_of(docket, BACKLOG_PATIENCE_SECONDS),
        loop=asyncio.get_running_loop(),
    )


async def report_backlog(docket: Docket, readiness: Readiness) -> None:
    """Read the backlog and report it to the runtime.

    Raises:
        ServerUnavailable: the server does not answer in time.
    """
    readiness.backlog(await backlog_of(docket, BACKLOG_PATIENCE_SECONDS))

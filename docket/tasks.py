"""Built-in tasks, to check that a pool works and to see a failure."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

from docket.dependencies import CurrentDocket, CurrentExecution, CurrentWorker, Retry, TaskLogger
from docket.execution import TaskFunction

#: What `register_collection` and the option `--tasks` register: task functions.
TaskCollection: TypeAlias = Iterable[TaskFunction]

if TYPE_CHECKING:
    # Only for readers and type checkers: docket.docket itself may register these tasks.
    from docket.docket import Docket
    from docket.execution import Execution
    from docket.worker import Worker


async def trace(
    message: str,
    logger: logging.LoggerAdapter[logging.Logger] = TaskLogger(),
    docket: Docket = CurrentDocket(),
    worker: Worker = CurrentWorker(),
    execution: Execution = CurrentExecution(),
) -> None:
    """Log a message with its docket, its worker and its delay."""
    logger.info(
        "%s: %r added to docket %r %s ago now running on worker %r",
        message,
        execution.key,
        docket.name,
        _elapsed(execution),
        worker.name,
    )


async def fail(
    message: str,
    docket: Docket = CurrentDocket(),
    worker: Worker = CurrentWorker(),
    execution: Execution = CurrentExecution(),
    retry: Retry = Retry(attempts=2),
) -> None:
    """Fail with the message, twice.

    Raises:
        Exception: always.
    """
    raise Exception(
        f"{message}: {execution.key} added to docket {docket.name} {_elapsed(execution)} ago "
        f"now running on worker {worker.name}"
    )


async def sleep(
    seconds: float,
    logger: logging.LoggerAdapter[logging.Logger] = TaskLogger(),
) -> None:
    """Do nothing for a number of seconds."""
    logger.info("Sleeping for %s seconds", seconds)
    await asyncio.sleep(seconds)


def _elapsed(execution: Execution) -> timedelta:
    return datetime.now(execution.when.tzinfo) - execution.when


#: The default tasks of a worker.
standard_tasks = [trace, fail, sleep]

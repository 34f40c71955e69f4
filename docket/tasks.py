"""Built-in tasks, to check that a pool works and to see a failure."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, TypeAlias

from docket.annotations import Logged
from docket.dependencies import CurrentDocket, CurrentExecution, CurrentWorker, TaskLogger
from docket.execution import TaskFunction

#: What `register_collection` and the option `--tasks` register: task functions.
TaskCollection: TypeAlias = Iterable[TaskFunction]

if TYPE_CHECKING:
    # Only for readers and type checkers: docket.docket itself may register these tasks.
    from docket.docket import Docket
    from docket.execution import Execution
    from docket.worker import Worker


async def trace(
    message: Annotated[str, Logged],
    logger: logging.LoggerAdapter[logging.Logger] = TaskLogger(),
    docket: Docket = CurrentDocket(),
    worker: Worker = CurrentWorker(),
    execution: Execution = CurrentExecution(),
) -> None:
    """Log a message with its docket, its worker and its delay."""
    logger.info(
        "%s: task %r of docket %r runs on worker %r, %s after it was due",
        message,
        execution.key,
        docket.name,
        worker.name,
        datetime.now(execution.when.tzinfo) - execution.when,
    )


async def fail(
    message: Annotated[str, Logged],
    docket: Docket = CurrentDocket(),
    worker: Worker = CurrentWorker(),
    execution: Execution = CurrentExecution(),
) -> None:
    """Fail, with the message.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError(
        f"{message}: task {execution.key!r} of docket {docket.name!r} "
        f"fails on worker {worker.name!r} as it was asked to"
    )


async def sleep(
    seconds: Annotated[float, Logged],
    logger: logging.LoggerAdapter[logging.Logger] = TaskLogger(),
) -> None:
    """Do nothing for a number of seconds."""
    logger.info("Sleeping for %s seconds", seconds)
    await asyncio.sleep(seconds)


#: The default tasks of a worker.
standard_tasks = [trace, fail, sleep]

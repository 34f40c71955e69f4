"""The last user code of a worker: the teardown of what its tasks shared."""

from __future__ import annotations

import asyncio
import logging
from traceback import StackSummary
from typing import Protocol

from docket.stacks import frames
from supervisor.grace_periods import EXIT_SECONDS, TEARDOWN_SECONDS

log = logging.getLogger("docket.supervisor.worker")


class Entered(Protocol):
    """The part of an entered Worker that is needed here."""

    async def __aexit__(self, kind: None, error: None, traceback: None, /) -> None:
        """Close what its tasks shared."""
        ...


async def tear_down(worker: Entered, seconds: float = TEARDOWN_SECONDS) -> None:
    """Leave an entered worker, and log what goes wrong: its tasks are over, and nothing is lost.

    A teardown that takes too long is logged with its stack and cancelled. One that ignores that is
    left behind; the process ends, by itself or by the supervisor.
    """
    leaving = asyncio.create_task(
        worker.__aexit__(None, None, None), name="teardown of what tasks shared"
    )
    if not await _is_over(leaving, seconds):
        stack = StackSummary.from_list(frames(leaving.get_coro()))
        log.warning(
            "The teardown of what the tasks shared has not ended after %g s; it is cancelled."
            " Where it is, most recent call last:\n%s",
            seconds,
            "".join(stack.format()).rstrip(),
        )
        leaving.cancel()
        if not await _is_over(leaving, EXIT_SECONDS - TEARDOWN_SECONDS):
            return
    error = None if leaving.cancelled() else leaving.exception()
    if error is not None:
        log.error("The teardown of what the tasks shared failed", exc_info=error)


async def _is_over(task: asyncio.Task[None], seconds: float) -> bool:
    await asyncio.wait({task}, timeout=seconds)
    return task.done()

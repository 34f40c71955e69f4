"""A standalone worker, which owns its process: it handles signals and serves ports."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from docket.instrumentation import healthcheck_server, metrics_server

if TYPE_CHECKING:
    from docket.worker import Worker

_STOPPING = (signal.SIGTERM, signal.SIGINT)


async def run_standalone(
    worker: Worker,
    until_finished: bool,
    healthcheck_port: int | None,
    metrics_port: int | None,
) -> None:
    """Run a worker until a signal stops it, or it has finished.

    Raises:
        CannotListen: a port is taken; the worker has not begun.
        CancelledError: a third signal came; the running tasks were handed back.
    """
    with (
        healthcheck_server(healthcheck_port),
        metrics_server(metrics_port),
        Signals(worker).listening(),
    ):
        if until_finished:
            await worker.run_until_finished()
        else:
            await worker.run_forever()


class Signals:
    """A signal handler that stops a worker, each time more urgently.

    The first signal: claim no more and finish the running tasks. The second: cancel them and hand
    them back. The third: do not wait for a server that is away.

    Args:
        worker: the worker in the current asyncio task, which the third signal cancels.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._running = asyncio.current_task()
        self._received = 0

    @contextmanager
    def listening(self) -> Generator[None]:
        """Listen for TERM and INT while the context lasts."""
        loop = asyncio.get_running_loop()
        for number in _STOPPING:
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in _STOPPING:
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """Stop the worker, more urgently than the last time."""
        self._received += 1
        if self._received == 1:
            self._worker.drain()
        elif self._received == 2:
            self._worker.drain(0.0)
        elif self._running is not None:
            self._running.cancel()

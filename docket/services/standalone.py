"""A worker as the program: it owns the process, so signals and ports are its own."""

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


async def work_as_program(
    worker: Worker,
    until_finished: bool,
    healthcheck_port: int | None,
    metrics_port: int | None,
) -> None:
    """Run a worker until a signal stops it, or it has finished.

    Raises:
        CannotListen: a port is taken; the worker has not begun.
        CancelledError: a third signal came; what ran was handed back.
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
    """Tells a worker to stop: each signal more urgently than the one before.

    The first: claim no more, finish what runs. The second: cancel it and hand it back. The third:
    do not wait for a server that is away.

    Args:
        worker: runs in the current asyncio task, which the third signal cancels.
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
        """One more signal has come."""
        self._received += 1
        if self._received == 1:
            self._worker.drain()
        elif self._received == 2:
            self._worker.drain(0.0)
        elif self._running is not None:
            self._running.cancel()

"""A standalone worker, which owns its process: it handles signals and serves ports."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from docket.instrumentation import healthcheck_server, metrics_server
from docket.services.task_threads import watch_default_executor

if TYPE_CHECKING:
    from docket.docket import Docket
    from docket.worker import Worker

logger = logging.getLogger("docket.worker")

#: The tasks of `Worker.run` if none are named.
STANDARD_TASKS = ["docket.tasks:standard_tasks"]

_STOPPING = (signal.SIGTERM, signal.SIGINT)


async def run_program(
    docket: Docket,
    tasks: Sequence[str],
    make: Callable[[], Worker],
    until_finished: bool,
    healthcheck_port: int | None,
    metrics_port: int | None,
    allowed_hosts: Sequence[str] = (),
) -> None:
    """Run a worker of a docket until a signal stops it, or it has finished.

    Args:
        docket: not opened yet.
        tasks: collections to register, "module:collection" each; texts that are empty do not count.
        make: makes the worker.
        until_finished: end when the docket has no task left.
        healthcheck_port, metrics_port: ports to serve; None: none.
        allowed_hosts: names under which the metrics may be asked for; see metrics_server.

    Raises:
        CannotListen: a port is taken; the worker has not begun.
        Exception: any error of a collection, or of `make`.
    """
    named = [path for path in tasks if path]
    async with docket:
        for path in STANDARD_TASKS if tasks and not named else named:
            docket.register_collection(path)
        async with make() as worker:
            await _run(worker, until_finished, healthcheck_port, metrics_port, allowed_hosts)


async def _run(
    worker: Worker,
    until_finished: bool,
    healthcheck_port: int | None,
    metrics_port: int | None,
    allowed_hosts: Sequence[str],
) -> None:
    watch_default_executor(asyncio.get_running_loop(), is_ours=True)
    with (
        healthcheck_server(healthcheck_port),
        metrics_server(metrics_port, allowed_hosts=allowed_hosts),
        _stopped_by_signals(),
    ):
        if until_finished:
            await worker.run_until_finished()
        else:
            await worker.run_forever()


@contextmanager
def _stopped_by_signals() -> Generator[None]:
    """Let TERM and INT cancel the current asyncio task, which runs a worker, while this lasts.

    The first one drains it, the second interrupts it, the third does not wait for a server that is
    away. The task goes on afterwards as if it had not been cancelled.
    """
    running, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert running is not None
    received, cancelled_before = 0, running.cancelling()

    def stop(number: signal.Signals) -> None:
        nonlocal received
        received += 1
        logger.info("Received %s, initiating graceful shutdown...", number.name)
        running.cancel()

    for number in _STOPPING:
        loop.add_signal_handler(number, stop, number)
    try:
        yield
    except asyncio.CancelledError:
        if running.cancelling() - cancelled_before > received:
            raise  # Somebody else has cancelled it.
        while running.cancelling() > cancelled_before:
            running.uncancel()
    finally:
        for number in _STOPPING:
            loop.remove_signal_handler(number)

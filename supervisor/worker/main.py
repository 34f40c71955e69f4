"""The main function of a forked child: one docket Worker, its channel to the supervisor, its end.

It ends in one of three ways: drained, on command or because the supervisor is gone; with a
Fault, when it cannot go on; or killed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from datetime import timedelta
from typing import Any, Final

import uvloop

from docket.docket import Docket
from docket.supervision import PoolMember, task_here
from docket.worker import Worker
from ipc.blocking import BlockingChannel
from ipc.channel import Channel
from ipc.messages import PROTOCOL, Fault, Hello, ToWorker
from supervisor.child import fork_setup, signal_shield, task_modules
from supervisor.child.fork_setup import ChildSpec
from supervisor.child.parent_watch import end_after_supervisor
from supervisor.child.task_modules import CannotLoad
from supervisor.grace_periods import LAST_LINES_SECONDS, ORPHAN_SECONDS
from supervisor.logs import log_setup
from supervisor.logs.formats import LogContext
from supervisor.text import truncation
from supervisor.worker.docket_of_pool import docket_of
from supervisor.worker.keeper_pipe import KeeperPipe
from supervisor.worker.supervisor_link import SupervisorLink
from supervisor.worker.teardown import tear_down

#: Exit statuses of a worker.
DRAINED: Final = 0
FAULTY: Final = 1

log = logging.getLogger("docket.supervisor.worker")

_REGISTRY_LOG: Final = logging.getLogger("docket.registry")
_FIRST_SLOT: Final = 1


def main(spec: ChildSpec) -> int:
    """Run one worker until it has drained; the exit status.

    Called in a process that `fork_setup.set_up` has made its own.
    """
    try:
        logging_to_stderr = _begin(spec)
    except (OSError, RuntimeError) as error:
        return _refuse(spec, error)
    fault = None if spec.settings.preload else _import_tasks(spec)
    logging_to_stderr.reapply()
    if fault is None and not spec.settings.preload and spec.slot == 1:  # once is enough
        task_modules.log_found(spec.settings)
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    try:
        status = runner.run(_serve(spec, fault))
        runner.close()
    except BaseException:
        # Not closed: that waits for tasks that ignore their cancellation, and requeues nothing,
        # while the adoption of our tasks begins at our exit. Nor are threads waited for.
        log.critical("The event loop was ended by what ran in it: the worker ends", exc_info=True)
        logging_to_stderr.stop()
        fork_setup.flush()
        os._exit(FAULTY)
    logging_to_stderr.stop(LAST_LINES_SECONDS)
    return status


def _begin(spec: ChildSpec) -> log_setup.Logs:
    """Start the threads that stand beside the loop."""
    settings = spec.settings.worker
    logging_to_stderr = log_setup.configure(
        settings.logging_level,
        settings.logging_format,
        threaded=True,
        log_context=LogContext(f"worker {spec.slot}", spec.slot, task_here),
        runs_user_code=True,
    )
    allowed_seconds = settings.drain_timeout_seconds + ORPHAN_SECONDS
    # Before the import of the tasks: that may hang as well as a loop may.
    end_after_supervisor(spec.keeper, allowed_seconds)
    return logging_to_stderr


def _refuse(spec: ChildSpec, error: Exception) -> int:
    """End a process that the system gives no room, without a thread and without a loop."""
    reason = f"the worker cannot start ({error}); is a limit of processes or threads reached?"
    channel = BlockingChannel[ToWorker](socket.socket(fileno=spec.channel), ToWorker)
    for message in (Hello(PROTOCOL, os.getpid()), _fault(reason, "")):
        channel.send(message)
    channel.close()
    fork_setup.flush()
    os._exit(FAULTY)  # threads that did start are not waited for


def _import_tasks(spec: ChildSpec) -> Fault | None:
    """Import in the worker what was not imported in the nursery; a fault if that failed.

    Outside of the loop: modules may run one of their own while they are imported.
    """
    try:
        task_modules.load(task_modules.paths_of(spec.settings))
    except CannotLoad as error:
        return _fault(str(error), error.details, cannot_load=True)
    signal_shield.install()
    fork_setup.reseed()
    fork_setup.listen_for_dumps(spec.dump)
    return None


async def _serve(spec: ChildSpec, fault: Fault | None) -> int:
    settings = spec.settings.worker
    _end_forks_that_come_back(asyncio.get_running_loop())
    sock = socket.socket(fileno=spec.channel)
    if fault is not None:
        return await _give_up(sock, fault)
    # Every worker registers the same tasks: what is to be said of them is said once.
    _REGISTRY_LOG.disabled = spec.slot != _FIRST_SLOT
    try:
        docket, worker = _build(spec)
    except Exception as error:
        fault = _fault(task_modules.describe(error), task_modules.details(error), cannot_load=True)
        return await _give_up(sock, fault)
    finally:
        _REGISTRY_LOG.disabled = False
    member = PoolMember(spec.settings.supervisor_pid, spec.settings.generation)
    keeper = KeeperPipe(spec.keeper)
    link = SupervisorLink(worker, settings, sock, keeper, spec.dump, member)
    status = DRAINED
    try:
        async with docket:
            # Entered, it leaves what its tasks shared to us: user code that may hang or fail, so
            # everything else is said before.
            await worker.__aenter__()
            try:
                await link.run()
                link.report_drained()
            except Exception as error:
                log.exception("The worker cannot go on; its tasks go to another")
                _report(link, error)
                status = FAULTY
            await tear_down(worker)
    except Exception as error:
        log.exception("The docket of the worker cannot be used")
        _report(link, error)
        status = FAULTY
    await link.close()
    return status


def _report(link: SupervisorLink, error: Exception) -> None:
    link.report_failed(_fault(task_modules.describe(error), task_modules.details(error)))


def _end_forks_that_come_back(loop: asyncio.AbstractEventLoop) -> None:
    """End the fork of a task as soon as it gets back into the loop.

    It would be a second worker on the connections of the first. A fork that leaves by os._exit, as
    those of multiprocessing do, or that was made in another thread, never comes to it.
    """

    def end() -> None:
        log.error("What a task forked came back to the event loop and was ended: use os._exit")
        os._exit(FAULTY)

    os.register_at_fork(after_in_child=lambda: loop.call_soon(end))


def _build(spec: ChildSpec) -> tuple[Docket, Worker]:
    """The docket with its tasks registered and the worker; nothing is connected yet.

    Raises the error with which the user's tasks, dependencies or fallback are refused.
    """
    settings = spec.settings.worker
    docket = docket_of(settings)
    for path in spec.settings.tasks:
        docket.register_collection(path)
    extras: dict[str, Any] = {}
    if settings.dependencies is not None:
        extras["dependencies"] = task_modules.resolve(settings.dependencies)
    if settings.fallback_task is not None:
        extras["fallback_task"] = task_modules.resolve(settings.fallback_task)
    worker = Worker(
        docket,
        name=spec.name,
        concurrency=settings.concurrency,
        redelivery_timeout=timedelta(seconds=settings.redelivery_timeout_seconds),
        reconnection_delay=timedelta(seconds=settings.reconnection_delay_seconds),
        minimum_check_interval=timedelta(seconds=settings.minimum_check_interval_seconds),
        scheduling_resolution=timedelta(seconds=settings.scheduling_resolution_seconds),
        schedule_automatic_tasks=settings.schedule_automatic_tasks,
        message_batch=settings.message_batch,
        **extras,
    )
    return docket, worker


async def _give_up(sock: socket.socket, fault: Fault) -> int:
    """End before there is a worker: send the fault on a channel that handles no message."""
    log.error("The worker cannot start: %s", fault.reason)
    channel: Channel[ToWorker] = Channel(sock, ToWorker, _ignore, _ignore)
    channel.send(Hello(PROTOCOL, os.getpid()))
    channel.send(fault)
    await channel.flushed()
    channel.close()
    return FAULTY


def _ignore(*_: object) -> None:
    """Ignore the supervisor's messages, and its end: this process ends in any case."""


def _fault(reason: str, details: str, *, cannot_load: bool = False) -> Fault:
    return Fault(
        truncation.head(reason, truncation.REASON),
        truncation.tail(details, truncation.TRACEBACK),
        cannot_load,
    )

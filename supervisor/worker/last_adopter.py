"""A child that only adopts and vouches: forked when no worker is left that can do it.

The tasks of a worker that was killed at the end of a drain are adopted too, so
that the next pool finds them ready. A plain worker would claim them itself the moment it is ready,
so this one has a Worker for its calls to the store and never runs it.
"""

import asyncio
import logging
import os
import socket

import uvloop

from docket.worker import Worker
from ipc.channel import Channel
from ipc.messages import PROTOCOL, Adopt, Drain, Drained, Hello, Ready, ToWorker, Vouch
from supervisor.child.fork_setup import ChildSpec
from supervisor.child.parent_watch import end_after_supervisor
from supervisor.grace_periods import ORPHAN_SECONDS
from supervisor.logs import log_setup
from supervisor.logs.formats import LogContext
from supervisor.worker.adoption_runner import AdoptionRunner
from supervisor.worker.docket_of_pool import docket_of
from supervisor.worker.heartbeats import rss_bytes

#: The slot of an adopter; those of workers begin at 1.
SLOT = 0

log = logging.getLogger("supervisor.adopter")


def main(spec: ChildSpec) -> int:
    """Adopt as asked until Drain; the exit status."""
    settings = spec.settings.worker
    written = log_setup.configure(
        settings.logging_level,
        settings.logging_format,
        threaded=True,
        log_context=LogContext("adopter", SLOT),
    )
    end_after_supervisor(spec.keeper, ORPHAN_SECONDS)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(spec))
    finally:
        written.stop()


async def _serve(spec: ChildSpec) -> int:
    settings = spec.settings.worker
    docket = docket_of(settings)
    worker = Worker(docket, name=spec.name)
    sock = socket.socket(fileno=spec.channel)
    async with docket:
        await LastAdopter(worker, settings.max_deliveries, sock).run()
    return 0


class LastAdopter:
    """Answer Adopt with Adopted until Drain, or until the supervisor is gone.

    Arguments:
        worker: of the docket whose tasks are adopted; not run, so it claims nothing.
        max_deliveries: deaths at which a task is failed as poison.
        sock: the channel to the supervisor, owned from here on.
    """

    def __init__(self, worker: Worker, max_deliveries: int, sock: socket.socket) -> None:
        self._worker = worker
        self._drained = asyncio.Event()
        self._channel: Channel[ToWorker] = Channel(sock, ToWorker, self._obey, self._closed)
        self._adoptions = AdoptionRunner(worker, max_deliveries, self._channel.send)

    async def run(self) -> None:
        """Send Ready, adopt, and end at Drain."""
        self._channel.send(Hello(PROTOCOL, os.getpid()))
        self._channel.send(Ready(self._worker.consumer, self._worker.name, rss_bytes()))
        await self._drained.wait()
        await self._adoptions.close()  # the supervisor sends no Drain while it waits for these
        self._channel.send(Drained())
        await self._channel.flushed()
        self._channel.close()

    def _obey(self, message: ToWorker, _fds: list[int]) -> None:
        match message:
            case Adopt():
                self._adoptions.begin(message)
            case Vouch():
                self._adoptions.vouch(message)
            case Drain():
                self._drained.set()
            case _:
                log.debug("%s means nothing to an adopter", type(message).__name__)

    def _closed(self, error: Exception | None) -> None:
        log.warning("the supervisor is gone (%s)", error or "its channel has ended")
        self._drained.set()

"""The link between one worker and its supervisor: commands in, reports out.

It is the Supervision that docket's Worker reports to, and the owner of the worker's channel.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from asyncio import TimerHandle
from dataclasses import fields
from typing import Final

from docket import Backlog
from docket.errors import DocketError
from docket.supervision import PoolMember
from docket.worker import Worker
from ipc import messages
from ipc.channel import Channel
from supervisor.logs import log_setup
from supervisor.text import truncation
from supervisor.worker import coroutine_stacks
from supervisor.worker.adoption_runner import AdoptionRunner
from supervisor.worker.heartbeats import heartbeat, rss_bytes
from supervisor.worker.keeper_pipe import KeeperPipe

log = logging.getLogger("docket.supervisor.worker")

#: Seconds between two beats of the keeper's thread.
KEEPER_SECONDS: Final = 0.5

#: Not by `asdict`, which copies each value: every two seconds, and by code that nothing else runs.
_OF_BACKLOG: Final = tuple(each.name for each in fields(Backlog))


class SupervisorLink:
    """The link of one worker. Made on the running loop, where all but `beat` is called.

    sock: the worker's channel, owned from now on. keeper and dump: the write ends of its pipes.
    member: the place of the worker in the pool.
    """

    def __init__(
        self,
        worker: Worker,
        settings: messages.WorkerSettings,
        sock: socket.socket,
        keeper: KeeperPipe,
        dump: int,
        member: PoolMember | None = None,
    ) -> None:
        self._worker = worker
        self._member = member
        self._settings = settings
        self._keeper = keeper
        self._dump = dump
        self._sequence = 0
        self._running: asyncio.Task[None] | None = None
        self._was_ready = self._is_draining = False
        self._channel: Channel[messages.ToWorker] = Channel(
            sock, messages.ToWorker, self._obey, self._closed
        )
        self._adoptions = AdoptionRunner(worker, settings.max_deliveries, self._channel.send)
        self._heartbeat_timer: TimerHandle | None = None
        self._reporting: asyncio.Task[None] | None = None
        self._channel.send(messages.Hello(messages.PROTOCOL, os.getpid()))

    async def run(self) -> None:
        """Run the worker until it has drained. Raises what run_supervised raises."""
        if self._is_draining:
            return  # Drain came while the docket was opened
        self._running = asyncio.create_task(
            self._worker.run_supervised(
                self,
                stall_timeout_seconds=self._settings.stall_timeout_seconds,
                keeper_interval_seconds=KEEPER_SECONDS,
                member=self._member,
            ),
            name="docket worker",
        )
        try:
            await self._running
        except asyncio.CancelledError:
            if not self._is_draining:
                raise

    # -- reports of the worker (docket.supervision.Supervision)

    def ready(self) -> None:
        self._was_ready = True
        self._channel.send(messages.Ready(self._worker.consumer, self._worker.name, rss_bytes()))
        self._beat_regularly()

    def waiting(self, reason: str) -> None:
        self._channel.send(messages.Waiting(truncation.head(reason, truncation.REASON)))
        self._beat_regularly()

    def redelivered(self, consumer: str, started_at: float) -> None:
        self._channel.send(messages.Redelivered(consumer, started_at))

    def draining(self) -> None:
        if not self._is_draining:
            self._is_draining = True
            self._channel.send(messages.Draining())

    def beat(self, lag_seconds: float, blocking_key: str | None) -> None:
        """Write a beat, on the keeper's thread; the channel belongs to the loop."""
        self._keeper.beat(lag_seconds, blocking_key)

    def backlog(self, backlog: Backlog) -> None:
        # The next one replaces it.
        self._channel.send_droppable(
            messages.Backlog(**{name: getattr(backlog, name) for name in _OF_BACKLOG})
        )

    async def _report_policy(self) -> None:
        try:
            policy = await self._worker.docket.connections.server_policy()
        except DocketError:
            return  # Not open yet, or closed: the next steward reports it.
        if policy is not None:
            self._channel.send(messages.ServerPolicy(policy.maxmemory_policy, policy.appendonly))

    # -- its end

    def report_drained(self) -> None:
        """Report that the worker has finished, with the last counters.

        Its process has some seconds to end from here on, and what it still does loses nothing.
        Without a server it may have ended with outcomes that are not recorded: those tasks are left
        to be adopted.
        """
        self._send_heartbeat(droppable=False)
        if self._worker.unrecorded:
            log.warning(
                "The server is away: %d outcomes are not recorded, and their tasks run again",
                self._worker.unrecorded,
            )
        else:
            self._channel.send(messages.Drained())
        self._stop_beating()

    def report_failed(self, fault: messages.Fault) -> None:
        """Report that the worker cannot go on."""
        self._channel.send(fault)

    async def close(self) -> None:
        """Drop the adoptions under way: the supervisor gives them to another worker."""
        self._stop_beating()
        if self._reporting is not None:
            self._reporting.cancel()
        await self._adoptions.close()
        await self._channel.flushed()
        self._channel.close()

    # -- messages of the supervisor

    def _obey(self, message: messages.ToWorker, fds: list[int]) -> None:
        match message:
            case messages.Drain(deadline_seconds=deadline):
                self._drain(deadline)
            case messages.Adopt():
                self._adoptions.begin(message)
            case messages.Vouch():
                self._adoptions.vouch(message)
            case messages.Steward(on=on):
                self._worker.appoint_steward(on)
                if on and self._reporting is None:
                    self._reporting = asyncio.create_task(self._report_policy())
            case messages.Dump():
                running = self._worker.running_tasks()
                coroutine_stacks.write_to(self._dump, running, time.monotonic())

    def _closed(self, error: Exception | None) -> None:
        """Drain without a supervisor, or with one whose messages cannot be read any more."""
        log.warning(
            "The supervisor is gone (%s): finishing what runs, for %s seconds at most",
            error or "its channel has ended",
            self._settings.drain_timeout_seconds,
        )
        self._drain(self._settings.drain_timeout_seconds)

    def _drain(self, deadline_seconds: float | None) -> None:
        if self._was_ready:
            self._worker.drain(deadline_seconds)
            return
        # It waits for its server, maybe for ever, and has claimed no task that it could finish.
        self.draining()
        if self._running is not None:
            self._running.cancel()

    # -- heartbeats

    def _beat_regularly(self) -> None:
        """Send a heartbeat now, so that readiness shows at once, and at intervals from now on."""
        if self._heartbeat_timer is not None:
            self._heartbeat_timer.cancel()
        self._send_heartbeat(droppable=True)
        self._heartbeat_timer = asyncio.get_running_loop().call_later(
            self._settings.heartbeat_seconds, self._beat_regularly
        )

    def _stop_beating(self) -> None:
        if self._heartbeat_timer is not None:
            self._heartbeat_timer.cancel()

    def _send_heartbeat(self, *, droppable: bool) -> None:
        self._sequence += 1
        message = heartbeat(
            self._sequence,
            time.monotonic(),
            self._worker.loop_lag_seconds,
            self._worker.running_tasks(),
            self._worker.counters,
            rss_bytes(),
            log_setup.dropped_lines(),
        )
        if droppable:
            self._channel.send_droppable(message)
        else:
            self._channel.send(message)

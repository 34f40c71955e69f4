"""The adoptions and vouchings under way in one process.

An adoption goes on until it is done, and is answered then; a vouching is tried once and not
answered, since the supervisor repeats it.

The supervisor holds an adoption open until Adopted, or until the process that it asked has ended;
so an adoption that is dropped here, by an end or by an error, is asked of another one.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine
from typing import Final, Protocol

from docket.errors import ConnectionClosed, RefusedCall, ServerUnavailable
from docket.supervision import Adoption
from ipc.messages import MAX_TASKS_LISTED, Adopt, Adopted, Vouch
from supervisor.backoff import Backoff
from supervisor.text import truncation

log = logging.getLogger("docket.supervisor.worker")

#: Longest pause before an adoption is tried again, in seconds; the first try again comes at once.
RETRY_CAP_SECONDS: Final = 5.0


class AdoptingWorker(Protocol):
    """The part of docket's Worker that acts for other workers."""

    async def adopt(self, consumer: str, *, blame: str, max_deliveries: int) -> Adoption:
        """Put the tasks of a dead consumer back, for any free worker."""
        ...

    async def vouch(self, consumer: str) -> bool:
        """Beat and renew for a live consumer that cannot; False if it was fenced."""
        ...


class AdoptionRunner:
    """The adoptions of one process. Made and used on its loop.

    Arguments:
        worker: speaks to the store; it need not run.
        max_deliveries: deaths at which a task is failed as poison.
        answer: sends Adopted to the supervisor.
        new_backoff: makes the pauses of one adoption.
    """

    def __init__(
        self,
        worker: AdoptingWorker,
        max_deliveries: int,
        answer: Callable[[Adopted], object],
        new_backoff: Callable[[], Backoff] = lambda: Backoff(RETRY_CAP_SECONDS, math.inf),
    ) -> None:
        self._worker = worker
        self._max_deliveries = max_deliveries
        self._answer = answer
        self._new_backoff = new_backoff
        self._under_way: set[asyncio.Task[None]] = set()

    def begin(self, message: Adopt) -> None:
        """Adopt as asked, beside the adoptions that are under way."""
        self._start(self._adopt(message), f"adopt {message.consumer}")

    def vouch(self, message: Vouch) -> None:
        """Beat and renew once for a live consumer."""
        self._start(self._vouch(message.consumer), f"vouch for {message.consumer}")

    def _start(self, duty: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(duty, name=name)
        self._under_way.add(task)
        task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Drop the adoptions that are under way. Idempotent."""
        for task in tuple(self._under_way):
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def _vouch(self, consumer: str) -> None:
        try:
            if not await self._worker.vouch(consumer):
                log.debug("%s was fenced before it could be vouched for", consumer)
        except (ServerUnavailable, ConnectionClosed, RefusedCall) as error:
            log.debug("%s was not vouched for: %s", consumer, error)

    async def _adopt(self, message: Adopt) -> None:
        try:
            adoption = await self._with_retries(message)
        except ConnectionClosed:
            return  # This process is ending.
        except RefusedCall as error:
            log.error(
                "The server refuses to give the tasks of %s to others: %s. They are left to the "
                "steward, which tries again once their heartbeat was missed",
                message.consumer,
                error,
            )
            adoption = Adoption(message.consumer, 0, ())
        self._answer(_answer_of(adoption))

    async def _with_retries(self, message: Adopt) -> Adoption:
        backoff = self._new_backoff()
        while True:
            try:
                return await self._worker.adopt(
                    message.consumer, blame=message.blame, max_deliveries=self._max_deliveries
                )
            except ServerUnavailable as error:
                # Jittered: the processes of many hosts adopt after the same outage.
                pause = backoff.pause_after(0.0)
                log.warning(
                    "The tasks of %s wait for the server (%s); adopting them is tried again in "
                    "%.1f s",
                    message.consumer,
                    error,
                    pause,
                )
            await asyncio.sleep(pause)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error(
                "A bug ended the attempt to %s: another process is asked when this one ends",
                task.get_name(),
                exc_info=error,
            )


def _answer_of(adoption: Adoption) -> Adopted:
    listed = [truncation.head(key, truncation.NAME) for key in adoption.poisoned[:MAX_TASKS_LISTED]]
    return Adopted(adoption.consumer, adoption.moved, listed, len(adoption.poisoned))

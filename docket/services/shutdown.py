"""The shutdown of one run of a worker, as asked for by cancelling the task that awaits the run."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from docket.errors import ConnectionClosed
from docket.services.exchanger import Exchanger
from docket.services.registration import GOODBYE_SECONDS
from docket.services.runs import Runs


class Shutdown:
    """The way in which a run ends: a cancellation of the caller drains it, another interrupts it.

    The run is an asyncio task of its own, so that a cancellation of the caller never cuts a call to
    the server short: the tasks that it claims would be known to nobody.

    Args:
        work: the run.
        exchanger: that of the run.
        drain: begins the drain of the run.
        has_something_to_finish: tells whether the run has to go on after that.
    """

    def __init__(
        self,
        work: asyncio.Task[None],
        exchanger: Exchanger,
        drain: Callable[[], None],
        has_something_to_finish: Callable[[], bool],
    ) -> None:
        self._work = work
        self._exchanger = exchanger
        self._drain = drain
        self._has_something_to_finish = has_something_to_finish
        caller = asyncio.current_task()
        assert caller is not None
        self._caller = caller
        self._cancelled_before = caller.cancelling()
        self._was_cut_off = False
        #: Set when the run has ended.
        self.ended = asyncio.Event()

    @property
    def is_requested(self) -> bool:
        """Return True if the caller or the run was cancelled, even if neither has noticed it yet.

        When `asyncio.run` ends it cancels all tasks at once, those of our runs first or last.
        """
        return self._caller.cancelling() > self._cancelled_before or self._work.cancelling() > 0

    def begin(self) -> None:
        """Drain the run, or end it at once if there is nothing to finish."""
        self._drain()
        if not self._has_something_to_finish() and not self._work.done():
            self._was_cut_off = True
            self._work.cancel()

    async def wait(self) -> None:
        """Wait for the end of the run, and return after a drain as after any other end.

        Raises:
            CancelledError: the caller was cancelled while the run drained, which interrupts it.
            Exception: any error of the run.
        """
        was_interrupted = False
        while not self._work.done():
            try:
                await asyncio.wait([self._work])
            except asyncio.CancelledError:
                if self._exchanger.draining:
                    was_interrupted = True
                    self._work.cancel()
                else:
                    self.begin()
        if not self._work.cancelled():
            self._work.result()
        if was_interrupted or (self._work.cancelled() and not self._was_cut_off):
            raise asyncio.CancelledError
        # The cancellation was granted: for whoever asks the task now, there is none any more.
        while self._caller.cancelling() > self._cancelled_before:
            self._caller.uncancel()


async def hand_back(
    exchanger: Exchanger, runs: Runs, exchange: Callable[[], Awaitable[None]]
) -> None:
    """Stop what runs and requeue it, before the worker ends.

    A server that is away, or a task that ignores its cancellation, is waited for as long as a
    goodbye takes. Threads are waited for in any case: the process could not end before them, and
    what they do must not be begun elsewhere.

    Args:
        exchanger: that of the run.
        runs: the runs.
        exchange: exchanges until there is nothing left to record.
    """
    exchanger.requeue_runs()
    exchanger.drain()
    with suppress(ConnectionClosed):
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_SECONDS):
                    return await exchange()
            if not runs.in_threads:
                return None

"""The reporter of statistics: what a worker has counted goes to the sums of its docket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from docket.errors import ConnectionClosed, RefusedCall, ServerUnavailable
from docket.instrumentation.counters import TaskCounters
from docket.store.connection.pipeline import LostReply
from docket.store.statistics import (
    CODES,
    Difference,
    StatisticsStore,
    in_calls,
    numbers_of,
)

logger = logging.getLogger("docket.worker")

#: Time between two reports, in seconds.
INTERVAL_SECONDS = 5.0
#: The same after one that the server refused.
REFUSED_SECONDS = 60.0
#: Longest wait for the server at the end of a worker, in seconds.
GOODBYE_SECONDS = 1.0


class Differences:
    """The counters of a worker that have not been handed in yet.

    Args:
        task_counters: those of the worker.
    """

    def __init__(self, task_counters: TaskCounters) -> None:
        self._task_counters = task_counters
        self._handed_in: dict[bytes, list[int]] = {}
        self._next: dict[bytes, list[int]] = {}

    def take(self) -> list[Difference]:
        """Return the differences of each function that has some and was not settled."""
        differences: list[Difference] = []
        for task, counters in self._task_counters.by_task():
            name, numbers = task.encode(), numbers_of(counters)
            before = self._handed_in.get(name)
            if numbers == before:
                continue
            before = before or [0] * len(numbers)
            # Strict: all numbers of one function are read in one step of the loop.
            pairs = zip(CODES, numbers, before, strict=True)
            added = [(code, new - old) for code, new, old in pairs if new > old]
            if added:
                differences.append((name, added))
                self._next[name] = numbers
        return differences

    def settle(self, differences: Iterable[Difference]) -> None:
        """Count some of those that `take` returned last as handed in."""
        for name, _ in differences:
            self._handed_in[name] = self._next.pop(name)


class StatisticsReporter:
    """Hand in the differences of the counters of one worker, every few seconds and at its end.

    What was sent and not answered is not sent again, so nothing counts twice; the sums may lack
    what one report held.

    Args:
        store: the statistics of the docket.
        task_counters: those of the worker.
    """

    def __init__(self, store: StatisticsStore, task_counters: TaskCounters) -> None:
        self._store = store
        self._differences = Differences(task_counters)

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            try:
                await self._report()
            except ServerUnavailable as error:
                logger.debug("Statistics: %s", error)
            except RefusedCall as error:
                logger.warning("Statistics are not recorded for a minute: %s", error)
                await asyncio.sleep(REFUSED_SECONDS)

    async def report_last(self) -> None:
        """Report what is left when the worker ends; without a server at once, nothing."""
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self._report()
        except (ServerUnavailable, ConnectionClosed, RefusedCall, TimeoutError) as error:
            logger.debug("The last statistics are not recorded: %r", error)

    async def _report(self) -> None:
        for batch in in_calls(self._differences.take()):
            is_sent = True
            try:
                await self._store.add(batch, patience_seconds=0)
            except ServerUnavailable as error:
                is_sent = isinstance(error, LostReply)
                raise
            finally:
                # Also if we are cancelled, or refused: it may have been added.
                if is_sent:
                    self._differences.settle(batch)

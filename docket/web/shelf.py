"""The dockets that a dashboard shows, each opened when it is first asked for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from time import monotonic
from typing import Any, Generic, TypeVar

from docket.backlog import Backlog
from docket.docket import Docket
from docket.inspection import StatisticsHistory, WorkerInfo
from docket.listing import ExecutionSummary, ListedState, Page
from docket.pauses import Pause
from docket.statistics import PeriodTotal, Statistics

T = TypeVar("T")

#: For how long viewers share what was read, in seconds: numbers, statistics, failures.
NUMBERS_SECONDS, STATISTICS_SECONDS, FAILURES_SECONDS = 1.5, 10.0, 5.0
#: The times that statistics are shown for.
SPANS = {"1h": timedelta(hours=1), "24h": timedelta(hours=24)}

_NOT_IN_ADDRESS = re.compile(r"[^A-Za-z0-9_.-]+")


class Shared(Generic[T]):
    """A value that all viewers share: read once at a time, and again when it is old.

    Args:
        seconds: the age from which it is read again.
        read: reads it.
    """

    def __init__(self, seconds: float, read: Callable[[], Awaitable[T]]) -> None:
        self._seconds = seconds
        self._read = read
        self._value: tuple[T, float] | None = None
        self._reading = asyncio.Lock()

    async def get(self) -> T:
        """Return the value; raises whatever reading it does."""
        async with self._reading:
            if self._value is None or monotonic() - self._value[1] >= self._seconds:
                # At the end, since a slow server is not to be asked without a pause.
                self._value = await self._read(), monotonic()
            return self._value[0]

    def forget(self) -> None:
        """Have it read anew, after a change."""
        self._value = None


class ShownDocket:
    """One docket of a dashboard, and what its viewers share.

    Args:
        docket: the docket; if it is not open, it is opened here and closed with the dashboard.
        slug: its name in addresses.
    """

    def __init__(self, docket: Docket, slug: str) -> None:
        self.docket = docket
        self.slug = slug
        self._is_ours = False
        self._opening = asyncio.Lock()
        self._history: StatisticsHistory | None = None
        self.backlog: Shared[Backlog] = Shared(NUMBERS_SECONDS, docket.backlog)
        self.workers: Shared[list[WorkerInfo]] = Shared(NUMBERS_SECONDS, self._workers)
        self.pauses: Shared[list[Pause]] = Shared(NUMBERS_SECONDS, docket.pauses)
        self.failures: Shared[tuple[ExecutionSummary, ...]] = Shared(
            FAILURES_SECONDS, self._failures
        )
        self.running: Shared[Page] = Shared(
            FAILURES_SECONDS, lambda: docket.executions("running", limit=1000)
        )
        self.counts: Shared[dict[ListedState, int]] = Shared(
            NUMBERS_SECONDS, docket.counts_by_state
        )
        self.is_evicting: Shared[str | None] = Shared(60.0, self._eviction_policy)
        self._statistics = {
            name: Shared(STATISTICS_SECONDS, self._reader(span)) for name, span in SPANS.items()
        }

    async def open(self) -> Docket:
        """Return the docket, open.

        Raises:
            DocketError: it cannot be opened.
        """
        async with self._opening:
            if not self.docket.is_open:
                await self.docket.__aenter__()
                self._is_ours = True
                self._history = None
            return self.docket

    async def close(self) -> None:
        """Close the docket, if it was opened here."""
        async with self._opening:
            if self._is_ours and self.docket.is_open:
                await self.docket.__aexit__(None, None, None)
            self._is_ours = False

    async def statistics(self, over: str) -> tuple[Statistics, list[PeriodTotal]]:
        """Return the statistics of one of SPANS, and its periods."""
        return await self._statistics[over].get()

    def forget(self) -> None:
        """Have what an action may have changed read anew."""
        for shared in (self.backlog, self.counts, self.pauses, self.failures, self.running):
            shared.forget()

    def _reader(self, span: timedelta) -> Callable[[], Awaitable[Any]]:
        async def read() -> tuple[Statistics, list[PeriodTotal]]:
            if self._history is None:
                self._history = StatisticsHistory(self.docket)
            return await self._history.read(span)

        return read

    async def _workers(self) -> list[WorkerInfo]:
        return sorted(await self.docket.workers(), key=lambda each: each.name)

    async def _failures(self) -> tuple[ExecutionSummary, ...]:
        return (await self.docket.executions("failed", limit=5)).executions

    async def _eviction_policy(self) -> str | None:
        return await self.docket.eviction_policy()


class Shelf:
    """All dockets of a dashboard, by their names in addresses.

    Args:
        dockets: of different names or servers.
    """

    def __init__(self, dockets: Sequence[Docket]) -> None:
        self._shown: dict[str, ShownDocket] = {}
        for docket in dockets:
            slug = self._free_slug(docket.name)
            self._shown[slug] = ShownDocket(docket, slug)

    def __iter__(self) -> Iterator[ShownDocket]:
        return iter(self._shown.values())

    def __len__(self) -> int:
        return len(self._shown)

    def get(self, slug: str) -> ShownDocket | None:
        """Return the docket of this name in addresses."""
        return self._shown.get(slug)

    async def close(self) -> None:
        """Close what was opened here."""
        for each in self._shown.values():
            await each.close()

    def _free_slug(self, name: str) -> str:
        plain = _NOT_IN_ADDRESS.sub("-", name).strip(".-")[:60] or "docket"
        slug, number = plain, 2
        while slug in self._shown:
            slug, number = f"{plain}-{number}", number + 1
        return slug

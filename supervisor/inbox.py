"""The one queue of events, each with its time, between the supervisor's loop and the pool."""

import asyncio
import time

from supervisor.pool.state.inbox_events import Event


class Inbox:
    """The events in the order in which they came. Only the loop's thread puts and takes."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[tuple[Event, float]] = asyncio.Queue()

    def put(self, event: Event, at: float | None = None) -> None:
        """Add an event that happened at `at` seconds of the monotonic clock, or now."""
        self._events.put_nowait((event, time.monotonic() if at is None else at))

    @property
    def is_empty(self) -> bool:
        """Return True if `take` would have to wait."""
        return self._events.empty()

    async def take(self) -> tuple[Event, float]:
        """The oldest event and its time, as soon as there is one."""
        return await self._events.get()

"""Random samples of the executions in one state, by reads whose cost does not grow with them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import NamedTuple

from docket.store.keys import Stream
from docket.store.pages import Bounds, Found, Pages, Ranks, entry_id

#: Neighbours that are read together: a sample consists of so many times fewer windows.
WINDOW = 20

#: Entries of one millisecond, at most as a rule.
_LIKELY_IN_A_MILLISECOND = 1_000
#: The last id of a millisecond.
_LAST_SEQUENCE = 2**64 - 1

#: Reads so many entries of a stream that follow an id.
_Read = Callable[[Stream, bytes, int], Awaitable[list[Found]]]


class Sample(NamedTuple):
    """Some executions in one state.

    weights: for each of them, how many it stands for; only their proportions mean something.
    """

    found: Sequence[Found]
    weights: Sequence[float]


class Sampler:
    """Random samples of the executions of one docket.

    Args:
        pages: the listings of the docket.
        draw: the source of chance.
    """

    def __init__(self, pages: Pages, draw: Random) -> None:
        self._pages = pages
        self._draw = draw

    async def scheduled(self, count: int) -> Sample:
        """Draw about `count` of those that are due later."""
        return await self._of_ranks(await self._pages.scheduled_ranks(), count)

    async def waiting(self, count: int) -> Sample:
        """Draw about `count` of those that wait for a slot of a limit."""
        return await self._of_ranks(await self._pages.waiting_ranks(), count)

    async def failed(self, count: int) -> Sample:
        """Draw about `count` of the failures that are kept."""
        return await self._of_ranks(await self._pages.failed_ranks(), count)

    async def queued(self, count: int) -> Sample:
        """Draw about `count` of those that are ready."""
        bounds = await self._pages.queued_bounds()
        return await self._of_streams(bounds, count, self._pages.unread)

    async def running(self, count: int) -> Sample:
        """Draw about `count` of those that run."""
        bounds = await self._pages.running_bounds()
        return await self._of_streams(bounds, count, self._pages.pending)

    # Sorted sets --------------------------------------------------------------------------

    async def _of_ranks(self, ranks: Ranks, count: int) -> Sample:
        """Draw whole windows of neighbours, each with the same chance."""
        starts = range(ranks.first, ranks.last, WINDOW)
        wanted = -(-count // WINDOW)
        chosen = starts if len(starts) <= wanted else sorted(self._draw.sample(starts, wanted))
        windows = await self._pages.ranked(
            [Ranks(ranks.name, at, min(at + WINDOW, ranks.last)) for at in chosen]
        )
        found = [one for window in windows for one in window]
        return Sample(found, [1.0] * len(found))

    # Streams ------------------------------------------------------------------------------

    async def _of_streams(
        self, bounds: Sequence[tuple[Stream, Bounds]], count: int, read: _Read
    ) -> Sample:
        total = sum(each.number for _, each in bounds)
        found: list[Found] = []
        weights: list[float] = []
        for stream, each in bounds:
            share = max(WINDOW, count * each.number // total) if total > count else each.number
            part = await self._of_stream(stream, each, share, read)
            found += part.found
            weights += _scaled(part.weights, each.number)
        return Sample(found, weights)

    async def _of_stream(self, stream: Stream, bounds: Bounds, count: int, read: _Read) -> Sample:
        """Read windows at random times, one in each of as many equal parts of the stream's time.

        A stream tells no ranks. Times when little came would be over-represented: so a window
        stands for as many entries as its part has at the pace at which those of the window came.
        """
        if bounds.number <= count:
            found = await read(stream, b"", bounds.number)
            return Sample(found, [1.0] * len(found))
        line = _Line(bounds)
        parts = max(1, count // WINDOW)
        starts = [
            self._draw.randrange(line.length * part // parts, line.length * (part + 1) // parts)
            for part in range(parts)
        ]
        windows = await asyncio.gather(
            *(read(stream, line.before(start), WINDOW) for start in starts)
        )
        found: list[Found] = []
        weights: list[float] = []
        for start, window in zip(starts, windows, strict=True):
            if window:
                found += window
                weights += [line.pace(start, window) / len(window)] * len(window)
        return Sample(found, weights)


class _Line:
    """The ids of a stream from its first to its last entry, as places on a line from 0 on."""

    def __init__(self, bounds: Bounds) -> None:
        self._first = bounds.first
        #: Places in a millisecond: more than most have entries.
        self._width = 1 + max(_LIKELY_IN_A_MILLISECOND, bounds.first[1], bounds.last[1])
        self.length = self._place(bounds.last) + 1

    def before(self, place: int) -> bytes:
        """Return the last id before a place."""
        milliseconds, sequence = divmod(place + self._first[1], self._width)
        milliseconds += self._first[0]
        if sequence > 0:
            return b"%d-%d" % (milliseconds, sequence - 1)
        return b"%d-%d" % (milliseconds - 1, _LAST_SEQUENCE) if milliseconds > 0 else b"0-0"

    def pace(self, start: int, window: Sequence[Found]) -> float:
        """Return how many entries came for each place from a start to the end of a window.

        The first gap began before the start, by chance: so the last entry does not count.
        """
        passed = self._place(entry_id(window[-1])) + 1 - start
        return max(1, len(window) - 1) / max(1, passed)

    def _place(self, identity: tuple[int, int]) -> int:
        milliseconds = identity[0] - self._first[0]
        return milliseconds * self._width + min(identity[1], self._width - 1) - self._first[1]


def _scaled(weights: Sequence[float], total: int) -> list[float]:
    """Scale weights to a sum."""
    factor = total / sum(weights) if weights else 0.0
    return [weight * factor for weight in weights]

"""The sums of all workers by minute and by quarter of an hour, as hashes on the server.

A worker hands in the differences of its counters every few seconds, so that no task pays for them.
"""

import asyncio
from collections.abc import Generator, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from docket.clock import delay_milliseconds
from docket.errors import RefusedCall
from docket.instrumentation.counters import (
    DURATION_BUCKETS,
    MAX_NAMES,
    OTHERS,
    Counters,
    Histogram,
)
from docket.store import scripts
from docket.store.connection.pipeline import Argument, Pipeline
from docket.store.connection.retrying import PATIENCE_SECONDS, retry
from docket.store.keys import Keys
from docket.store.overwritten_keys import is_of_another_type, log_overwritten

#: Lengths of the periods, in seconds, as in add_statistics.lua.
MINUTE, QUARTER = 60, 900
#: A period that begins within this time of the present is told by its minutes.
BY_MINUTES = timedelta(hours=2)
#: Counters added in one call, to each of two hashes: they take about two milliseconds.
COUNTERS_A_CALL = 1000
#: Periods read in one round trip.
PERIODS_A_PAGE = 16

#: The codes of the plain counters in the fields of the hashes.
_PLAIN = {
    "started": "s",
    "succeeded": "o",
    "failed": "f",
    "retried": "r",
    "redelivered": "d",
    "cancelled": "c",
    "superseded": "u",
    "stricken": "k",
    "perpetuated": "p",
}
#: Those of the histograms: `D` has the sum in microseconds, `D0` the first bucket.
_HISTOGRAMS = {"duration": "D", "punctuality": "W"}
_BUCKETS = range(len(DURATION_BUCKETS) + 1)

#: The code of each number of `numbers_of`.
CODES: tuple[str, ...] = (
    *_PLAIN.values(),
    *(code + at for code in _HISTOGRAMS.values() for at in ("", *map(str, _BUCKETS))),
)
_INDEXES = {code: index for index, code in enumerate(CODES)}
#: Digits of the greatest number that a counter of a server may have, which has 64 bits.
_MOST_DIGITS = 19
#: Fields of a hash from which on no further function gets fields of its own.
MAX_FIELDS = MAX_NAMES * len(CODES)

#: The differences of one function: its name, and what was added to each counter by its code.
Difference = tuple[bytes, list[tuple[str, int]]]


def numbers_of(counters: Counters) -> list[int]:
    """Return every number of some counters, in the order of CODES."""
    numbers = [getattr(counters, name) for name in _PLAIN]
    for name in _HISTOGRAMS:
        histogram: Histogram = getattr(counters, name)
        numbers.append(round(histogram.sum * 1_000_000))
        numbers += histogram.counts
    return numbers


def counters_of(numbers: Sequence[int]) -> Counters:
    """Return the counters of these numbers."""
    counters = Counters()
    for name, number in zip(_PLAIN, numbers, strict=False):
        setattr(counters, name, number)
    for at, name in enumerate(_HISTOGRAMS):
        start = len(_PLAIN) + at * (len(_BUCKETS) + 1)
        histogram = Histogram(
            list(numbers[start + 1 : start + 1 + len(_BUCKETS)]), numbers[start] / 1_000_000
        )
        setattr(counters, name, histogram)
    return counters


def in_calls(differences: Iterable[Difference]) -> Generator[list[Difference]]:
    """Divide differences into those of as few calls as will do."""
    batch: list[Difference] = []
    counters = 0
    for difference in differences:
        counters += len(difference[1])
        if batch and counters > COUNTERS_A_CALL:
            yield batch
            batch, counters = [], len(difference[1])
        batch.append(difference)
    if batch:
        yield batch


class StatisticsStore:
    """The statistics of one docket.

    Args:
        pipeline: the connection.
        keys: those of the docket.
        kept: the time to keep a quarter of an hour.
    """

    def __init__(self, pipeline: Pipeline, keys: Keys, kept: timedelta) -> None:
        self._pipeline = pipeline
        self._keys = keys
        quarter = timedelta(seconds=QUARTER)
        # A period is read while any part of it is in the time that was asked for.
        self._kept = [
            delay_milliseconds(min(kept, BY_MINUTES) + quarter),
            delay_milliseconds(kept + quarter),
        ]

    async def add(self, differences: Iterable[Difference], patience_seconds: float) -> None:
        """Add differences, of one of `in_calls`, to the sums of the present minute and quarter.

        Raises:
            LostReply: they may have been added, or not.
            ServerUnavailable: they were not added.
        """
        arguments: list[Argument] = []
        for name, added in differences:
            arguments += (name, len(added), *(value for pair in added for value in pair))
        broken: list[bytes] = await self._pipeline.call(
            scripts.ADD_STATISTICS,
            [self._keys.statistics_prefix],
            [*self._kept, MAX_FIELDS, OTHERS, *arguments],
            patience_seconds=patience_seconds,
        )
        log_overwritten(broken)

    async def read(self, over: timedelta) -> tuple[int, int, Mapping[str, Counters]]:
        """Read the sums of each function since so long ago.

        Returns:
            The beginning of the first period and the server's time, in seconds, and the counters.

        Raises:
            ServerUnavailable: the server is away.
        """
        now, periods = await self.periods(over, {})
        sums: dict[str, Counters] = {}
        for counters in periods.values():
            for name, each in counters.items():
                sums.setdefault(name, Counters()).add(each)
        return min(periods), now, sums

    async def periods(
        self, over: timedelta, known: Mapping[int, Mapping[str, Counters]]
    ) -> tuple[int, dict[int, Mapping[str, Counters]]]:
        """Read the sums of each function in each period since so long ago.

        Args:
            over: the time to look back.
            known: periods of this length that need not be read again, by their beginning.

        Returns:
            The server's time, and the counters by the beginning of their period, in seconds.

        Raises:
            ServerUnavailable: the server is away.
        """
        seconds, _ = await self._command("TIME")
        now = int(seconds)
        length = period_seconds(over)
        first = now - int(over.total_seconds())
        starts = range(first - first % length, now + 1, length)
        found = {start: known[start] for start in starts if start in known}
        missing = [start for start in starts if start not in known]
        for at in range(0, len(missing), PERIODS_A_PAGE):
            page = missing[at : at + PERIODS_A_PAGE]
            read = await asyncio.gather(*(self._period(length, each) for each in page))
            found |= zip(page, map(_counters_by_function, read), strict=True)
        return now, {start: found[start] for start in starts}

    async def _period(self, length: int, start: int) -> list[bytes]:
        name = self._keys.statistics(length, start)
        try:
            return await self._command("HGETALL", name)
        except RefusedCall as error:
            if not is_of_another_type(error):
                raise
            log_overwritten((name.encode(), await self._command("TYPE", name)))
            return []

    async def _command(self, *command: Argument) -> Any:
        return await retry(
            lambda: self._pipeline.command(*command, patience_seconds=PATIENCE_SECONDS)
        )


def period_seconds(over: timedelta) -> int:
    """Return the length of the periods by which a time is told."""
    return MINUTE if over <= BY_MINUTES else QUARTER


def _counters_by_function(fields: Sequence[bytes]) -> dict[str, Counters]:
    """Read the fields of one period; those that are none of ours are left out."""
    sums: dict[bytes, list[int]] = {}
    for field, value in zip(fields[::2], fields[1::2], strict=True):
        code, _, name = field.partition(b" ")
        index = _INDEXES.get(code.decode(errors="replace"))
        if index is not None and value.isdigit() and len(value) <= _MOST_DIGITS:
            sums.setdefault(name, [0] * len(CODES))[index] += int(value)
    return {
        name.decode(errors="backslashreplace"): counters_of(numbers)
        for name, numbers in sums.items()
    }

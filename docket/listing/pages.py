"""Pages of a docket's executions, and their details."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from docket.listing import cursors
from docket.listing.filters import Filter, check_filter
from docket.listing.summaries import (
    ExecutionDetails,
    ExecutionSummary,
    ListedState,
    Record,
    attempts_of,
    state_of,
    summary_of,
)
from docket.operations import MOST_LOOKED_AT
from docket.store.keys import Keys, check_task_key
from docket.store.pages import Found, Pages, Position, Span

if TYPE_CHECKING:
    from docket.docket import Docket

#: Most executions that one page may have.
MOST_LISTED = 1_000
#: Those that are looked at however late it is: a small docket is searched to its end.
LEAST_LOOKED_AT = 1_000
#: Executions that are looked at in one step: the first, the next ones, and of those that are sorted
#: out by their keys alone.
_LOOK = (50, 250, 1_000)
#: The fewest and the most whole records that are read in one round trip.
_READ = (25, 250)
#: The longest call that is read to be shown, in bytes.
_LONGEST_CALL = 16_384

_FIELDS = (
    "state",
    "generation",
    "function",
    "when",
    "attempt",
    "worker",
    "started_at",
    "completed_at",
    "error",
    "deaths",
    "limits",
    "logged",
    "predecessor",
    "progress_current",
    "progress_total",
    "progress_message",
    "trace",
    "perpetual",
    "entry",
    "last_success",
    "last_failure",
)
#: The fields that tell whether an execution is still where it was found.
_IDENTITY = ("state", "generation", "entry", "limits")


class Page(msgspec.Struct, frozen=True):
    """Some executions, and where the listing goes on.

    Attributes:
        executions: in the order of the listing.
        cursor: gives the next page, with the same filter; None at the end.
        looked_at: the number of executions that were looked at. A page of a filter that few match
            has fewer executions than asked for, and a cursor.
    """

    executions: tuple[ExecutionSummary, ...]
    cursor: str | None
    looked_at: int


class MatchCount(msgspec.Struct, frozen=True):
    """The number of executions that a filter means.

    Attributes:
        number: of those among the ones that were looked at.
        looked_at: the number of executions that were looked at.
        is_complete: whether there are no others.
    """

    number: int
    looked_at: int
    is_complete: bool


class Listing:
    """The executions of one docket as a list.

    Args:
        docket: the docket, open.
    """

    def __init__(self, docket: Docket) -> None:
        self._docket_name = docket.name
        self._keys = docket.keys
        self._pages = Pages(docket.connections.pipeline, docket.keys)

    async def page(
        self,
        wanted: Filter,
        limit: int,
        cursor: str | None,
        most_looked_at: int = MOST_LOOKED_AT,
        seconds: float | None = None,
    ) -> Page:
        """List executions; see Docket.executions_matching."""
        check_filter(wanted)
        _check_limit(limit)
        digest = wanted.digest(self._docket_name)
        place = None if cursor is None else cursors.read(cursor, digest)
        states = wanted.states
        if place is not None and place.state in states:
            states = states[states.index(place.state) :]
        position: Position | None = None if place is None else place.position
        budget = _Budget(most_looked_at, seconds)
        listed: list[ExecutionSummary] = []
        step = min(max(limit, _LOOK[0]), _LOOK[1])
        for state in states:
            while len(listed) < limit and not budget.is_spent:
                count = budget.share(step)
                found = await self._found(state, position, count, Span(*wanted.milliseconds()))
                room = limit - len(listed)
                looked_at, matching = await self._matching(state, wanted, found, room)
                listed += matching
                budget.looked_at += looked_at
                position = found[looked_at - 1].position if looked_at else position
                if looked_at == len(found) < count:
                    break
                step = _next_step(wanted, state)
            else:
                written = cursors.written(digest, state, position)
                return Page(tuple(listed), written, budget.looked_at)
            position = None
        return Page(tuple(listed), None, budget.looked_at)

    async def count(
        self, wanted: Filter, most_looked_at: int = MOST_LOOKED_AT, seconds: float | None = None
    ) -> MatchCount:
        """Count executions; see Docket.count_matching."""
        check_filter(wanted)
        budget = _Budget(most_looked_at, seconds)
        number = 0
        for state in wanted.states:
            position: Position | None = None
            while not budget.is_spent:
                count = budget.share(_next_step(wanted, state))
                found = await self._found(state, position, count, Span(*wanted.milliseconds()))
                likely = await self._likely(state, wanted, found, _IDENTITY)
                number += sum(_is_in(state, found[index], record) for index, record in likely)
                budget.looked_at += len(found)
                if len(found) < count:
                    break
                position = found[-1].position
            else:
                return MatchCount(number, budget.looked_at, is_complete=False)
        return MatchCount(number, budget.looked_at, is_complete=True)

    async def _matching(
        self, state: ListedState, wanted: Filter, found: Sequence[Found], room: int
    ) -> tuple[int, list[ExecutionSummary]]:
        """Look at executions until there is no room; how many were looked at, and those meant.

        Most of a record is for those that are shown: first, only what decides is read.
        """
        likely = [index for index, _ in await self._likely(state, wanted, found)]
        matching: list[ExecutionSummary] = []
        while likely:
            # Not fewer than some: what has left the state since makes room for none.
            step = min(max(room - len(matching), _READ[0]), _READ[1])
            looking, likely = likely[:step], likely[step:]
            summaries = await self._summaries(state, wanted, [found[index] for index in looking])
            for index, summary in zip(looking, summaries, strict=True):
                if summary is not None:
                    matching.append(summary)
                    if len(matching) == room:
                        return index + 1, matching
        return len(found), matching

    async def _likely(
        self,
        state: ListedState,
        wanted: Filter,
        found: Sequence[Found],
        beside: tuple[str, ...] = (),
    ) -> list[tuple[int, Record]]:
        """Sort out by the key, then by the fields that decide; each with those, and others."""
        likely = [index for index, one in enumerate(found) if wanted.matches_key(one.key)]
        fields = (*wanted.deciding_fields(state), *beside)
        if not fields:
            return [(index, {}) for index in likely]
        records = await self._records(state, [found[index] for index in likely], fields)
        return [
            (index, record)
            for index, record in zip(likely, records, strict=True)
            if wanted.matches_fields(state, record)
        ]

    async def _summaries(
        self, state: ListedState, wanted: Filter, found: Sequence[Found]
    ) -> list[ExecutionSummary | None]:
        """Read executions, with their calls as far as they are short enough to be shown."""
        names = [record_name(self._keys, state, one.key) for one in found]
        records, lengths = await asyncio.gather(
            self._records(state, found), self._pages.call_lengths(names)
        )
        meant = [
            _is_in(state, one, record) and wanted.matches_fields(state, record)
            for one, record in zip(found, records, strict=True)
        ]
        short = [
            name
            for name, length, is_meant in zip(names, lengths, meant, strict=True)
            if is_meant and 0 < length <= _LONGEST_CALL
        ]
        calls = await self._pages.calls(short)
        return [
            summary_of(one.key, record, calls.get(name)) if is_meant else None
            for one, name, record, is_meant in zip(found, names, records, meant, strict=True)
        ]

    async def _found(
        self, state: ListedState, position: Position | None, count: int, span: Span
    ) -> list[Found]:
        pages = self._pages
        match state:
            case ListedState.RUNNING:
                read = pages.running
            case ListedState.QUEUED:
                read = pages.queued
            case ListedState.WAITING:
                read = pages.waiting
            case ListedState.SCHEDULED:
                read = pages.scheduled
            case ListedState.FAILED:
                read = pages.failed
            case ListedState.CANCELLED:
                read = pages.cancelled
            case ListedState.COMPLETED:
                read = pages.completed
        return await read(position, count, span)

    async def _records(
        self, state: ListedState, found: Sequence[Found], fields: Sequence[str] = _FIELDS
    ) -> list[Record]:
        names = [record_name(self._keys, state, one.key) for one in found]
        return [_record(row, fields) for row in await self._pages.records(names, fields)]

    # One execution ------------------------------------------------------------------------

    async def details(self, key: str) -> ExecutionDetails | None:
        """Read everything about the newest execution of a key; see Docket.describe."""
        check_task_key(key)
        names = (self._keys.record(key).encode(), self._keys.failed_record(key).encode())
        record, kept = await self._all_of(names)
        newest = summary_of(key.encode(), record)
        failure = summary_of(key.encode(), kept)
        if newest is None:
            return failure and ExecutionDetails(summary=failure, attempts=attempts_of(kept))
        is_same = failure is not None and failure.ended_at == newest.ended_at
        return ExecutionDetails(
            summary=newest,
            attempts=attempts_of(record),
            last_failure=None if is_same else failure,
        )

    async def perpetual(self, state: ListedState, most_looked_at: int) -> list[ExecutionSummary]:
        """Find those in a state that are followed by their next run, without their calls."""
        found = await self._found(state, None, most_looked_at, Span())
        marks = await self._records(state, found, ("perpetual",))
        some = [one for one, mark in zip(found, marks, strict=True) if mark]
        records = await self._records(state, some)
        summaries = (
            summary_of(one.key, record, b"")
            for one, record in zip(some, records, strict=True)
            if _is_in(state, one, record)
        )
        return [summary for summary in summaries if summary is not None]

    async def newest(self, keys: Sequence[str]) -> list[ExecutionSummary]:
        """Read the newest execution of each of these keys, without its call, where there is one."""
        return list((await self._each(keys, self._keys.record)).values())

    async def failures(self, keys: Sequence[str]) -> dict[str, ExecutionSummary]:
        """Read the newest failures of these keys that are kept, without their calls."""
        return await self._each(keys, self._keys.failed_record)

    async def _each(
        self, keys: Sequence[str], name_of: Callable[[str], str]
    ) -> dict[str, ExecutionSummary]:
        names = [name_of(key).encode() for key in keys]
        rows = await self._pages.records(names, _FIELDS)
        read = (
            (key, summary_of(key.encode(), _record(row, _FIELDS), b""))
            for key, row in zip(keys, rows, strict=True)
        )
        return {key: summary for key, summary in read if summary is not None}

    async def _all_of(self, names: Sequence[bytes]) -> list[Record]:
        fields = (*_FIELDS, "attempts")
        rows, lengths = await asyncio.gather(
            self._pages.records(names, fields), self._pages.call_lengths(names)
        )
        short = [n for n, length in zip(names, lengths, strict=True) if 0 < length <= _LONGEST_CALL]
        calls = await self._pages.calls(short)
        records = [_record(row, fields) for row in rows]
        return [
            {**record, b"call": calls[name]} if name in calls else record
            for name, record in zip(names, records, strict=True)
        ]


def _check_limit(limit: object) -> None:
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise TypeError(f"limit must be an int, not {type(limit).__name__}: {limit!r:.80}")
    if not 1 <= limit <= MOST_LISTED:
        raise ValueError(f"limit must be between 1 and {MOST_LISTED}, but is {limit}")


def record_name(keys: Keys, state: ListedState, key: bytes) -> bytes:
    """Return the name of the record that a listing of a state is about."""
    if state is ListedState.FAILED:
        return keys.failed_record("").encode() + key
    return keys.record_prefix.encode() + key


def _record(row: Sequence[bytes | None], fields: Sequence[str] = _FIELDS) -> Record:
    pairs = zip(fields, row, strict=False)
    return {name.encode(): value for name, value in pairs if value is not None}


def _is_in(state: ListedState, one: Found, record: Record) -> bool:
    """Return whether the record says that the execution is still in this state, at this place."""
    if state_of(record) is not state:
        return False
    if one.entry and record.get(b"entry") != one.entry:
        return False
    return one.generation is None or record.get(b"generation") == one.generation


def _next_step(wanted: Filter, state: ListedState) -> int:
    """Return how many executions to look at in one step: by their keys alone, many."""
    is_by_key = wanted.key_prefix and not wanted.deciding_fields(state)
    return _LOOK[2] if is_by_key else _LOOK[1]


class _Budget:
    """The executions that may be looked at for one page, and the time for it (seconds)."""

    def __init__(self, most: int, seconds: float | None) -> None:
        self._most = most
        self._deadline = None if seconds is None else monotonic() + seconds
        self.looked_at = 0

    @property
    def is_spent(self) -> bool:
        """Return whether to stop: for lack of time, not before some were looked at."""
        is_late = self._deadline is not None and monotonic() >= self._deadline
        return self.looked_at >= self._most or (is_late and self.looked_at >= LEAST_LOOKED_AT)

    def share(self, wanted: int) -> int:
        """Return how many to look at next, if it were for as many as wanted."""
        return max(1, min(wanted, self._most - self.looked_at))

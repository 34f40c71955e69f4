"""Pages of a docket's executions, and their details."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    summary_of,
)
from docket.operations import MOST_LOOKED_AT
from docket.store.keys import Keys, check_task_key
from docket.store.pages import Found, Pages, Position, Span

if TYPE_CHECKING:
    from docket.docket import Docket

#: Most executions that one page may have.
MOST_LISTED = 1_000
#: The fewest and the most records that are read in one round trip.
_READ = (50, 250)
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
)


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
        listed: list[ExecutionSummary] = []
        looked_at, count = 0, min(max(limit, _READ[0]), _READ[1])
        for state in states:
            while len(listed) < limit and looked_at < most_looked_at:
                found, summaries = await self._look(state, wanted, position, count)
                for one, summary in zip(found, summaries, strict=True):
                    position, looked_at = one.position, looked_at + 1
                    if summary is not None:
                        listed.append(summary)
                    if len(listed) == limit:
                        break
                else:
                    if len(found) < count:
                        break
                    count = _READ[1]
            else:
                return Page(tuple(listed), cursors.written(digest, state, position), looked_at)
            position = None
        return Page(tuple(listed), None, looked_at)

    async def _look(
        self, state: ListedState, wanted: Filter, position: Position | None, count: int
    ) -> tuple[list[Found], list[ExecutionSummary | None]]:
        """Look at the next executions of a state: those that match, None for the others."""
        found = await self._found(state, position, count, Span(*wanted.milliseconds()))
        records = await self._records(state, found)
        summaries = [
            _listed(state, one, record) for one, record in zip(found, records, strict=True)
        ]
        matching = [s if s is not None and wanted.matches(s) else None for s in summaries]
        return found, await self._with_calls(state, found, matching, records)

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

    async def _records(self, state: ListedState, found: Sequence[Found]) -> list[Record]:
        rows = await self._pages.records(
            [record_name(self._keys, state, one.key) for one in found], _FIELDS
        )
        return [_record(row) for row in rows]

    async def _with_calls(
        self,
        state: ListedState,
        found: Sequence[Found],
        summaries: Sequence[ExecutionSummary | None],
        records: Sequence[Record],
    ) -> list[ExecutionSummary | None]:
        """Show the calls of those that match, as far as they are short enough to be read."""
        names = [
            record_name(self._keys, state, one.key)
            for one, summary in zip(found, summaries, strict=True)
            if summary is not None
        ]
        calls = await self._pages.calls(names, _LONGEST_CALL)
        return [
            summary
            and summary_of(one.key, record, calls.get(record_name(self._keys, state, one.key)))
            for one, summary, record in zip(found, summaries, records, strict=True)
        ]

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
        marks = await self._pages.many(
            [("HMGET", record_name(self._keys, state, one.key), "perpetual") for one in found]
        )
        some = [one for one, mark in zip(found, marks, strict=True) if mark and mark[0] is not None]
        records = await self._records(state, some)
        listed = (
            _listed(state, one, {**record, b"call": b""})
            for one, record in zip(some, records, strict=True)
        )
        return [summary for summary in listed if summary is not None]

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
        rows = await self._pages.records(names, fields)
        calls = await self._pages.calls(names, _LONGEST_CALL)
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


def _listed(state: ListedState, one: Found, record: Record) -> ExecutionSummary | None:
    """Return the summary, unless the record says that the execution has left this state."""
    summary = summary_of(one.key, record)
    if summary is None or summary.state is not state:
        return None
    if one.entry and record.get(b"entry") != one.entry:
        return None
    if one.generation is not None and record.get(b"generation") != one.generation:
        return None
    return summary

"""Pages of a docket's executions, their details, and their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from docket.listing import cursors
from docket.listing.filters import Filter
from docket.listing.summaries import (
    ExecutionDetails,
    ExecutionSummary,
    ListedState,
    Record,
    attempts_of,
    summary_of,
)
from docket.store.pages import Found, Pages, Position, Span

if TYPE_CHECKING:
    from docket.docket import Docket

#: Most executions that one page may have.
MOST_LISTED = 1_000
#: Most executions that are looked at for one page: where few match, it has fewer than asked for.
MOST_LOOKED_AT = 2_000
#: Executions of each state that are looked at to estimate the numbers by function.
SAMPLE = 1_000
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


class Counts(msgspec.Struct, frozen=True):
    """The numbers of executions on a docket.

    Attributes:
        by_state: exact; of those completed and cancelled, those that are listed (the newest
            thousand at most).
        by_function: for each state.
        is_estimated: whether `by_function` is an estimate from a sample of each state.
    """

    by_state: dict[ListedState, int]
    by_function: dict[ListedState, dict[str, int]]
    is_estimated: bool


class Listing:
    """The executions of one docket as a list.

    Args:
        docket: the docket, open.
    """

    def __init__(self, docket: Docket) -> None:
        self._docket_name = docket.name
        self._keys = docket.keys
        self._pages = Pages(docket.connections.pipeline, docket.keys)

    async def page(self, wanted: Filter, limit: int, cursor: str | None) -> Page:
        """List executions; see Docket.executions."""
        if not 1 <= limit <= MOST_LISTED:
            raise ValueError(f"limit must be between 1 and {MOST_LISTED}, but is {limit}")
        digest = wanted.digest(self._docket_name)
        place = None if cursor is None else cursors.read(cursor, digest)
        states = wanted.states
        if place is not None and place.state in states:
            states = states[states.index(place.state) :]
        position: Position | None = None if place is None else place.position
        listed: list[ExecutionSummary] = []
        looked_at, count = 0, min(max(limit, _READ[0]), _READ[1])
        for state in states:
            while len(listed) < limit and looked_at < MOST_LOOKED_AT:
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

    def _name(self, state: ListedState, key: bytes) -> bytes:
        """Return the name of the record that a listing of a state is about."""
        if state is ListedState.FAILED:
            return self._keys.failed_record("").encode() + key
        return self._keys.record_prefix.encode() + key

    async def _records(self, state: ListedState, found: Sequence[Found]) -> list[Record]:
        rows = await self._pages.many(
            [("HMGET", self._name(state, one.key), *_FIELDS) for one in found]
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
            self._name(state, one.key)
            for one, summary in zip(found, summaries, strict=True)
            if summary is not None
        ]
        lengths = await self._pages.many([("HSTRLEN", name, "call") for name in names])
        short = [name for name, length in zip(names, lengths, strict=True) if _is_short(length)]
        calls = dict(
            zip(short, await self._pages.many([("HGET", n, "call") for n in short]), strict=True)
        )
        return [
            summary and summary_of(one.key, record, calls.get(self._name(state, one.key)) or None)
            for one, summary, record in zip(found, summaries, records, strict=True)
        ]

    # One execution ------------------------------------------------------------------------

    async def details(self, key: str) -> ExecutionDetails | None:
        """Read everything about the newest execution of a key; see Docket.describe."""
        names = (self._keys.record(key), self._keys.failed_record(key))
        record, kept = [_record_of(flat) for flat in await self._all_of(names)]
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

    async def _all_of(self, names: Sequence[str]) -> list[list[bytes]]:
        lengths = await self._pages.many([("HSTRLEN", name, "call") for name in names])
        fields = (*_FIELDS, "attempts")
        rows = await self._pages.many(
            [
                ("HMGET", name, *fields, *(("call",) if _is_short(length) else ()))
                for name, length in zip(names, lengths, strict=True)
            ]
        )
        every = [field.encode() for field in (*fields, "call")]
        return [
            [part for pair in zip(every, row, strict=False) if pair[1] is not None for part in pair]
            for row in rows
        ]

    # Numbers ------------------------------------------------------------------------------

    async def counts(self) -> Counts:
        """Count the executions by state and function; see Docket.counts."""
        by_state = await self._by_state()
        by_function: dict[ListedState, dict[str, int]] = {}
        is_estimated = False
        for state, number in by_state.items():
            sample = await self._found(state, None, SAMPLE, Span()) if number else []
            records = await self._functions(state, sample)
            is_estimated = is_estimated or number > len(sample) > 0
            share = max(1.0, number / len(sample)) if sample else 1.0
            found = Counter(name for name in records if name is not None)
            by_function[state] = {name: round(n * share) for name, n in found.most_common()}
        return Counts(by_state, by_function, is_estimated)

    async def _functions(self, state: ListedState, found: Sequence[Found]) -> list[str | None]:
        rows: list[list[bytes | None]] = await self._pages.many(
            [("HMGET", self._name(state, one.key), "function") for one in found]
        )
        return [
            row[0].decode(errors="backslashreplace") if row and row[0] else None for row in rows
        ]

    async def _by_state(self) -> dict[ListedState, int]:
        numbers = await self._pages.numbers()
        return {state: numbers[state.value] for state in ListedState}


def _record(row: Sequence[bytes | None]) -> Record:
    pairs = zip(_FIELDS, row, strict=False)
    return {name.encode(): value for name, value in pairs if value is not None}


def _record_of(flat: Sequence[bytes]) -> Record:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _is_short(length: int) -> bool:
    return 0 < length <= _LONGEST_CALL


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

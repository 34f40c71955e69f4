"""State and progress events of an execution, as they happen."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, TypedDict

from docket.execution.progress import DEFAULT_TOTAL, current_of
from docket.execution.record_fields import iso_text, text
from docket.lifecycle import ExecutionState
from docket.store.keys import worker_of

if TYPE_CHECKING:
    from docket.execution import Execution

#: Seconds after which a subscriber reads the record without a message: pub/sub may lose messages.
RECHECK_SECONDS = 5.0
#: Maximum number of events kept for a slow subscriber; then the oldest are dropped.
BACKLOG = 1000


class StateEvent(TypedDict):
    """The state of an execution; instants in ISO format, by the server's clock."""

    type: Literal["state"]
    key: str
    state: ExecutionState
    when: str
    worker: str | None
    started_at: str | None
    completed_at: str | None
    error: str | None


class ProgressEvent(TypedDict):
    """The progress that a run has reported; `current` is None before it runs."""

    type: Literal["progress"]
    key: str
    current: int | None
    total: int
    message: str | None
    updated_at: str | None


Event = StateEvent | ProgressEvent


async def watch(execution: Execution, ready: asyncio.Event | None) -> AsyncGenerator[Event]:
    """Yield the events of an execution; see Execution.subscribe."""
    docket, feed = execution.docket, _Feed(execution)
    keys, subscriber = docket.keys, docket.connections.subscriber
    # Subscribed before the record is read: an event in between comes twice rather than never.
    async with (
        subscriber.listening(keys.state_channel(execution.key), feed.on_state),
        subscriber.listening(keys.progress_channel(execution.key), feed.on_progress),
    ):
        if ready is not None:
            ready.set()
        while True:
            for event in await feed.next_events():
                yield event


class _Feed:
    """The events of one execution for one subscriber, published ones and those of its record."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._received: deque[Event] = deque(maxlen=BACKLOG)
        self._changed = asyncio.Event()
        # Nothing was yielded yet, so the record has to be read.
        self._must_look = True
        self._last: dict[str, Event] = {}

    def on_state(self, message: bytes | None) -> None:
        """Take a message of the state channel."""
        self._receive(None if message is None else _published_state(self._execution.key, message))

    def on_progress(self, message: bytes | None) -> None:
        """Take a message of the progress channel."""
        self._receive(
            None if message is None else _published_progress(self._execution.key, message)
        )

    def _receive(self, event: Event | None) -> None:
        if event is None:
            self._must_look = True  # Messages were lost.
        else:
            # When the oldest is dropped, it may be one that nothing repeats.
            self._must_look |= len(self._received) == self._received.maxlen
            self._received.append(event)
        self._changed.set()

    async def next_events(self) -> list[Event]:
        """Return the events since the last call; wait until there are some."""
        while True:
            if not self._received and not self._must_look:
                await self._wait()
            events = await self._look() if self._must_look else []
            while self._received:
                events.append(self._received.popleft())
            if events := [event for event in events if self._is_new(event)]:
                return events

    async def _wait(self) -> None:
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(RECHECK_SECONDS):
                await self._changed.wait()
                return
        self._must_look = True

    async def _look(self) -> list[Event]:
        self._must_look = False
        execution = self._execution
        record = await execution.docket.transitions.fetch(execution.key)
        if not record and self._last:
            return []  # Its end was yielded, or is among the received events.
        found = [_recorded_state(execution, record), _recorded_progress(execution.key, record)]
        for event in found:
            self._forget_before(event)
        return found

    def _forget_before(self, event: Event) -> None:
        """Drop received events that are older than the record."""
        if event not in self._received:
            return
        received = list(self._received)
        last = len(received) - 1 - received[::-1].index(event)
        self._received.clear()
        self._received.extend(
            e for i, e in enumerate(received) if i > last or e["type"] != event["type"]
        )

    def _is_new(self, event: Event) -> bool:
        if self._last.get(event["type"]) == event:
            return False
        self._last[event["type"]] = event
        return True


def _instant(value: bytes | None) -> str | None:
    return iso_text(value)


def _published_state(key: str, message: bytes) -> StateEvent:
    # In the format of publish() in _records.lua; the error comes last, since it may hold anything.
    state, when, worker, started_at, completed_at, error = message.split(b"\x1f", 5)
    return StateEvent(
        type="state",
        key=key,
        state=ExecutionState(state.decode()),
        when=_instant(when) or "",
        worker=worker_of(worker.decode()) or None,
        started_at=_instant(started_at),
        completed_at=_instant(completed_at),
        error=text(error) or None,
    )


def _published_progress(key: str, message: bytes) -> ProgressEvent:
    current, total, updated_at, words = message.split(b"\x1f", 3)
    return ProgressEvent(
        type="progress",
        key=key,
        current=int(current),
        total=int(total),
        message=text(words) or None,
        updated_at=_instant(updated_at),
    )


def _recorded_state(execution: Execution, record: Mapping[bytes, bytes]) -> StateEvent:
    return StateEvent(
        type="state",
        key=execution.key,
        # Without a record: the state before it is scheduled.
        state=ExecutionState(record.get(b"state", b"scheduled").decode()),
        when=_instant(record.get(b"when")) or execution.when.isoformat(),
        worker=worker_of(record.get(b"worker", b"").decode()) or None,
        started_at=_instant(record.get(b"started_at")),
        completed_at=_instant(record.get(b"completed_at")),
        error=text(record.get(b"error")) or None,
    )


def _recorded_progress(key: str, record: Mapping[bytes, bytes]) -> ProgressEvent:
    return ProgressEvent(
        type="progress",
        key=key,
        current=current_of(record),
        total=int(record.get(b"progress_total", DEFAULT_TOTAL)),
        message=text(record.get(b"progress_message")) or None,
        updated_at=_instant(record.get(b"progress_updated_at")),
    )

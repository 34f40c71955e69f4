"""What happens to an execution, told as it happens: state and progress events."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, TypedDict

from docket.execution.progress import DEFAULT_TOTAL, current_of
from docket.execution.record_fields import instant, text
from docket.lifecycle import ExecutionState
from docket.store.keys import worker_of

if TYPE_CHECKING:
    from docket.execution import Execution

#: How often a subscriber looks at the record without being told to, in seconds: pub/sub may lose
#: messages.
RECHECK_SECONDS = 5.0
#: Most events that are kept for somebody who does not ask for them; then the oldest ones go.
BACKLOG = 1000


class StateEvent(TypedDict):
    """An execution is in a state; instants in ISO format, by the server's clock."""

    type: Literal["state"]
    key: str
    state: ExecutionState
    when: str
    worker: str | None
    started_at: str | None
    completed_at: str | None
    error: str | None


class ProgressEvent(TypedDict):
    """A run has reported something of itself; `current` is None before it runs."""

    type: Literal["progress"]
    key: str
    current: int | None
    total: int
    message: str | None
    updated_at: str | None


Event = StateEvent | ProgressEvent


async def watch(execution: Execution, ready: asyncio.Event | None) -> AsyncGenerator[Event]:
    """See Execution.subscribe."""
    docket, feed = execution.docket, _Feed(execution)
    keys, subscriber = docket.keys, docket.connections.subscriber
    # The subscription first, and then the record: what happens in between comes twice, not never.
    async with (
        subscriber.listening(keys.state_channel(execution.key), feed.hear_state),
        subscriber.listening(keys.progress_channel(execution.key), feed.hear_progress),
    ):
        if ready is not None:
            ready.set()
        while True:
            for event in await feed.news():
                yield event


class _Feed:
    """Events of one execution for one subscriber: what was published, and what is in its record."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._heard: deque[Event] = deque(maxlen=BACKLOG)
        self._changed = asyncio.Event()
        # Nothing was told yet, so the record is to be read.
        self._must_look = True
        self._told: dict[str, Event] = {}

    def hear_state(self, message: bytes | None) -> None:
        """Listener of the state channel."""
        self._hear(None if message is None else _published_state(self._execution.key, message))

    def hear_progress(self, message: bytes | None) -> None:
        """Listener of the progress channel."""
        self._hear(None if message is None else _published_progress(self._execution.key, message))

    def _hear(self, event: Event | None) -> None:
        if event is None:
            self._must_look = True  # Messages were lost.
        else:
            # Where the oldest are dropped, one that nothing repeats may be among them.
            self._must_look |= len(self._heard) == self._heard.maxlen
            self._heard.append(event)
        self._changed.set()

    async def news(self) -> list[Event]:
        """What has happened since it was asked last; waits until something has."""
        while True:
            if not self._heard and not self._must_look:
                await self._wait()
            events = await self._look() if self._must_look else []
            while self._heard:
                events.append(self._heard.popleft())
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
        if not record and self._told:
            return []  # Its end was told, or is among what was heard.
        found = [_recorded_state(execution, record), _recorded_progress(execution.key, record)]
        for event in found:
            self._forget_before(event)
        return found

    def _forget_before(self, event: Event) -> None:
        """What was heard of before the record was read is in the record."""
        if event not in self._heard:
            return
        heard = list(self._heard)
        last = len(heard) - 1 - heard[::-1].index(event)
        self._heard.clear()
        self._heard.extend(e for i, e in enumerate(heard) if i > last or e["type"] != event["type"])

    def _is_new(self, event: Event) -> bool:
        if self._told.get(event["type"]) == event:
            return False
        self._told[event["type"]] = event
        return True


def _instant(value: bytes | None) -> str | None:
    moment = instant(value)
    return moment.isoformat() if moment else None


def _published_state(key: str, message: bytes) -> StateEvent:
    # As publish() in _records.lua puts them together; the error comes last, it may hold anything.
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
        # Without a record: as it is before it is scheduled.
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

"""State and progress events of an execution, as they happen."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict, cast

from docket.errors import DeserializationError
from docket.execution.progress import ProgressEvent, published, recorded
from docket.execution.record_fields import iso_text, text
from docket.execution.record_fields import state as read_state
from docket.lifecycle import ExecutionState
from docket.loop_calls import occurs
from docket.store.keys import worker_of

if TYPE_CHECKING:
    from docket.execution import Execution

#: Seconds after which a subscriber reads the record without a message: pub/sub may lose messages.
RECHECK_SECONDS = 5.0
#: Maximum number of events kept for a slow subscriber; then the oldest are dropped.
BACKLOG = 1000


class StateEvent(TypedDict):
    """The state of an execution; instants in ISO format, by the server's clock.

    The first event of a subscription has all keys; in the later ones a key without a value is
    missing, so `error` is there if and only if the execution has failed.
    """

    type: Literal["state"]
    key: str
    state: ExecutionState
    when: NotRequired[str]
    worker: NotRequired[str | None]
    started_at: NotRequired[str | None]
    completed_at: NotRequired[str | None]
    error: NotRequired[str | None]


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
        told: set[str] = set()
        while True:
            for event in await feed.next_events():
                yield event if event["type"] in told else _in_full(event)
                told.add(event["type"])


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
        self._receive(_published_state, message)

    def on_progress(self, message: bytes | None) -> None:
        """Take a message of the progress channel."""
        self._receive(published, message)

    def _receive(self, read: Callable[[str, bytes], Event], message: bytes | None) -> None:
        try:
            event = None if message is None else read(self._execution.key, message)
        except (DeserializationError, ValueError):
            event = None  # Anybody may publish anything.
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
        if not await occurs(self._changed, RECHECK_SECONDS):
            self._must_look = True

    async def _look(self) -> list[Event]:
        self._must_look = False
        execution = self._execution
        record = await execution.docket.transitions.fetch(execution.key)
        if b"state" not in record and self._last:
            return []  # Its end was yielded, or is among the received events.
        found: list[Event] = [_recorded_state(execution, record)]
        progress = recorded(record).event(execution.key)
        if progress["updated_at"] is not None or not self._last:
            found.append(progress)
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
    # In the format of publish() in _events.lua; the error comes last, since it may hold anything.
    state, when, worker, started_at, completed_at, error = message.split(b"\x1f", 5)
    return _state_event(
        key,
        state,
        when=_instant(when),
        worker=worker_of(worker.decode(errors="replace")),
        started_at=_instant(started_at),
        completed_at=_instant(completed_at),
        error=text(error),
    )


def _recorded_state(execution: Execution, record: Mapping[bytes, bytes]) -> StateEvent:
    return _state_event(
        execution.key,
        # Without a record: the state before it is scheduled.
        record.get(b"state", b"scheduled"),
        when=_instant(record.get(b"when")) or execution.when.isoformat(),
        worker=worker_of(record.get(b"worker", b"").decode(errors="replace")),
        started_at=_instant(record.get(b"started_at")),
        completed_at=_instant(record.get(b"completed_at")),
        error=text(record.get(b"error")),
    )


def _state_event(key: str, state: bytes, **values: str | None) -> StateEvent:
    event: dict[str, Any] = {"type": "state", "key": key, "state": read_state(state)}
    event.update((name, value) for name, value in values.items() if value)
    return cast("StateEvent", event)


def _in_full(event: Event) -> Event:
    """Return an event with every key of its kind."""
    if event["type"] == "progress":
        return event
    keys = StateEvent.__annotations__
    return cast("StateEvent", {name: event.get(name) for name in keys})

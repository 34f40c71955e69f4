"""The progress that is reported of an execution."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple, Self, TypedDict

from docket.clock import from_microseconds, now
from docket.errors import ConnectionClosed, DeserializationError, RefusedCall, ServerUnavailable
from docket.execution.record_fields import instant, text
from docket.loop_calls import reports
from docket.store.connection.backoff import backoff_seconds

if TYPE_CHECKING:
    from docket.docket import Docket

logger = logging.getLogger("docket.worker")

#: The total until somebody sets one.
DEFAULT_TOTAL = 100


class ProgressEvent(TypedDict):
    """The progress of an execution; `current` is None before it runs and after its end."""

    type: Literal["progress"]
    key: str
    current: int | None
    total: int
    message: str | None
    updated_at: str | None


class Reported(NamedTuple):
    """The progress that a record shows."""

    current: int | None = None
    total: int = DEFAULT_TOTAL
    message: str | None = None
    updated_at: datetime | None = None

    def event(self, key: str) -> ProgressEvent:
        """Return it as an event."""
        return ProgressEvent(
            type="progress",
            key=key,
            current=self.current,
            total=self.total,
            message=self.message or None,
            updated_at=self.updated_at.isoformat() if self.updated_at else None,
        )


#: Most characters of a message.
MAX_MESSAGE = 4096
#: The progress of a run that has reported nothing.
BEGUN = Reported(current=0)
#: The progress of an execution of which nothing is reported.
NOTHING = Reported()


def recorded(record: Mapping[bytes, bytes]) -> Reported:
    """Read the progress from a record; what was reported in an earlier phase is gone."""
    is_running = record.get(b"state") == b"running"
    if record.get(b"progress_phase") != _phase_of(record):
        return BEGUN if is_running else NOTHING
    try:
        return Reported(
            int(record[b"progress_current"]),
            int(record[b"progress_total"]),
            text(record.get(b"progress_message")),
            instant(record[b"progress_updated_at"]),
        )
    except (DeserializationError, KeyError, ValueError):
        return BEGUN  # Somebody else has written it.


def _phase_of(record: Mapping[bytes, bytes]) -> bytes:
    # As in progress.lua.
    match record.get(b"state"):
        case b"running":
            return record.get(b"entry", b"")
        case b"scheduled" | b"queued":
            return b"waiting"
        case _:
            return b"ended"


def published(key: str, message: bytes) -> ProgressEvent:
    """Read an event from a message of the progress channel."""
    current, total, updated_at, words = message.split(b"\x1f", 3)
    return Reported(int(current), int(total), text(words), instant(updated_at)).event(key)


class ExecutionProgress:
    """The progress of an execution according to its record.

    Anybody may report it, at any time; without await in a thread without an event loop. It is gone
    when the execution begins to run and when it has ended. A report of a run never fails the task:
    without a server it is kept back, and the newest state is reported once the server is there
    again.

    Args:
        docket: the docket of the execution; it is open while anything is read or reported.
        key: the key of the execution.
        run: returns the entry and generation of the run that reports, which has nothing to report
            any more once it was replaced; None if a holder of the key reports.

    Attributes:
        current: the amount done; 0 when it begins to run, None before and after.
        total: the amount to do.
        message: a status text, if one was set.
        updated_at: the time of the last report.
    """

    def __init__(
        self, docket: Docket, key: str, run: Callable[[], tuple[str, int]] | None = None
    ) -> None:
        self._docket = docket
        self._key = key
        self._run = run
        self._catching_up: asyncio.Task[None] | None = None
        self._is_behind = False
        self.show(NOTHING)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that the reports go through, which is the docket's."""
        return self._docket.connections.pipeline.owner.loop

    @classmethod
    async def create(cls, docket: Docket, key: str) -> Self:
        """Return the progress of a key, as its record shows it."""
        progress = cls(docket, key)
        await progress.sync()
        return progress

    @reports
    async def set_total(self, total: int) -> None:
        """Set the amount to do. Raises ValueError if it is less than 1."""
        if total < 1:
            raise ValueError("Total must be at least 1")
        await self._report("total", total)

    @reports
    async def increment(self, amount: int = 1) -> None:
        """Add to the amount done. Raises ValueError if it is less than 1."""
        if amount < 1:
            raise ValueError("Amount must be at least 1")
        await self._report("increment", amount)

    @reports
    async def set_message(self, message: str | None) -> None:
        """Set the status text, of which MAX_MESSAGE characters are kept; None removes it."""
        await self._report("message", (message or "")[:MAX_MESSAGE])

    async def sync(self) -> None:
        """Read the progress from the record, without the execution's state."""
        self.load(await self._docket.transitions.fetch(self._key))

    async def subscribe(self, ready: asyncio.Event | None = None) -> AsyncGenerator[ProgressEvent]:
        """Yield what is reported of the key from now on, each report once and in order.

        Of what is reported while the connection is lost, only the latest is told.

        Args:
            ready: set once no report from then on can be missed.

        Raises:
            ServerUnavailable: the server is away.
        """
        received: asyncio.Queue[bytes | None] = asyncio.Queue()
        channel = self._docket.keys.progress_channel(self._key)
        async with self._docket.connections.subscriber.listening(channel, received.put_nowait):
            last = await self._recorded_event()
            caught_up: ProgressEvent | None = None
            if ready is not None:
                ready.set()
            while True:
                message = await received.get()
                if message is None:  # Messages were lost.
                    event = caught_up = await self._recorded_event()
                    is_known = event == last or event["updated_at"] is None
                else:
                    event = published(self._key, message)
                    is_known = event == caught_up
                if not is_known:
                    last = event
                    yield event

    async def _recorded_event(self) -> ProgressEvent:
        return recorded(await self._docket.transitions.fetch(self._key)).event(self._key)

    def load(self, record: Mapping[bytes, bytes]) -> None:
        """Take the values from the fields of a record."""
        self.show(recorded(record))

    def show(self, reported: Reported) -> None:
        """Take these values."""
        self.current, self.total, self.message, self.updated_at = reported

    async def _report(self, operation: str, value: str | int) -> None:
        entry, generation = ("", 0) if self._run is None else self._run()
        if not entry:
            await self._send("", 0, operation, value)
            return
        pipeline = self._docket.connections.pipeline
        if self._catching_up is not None or not pipeline.is_connected:
            self._keep_back(entry, generation, operation, value)
            return
        try:
            await self._send(entry, generation, operation, value)
        except ServerUnavailable as error:
            logger.debug("The progress of %r is kept back: %s", self._key, error)
            self._keep_back(entry, generation, operation, value)
        except RefusedCall as error:
            logger.warning("The progress of %r cannot be reported: %s", self._key, error)

    async def _send(
        self, entry: str, generation: int, operation: str, value: str | int, *others: str | int
    ) -> None:
        row = await self._docket.transitions.report_progress(
            self._key, entry, generation, operation, value, *others
        )
        if row is None:
            return  # A newer execution has the record: this run has no progress to report.
        if self._catching_up is None:  # What is kept back is newer.
            self.show(
                Reported(row.current, row.total, row.message, from_microseconds(row.updated_at))
            )

    # Without a server ---------------------------------------------------------------------

    def _keep_back(self, entry: str, generation: int, operation: str, value: str | int) -> None:
        match operation:
            case "total":
                self.total = int(value)
            case "increment":
                self.current = (self.current or 0) + int(value)
            case _:
                self.message = str(value) or None
        self.updated_at = now()
        self._is_behind = True
        if self._catching_up is None:
            run = asyncio.current_task()
            self._catching_up = task = asyncio.create_task(
                self._catch_up(entry, generation), name="docket progress"
            )
            if run is not None:
                # Whatever was not reported by the end of the run is of no interest any more.
                run.add_done_callback(lambda _: task.cancel())

    async def _catch_up(self, entry: str, generation: int) -> None:
        """Report the newest state once the server is there."""
        failures = 0
        try:
            while self._is_behind:
                await self._docket.connections.pipeline.connected()
                self._is_behind = False
                newest = (self.current or 0, self.total, self.message or "")
                try:
                    await self._docket.transitions.report_progress(
                        self._key, entry, generation, "all", *newest
                    )
                except ServerUnavailable:
                    # It may be connected, and unable to serve.
                    self._is_behind, failures = True, failures + 1
                    await asyncio.sleep(backoff_seconds(failures))
        except (ConnectionClosed, RefusedCall) as error:
            logger.warning("The progress of %r cannot be reported: %s", self._key, error)
        finally:
            self._catching_up = None

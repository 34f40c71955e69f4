"""Everything that can happen to the supervisor, as values for its one inbox.

Whatever the loop sees (a signal, a frame, an exit, a tick, a command) becomes one of these, is
stamped with its time, and waits for its turn in the pool's one match.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from ipc.messages import FromNursery, FromWorker, KeeperBeat
from supervisor.pool.state.pool_commands import Command, Outcome, nobody
from supervisor.signals import ReceivedSignal


@dataclass(frozen=True, slots=True)
class SignalReceived:
    """A signal came to this process."""

    caught: ReceivedSignal


@dataclass(frozen=True, slots=True)
class NurseryMessage:
    """A frame from the nursery of `generation`."""

    generation: int
    message: FromNursery


@dataclass(frozen=True, slots=True)
class NurseryDisconnected:
    """The channel of a nursery ended, at its end (None) or for a fault. No exit was seen yet."""

    generation: int
    fault: Exception | None


@dataclass(frozen=True, slots=True)
class NurseryExited:
    """The process of a nursery ended; `status` as of os.wait, None if another took it."""

    generation: int
    status: int | None


@dataclass(frozen=True, slots=True)
class WorkerMessage:
    """A frame from the worker that is incarnation `number`."""

    number: int
    message: FromWorker


@dataclass(frozen=True, slots=True)
class BeatReceived:
    """A beat of that worker's keeper thread."""

    number: int
    beat: KeeperBeat


@dataclass(frozen=True, slots=True)
class WorkerDumped:
    """That worker wrote the stacks of its threads, or of its coroutines."""

    number: int
    #: Who that was, for the log: a dead one's last words come after it was forgotten.
    who: str
    text: str


@dataclass(frozen=True, slots=True)
class WorkerDisconnected:
    """The channel of a worker ended. A hint: the exit is the fact."""

    number: int
    fault: Exception | None


@dataclass(frozen=True, slots=True)
class WorkerExited:
    """The process of a worker ended, and all it had said was read before."""

    number: int
    status: int | None


@dataclass(frozen=True, slots=True)
class ServerEnded:
    """The embedded server ended while the pool still needs it."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed. `regular`: on the fixed interval, so that silence may be counted by it."""

    regular: bool = False


@dataclass(frozen=True, slots=True)
class CommandReceived:
    """An order from inside this process or from its owner.

    Arguments:
        answer: called exactly once, on the loop: see supervisor.orders for when.
    """

    order: Command
    answer: Callable[[Outcome], None] = nobody


Event = (
    SignalReceived
    | NurseryMessage
    | NurseryDisconnected
    | NurseryExited
    | WorkerMessage
    | BeatReceived
    | WorkerDumped
    | WorkerDisconnected
    | WorkerExited
    | ServerEnded
    | Tick
    | CommandReceived
)


class Inbox:
    """The events in the order in which they came. Only the loop's thread puts and takes."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[tuple[Event, float]] = asyncio.Queue()

    def put(self, event: Event, at: float | None = None) -> None:
        """Add an event that happened at `at` seconds of the monotonic clock, or now."""
        self._events.put_nowait((event, time.monotonic() if at is None else at))

    @property
    def is_empty(self) -> bool:
        """Whether `take` would wait."""
        return self._events.empty()

    async def take(self) -> tuple[Event, float]:
        """The oldest event and its time, as soon as there is one."""
        return await self._events.get()

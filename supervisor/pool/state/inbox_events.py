"""The events of the supervisor's one inbox: signals, frames, exits, ticks and commands.

Each is stamped with its time, and waits for its turn in the pool's one match.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ipc.messages import FromNursery, FromWorker, KeeperBeat
from supervisor.pool.state.pool_commands import Command, Outcome, discard
from supervisor.signals import ReceivedSignal


@dataclass(frozen=True, slots=True)
class SignalReceived:
    """A signal came to this process."""

    received: ReceivedSignal


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
    """A frame from the worker process `number`."""

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
    #: For the log: the last dump of a dead worker comes after it was forgotten.
    worker: str
    text: str


@dataclass(frozen=True, slots=True)
class WorkerDisconnected:
    """The channel of a worker ended. A hint: the exit is the fact."""

    number: int
    fault: Exception | None


@dataclass(frozen=True, slots=True)
class WorkerExited:
    """The process of a worker ended, and all that it had sent was read before."""

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
    """A command from inside this process or from its owner.

    Arguments:
        answer: called exactly once, on the loop: see pool_commands for when.
    """

    command: Command
    answer: Callable[[Outcome], None] = discard


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

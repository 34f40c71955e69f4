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
    """A signal to this process."""

    received: ReceivedSignal


@dataclass(frozen=True, slots=True)
class NurseryMessage:
    """A frame from the nursery of `generation`."""

    generation: int
    message: FromNursery


@dataclass(frozen=True, slots=True)
class NurseryDisconnected:
    """The end of a nursery's channel, for a fault or without (None), before its exit was seen."""

    generation: int
    fault: Exception | None


@dataclass(frozen=True, slots=True)
class NurseryExited:
    """The exit of a nursery; `status` as of os.wait, None if another process took it."""

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
    """The stacks of a worker's threads, or of its coroutines."""

    number: int
    #: For the log: the last dump of a dead worker comes after it was forgotten.
    worker: str
    text: str


@dataclass(frozen=True, slots=True)
class WorkerDisconnected:
    """The end of a worker's channel. Only a hint: its exit decides."""

    number: int
    fault: Exception | None


@dataclass(frozen=True, slots=True)
class WorkerExited:
    """The exit of a worker, after all that it had sent was read."""

    number: int
    status: int | None


@dataclass(frozen=True, slots=True)
class ServerEnded:
    """The end of the embedded server while the pool still needs it.

    Arguments:
        log: where it says why; None: it keeps none.
    """

    log: str | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick; `regular` if on the fixed interval, so that silence may be counted by it."""

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

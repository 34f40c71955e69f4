"""The events of the supervisor's one inbox: signals, frames, exits, ticks and commands.

Each is stamped with its time, and waits for its turn in the pool's one match.
"""

from collections.abc import Callable

from msgspec import Struct

from ipc.messages import FromNursery, FromWorker, KeeperBeat
from supervisor.pool.state.pool_commands import Command, Outcome, discard
from supervisor.signals import ReceivedSignal


class SignalReceived(Struct, frozen=True):
    """A signal to this process."""

    received: ReceivedSignal


class NurseryMessage(Struct, frozen=True):
    """A frame from the nursery of `generation`."""

    generation: int
    message: FromNursery


class NurseryDisconnected(Struct, frozen=True):
    """The end of a nursery's channel, for a fault or without (None), before its exit was seen."""

    generation: int
    fault: Exception | None


class NurseryExited(Struct, frozen=True):
    """The exit of a nursery; `status` as of os.wait, None if another process took it."""

    generation: int
    status: int | None


class WorkerMessage(Struct, frozen=True):
    """A frame from the worker process `number`."""

    number: int
    message: FromWorker


class BeatReceived(Struct, frozen=True):
    """A beat of that worker's keeper thread."""

    number: int
    beat: KeeperBeat


class WorkerDumped(Struct, frozen=True):
    """The stacks of a worker's threads, or of its coroutines."""

    number: int
    #: For the log: the last dump of a dead worker comes after it was forgotten.
    worker: str
    text: str


class WorkerDisconnected(Struct, frozen=True):
    """The end of a worker's channel. Only a hint: its exit decides."""

    number: int
    fault: Exception | None


class WorkerExited(Struct, frozen=True):
    """The exit of a worker, after all that it had sent was read."""

    number: int
    status: int | None


class ServerEnded(Struct, frozen=True):
    """The end of the embedded server while the pool still needs it.

    Arguments:
        log: where it says why; None: it keeps none.
    """

    log: str | None = None


class Tick(Struct, frozen=True):
    """A tick; `regular` if on the fixed interval, so that silence may be counted by it."""

    regular: bool = False


class CommandReceived(Struct, frozen=True):
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

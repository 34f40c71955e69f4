"""The events of a pool, for programs that run a Supervisor from Python.

`Supervisor(config, on_event=...)` calls its observer on the supervisor's loop with one of these,
in the order in which they happen. Times are seconds of the monotonic clock (time.monotonic()),
which all processes of a machine share.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerStarted:
    """The start of the embedded server; producers connect to `url`."""

    url: str
    at: float


@dataclass(frozen=True, slots=True)
class EndpointsListening:
    """The start of the HTTP endpoints, at `host`:`port`."""

    host: str
    port: int
    at: float


@dataclass(frozen=True, slots=True)
class NurseryLoaded:
    """The end of the import of `generation`: workers can be forked from it."""

    generation: int
    pid: int
    seconds: float
    at: float


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """The first readiness of a worker: it can claim tasks."""

    slot: int
    pid: int
    name: str
    generation: int
    at: float


@dataclass(frozen=True, slots=True)
class PoolReady:
    """The first readiness of the pool: every slot has a ready worker."""

    workers: int
    at: float


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """The death of a worker, seen at `at`; `expected` if it was told to end."""

    slot: int
    pid: int | None
    name: str
    reason: str
    expected: bool
    at: float


@dataclass(frozen=True, slots=True)
class AdoptionFinished:
    """The end of an adoption: the tasks are redelivered, `seconds` after the death was seen.

    Where two workers were asked there may be two of one consumer, each with the tasks that its
    worker moved.
    """

    slot: int
    consumer: str
    moved: int
    poisoned: tuple[str, ...]
    seconds: float
    at: float


@dataclass(frozen=True, slots=True)
class FirstRedelivered:
    """The first claim, at `started_at`, of a task of a dead worker by another one."""

    slot: int
    consumer: str
    died_at: float
    started_at: float

    @property
    def seconds(self) -> float:
        """The time from the death seen to the claim."""
        return self.started_at - self.died_at


@dataclass(frozen=True, slots=True)
class NurseryDied:
    """The unexpected end of a nursery; the workers go on, and it is replaced."""

    generation: int
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class ReloadStarted:
    """The start of a reload: the code is imported anew, as `generation`."""

    generation: int
    at: float


@dataclass(frozen=True, slots=True)
class ReloadFinished:
    """The end of a reload: all slots have a worker of `generation`, or `error` has the reason."""

    generation: int
    error: str | None
    seconds: float
    at: float


@dataclass(frozen=True, slots=True)
class Scaled:
    """A new size of the pool: it is to have `target` workers.

    `reason` is None if somebody asked for it, else it tells of the work that the size follows.
    """

    target: int
    at: float
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class DrainStarted:
    """The start of the drain; `reason` is None for a plain stop."""

    reason: str | None
    at: float


@dataclass(frozen=True, slots=True)
class Stopped:
    """The end of the pool: the last worker is gone, the program ends with `code`."""

    code: int
    reason: str | None
    at: float


PoolEvent = (
    ServerStarted
    | EndpointsListening
    | NurseryLoaded
    | WorkerReady
    | PoolReady
    | WorkerDied
    | AdoptionFinished
    | FirstRedelivered
    | NurseryDied
    | ReloadStarted
    | ReloadFinished
    | Scaled
    | DrainStarted
    | Stopped
)

Observer = Callable[[PoolEvent], None]


def ignore(_event: PoolEvent) -> None:
    """Do nothing: the observer of a run that is not watched."""

"""The events of a pool, for programs that run a Supervisor from Python.

`Supervisor(config, on_event=...)` calls its observer on the supervisor's loop with one of these,
in the order in which they happen. Times are seconds of the monotonic clock (time.monotonic()),
which all processes of a machine share.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerStarted:
    """The embedded server is up; producers connect to `url`."""

    url: str
    at: float


@dataclass(frozen=True, slots=True)
class EndpointsListening:
    """The HTTP endpoints answer at `host`:`port`."""

    host: str
    port: int
    at: float


@dataclass(frozen=True, slots=True)
class NurseryLoaded:
    """The code of `generation` is imported and workers can be forked from it."""

    generation: int
    pid: int
    seconds: float
    at: float


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """A worker can claim tasks, for the first time."""

    slot: int
    pid: int
    name: str
    generation: int
    at: float


@dataclass(frozen=True, slots=True)
class PoolReady:
    """Every slot has a ready worker, for the first time."""

    workers: int
    at: float


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """A worker's process ended. `expected`: it was told to; `at`: the time when that was seen."""

    slot: int
    pid: int | None
    name: str
    reason: str
    expected: bool
    at: float


@dataclass(frozen=True, slots=True)
class AdoptionFinished:
    """The tasks of a dead worker go round again, `seconds` after its death was seen."""

    slot: int
    consumer: str
    moved: int
    poisoned: tuple[str, ...]
    seconds: float
    at: float


@dataclass(frozen=True, slots=True)
class FirstRedelivered:
    """The first task of a dead worker was claimed by another one, at `started_at`."""

    slot: int
    consumer: str
    died_at: float
    started_at: float

    @property
    def seconds(self) -> float:
        """From the death seen to the claim."""
        return self.started_at - self.died_at


@dataclass(frozen=True, slots=True)
class NurseryDied:
    """The nursery ended unasked; the workers go on, and it is replaced."""

    generation: int
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class ReloadStarted:
    """The code is being imported anew, as `generation`."""

    generation: int
    at: float


@dataclass(frozen=True, slots=True)
class ReloadFinished:
    """Every slot has a worker of `generation`; or `error` says why some or all have not."""

    generation: int
    error: str | None
    seconds: float
    at: float


@dataclass(frozen=True, slots=True)
class Scaled:
    """The pool is to have `target` workers from now on."""

    target: int
    at: float


@dataclass(frozen=True, slots=True)
class DrainStarted:
    """The pool claims no more; `reason` is None for a plain stop."""

    reason: str | None
    at: float


@dataclass(frozen=True, slots=True)
class Stopped:
    """The last worker is gone; the program ends with `code`."""

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

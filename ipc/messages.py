"""Every message between the supervisor, its nursery and its workers.

The supervisor starts a nursery, the nursery forks workers, and each of them has a channel of its
own to the supervisor. Who may say what is a union for each direction; a decoder is made for one
union, so that a message from the wrong side is malformed.

    supervisor -> nursery   ToNursery     Settings first; then Spawn, Kill, Retire
    nursery -> supervisor   FromNursery   Hello first; then one of Loaded, LoadFailed, Unsafe; then
                                          Spawned or SpawnFailed for each Spawn, Exited for each
                                          Spawned
    supervisor -> worker    ToWorker
    worker -> supervisor    FromWorker    Hello first
    keeper -> supervisor    FromKeeper    a worker's thread, on a pipe of its own: it speaks while
                                          the loop is blocked

Evolution: a new field gets a default, a field never changes its type or its meaning, a message is
never reused. What breaks that raises PROTOCOL.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

#: Raised when an older peer would misread a newer one. A nursery that is sent another one answers
#: LoadFailed: the code on disk is newer than the supervisor that runs.
PROTOCOL: Final = 1

#: Bytes of one frame's payload, at most.
MAX_FRAME: Final = 1 << 20

#: Bytes of a keeper's frame, prefix included, at most: far under PIPE_BUF, so that a non-blocking
#: write takes all of it or none.
MAX_BEAT_FRAME: Final = 512

#: Bytes (UTF-8) of the culprit named in a Beat, at most; longer keys are cut.
MAX_BLOCKING_KEY: Final = 400

#: Tasks listed in one Heartbeat, at most; `in_flight_total` counts them all.
MAX_TASKS_LISTED: Final = 100

#: File descriptors that Spawn carries: the worker's channel, the write end of its keeper pipe, the
#: write end of its dump pipe, in this order.
SPAWN_DESCRIPTORS: Final = 3


class Message(Struct, frozen=True, tag=True):
    """The root of all messages; on the wire a map with the class name under "type"."""


# -- both ways ---------------------------------------------------------------------------------


class Hello(Message, frozen=True):
    """The first frame from a nursery and from a worker: who speaks, and which protocol."""

    protocol: int
    pid: int


# -- supervisor -> nursery ---------------------------------------------------------------------


class WorkerSettings(Struct, frozen=True):
    """What every worker of a pool is told; durations are in seconds."""

    docket: str
    #: Where workers connect: already resolved, a Unix socket for an embedded server.
    url: str
    #: The URL as the user gave it, without its password: for logs and errors.
    display_url: str
    concurrency: int = 10
    redelivery_timeout_seconds: float = 300.0
    reconnection_delay_seconds: float = 5.0
    minimum_check_interval_seconds: float = 0.25
    scheduling_resolution_seconds: float = 0.25
    schedule_automatic_tasks: bool = True
    #: "module:attr" of the function that runs tasks nobody registered, or None.
    fallback_task: str | None = None
    #: "module:attr" of a mapping or list of the worker's own dependencies, or None.
    dependencies: str | None = None
    message_batch: int = 1000
    heartbeat_seconds: float = 0.5
    stall_timeout_seconds: float = 60.0
    max_deliveries: int = 3
    logging_level: str = "INFO"
    #: "rich", "plain" or "json".
    logging_format: str = "plain"
    #: After this long without its supervisor a worker hands back what it still runs.
    drain_timeout_seconds: float = 30.0


class Settings(Message, frozen=True):
    """The nursery's first frame."""

    protocol: int
    generation: int
    #: "module:attr" of each task collection.
    tasks: list[str]
    #: Import the tasks in the nursery (True) or in each worker.
    preload: bool
    #: The directory to change to, as the user sees it ($PWD of the start, symlinks not resolved).
    cwd: str
    worker: WorkerSettings
    #: The inherited write end of an embedded server's lifeline pipe, or None.
    lifeline: int | None = None


class Spawn(Message, frozen=True):
    """Fork a worker for this slot; carries SPAWN_DESCRIPTORS file descriptors."""

    slot: int
    #: The worker's name, "host#SLOT".
    name: str


class Kill(Message, frozen=True):
    """SIGKILL this worker of yours; for systems without pidfds."""

    pid: int


class Retire(Message, frozen=True):
    """Fork no more, and end when the last of your workers has."""


# -- nursery -> supervisor ---------------------------------------------------------------------


class Loaded(Message, frozen=True):
    """The tasks are imported (or left to the workers) and Spawn is welcome."""

    generation: int
    seconds: float
    #: Names of native threads that the import left behind: worth a note, no danger by themselves.
    threads_noted: list[str] = []


class LoadFailed(Message, frozen=True):
    """The tasks do not import; the nursery ends by itself."""

    generation: int
    #: One line, fit to be the last one that the operator reads.
    reason: str
    traceback: str = ""


class Unsafe(Message, frozen=True):
    """The import left behind what must not be forked; the nursery ends by itself."""

    generation: int
    reasons: list[str]


class Spawned(Message, frozen=True):
    """A worker was forked; carries its pidfd if `has_pidfd`."""

    slot: int
    pid: int
    has_pidfd: bool = True


class SpawnFailed(Message, frozen=True):
    """The fork for this slot failed: no process, and the descriptors of the Spawn are closed."""

    slot: int
    reason: str


class Exited(Message, frozen=True):
    """A worker was reaped, and its process group is gone."""

    pid: int
    #: As os.wait4 gives it: os.waitstatus_to_exitcode reads it.
    status: int
    user_seconds: float
    system_seconds: float
    max_rss_bytes: int


# -- supervisor -> worker ----------------------------------------------------------------------


class Drain(Message, frozen=True):
    """Claim no more and finish. At the deadline (seconds from now; None: never) cancel what still
    runs and hand it back. Sent again it shortens the deadline."""

    deadline_seconds: float | None = None


class Adopt(Message, frozen=True):
    """Take over what the dead `consumer` was running.

    `blame` says whose death it counts as: "everyone", "nobody", "key:KEY", or
    "functions:NAME NAME": the only task that was running of these functions, or at all.
    """

    consumer: str
    blame: str


class Steward(Message, frozen=True):
    """Be the pool's steward, or be it no longer."""

    on: bool


class Nudge(Message, frozen=True):
    """Look at the streams now."""


class Dump(Message, frozen=True):
    """Write the stacks of your coroutines and the running tasks to the dump pipe."""


class SetConcurrency(Message, frozen=True):
    concurrency: int


# -- worker -> supervisor ----------------------------------------------------------------------


class Ready(Message, frozen=True):
    """It can claim: at first, and again after Waiting. `consumer` may have changed meanwhile."""

    consumer: str
    name: str
    rss_bytes: int


class Waiting(Message, frozen=True):
    """The server is away; Ready follows when it is back."""

    reason: str


class Task(Struct, frozen=True):
    """A task in flight, and how long it has been running."""

    key: str
    function: str
    seconds: float


class Histogram(Struct, frozen=True):
    """`counts` of docket's buckets, the last one for what is above them all; `sum` in seconds."""

    counts: list[int] = []
    sum: float = 0.0


class WorkerCounters(Struct, frozen=True):
    """Since the worker started; they only rise."""

    started: int = 0
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    redelivered: int = 0
    superseded: int = 0
    stricken: int = 0
    cancelled: int = 0
    perpetuated: int = 0
    duration: Histogram = field(default_factory=Histogram)
    punctuality: Histogram = field(default_factory=Histogram)
    #: Log lines that were not written because nobody read the earlier ones.
    log_lines_dropped: int = 0


class Heartbeat(Message, frozen=True):
    """Droppable: when the pipe is full the next one says it all again."""

    sequence: int
    loop_lag_seconds: float
    #: At most MAX_TASKS_LISTED, the longest running first.
    in_flight: list[Task]
    in_flight_total: int
    counters: WorkerCounters
    rss_bytes: int


class Draining(Message, frozen=True):
    """It claims no more."""


class Drained(Message, frozen=True):
    """Nothing runs any more and every outcome is written; the process is about to end."""


class Adopted(Message, frozen=True):
    """An Adopt is done: `moved` tasks go round again, `poisoned_total` failed for good.

    `poisoned` names the first of the latter.
    """

    consumer: str
    moved: int
    poisoned: list[str] = []
    poisoned_total: int = 0


class Redelivered(Message, frozen=True):
    """The first task of the dead `consumer` was claimed at `started_at` (time.monotonic(), which
    all processes of a machine share)."""

    consumer: str
    started_at: float


class Fault(Message, frozen=True):
    """The worker cannot go on; it ends by itself."""

    #: One line, fit to be the last one that the operator reads.
    reason: str
    traceback: str = ""
    #: What it was to run cannot be loaded: another worker of this code would fail alike.
    cannot_load: bool = False


# -- keeper pipe -------------------------------------------------------------------------------


class KeeperBeat(Message, frozen=True):
    """From the keeper thread: alive, how late the loop is, and the key of the task it is in."""

    counter: int
    lag_seconds: float
    blocking_key: str | None = None


ToNursery = Settings | Spawn | Kill | Retire
FromNursery = Hello | Loaded | LoadFailed | Unsafe | Spawned | SpawnFailed | Exited
ToWorker = Drain | Adopt | Steward | Nudge | Dump | SetConcurrency
FromWorker = (
    Hello | Ready | Waiting | Heartbeat | Draining | Drained | Adopted | Redelivered | Fault
)
FromKeeper = KeeperBeat


def descriptors_of(message: object) -> int:
    """How many file descriptors come with this message."""
    match message:
        case Spawn():
            return SPAWN_DESCRIPTORS
        case Spawned(has_pidfd=True):
            return 1
        case _:
            return 0

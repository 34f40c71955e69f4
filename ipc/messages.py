"""The messages between the supervisor, its nursery and its workers.

The supervisor starts a nursery, the nursery forks workers, and each of them has a channel of its
own to the supervisor. Each direction has a union of its messages; a decoder accepts one union, so
a message from the wrong side is malformed.

    supervisor -> nursery   ToNursery     Settings first; then Spawn, Kill, Retire
    nursery -> supervisor   FromNursery   Hello first; then one of Loaded, LoadFailed, Unsafe; then
                                          Spawned or SpawnFailed for each Spawn, Exited for each
                                          Spawned
    supervisor -> worker    ToWorker
    worker -> supervisor    FromWorker    Hello first
    keeper -> supervisor    FromKeeper    a thread of the worker, on a pipe of its own: it sends
                                          while the loop is blocked

Evolution: a new field gets a default, a field never changes its type or its meaning, and the name
of a removed message is never reused. A change that breaks these rules increments PROTOCOL.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

#: Incremented when an older peer would misread a newer one. A nursery that receives another version
#: answers LoadFailed: the code on disk is newer than the running supervisor.
PROTOCOL: Final = 1

#: Maximum payload of a frame, in bytes.
MAX_FRAME: Final = 1 << 20

#: Maximum size of a keeper's frame in bytes, prefix included: far under PIPE_BUF, so that a
#: non-blocking write takes all of it or none.
MAX_BEAT_FRAME: Final = 512

#: Maximum length of a KeeperBeat's `blocking_key` in bytes (UTF-8); longer keys are cut.
MAX_BLOCKING_KEY: Final = 400

#: Maximum number of tasks listed in one Heartbeat; `in_flight_total` counts them all.
MAX_TASKS_LISTED: Final = 100

#: File descriptors that Spawn carries: the worker's channel, the write end of its keeper pipe, the
#: write end of its dump pipe, in this order.
SPAWN_DESCRIPTORS: Final = 3


class Message(Struct, frozen=True, tag=True):
    """The base class of all messages; on the wire, a map with the class name under "type"."""


# -- both ways ---------------------------------------------------------------------------------


class Hello(Message, frozen=True):
    """The first frame from a nursery and from a worker: its process and protocol version."""

    protocol: int
    pid: int


# -- supervisor -> nursery ---------------------------------------------------------------------


class WorkerSettings(Struct, frozen=True):
    """The settings common to every worker of a pool; durations are in seconds."""

    docket: str
    #: The URL that workers connect to, already resolved: a Unix socket for an embedded server.
    url: str
    #: The URL as the user gave it, without the password: for logs and errors.
    display_url: str
    concurrency: int = 10
    redelivery_timeout_seconds: float = 300.0
    reconnection_delay_seconds: float = 5.0
    minimum_check_interval_seconds: float = 0.25
    scheduling_resolution_seconds: float = 0.25
    schedule_automatic_tasks: bool = True
    #: "module:attr" of the function that runs unregistered tasks, or None.
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
    #: A worker that has lost its supervisor requeues its remaining tasks after this time.
    drain_timeout_seconds: float = 30.0
    #: Those of the Docket; None: its default, or what the factory decides.
    serializer: str | None = None
    execution_ttl_seconds: float | None = None
    keep_failed_seconds: float | None = None
    keep_failed_most: int | None = None
    #: On the server; `heartbeat_seconds` are those to the supervisor.
    heartbeat_interval_seconds: float | None = None
    missed_heartbeats: int | None = None
    #: "module:attr" of the function that makes the Docket, called with its name and URL, or None.
    docket_factory: str | None = None


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
    #: The supervisor's process id, as its workers tell it; 0 from one that does not say.
    supervisor_pid: int = 0


class Spawn(Message, frozen=True):
    """Fork a worker for this slot; carries SPAWN_DESCRIPTORS file descriptors."""

    slot: int
    #: The worker's name, "host#SLOT".
    name: str


class Kill(Message, frozen=True):
    """Send SIGKILL to this worker; for systems without pidfds."""

    pid: int


class Retire(Message, frozen=True):
    """Fork no more workers, and exit after the last one."""


# -- nursery -> supervisor ---------------------------------------------------------------------


class Loaded(Message, frozen=True):
    """The tasks are imported, or left to the workers; the nursery can now be sent Spawn."""

    generation: int
    seconds: float
    #: Native threads that the import left behind: logged, but harmless by themselves.
    threads_noted: list[str] = []


class LoadFailed(Message, frozen=True):
    """The tasks cannot be imported; the nursery exits by itself."""

    generation: int
    #: One line that is clear even as the last one the operator reads.
    reason: str
    traceback: str = ""


class Unsafe(Message, frozen=True):
    """The import left state that must not be forked; the nursery exits by itself."""

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
    #: As os.wait4 returns it, for os.waitstatus_to_exitcode.
    status: int
    user_seconds: float
    system_seconds: float
    max_rss_bytes: int


# -- supervisor -> worker ----------------------------------------------------------------------


class Drain(Message, frozen=True):
    """Claim no more tasks and finish. At the deadline (seconds from now; None: never) cancel and
    requeue those still running. Sent again, it shortens the deadline."""

    deadline_seconds: float | None = None


class Adopt(Message, frozen=True):
    """Adopt the tasks of the dead `consumer`.

    `blame` selects the tasks whose count of deaths rises: "everyone", "nobody", "key:KEY", or
    "functions:NAME NAME" for the only running task of these functions, or the only one at all.
    """

    consumer: str
    blame: str


class Vouch(Message, frozen=True):
    """Beat and renew once for the live `consumer`, whose process cannot do so now."""

    consumer: str


class Steward(Message, frozen=True):
    """Become the pool's steward, or stop being it."""

    on: bool


class Dump(Message, frozen=True):
    """Write the running tasks and the stacks of all coroutines to the dump pipe."""


# -- worker -> supervisor ----------------------------------------------------------------------


class Ready(Message, frozen=True):
    """The worker can claim: at first, and again after Waiting. `consumer` may have changed."""

    consumer: str
    name: str
    rss_bytes: int


class Waiting(Message, frozen=True):
    """The worker cannot claim: no server yet, server lost, or leases not renewable.

    Ready follows when it can.
    """

    reason: str


class Task(Struct, frozen=True):
    """A running task, and for how long it has been running."""

    key: str
    function: str
    seconds: float


class Histogram(Struct, frozen=True):
    """The `counts` of docket's buckets, with a last one for larger values; `sum` in seconds."""

    counts: list[int] = []
    sum: float = 0.0


class WorkerCounters(Struct, frozen=True):
    """The counters of a worker since its start; they only rise."""

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
    #: Log lines dropped because the earlier ones had not been read.
    log_lines_dropped: int = 0


class Heartbeat(Message, frozen=True):
    """The state of a worker. Dropped when the pipe is full: the next one replaces it."""

    sequence: int
    loop_lag_seconds: float
    #: At most MAX_TASKS_LISTED, the longest running first.
    in_flight: list[Task]
    in_flight_total: int
    counters: WorkerCounters
    rss_bytes: int


class Draining(Message, frozen=True):
    """The worker claims no more tasks."""


class Drained(Message, frozen=True):
    """All tasks have ended and every outcome is written; the process is about to exit."""


class Adopted(Message, frozen=True):
    """An Adopt is done: `moved` tasks are redelivered, `poisoned_total` failed for good.

    `poisoned` holds the keys of the first of the latter.
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


class ServerPolicy(Message, frozen=True):
    """The server's `maxmemory-policy`, and whether it appends to a file; sent by the steward."""

    maxmemory_policy: str
    appendonly: bool


class Backlog(Message, frozen=True):
    """The tasks that wait on the docket, and for how long; sent every two seconds by the steward.

    See docket.backlog.Backlog; what is None there is not the case.
    """

    scheduled: int = 0
    queued: int = 0
    running: int = 0
    #: Tasks that wait for a slot of a limit.
    waiting: int = 0
    #: Tasks whose function is paused.
    paused: int = 0
    oldest_ready_seconds: float | None = None
    lateness_seconds: float | None = None
    pauses: int = 0
    failed_kept: int = 0
    #: Of every pool of the docket.
    workers: int = 0
    #: Tasks that the workers of the pool can run at once, and those that they run; filled in by
    #: the supervisor.
    places: int = 0
    places_used: int = 0
    #: The docket as a whole is paused: what is ready waits for the end of that.
    docket_paused: bool = False


class Fault(Message, frozen=True):
    """The worker cannot go on and exits by itself."""

    #: One line that is clear even as the last one the operator reads.
    reason: str
    traceback: str = ""
    #: Its tasks cannot be loaded: another worker of this code would fail in the same way.
    cannot_load: bool = False


# -- keeper pipe -------------------------------------------------------------------------------


class KeeperBeat(Message, frozen=True, tag="Beat"):
    """A sign of life from the keeper thread: the lag of the loop, and the task blocking it."""

    counter: int
    lag_seconds: float
    #: "culprit" on the wire since the first version: a field keeps its name there.
    blocking_key: str | None = field(name="culprit", default=None)


ToNursery = Settings | Spawn | Kill | Retire
FromNursery = Hello | Loaded | LoadFailed | Unsafe | Spawned | SpawnFailed | Exited
ToWorker = Drain | Adopt | Vouch | Steward | Dump
FromWorker = (
    Hello
    | Ready
    | Waiting
    | Heartbeat
    | Draining
    | Drained
    | Adopted
    | Redelivered
    | ServerPolicy
    | Backlog
    | Fault
)
FromKeeper = KeeperBeat


def descriptors_of(message: object) -> int:
    """Return the number of file descriptors that this message carries."""
    match message:
        case Spawn():
            return SPAWN_DESCRIPTORS
        case Spawned(has_pidfd=True):
            return 1
        case _:
            return 0

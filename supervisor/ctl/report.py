"""The report of /status, parsed into values.

Every field has a default: a supervisor that is older than this program leaves some out, a newer one
adds some, and the fields that are known are shown for both.
"""

from __future__ import annotations

from msgspec import DecodeError, Struct, field, json

from supervisor.errors import OrderFailed


class ReportedTask(Struct, frozen=True):
    """A running task."""

    key: str = ""
    function: str = ""
    seconds: float = 0.0


class ReportedCounts(Struct, frozen=True):
    """Counts of task runs, by outcome."""

    started: int = 0
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    redelivered: int = 0


class ReportedWorker(ReportedCounts, frozen=True):
    """A worker process, or the last one of a slot that waits for its next."""

    slot: int = 0
    pid: int | None = None
    generation: int = 0
    state: str = ""
    ready: bool | None = None
    waiting: str | None = None
    uptime_seconds: float = 0.0
    restarts: int = 0
    in_flight: int = 0
    tasks: list[ReportedTask] = []
    loop_lag_seconds: float | None = None
    heartbeat_age_seconds: float | None = None
    rss_bytes: int | None = None
    cpu_percent: float | None = None
    cpu_seconds: float | None = None
    open_descriptors: int | None = None


class ReportedTotals(ReportedCounts, frozen=True):
    """The sums over all workers, past ones included."""

    poisoned: int = 0
    crashes: int = 0
    restarts: int = 0
    stalls: int = 0


class ReportedChange(Struct, frozen=True):
    """The last change of a size that follows the work."""

    before: int = 0
    processes: int = 0
    reason: str = ""
    seconds_ago: float = 0.0


class ReportedScaling(Struct, frozen=True):
    """The bounds of a size that follows the work."""

    least: int = 0
    most: int = 0
    held_because: str | None = None
    last_change: ReportedChange | None = None


class ReportedBacklog(Struct, frozen=True):
    """The tasks that wait on the docket, and for how long."""

    scheduled: int = 0
    queued: int = 0
    running: int = 0
    waiting: int = 0
    paused: int = 0
    oldest_ready_seconds: float | None = None
    lateness_seconds: float | None = None
    pauses: int = 0
    failed_kept: int = 0
    workers: int = 0
    places: int = 0
    places_used: int = 0
    docket_paused: bool = False
    age_seconds: float = 0.0


class ReportedPool(Struct, frozen=True):
    """The supervisor and its pool."""

    pid: int = 0
    state: str = ""
    uptime_seconds: float = 0.0
    generation: int = 0
    target: int = 0
    docket: str = ""
    url: str = ""
    reload_error: str | None = None
    ready_workers: int | None = None
    not_ready_because: str | None = None
    server_away: str | None = None
    scaling: ReportedScaling | None = None
    drain_seconds_left: float | None = None


class PoolReport(Struct, frozen=True):
    """The whole report."""

    supervisor: ReportedPool = field(default_factory=ReportedPool)
    workers: list[ReportedWorker] = []
    totals: ReportedTotals = field(default_factory=ReportedTotals)
    #: None if nobody has told it lately, or the supervisor is older.
    backlog: ReportedBacklog | None = None


def read_report(text: str) -> PoolReport:
    """Parse the JSON of /status.

    Raises:
        OrderFailed: it is not a report that this program understands.
    """
    try:
        return json.decode(text, type=PoolReport)
    except (DecodeError, RecursionError) as error:
        raise OrderFailed(
            f"the status is not one that this program understands ({error}); --json shows it"
        ) from None

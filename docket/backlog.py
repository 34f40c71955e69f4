"""The backlog of a docket: what waits on it, and for how long."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backlog:
    """The work that a docket holds at one moment, and the workers that there are for it.

    Attributes:
        scheduled: tasks for later, those that are due and not promoted yet among them.
        queued: tasks that are ready and wait for a worker.
        running: tasks that workers have claimed.
        waiting: tasks that wait for a slot of a limit.
        paused: tasks that wait for the end of a pause of their function.
        oldest_ready_seconds: the time for which the oldest ready task has been ready; None if none
            is.
        lateness_seconds: the time since the first scheduled task was due, 0 if it is not due yet;
            None if none is scheduled.
        pauses: pauses in effect.
        failed_kept: failed executions that are kept.
        workers: registered workers with a recent heartbeat.
        docket_paused: the docket as a whole is paused: what is ready waits for the end of that.
    """

    scheduled: int
    queued: int
    running: int
    waiting: int
    paused: int
    oldest_ready_seconds: float | None
    lateness_seconds: float | None
    pauses: int
    failed_kept: int
    workers: int
    docket_paused: bool = False

"""The exits of workers: their cause, the tasks they count for, and whether they were wanted (pure).

A death that the supervisor caused counts for nobody, except a stall, which counts for the task
that held the loop. A crash counts for everyone that was running in it. What was running is adopted
in either case, unless the worker had sent Drained.
"""

import signal
from os import waitstatus_to_exitcode

from msgspec import Struct

from supervisor.pool.state.adoption_queue import BLAME_EVERYONE, BLAME_NOBODY
from supervisor.pool.state.worker_registry import Cause, WorkerProcess, WorkerState


class WorkerExit(Struct, eq=False):
    """One exit, classified. Shown as text only when it is read: its status may come later.

    Arguments:
        worker: for log lines, as `WorkerProcess.describe` has it.
        cause: one of a few words.
        expected: it was told to end; no crash, no restart to count.
        blame: for Adopt.
        adopt: whether it may have left tasks.
        reason: for a log line.
        final: whether `reason` is complete; if not, the exit status is still to come.
    """

    worker: str
    pid: int | None
    cause: Cause
    expected: bool
    blame: str
    adopt: bool
    reason: str
    final: bool = True

    def __str__(self) -> str:
        return f"{self.worker}: {self.reason}"

    def complete(self, pid: int, reason: str) -> None:
        """Take the reason from the exit status of `pid`, if that is the process and it was open."""
        if not self.final and self.pid == pid:
            self.reason, self.final = reason, True


#: The latest error of a run; of an exit, to be read once its status is known.
Error = str | WorkerExit


def classify(dead: WorkerProcess, status: int | None) -> WorkerExit:
    """Classify the exit of `dead`, whose state is still the one it died in.

    Arguments:
        status: as of os.wait; None if it is not known (yet).
    """
    if dead.kill_reason is not None:
        cause = dead.kill_cause or Cause.CRASH
        wanted = cause in (Cause.DRAIN, Cause.RETIRED)
        adopt = dead.state is not WorkerState.DRAINED
        return _exit(dead, cause, wanted, dead.blame or BLAME_NOBODY, adopt, dead.kill_reason)
    if dead.state is WorkerState.DRAINED:
        return _exit(dead, Cause.RETIRED, True, BLAME_NOBODY, False, "drained")
    if dead.state is WorkerState.DRAINING and status == 0:
        # Its last message can be lost with its channel; a clean exit after a drain means the same.
        return _exit(dead, Cause.RETIRED, True, BLAME_NOBODY, True, "drained")
    cause = Cause.BOOT if dead.is_starting else Cause.CRASH
    worker_exit = _exit(
        dead, cause, False, BLAME_EVERYONE, True, dead.fault or describe_status(status)
    )
    worker_exit.final = dead.fault is not None or status is not None
    return worker_exit


def _exit(
    dead: WorkerProcess, cause: Cause, expected: bool, blame: str, adopt: bool, reason: str
) -> WorkerExit:
    return WorkerExit(dead.describe(), dead.pid, cause, expected, blame, adopt, reason)


def describe_status(status: int | None) -> str:
    """A wait status in words; for an unknown one, that the process ended."""
    if status is None:
        return "its process ended"
    code = waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"

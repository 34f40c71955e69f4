"""Why a worker died, whom it counts for, and whether it was wanted (pure).

A death that the supervisor caused counts for nobody, except a stall, which counts for the task
that held the loop. A crash counts for everyone that was running in it. What was running is adopted
in either case, unless the worker had said that nothing was.
"""

import os
import signal
from dataclasses import dataclass

from supervisor.pool.state.adoption_queue import BLAME_EVERYONE, BLAME_NOBODY
from supervisor.pool.state.worker_registry import Cause, WorkerProcess, WorkerState


@dataclass(frozen=True, slots=True)
class WorkerExit:
    """One death, judged.

    Arguments:
        cause: one of a few words.
        expected: it was told to end; no crash, no restart to count.
        blame: for Adopt.
        adopt: whether it may have left tasks.
        reason: for a log line; complete once the exit status is known.
    """

    cause: Cause
    expected: bool
    blame: str
    adopt: bool
    reason: str


def classify(dead: WorkerProcess, status: int | None) -> WorkerExit:
    """The death of `dead`, whose state is still the one it died in.

    Arguments:
        status: as of os.wait; None if it is not known (yet).
    """
    if dead.killed_for is not None:
        return _killed(dead, dead.killed_for)
    if dead.state is WorkerState.DRAINED:
        return WorkerExit(Cause.RETIRED, True, BLAME_NOBODY, False, "drained")
    if dead.state is WorkerState.DRAINING and status == 0:
        # Its last word can be lost with its channel; a clean exit after a drain says the same.
        return WorkerExit(Cause.RETIRED, True, BLAME_NOBODY, True, "drained")
    reason = dead.fault or tell_status(status)
    cause = Cause.BOOT if dead.is_starting else Cause.CRASH
    return WorkerExit(cause, False, BLAME_EVERYONE, True, reason)


def _killed(dead: WorkerProcess, reason: str) -> WorkerExit:
    cause = dead.killed_as or Cause.CRASH
    wanted = cause in (Cause.DRAIN, Cause.RETIRED)
    adopt = dead.state is not WorkerState.DRAINED
    return WorkerExit(cause, wanted, dead.blame or BLAME_NOBODY, adopt, reason)


def tell_status(status: int | None) -> str:
    """A wait status in words; for one that nobody knows, that the process ended."""
    if status is None:
        return "its process ended"
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"

"""The counters of tasks: one table for heartbeats, sums, /status and /metrics."""

from typing import Final

#: Each plain counter of ipc.messages.WorkerCounters, in the order of /status, and its help text in
#: /metrics.
TASK_COUNTERS: Final = {
    "started": "Runs of tasks that were started.",
    "succeeded": "Runs that returned.",
    "failed": "Runs that raised and are not tried again.",
    "retried": "Runs that raised and are tried again.",
    "redelivered": "Runs of tasks whose earlier run was lost.",
    "superseded": "Runs dropped because a newer execution took their place.",
    "stricken": "Tasks dropped because of a strike.",
    "cancelled": "Runs that were cancelled.",
    "perpetuated": "Runs whose successor was scheduled in the same step.",
}

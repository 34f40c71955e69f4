"""The counters of tasks: one table for heartbeats, sums, /status and /metrics."""

from typing import Final

#: Each plain counter of ipc.messages.WorkerCounters, in the order of /status, and its help text in
#: /metrics.
TASK_COUNTERS: Final = {
    "started": "Runs of tasks that were started.",
    "succeeded": "Attempts that returned.",
    "failed": "Attempts that raised, those that are tried again too.",
    "retried": "Attempts that raised and are tried again.",
    "redelivered": "Runs of tasks whose earlier run was lost.",
    "superseded": "Runs that ended after a newer execution took their place.",
    "stricken": "Tasks dropped because of a strike.",
    "cancelled": "Runs that were cancelled.",
    "perpetuated": "Runs whose successor was scheduled in the same step.",
}

#: The counters whose sum is the number of attempts that ended.
ENDS: Final = ("succeeded", "failed", "cancelled")

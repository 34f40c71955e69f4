"""The seconds that each kind of end may take before it is no longer waited for.

They depend on one another: a worker must have written its last lines before the supervisor kills
it, and a worker without a supervisor gets the time that a supervisor would have given it.
"""

from typing import Final

#: From the deadline of a drain to the kill: a cancelled coroutine has so long for its cleanup.
CLEANUP_SECONDS: Final = 5.0

#: From Drained, or from the end of the last worker of a nursery, to the kill: threads of tasks and
#: exit handlers may hold the process.
EXIT_SECONDS: Final = 5.0

#: For the teardown of what the tasks of a worker shared, from Drained on; then it is cancelled, and
#: has the rest of EXIT_SECONDS to end.
TEARDOWN_SECONDS: Final = 3.0

#: For adoptions once every worker of a drain is gone; after it the next pool's steward does them.
ADOPTION_SECONDS: Final = 10.0

#: From TERM to KILL for the subprocesses that a dead worker leaves behind.
PROCESS_GROUP_SECONDS: Final = 1.0

#: For a process without a supervisor, after the time of its drain: as long as a supervisor would
#: have given it for cleanup and exit, less what its subprocesses get then. So all are gone ten
#: seconds after the drain.
ORPHAN_SECONDS: Final = CLEANUP_SECONDS + EXIT_SECONDS - PROCESS_GROUP_SECONDS

#: For the last log lines of a drained worker to be read: many workers end at once, and share one
#: stderr. Less than EXIT_SECONDS, or the kill would come first.
LAST_LINES_SECONDS: Final = 4.0

#: Wait after a worker's exit for its channel to close, so that its last messages are read. It stays
#: open longer only if a process that the worker forked without exec holds it.
LAST_MESSAGES_SECONDS: Final = 0.05

#: Wait for the exit status of a dead worker from the nursery, which first ends the worker's process
#: group: the group has its own second, and the search for it in all of /proc is slow on a busy
#: machine.
EXIT_STATUS_SECONDS: Final = PROCESS_GROUP_SECONDS + 1.0

#: From the last stack dump of a stalled worker to its kill: the time that the dump needs to arrive.
STACK_DUMP_SECONDS: Final = 1.0

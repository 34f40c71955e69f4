"""The exit codes of `docket-supervisor`, which unit files and scripts rely on.

A run's code is decided in `pool/shutdown.py`, an error's in `errors.py`.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit status of the program; the last line on stderr has the reason."""

    #: A clean stop; a drain past its deadline, or cut short by signals, included.
    STOPPED = 0
    #: A bug of ours, logged with its traceback.
    BUG = 1
    #: Of `ctl`: the supervisor refused the command; the same number.
    REFUSED = 1
    #: Wrong usage or configuration: another start with the same options fails the same way.
    USAGE = 2
    #: The pool never became ready: no import, no server, no worker within the boot timeout, or a
    #: port, a control socket or an embedded folder in use. Another start may succeed.
    BOOT_FAILED = 3
    #: Too many restarts, or no worker ready for a whole window: both after a drain. Or the embedded
    #: server ended, at any time: no drain.
    GAVE_UP = 4

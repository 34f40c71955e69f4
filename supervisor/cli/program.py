"""The program `docket-supervisor`: signal handlers first, everything slow after.

A TERM in the first tenth of a second (of a deployment that is cancelled) must find handlers, so
this module imports nothing slow; the commands follow through importlib. So do the signals, which
not every system has.
"""

import importlib
import os
import sys

from supervisor.exit_codes import ExitCode
from supervisor.installation import obstacle
from supervisor.system import standard_streams


def main() -> None:
    """The entry point of the console script; never returns."""
    standard_streams.open_standard_streams()
    reason = obstacle()
    if reason is not None:
        # Not to sys.stderr, which is None if it was closed.
        os.write(2, f"docket-supervisor: {reason}\n".encode())
        sys.exit(ExitCode.USAGE)
    signal_queue = importlib.import_module("supervisor.signals").SignalQueue()
    signal_queue.install()
    try:
        importlib.import_module("supervisor.cli.commands").main(signal_queue)
    finally:
        signal_queue.ignore_all()

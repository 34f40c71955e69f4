"""The program `docket-supervisor`: signal handlers first, everything slow after.

A TERM in the first tenth of a second (of a deployment that is cancelled) must find handlers, so
this module imports nothing but them; the commands follow through importlib.
"""

import importlib

from supervisor import signals
from supervisor.system import standard_streams


def main() -> None:
    """The entry point of the console script; never returns."""
    standard_streams.open_standard_streams()
    signal_queue = signals.SignalQueue()
    signal_queue.install()
    try:
        importlib.import_module("supervisor.cli.commands").main(signal_queue)
    finally:
        signal_queue.ignore_all()

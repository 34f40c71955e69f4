"""docket-supervisor with an observer: `python -m stress.runtime.observed_supervisor FD OPTIONS`.

The Supervisor and its options are those of the command line. Each event of its observer goes to
the descriptor as one line of JSON, with the time that the supervisor itself gave it.
"""

import dataclasses
import json
import os
import sys

from supervisor import observer
from supervisor.cli.commands import configure, docket_supervisor
from supervisor.observer import PoolEvent
from supervisor.signals import SignalQueue
from supervisor.supervisor import Supervisor


def encode(event: PoolEvent) -> bytes:
    """Encode an event as a line."""
    told = {"event": type(event).__name__, **dataclasses.asdict(event)}
    return json.dumps(told).encode() + b"\n"


def decode(line: bytes) -> PoolEvent:
    """Decode the event of a line."""
    told = json.loads(line)
    event: PoolEvent = getattr(observer, told.pop("event"))(**told)
    return event


def main(descriptor: int, words: list[str]) -> int:
    """Run the pool that the words of `docket-supervisor run` ask for, and return its exit code."""
    signal_queue = SignalQueue()
    signal_queue.install()
    os.set_inheritable(descriptor, False)
    command = docket_supervisor.commands["run"]
    config = configure(command.make_context("run", words).params, {})
    supervisor = Supervisor(
        config, on_event=lambda event: _tell(descriptor, encode(event)), signal_queue=signal_queue
    )
    return supervisor.run()


def _tell(descriptor: int, line: bytes) -> None:
    # A line is shorter than PIPE_BUF, so it is written whole or not at all.
    os.write(descriptor, line)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))

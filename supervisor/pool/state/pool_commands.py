"""The commands to a running pool, and their outcomes (pure).

A command comes from the control socket, from a signal that means the same, or from the program that
runs the Supervisor. Each is answered exactly once: Reload and Restart when they have ended, well or
badly, every other one at once.
"""

from msgspec import Struct

from supervisor.process_range import ProcessRange


class Drain(Struct, frozen=True):
    """Claim no more, finish what runs within --drain-timeout, end."""


class Requeue(Struct, frozen=True):
    """End without waiting: what runs is cancelled and requeued."""


class Reload(Struct, frozen=True):
    """Import the code anew and replace every worker, successor first."""


class Scale(Struct, frozen=True):
    """Fix the number of worker processes."""

    processes: int


class ScaleBetween(Struct, frozen=True):
    """Have the number of worker processes follow the work between these bounds."""

    bounds: ProcessRange


class Restart(Struct, frozen=True):
    """Replace the worker of this slot, successor first."""

    slot: int


class DumpAll(Struct, frozen=True):
    """Write the stacks and tasks of every worker to the log."""


Command = Drain | Requeue | Reload | Scale | ScaleBetween | Restart | DumpAll


class Done(Struct, frozen=True):
    """Success, or the start of what is not waited for; one line for the user."""

    text: str


class Refused(Struct, frozen=True):
    """A refusal with its reason; one line for the user."""

    text: str


Outcome = Done | Refused


def discard(_outcome: Outcome) -> None:
    """Do nothing: the answer of a command whose outcome is not waited for."""

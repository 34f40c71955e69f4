"""The commands to a running pool, and their outcomes (pure).

A command comes from the control socket, from a signal that means the same, or from the program that
runs the Supervisor. Each is answered exactly once: Reload and Restart when they have ended, well or
badly, every other one at once.
"""

from dataclasses import dataclass

from supervisor.process_range import ProcessRange


@dataclass(frozen=True, slots=True)
class Drain:
    """Claim no more, finish what runs within --drain-timeout, end."""


@dataclass(frozen=True, slots=True)
class Requeue:
    """End without waiting: what runs is cancelled and requeued."""


@dataclass(frozen=True, slots=True)
class Reload:
    """Import the code anew and replace every worker, successor first."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Fix the number of worker processes."""

    processes: int


@dataclass(frozen=True, slots=True)
class ScaleBetween:
    """Have the number of worker processes follow the work between these bounds."""

    bounds: ProcessRange


@dataclass(frozen=True, slots=True)
class Restart:
    """Replace the worker of this slot, successor first."""

    slot: int


@dataclass(frozen=True, slots=True)
class DumpAll:
    """Write the stacks and tasks of every worker to the log."""


Command = Drain | Requeue | Reload | Scale | ScaleBetween | Restart | DumpAll


@dataclass(frozen=True, slots=True)
class Done:
    """Success, or the start of what is not waited for; one line for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal with its reason; one line for the user."""

    text: str


Outcome = Done | Refused


def discard(_outcome: Outcome) -> None:
    """Do nothing: the answer of a command whose outcome is not waited for."""

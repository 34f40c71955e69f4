"""What a scenario is told."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """How much of a scenario to run.

    Args:
        rounds: how often it does what it measures.
        processes: workers of the pool.
        seconds: how long it looks where it only looks.
        seed: of everything random in it.
    """

    rounds: int
    processes: int
    seconds: float
    seed: int

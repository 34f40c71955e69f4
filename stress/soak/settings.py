"""How much of a scenario to run, and the limits that all of them share (pure)."""

from dataclasses import dataclass

#: The size that the full one is compared with.
SMALL = 1_000
#: Times that the small size is measured, before the full one and again after it.
ROUNDS = 10

#: Cost of a task at the full size, in times of that at the small one.
MUST_RATIO = 1.5
#: No call may keep the server from others for longer, in milliseconds.
MUST_CALL_MS = 20.0


@dataclass(frozen=True)
class Settings:
    """What a scenario is told.

    Args:
        scale: the part of the full size to run; more than 0, at most 1.
    """

    scale: float

    def of(self, full: int, least: int = 1) -> int:
        """A full size, scaled; never under `least`."""
        return max(least, round(full * self.scale))

    @property
    def small(self) -> int:
        """The small size: no larger than it has to be when the full one is scaled down."""
        return self.of(SMALL * 10, 50) if self.scale < 0.1 else SMALL

    @property
    def rounds(self) -> int:
        """Times that the small size is measured before, and after."""
        return ROUNDS if self.scale >= 0.1 else 2

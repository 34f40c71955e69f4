"""How much of a scenario to run, and the limits that all of them share (pure)."""

from dataclasses import dataclass

from stress.runtime.report import Limit

#: The size that the full one is compared with.
SMALL = 1_000
#: Of the full sizes: below this the small one shrinks, too, and the ratio of both is noise.
LEAST_JUDGED_SCALE = 0.1
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
        return SMALL if self._is_judged else self.of(round(SMALL / LEAST_JUDGED_SCALE), 50)

    @property
    def rounds(self) -> int:
        """Times that the small size is measured before, and after."""
        return ROUNDS if self._is_judged else 2

    @property
    def ratio_limit(self) -> Limit | None:
        """Of a cost at the full size, in times of the small one's, where that means anything."""
        return Limit("most", at_most=MUST_RATIO) if self._is_judged else None

    @property
    def _is_judged(self) -> bool:
        return self.scale >= LEAST_JUDGED_SCALE

"""The sizes of the scenarios, and the limits that all of them share (pure)."""

from dataclasses import dataclass

from stress.report import Limit

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
class Scale:
    """The part of the full sizes that is run.

    Arguments:
        scale: the part of the full size to run; more than 0, at most 1.
    """

    scale: float

    def of(self, full: int, least: int = 1) -> int:
        """Scale a full size, to no less than `least`."""
        return max(least, round(full * self.scale))

    @property
    def small(self) -> int:
        """The small size: smaller as well where the full one is scaled down far."""
        return SMALL if self._is_judged else self.of(round(SMALL / LEAST_JUDGED_SCALE), 50)

    @property
    def rounds(self) -> int:
        """The times that the small size is measured before the full one, and again after it."""
        return ROUNDS if self._is_judged else 2

    @property
    def ratio_limit(self) -> Limit | None:
        """The limit of a cost at the full size, in times of the small one's, where it is judged."""
        return Limit("most", at_most=MUST_RATIO) if self._is_judged else None

    @property
    def _is_judged(self) -> bool:
        return self.scale >= LEAST_JUDGED_SCALE

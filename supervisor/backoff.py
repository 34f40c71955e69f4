"""Exponential pauses between attempts.

Full jitter, so that the processes of many hosts that failed for one cause do not come back in step
(https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
"""

import random
from collections.abc import Callable

#: The pause before the second restart in a row, doubled for each one after; the first has none.
BACKOFF_BASE_SECONDS = 0.1


class Backoff:
    """The pauses of one slot, of the nursery or of one retried call: 0, then 0.1 s doubling.

    Arguments:
        cap_seconds: longest pause.
        healthy_seconds: after this long alive the count starts anew.
        jitter: from an upper bound in seconds to the pause; full jitter by default.
    """

    def __init__(
        self,
        cap_seconds: float,
        healthy_seconds: float,
        jitter: Callable[[float], float] = lambda most: random.uniform(0, most),
    ) -> None:
        self._cap_seconds = cap_seconds
        self._healthy_seconds = healthy_seconds
        self._jitter = jitter
        self._failures = 0

    @property
    def has_repeated(self) -> bool:
        """Return True if the last failure came after less health than makes up for another."""
        return self._failures > 1

    @property
    def healthy_seconds(self) -> float:
        """The time alive after which the count starts anew."""
        return self._healthy_seconds

    def pause_after(self, healthy_for_seconds: float) -> float:
        """Note a failure after `healthy_for_seconds` of health; the pause before the next try."""
        if healthy_for_seconds >= self._healthy_seconds:
            self._failures = 0
        self._failures += 1
        if self._failures == 1:
            return 0.0
        # Bounded exponent: 2 ** 5000 is no float, and a crash loop may go on for days.
        doublings = min(self._failures - 2, 40)
        return self._jitter(min(self._cap_seconds, BACKOFF_BASE_SECONDS * 2**doublings))

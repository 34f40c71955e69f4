"""When a dead worker is started again, and when the supervisor gives up (pure).

The window is OTP's: more than `intensity` restarts within `period` mean that restarting does not
help (https://www.erlang.org/doc/system/sup_princ.html#maximum-restart-intensity). The pause grows
exponentially with full jitter, so that the workers of many hosts that died of one cause do not
come back in step (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
"""

import random
from collections import deque
from collections.abc import Callable

#: The pause before the second restart in a row, doubled for each one after; the first has none.
BACKOFF_BASE_SECONDS = 0.1


class RestartWindow:
    """Counts restarts within the last `period_seconds`.

    Arguments:
        intensity: restarts that are still fine.
        period_seconds: a restart older than this is forgotten.
    """

    def __init__(self, intensity: int, period_seconds: float) -> None:
        self._intensity = intensity
        self._period_seconds = period_seconds
        self._restarts: deque[float] = deque()

    @property
    def intensity(self) -> int:
        """Restarts that are still fine."""
        return self._intensity

    def allow(self, intensity: int) -> None:
        """From now on so many restarts are still fine: the pool has another size."""
        self._intensity = intensity

    def record(self, now: float) -> bool:
        """Note a restart at `now` (never earlier than the last); whether it is one too many."""
        self._restarts.append(now)
        while self._restarts[0] <= now - self._period_seconds:
            self._restarts.popleft()
        return len(self._restarts) > self._intensity


class Backoff:
    """The pauses of one slot (or of the nursery): 0, then 0.1 s doubling up to a cap.

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
    def failures(self) -> int:
        """Deaths in a row, without a time of health between them."""
        return self._failures

    def pause_after(self, healthy_for_seconds: float) -> float:
        """Note a death after `healthy_for_seconds` of readiness; the pause before the restart."""
        if healthy_for_seconds >= self._healthy_seconds:
            self._failures = 0
        self._failures += 1
        if self._failures == 1:
            return 0.0
        # Bounded exponent: 2 ** 5000 is no float, and a crash loop may go on for days.
        doublings = min(self._failures - 2, 40)
        return self._jitter(min(self._cap_seconds, BACKOFF_BASE_SECONDS * 2**doublings))

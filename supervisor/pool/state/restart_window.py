"""The restarts after which the supervisor gives up (pure).

The window is OTP's: more than `intensity` restarts within `period` mean that restarting does not
help (https://www.erlang.org/doc/system/sup_princ.html#maximum-restart-intensity). It alone would
let a crash loop of lives of a few seconds go on for ever: the pauses of the backoff grow, until
fewer restarts fall into a window than are accepted. So restarts are also counted from one healthy
worker to the next.
"""

import math
from collections import deque

#: Of the restarts accepted in a window, a tenth is enough where no worker is healthy: by
#: default as many as there are processes. Whoever accepts a hundred thousand means it.
STREAK_DIVISOR = 10
#: Fewer deaths prove nothing, in however small a pool.
LEAST_STREAK = 3


class RestartWindow:
    """Count restarts within the last `period_seconds`.

    Arguments:
        intensity: restarts that are still accepted; another number once the pool is scaled.
        period_seconds: a restart older than this is forgotten.
    """

    def __init__(self, intensity: int, period_seconds: float) -> None:
        self.intensity = intensity
        self._period_seconds = period_seconds
        self._restarts: deque[float] = deque()

    def record(self, now: float) -> bool:
        """Note a restart at `now` (never earlier than the last); whether it is one too many."""
        self._restarts.append(now)
        while self._restarts[0] <= now - self._period_seconds:
            self._restarts.popleft()
        return len(self._restarts) > self.intensity


class RestartStreak:
    """Count restarts since a worker was healthy for a whole window, or ended as it was told to.

    Arguments:
        period_seconds: the window.
    """

    def __init__(self, period_seconds: float) -> None:
        self._period_seconds = period_seconds
        self._restarts = 0
        self._since = 0.0

    def broken(self) -> None:
        """Forget the restarts so far: a worker was healthy."""
        self._restarts = 0

    def record(self, now: float, intensity: int) -> bool:
        """Note a restart at `now`; whether restarts have gone on for a window, and are too many.

        Arguments:
            intensity: restarts that are accepted in one window.
        """
        if not self._restarts:
            self._since = now
        self._restarts += 1
        enough = max(LEAST_STREAK, math.ceil(intensity / STREAK_DIVISOR))
        return self._restarts >= enough and now - self._since >= self._period_seconds

    def postpone(self, seconds: float) -> None:
        """Leave out a time in which this process did not run."""
        self._since += seconds

"""The number of restarts in a while, after which the supervisor gives up (pure).

The window is OTP's: more than `intensity` restarts within `period` mean that restarting does not
help (https://www.erlang.org/doc/system/sup_princ.html#maximum-restart-intensity).
"""

from collections import deque


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

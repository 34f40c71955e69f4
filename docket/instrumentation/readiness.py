"""The readiness of a worker: its ability to claim tasks now, or the obstacle."""

import logging
from collections.abc import Callable

from docket.backlog import Backlog
from docket.supervision import Supervision

logger = logging.getLogger("docket.worker")

#: Silence of the event loop after which a worker counts as unable to claim, in seconds: longer than
#: the blocking of an occasional slow task, and shorter than the timeout of any probe.
SILENCE_SECONDS = 10.0


class Readiness:
    """A supervision that tracks the readiness of a worker and forwards each report.

    Args:
        supervision: receives the reports.
        is_connected: returns whether the worker is connected; called on any thread.
    """

    def __init__(self, supervision: Supervision, is_connected: Callable[[], bool]) -> None:
        self._supervision = supervision
        self._is_connected = is_connected
        self._obstacle: str | None = "it has not registered yet"
        #: The reason for claiming nothing although the server answers; initially, no heartbeat yet.
        self._hold: str | None = "its first heartbeat has not been written yet"
        self._is_hold_told = False
        self._is_draining = False
        self._silence_seconds = 0.0

    @property
    def obstacle(self) -> str | None:
        """The reason why the worker cannot claim; None if it can. Callable on any thread."""
        if self._is_draining:
            return "it claims no more: it was told to stop"
        if self._obstacle is not None:
            return self._obstacle
        if not self._is_connected():
            return "it has no connection to the server"
        if self._hold is not None:
            return self._hold
        if self._silence_seconds > SILENCE_SECONDS:
            return f"its event loop has been blocked for {self._silence_seconds:.0f} seconds"
        return None

    @property
    def may_claim(self) -> bool:
        """Return True if the leases of claimed tasks are being renewed."""
        return self._hold is None

    def ready(self) -> None:
        """Report that the worker can claim, once no hold is in effect."""
        self._obstacle = None
        if self._hold is None:
            self._supervision.ready()

    def waiting(self, reason: str) -> None:
        """Report that the worker waits for the server."""
        self._obstacle = f"it waits for the server: {reason}"
        self._supervision.waiting(reason)

    def hold(self, reason: str) -> None:
        """Forbid claims until `release`, although the server answers. Reported once."""
        self._hold = reason
        if not self._is_hold_told:
            self._is_hold_told = True
            logger.warning("It claims no task: %s", reason)
            self._supervision.waiting(reason)

    def release(self) -> None:
        """Allow claims again."""
        if self._hold is not None:
            self._hold, self._is_hold_told = None, False
            if self._obstacle is None:
                self._supervision.ready()

    def redelivered(self, consumer: str, started_at: float) -> None:
        """Forward the report."""
        self._supervision.redelivered(consumer, started_at)

    def draining(self) -> None:
        """Report that the worker claims no more."""
        self._is_draining = True
        self._supervision.draining()

    def backlog(self, backlog: Backlog) -> None:
        """Forward the report."""
        self._supervision.backlog(backlog)

    def beat(self, lag_seconds: float, blocking_key: str | None) -> None:
        """Report a beat; called on the heartbeater's thread."""
        self._silence_seconds = lag_seconds
        self._supervision.beat(lag_seconds, blocking_key)

"""Whether a worker can claim tasks at this moment, and if not, why."""

import logging
from collections.abc import Callable

from docket.supervision import Supervision

logger = logging.getLogger("docket.worker")

#: Silence of the event loop after which a worker counts as unable to claim, in seconds: longer
#: than what a task that blocks it now and then makes, and shorter than any patience of a probe's.
SILENCE_SECONDS = 10.0


class Readiness:
    """Hears what a worker tells its supervision, passes it on, and remembers where it stands.

    Args:
        supervision: whom it is passed on to.
        is_connected: whether the worker's connection is there; asked on any thread.
    """

    def __init__(self, supervision: Supervision, is_connected: Callable[[], bool]) -> None:
        self._supervision = supervision
        self._is_connected = is_connected
        self._obstacle: str | None = "it has not registered yet"
        #: Why nothing may be claimed although the server answers. At first nobody has been heard.
        self._hold: str | None = "its first heartbeat has not been written yet"
        self._is_hold_told = False
        self._is_draining = False
        self._silence_seconds = 0.0

    @property
    def obstacle(self) -> str | None:
        """Why the worker cannot claim; None if it can. May be asked on any thread."""
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
        """Whether somebody keeps the leases of what is claimed."""
        return self._hold is None

    def ready(self) -> None:
        """It can claim, as soon as nothing holds it."""
        self._obstacle = None
        if self._hold is None:
            self._supervision.ready()

    def waiting(self, reason: str) -> None:
        """It waits for the server."""
        self._obstacle = f"it waits for the server: {reason}"
        self._supervision.waiting(reason)

    def hold(self, reason: str) -> None:
        """Nothing may be claimed until `release`, although the server answers. Told once."""
        self._hold = reason
        if not self._is_hold_told:
            self._is_hold_told = True
            logger.warning("It claims no task: %s", reason)
            self._supervision.waiting(reason)

    def release(self) -> None:
        """Tasks may be claimed."""
        if self._hold is not None:
            self._hold, self._is_hold_told = None, False
            if self._obstacle is None:
                self._supervision.ready()

    def redelivered(self, consumer: str, started_at: float) -> None:
        """Passed on."""
        self._supervision.redelivered(consumer, started_at)

    def draining(self) -> None:
        """It claims no more."""
        self._is_draining = True
        self._supervision.draining()

    def beat(self, lag_seconds: float, culprit: str | None) -> None:
        """On the keeper's thread."""
        self._silence_seconds = lag_seconds
        self._supervision.beat(lag_seconds, culprit)

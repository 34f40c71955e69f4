"""Whether a worker can claim tasks at this moment, and if not, why."""

from collections.abc import Callable

from docket.supervision import Supervision

#: Silence of the event loop after which a worker counts as unable to claim, in seconds: longer
#: than what a task that blocks it now and then makes, and shorter than any patience of a probe's.
SILENCE_SECONDS = 10.0


class Standing:
    """Hears what a worker tells its supervision, passes it on, and remembers where it stands.

    Args:
        supervision: whom it is passed on to.
        is_connected: whether the worker's connection is there; asked on any thread.
    """

    def __init__(self, supervision: Supervision, is_connected: Callable[[], bool]) -> None:
        self._supervision = supervision
        self._is_connected = is_connected
        self._obstacle: str | None = "it has not registered yet"
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
        if self._silence_seconds > SILENCE_SECONDS:
            return f"its event loop has been blocked for {self._silence_seconds:.0f} seconds"
        return None

    def ready(self) -> None:
        """It can claim."""
        self._obstacle = None
        self._supervision.ready()

    def waiting(self, reason: str) -> None:
        """It waits for the server."""
        self._obstacle = f"it waits for the server: {reason}"
        self._supervision.waiting(reason)

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

"""The bell listener: waits for work while the worker has free slots and the streams are empty."""

import asyncio

from docket.errors import ServerUnavailable
from docket.services.exchanger import Exchanger
from docket.store.connection.endpoint import backoff_seconds
from docket.store.connection.wakeup import WakeupConnection


class WakeupListener:
    """Tells the exchanger to look when someone rang.

    Args:
        bell: the connection to wait on.
        exchanger: whom to tell.
        timeout_seconds: looks at least this often. A token can be lost with the worker that took
            it; this is what bounds the delay then.
    """

    def __init__(
        self, bell: WakeupConnection, exchanger: Exchanger, timeout_seconds: float
    ) -> None:
        self._bell = bell
        self._exchanger = exchanger
        self._timeout_seconds = timeout_seconds

    async def run(self) -> None:
        """Listen until cancelled."""
        failures = 0
        try:
            while True:
                await self._exchanger.hungry.wait()
                try:
                    rung = await self._bell.wait(self._timeout_seconds)
                    failures = 0
                except ServerUnavailable:
                    # The exchanger finds out by itself and recovers; here only the pace matters.
                    failures += 1
                    await asyncio.sleep(backoff_seconds(failures))
                    # Perhaps: a token may have been on its way to us when the connection broke.
                    rung = True
                self._exchanger.on_wakeup(rung)
        finally:
            await self._bell.close()

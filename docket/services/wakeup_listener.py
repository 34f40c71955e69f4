"""The wake-up listener: waits for work while the worker is idle and the streams are empty."""

import asyncio

from docket.errors import ServerUnavailable
from docket.services.exchanger import Exchanger
from docket.store.connection.backoff import backoff_seconds
from docket.store.connection.wakeup import WakeupConnection


class WakeupListener:
    """A listener that has the exchanger look for work at each wake-up.

    Args:
        connection: the connection to wait on.
        exchanger: the worker's exchanger.
        timeout_seconds: the longest time between two looks. A token can be lost with the worker
            that took it; this bounds the delay then.
    """

    def __init__(
        self, connection: WakeupConnection, exchanger: Exchanger, timeout_seconds: float
    ) -> None:
        self._connection = connection
        self._exchanger = exchanger
        self._timeout_seconds = timeout_seconds

    async def run(self) -> None:
        """Listen until cancelled."""
        failures = 0
        try:
            while True:
                await self._exchanger.idle.wait()
                try:
                    is_woken = await self._connection.wait(self._timeout_seconds)
                    failures = 0
                except ServerUnavailable:
                    # The exchanger notices and recovers by itself; only the pace matters here.
                    failures += 1
                    await asyncio.sleep(backoff_seconds(failures))
                    # A token may have been on its way to us when the connection broke.
                    is_woken = True
                self._exchanger.on_wakeup(is_woken)
        finally:
            await self._connection.close()

"""The canceller: stops the runs that someone cancelled."""

import asyncio
from collections.abc import Callable

from docket.services.exchanger import Exchanger
from docket.store.connection.subscriber import Subscriber
from docket.store.keys import Keys


class Canceller:
    """Listens for cancellations of tasks that run here.

    A message that is lost costs time, not correctness: the cancellation stands in the record too,
    and the keeper sees it there when it renews the lease.

    Args:
        subscriber: the process's.
        keys: of the docket.
        exchanger: stops the runs.
        look: has the keeper look into the records soon: whenever we begin to listen, what was
            published before that is lost.
    """

    def __init__(
        self, subscriber: Subscriber, keys: Keys, exchanger: Exchanger, look: Callable[[], None]
    ) -> None:
        self._subscriber = subscriber
        self._channel = keys.cancel_channel
        self._exchanger = exchanger
        self._look = look
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Listen until cancelled."""
        async with self._subscriber.listening(self._channel, self._hear):
            self._look()
            await self._ended.wait()

    def _hear(self, payload: bytes | None) -> None:
        if payload is None:
            self._look()
        else:
            self._exchanger.cancelled(payload.split(b"\x1f", 1)[0])

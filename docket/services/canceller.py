"""The canceller: stops the runs of cancelled tasks."""

import asyncio
from collections.abc import Callable

from docket.services.exchanger import Exchanger
from docket.store.connection.subscriber import Subscriber
from docket.store.keys import Keys


class Canceller:
    """A listener for cancellations of tasks that run here.

    A lost message costs time, not correctness: the cancellation is in the record too, where the
    heartbeater finds it when it renews the lease.

    Args:
        subscriber: the subscriber of the process.
        keys: the keys of the docket.
        exchanger: stops the runs.
        renew_soon: has the heartbeater read the records soon; called whenever listening begins,
            since messages published before are lost.
    """

    def __init__(
        self,
        subscriber: Subscriber,
        keys: Keys,
        exchanger: Exchanger,
        renew_soon: Callable[[], None],
    ) -> None:
        self._subscriber = subscriber
        self._channel = keys.cancel_channel
        self._exchanger = exchanger
        self._renew_soon = renew_soon
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Listen until cancelled."""
        async with self._subscriber.listening(self._channel, self._on_message):
            self._renew_soon()
            await self._ended.wait()

    def _on_message(self, payload: bytes | None) -> None:
        if payload is None:
            self._renew_soon()
        else:
            self._exchanger.cancelled(payload.split(b"\x1f", 1)[0])

"""The registration of a worker's consumer on the server, for as long as a run lasts."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from docket.errors import DocketError, RefusedCall, ServerUnavailable
from docket.instrumentation.readiness import Readiness
from docket.services.exchanger import Exchanger
from docket.services.runs import Consumer
from docket.services.service_group import consumer_lifetime
from docket.store.connection.backoff import backoff_seconds
from docket.store.keys import check_name

if TYPE_CHECKING:
    from docket.docket import Docket

logger = logging.getLogger("docket.worker")

#: Seconds without a server after which a worker that starts reports that it waits for one.
PATIENCE_SECONDS = 1.0
#: Seconds for which a worker that ends waits for an absent server; tasks whose outcome it cannot
#: record are redelivered.
GOODBYE_SECONDS = 5.0
#: The same for one whose connection is down already.
CUT_OFF_SECONDS = 0.25


class Registration:
    """The registration of one worker, under the name that its consumer has at the moment.

    Args:
        docket: the worker's docket.
        consumer: the worker's identity in the streams.
        readiness: told of a server that is waited for.
        lease: the length of its leases.
        began: called with the server's time of each registration, in milliseconds.
        adopt: adopts a consumer without blame.
    """

    def __init__(
        self,
        docket: Docket,
        consumer: Consumer,
        readiness: Readiness,
        lease: timedelta,
        began: Callable[[int], None],
        adopt: Callable[[str], Awaitable[object]],
    ) -> None:
        self._docket = docket
        self._consumer = consumer
        self._readiness = readiness
        self._lease = lease
        self._began = began
        self._adopt = adopt

    async def register(self) -> None:
        """Register the consumer and the tasks that it can run."""
        docket, names = self._docket, tuple(self._docket.tasks)
        at = await docket.transitions.register(
            self._consumer.name, names, consumer_lifetime(docket), self._lease
        )
        self._began(at)

    async def register_patiently(self, exchanger: Exchanger) -> bool:
        """Register as soon as there is a server; False if a drain comes first."""
        failures = 0
        while not exchanger.draining:
            try:
                await self._docket.connections.pipeline.connected(PATIENCE_SECONDS)
                # Before the first claim, so that no stricken task is run.
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._docket.wait_for_strikes_loaded()
                await self.register()
                return True
            except (ServerUnavailable, TimeoutError) as error:
                failures += 1
                self._readiness.waiting(str(error) or self._docket.strike_list.unread)
                await asyncio.sleep(backoff_seconds(failures))
        return False

    async def unregister(self, worker_name: str, log_attributes: Mapping[str, str]) -> None:
        """Fence our own consumer, so that a run that would not end goes to another worker."""
        try:
            is_connected = self._docket.connections.pipeline.is_connected
            async with asyncio.timeout(GOODBYE_SECONDS if is_connected else CUT_OFF_SECONDS):
                await self._docket.transitions.wake_idle()
                await self._adopt(self._consumer.name)
        except (DocketError, RefusedCall, TimeoutError) as error:
            logger.warning(
                "Worker %s ends without signing off (%r): what it has not recorded is redelivered "
                "when others notice that its heartbeat stopped",
                worker_name,
                error,
                extra=log_attributes,
            )


def worker_names(given: str | None) -> tuple[str, str]:
    """Return the name of a worker, and that in metrics, which never has a process id in it.

    Args:
        given: the name that was chosen; None or "" for one after this host and process.

    Raises:
        ValueError: it is too long, or cannot be written.
    """
    if given:
        check_name(given, "A worker")
        return given, given
    host = socket.gethostname()
    return f"{host}#{os.getpid()}", host

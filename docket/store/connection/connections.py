"""The one connection manager of a process.

It owns every connection, whatever the concurrency: the pipeline for all script calls, the
subscriber for all who wait, and what a worker adds, the bell and the keeper's connection. Dockets
of the same server on the same loop share one manager; the last one to let go closes it.
"""

import asyncio
import os
from contextlib import suppress

from redis.asyncio import Redis
from redis.credentials import CredentialProvider

from docket.store.connection.endpoint import Endpoint
from docket.store.connection.lease_connection import LeaseConnection
from docket.store.connection.pipeline import Pipeline
from docket.store.connection.subscriber import Subscriber
from docket.store.connection.urls import is_cluster
from docket.store.connection.wakeup import WakeupConnection
from docket.store.embedded import embedded_server
from docket.store.keys import Keys

_Address = tuple[int, asyncio.AbstractEventLoop, str, CredentialProvider | None, int]
#: By process, loop, URL, credential provider and slot (0 unless it is a cluster): a fork or a new
#: loop gets connections of its own. The loop itself, not its id: ids are used again.
_open: dict[_Address, "Connections"] = {}


class Connections:
    """All connections of this process to one server.

    Not made directly: `acquire` returns the one that is there already.

    Attributes:
        endpoint: where the server is.
        pipeline: for every script call.
        subscriber: for whoever waits for messages.
    """

    def __init__(self, address: _Address, endpoint: Endpoint) -> None:
        self._address = address
        self._owners = 0
        self._client: Redis | None = None
        self.endpoint = endpoint
        self.pipeline = Pipeline(endpoint)
        self.subscriber = Subscriber(endpoint)

    @classmethod
    async def acquire(
        cls,
        url: str,
        credential_provider: CredentialProvider | None = None,
        *,
        keys: Keys | None = None,
    ) -> "Connections":
        """The process's connections to a server, opened if they are not; `release` gives them up.

        memory:// and embedded:// start their server first, once a process.

        Args:
            url: of the server.
            credential_provider: redis-py's, asked at every connect.
            keys: what they are for. In a cluster they go to the node that serves these keys, so
                that dockets of different slots have connections of their own.

        Raises:
            ValueError: the URL is malformed.
            EmbeddedServerError: the embedded server did not start.
        """
        if embedded_server.is_embedded(url):
            # Starting a server takes tens of milliseconds of waiting: not on the loop.
            url = (await asyncio.to_thread(embedded_server.shared, url)).url
        loop = asyncio.get_running_loop()
        slot = keys.slot if keys is not None and is_cluster(url) else 0
        address = (os.getpid(), loop, url, credential_provider, slot)
        found = _open.get(address)
        if found is None:
            found = _open[address] = cls(address, Endpoint(url, credential_provider, slot=slot))
            found.pipeline.open()
        found._owners += 1
        return found

    async def release(self) -> None:
        """Give the connections up; the last owner closes them."""
        self._owners -= 1
        if self._owners:
            return
        _open.pop(self._address, None)
        await self.pipeline.close()
        await self.subscriber.close()
        if self._client is not None:
            with suppress(OSError):
                await self._client.aclose()

    def client(self) -> Redis:
        """redis-py's client, for what users do themselves; made on first use."""
        if self._client is None:
            self._client = self.endpoint.client()
        return self._client

    def bell(self, keys: Keys) -> WakeupConnection:
        """A worker's bell."""
        return WakeupConnection(self.endpoint, keys)

    def lease_connection(self, keys: Keys) -> LeaseConnection:
        """A keeper's connection."""
        return LeaseConnection(self.endpoint, keys)

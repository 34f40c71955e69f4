"""All connections of a process to one server.

Their number does not depend on the concurrency: the pipeline for all script calls, the subscriber
for all messages, and in a worker the wake-up and the lease connection. Dockets of the same server
on the same loop share them; the last docket to release them closes them.
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
#: loop gets connections of its own. The key holds the loop itself, since ids are reused.
_open: dict[_Address, "Connections"] = {}


class Connections:
    """All connections of this process to one server.

    Not constructed directly: `acquire` returns the existing object, if any.

    Attributes:
        endpoint: the server.
        pipeline: the connection for all script calls.
        subscriber: the connection for all messages.
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
        """Return the process's connections to a server, opened if necessary; see `release`.

        memory:// and embedded:// start their server first, once in each process.

        Args:
            url: the URL of the server.
            credential_provider: redis-py's, called at every connect.
            keys: the keys to be used. In a cluster the connections go to the node that serves
                them, so dockets of different slots have different connections.

        Raises:
            ValueError: the URL is malformed.
            EmbeddedServerError: the embedded server did not start.
        """
        if embedded_server.is_embedded(url):
            # Not on the loop: starting a server blocks for tens of milliseconds.
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
        """Release the connections; the last owner closes them.

        Raises:
            WrongEventLoop: the call comes from another loop.
        """
        self.pipeline.owner.check()
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
        """Return redis-py's client for the user's own commands; made on first use.

        Raises:
            WrongEventLoop: the call comes from another loop.
        """
        self.pipeline.owner.check()
        if self._client is None:
            self._client = self.endpoint.client()
        return self._client

    def wakeup_connection(self, keys: Keys) -> WakeupConnection:
        """Return a new connection for the wake-ups of a worker."""
        return WakeupConnection(self.endpoint, keys)

    def lease_connection(self, keys: Keys) -> LeaseConnection:
        """Return a new connection for the heartbeater of a worker."""
        return LeaseConnection(self.endpoint, keys)

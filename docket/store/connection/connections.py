"""All connections of a process to one server.

Their number does not depend on the concurrency: the pipeline for all script calls, the subscriber
for all messages, and in a worker the wake-up and the lease connection. Dockets of the same server
on the same loop share them; the last docket to release them closes them.
"""

import asyncio
import importlib
import logging
import os
import weakref
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from redis.credentials import CredentialProvider

from docket.errors import EmbeddedServerError
from docket.store.connection.credentials import Credentials, Login, credentials_of
from docket.store.connection.endpoint import Endpoint
from docket.store.connection.lease_connection import LeaseConnection
from docket.store.connection.pipeline import Pipeline
from docket.store.connection.subscriber import Subscriber
from docket.store.connection.urls import is_cluster
from docket.store.connection.wakeup import WakeupConnection
from docket.store.embedded.schemes import is_embedded
from docket.store.keys import Keys
from docket.store.server_policy import ServerPolicy, server_policy, tell_policy

logger = logging.getLogger("docket.store")

_Address = tuple[int, asyncio.AbstractEventLoop, str, Credentials | None, int]
#: By process, loop, URL, credentials and slot (0 unless it is a cluster): a fork or a new
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
        # After a failover a subscriber of the old primary is still there, and hears nothing.
        self.pipeline.on_move = self.subscriber.reconnect
        #: What is connected beside them, for as long as somebody uses it.
        self._of_workers: weakref.WeakSet[WakeupConnection | LeaseConnection] = weakref.WeakSet()
        self._logins: set[asyncio.Task[None]] = set()

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
            credential_provider: redis-py's, called at every connect; not asked for an embedded
                server.
            keys: the keys to be used. In a cluster the connections go to the node that serves
                them, so dockets of different slots have different connections.

        Raises:
            ValueError: the URL is malformed.
            EmbeddedServerError: the embedded server did not start.
        """
        credentials = None
        if is_embedded(url):
            # Not on the loop: starting a server blocks for tens of milliseconds.
            url = await asyncio.to_thread(_start_embedded, url)
        elif credential_provider is not None:
            credentials = credentials_of(credential_provider)
        loop = asyncio.get_running_loop()
        slot = keys.slot if keys is not None and is_cluster(url) else 0
        address = (os.getpid(), loop, url, credentials, slot)
        found = _open.get(address)
        if found is None:
            found = _open[address] = cls(address, Endpoint(url, credentials, slot=slot))
            found.pipeline.open()
            if credentials is not None:
                credentials.stream_to(found)
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

    async def server_policy(self) -> ServerPolicy | None:
        """Return what the server does with its data; None if it is away or does not tell."""
        return await server_policy(self.pipeline)

    async def tell_policy(self, url: str) -> None:
        """Log once a process, for each server, what endangers accepted tasks."""
        await tell_policy(self.pipeline, url)

    def wakeup_connection(self, keys: Keys) -> WakeupConnection:
        """Return a new connection for the wake-ups of a worker."""
        connection = WakeupConnection(self.endpoint, keys)
        self._of_workers.add(connection)
        return connection

    def lease_connection(self, keys: Keys) -> LeaseConnection:
        """Return a new connection for the heartbeater of a worker."""
        connection = LeaseConnection(self.endpoint, keys, self.pipeline.owner.loop)
        self._of_workers.add(connection)
        return connection

    def authenticate(self, login: Login, token: Any) -> None:
        """Authenticate the open connections by a token that was pushed.

        Those at work do so before their next command. The subscriber cannot: it is refused other
        commands than its own.

        Args:
            login: the arguments of AUTH.
            token: the same as redis-py's clients take it.
        """
        self.pipeline.authenticate(login)
        for connection in self._of_workers:
            connection.authenticate(login)
        if self._client is not None:
            task = asyncio.create_task(_authenticate(self._client, token))
            self._logins.add(task)
            task.add_done_callback(self._logins.discard)


async def _authenticate(client: Any, token: Any) -> None:
    nodes = getattr(client, "get_nodes", None)
    try:
        for pool in nodes() if nodes is not None else [client.connection_pool]:
            await pool.re_auth_callback(token)
    except Exception as error:
        logger.warning("A client of docket.redis() did not take the pushed token: %r", error)


def _start_embedded(url: str) -> str:
    """Start the process's embedded server, unless it runs, and return the URL of its socket."""
    try:
        # Imported here, since most processes have a server elsewhere.
        embedded_server = importlib.import_module("docket.store.embedded.embedded_server")
    except ImportError as error:  # not a POSIX system: there are servers for others only
        raise EmbeddedServerError(
            f"cannot start {url}: it needs a POSIX system (Linux, macOS); use the URL of a "
            "Redis or Valkey server"
        ) from error
    server: str = embedded_server.shared(url).url
    return server

"""Discovery of the server to connect to, repeated at each connect and never cached.

A `DiscoveringConnection` asks its locator for the server's address, connects to it, and asks again
the next time. So every move of a primary (a failover, a resharding, a replaced node) is handled
alike: the connection breaks, or its owner drops it because of a reply, and the next connection goes
to the new address.
"""

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, cast

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection
from redis.connection import AbstractConnection as BlockingAbstractConnection
from redis.connection import Connection as BlockingConnection
from redis.connection import SSLConnection as BlockingSSLConnection
from redis.credentials import CredentialProvider
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from docket.store.connection.urls import Address

logger = logging.getLogger("docket.store")

#: Time limit for the answer of one node or sentinel, in seconds: there are others to ask.
ASK_SECONDS = 1.0


class Locator(ABC):
    """A locator of the server, which asks nodes or sentinels one after the other.

    They are asked in random order: one that is cut off from the others may go on giving outdated
    answers.

    Args:
        addresses: the nodes or sentinels to ask at first.
        options: options of the connections to them.
        tls: encrypt these connections.
    """

    #: The command to ask with.
    question: tuple[str, ...]

    def __init__(
        self, addresses: tuple[Address, ...], options: Mapping[str, Any], *, tls: bool
    ) -> None:
        self._addresses = addresses
        self._options = options
        self._connection_class = SSLConnection if tls else Connection
        self._blocking_class = BlockingSSLConnection if tls else BlockingConnection
        self._found: Address | None = None

    @abstractmethod
    def read(self, asked: Address, reply: Any) -> Address:
        """Return the address of the server from a reply.

        Raises:
            RedisError: the node or sentinel does not know it.
        """

    @abstractmethod
    def not_found(self) -> str:
        """Return the error message for when none of them knows."""

    async def locate(self) -> Address:
        """Return the server's present address.

        Raises:
            RedisConnectionError: none of the nodes or sentinels knows it, or none answers.
        """
        cause: Exception | None = None
        for address in self._shuffled():
            # Without redis-py's own time limit: it uses wait_for, which before Python 3.12 may
            # swallow a cancellation, and the connecting task would go on for ever.
            options = self._options_for(address, None)
            connection: Any = self._connection_class(**options)
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    await connection.connect()
                    await connection.send_command(*self.question, check_health=False)
                    return self._note(self.read(address, await connection.read_response()))
            except (RedisError, OSError) as error:
                cause = error
            finally:
                await connection.disconnect(nowait=True)
        raise RedisConnectionError(f"{self.not_found()}: {cause!r}") from cause

    def locate_blocking(self, credential_provider: CredentialProvider | None) -> Address:
        """Return the server's present address, like `locate`, on a thread.

        Args:
            credential_provider: the thread's, in the place of the one for a loop.
        """
        cause: Exception | None = None
        for address in self._shuffled():
            options = self._options_for(address, ASK_SECONDS)
            if "credential_provider" in options:
                options["credential_provider"] = credential_provider
            connection: Any = self._blocking_class(**options)
            try:
                connection.connect()
                connection.send_command(*self.question, check_health=False)
                return self._note(self.read(address, connection.read_response()))
            except (RedisError, OSError) as error:
                cause = error
            finally:
                connection.disconnect()
        raise RedisConnectionError(f"{self.not_found()}: {cause!r}") from cause

    def _shuffled(self) -> list[Address]:
        return random.sample(self._addresses, len(self._addresses))

    def _options_for(self, address: Address, limit_seconds: float | None) -> dict[str, Any]:
        limits = {"socket_timeout": limit_seconds, "socket_connect_timeout": ASK_SECONDS}
        return {**self._options, **limits, "host": address.host, "port": address.port}

    def _note(self, found: Address) -> Address:
        if self._found not in (None, found):
            logger.info("The primary moved from %s to %s", self._found, found)
        self._found = found
        return found


class ClusterLocator(Locator):
    """A locator of the cluster node that serves a slot.

    Args:
        seeds: some of the nodes; the others are learnt from their answers.
        options: options of the connections to them, as to the server.
        tls: encrypt these connections.
        slot: the slot.
    """

    question = ("CLUSTER", "SLOTS")

    def __init__(
        self, seeds: tuple[Address, ...], options: Mapping[str, Any], *, tls: bool, slot: int
    ) -> None:
        super().__init__(seeds, options, tls=tls)
        self._seeds = seeds
        self._slot = slot

    def read(self, asked: Address, reply: Any) -> Address:
        """Return the first node of the slot's range: its primary. The rest are replicas."""
        ranges = cast("list[list[Any]]", reply)
        nodes = [_node(asked, node) for row in ranges for node in row[2:]]
        self._addresses = tuple(dict.fromkeys([*nodes, *self._seeds]))
        for first, last, primary, *_ in ranges:
            if first <= self._slot <= last:
                return _node(asked, primary)
        raise RedisError(f"no node serves slot {self._slot}, says {asked}")

    def not_found(self) -> str:
        return f"no node of the cluster told which of them serves slot {self._slot}"


def _node(asked: Address, node: list[Any]) -> Address:
    # A node that does not know its own host name means the one under which it was reached.
    host = node[0].decode() if node[0] else ""
    return Address(asked.host if host in ("", "?") else host, int(node[1]))


class SentinelLocator(Locator):
    """A locator of the primary that sentinels monitor.

    Args:
        sentinels: the addresses of the sentinels.
        options: options of the connections to them.
        tls: encrypt these connections.
        primary: the sentinels' name for the primary.
    """

    def __init__(
        self, sentinels: tuple[Address, ...], options: Mapping[str, Any], *, tls: bool, primary: str
    ) -> None:
        super().__init__(sentinels, options, tls=tls)
        self._primary = primary
        self.question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", primary)

    def read(self, asked: Address, reply: Any) -> Address:
        if reply is None:
            raise RedisError(f"sentinel {asked} watches no primary of that name")
        host, port = cast("tuple[bytes, bytes]", reply)
        return Address(host.decode(), int(port))

    def not_found(self) -> str:
        return f"no sentinel told where the primary {self._primary!r} is"


class DiscoveringConnection(AbstractConnection):
    """A mixin that has a TCP connection locate the server whenever it connects.

    Attributes:
        locator: the locator.
    """

    locator: Locator

    # Every way of connecting comes through here, including a command on a closed connection.
    async def _connect(self) -> None:
        connection: Any = self
        connection.host, connection.port = await self.locator.locate()
        await super()._connect()


class DiscoveringBlockingConnection(BlockingAbstractConnection):
    """The blocking variant of `DiscoveringConnection`, for a thread."""

    locator: Locator

    def _connect(self) -> Any:
        connection: Any = self
        provider = connection.credential_provider
        connection.host, connection.port = self.locator.locate_blocking(provider)
        return super()._connect()

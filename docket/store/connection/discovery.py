"""Discovery of the server to connect to: asked anew at each connect, never remembered longer.

Whoever connects owns nothing of this: a `DiscoveringConnection` asks its locator where the server
is, connects there, and asks again the next time. So every way in which a primary moves (a failover,
a resharding, a node that was replaced) ends the same way: the connection breaks, or its owner drops
it because of an answer, and the next one goes to the right place.
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
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from docket.store.connection.urls import Address

logger = logging.getLogger("docket.store")

#: How long one of those who know may take to answer, in seconds: there are others to ask.
ASK_SECONDS = 1.0


class Locator(ABC):
    """Asks those who know where the server is, one after the other, in no fixed order: one that
    is cut off from the others may go on telling what was true before.

    Args:
        addresses: whom to ask at first.
        options: of the connections to them.
        tls: whether those are encrypted.
    """

    #: What they are asked.
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
        """Where the server is, by the reply of one that was asked.

        Raises:
            RedisError: it does not know.
        """

    @abstractmethod
    def ignorance(self) -> str:
        """What to say when nobody knows."""

    async def locate(self) -> Address:
        """Where the server is now.

        Raises:
            RedisConnectionError: nobody knows, or nobody answers.
        """
        cause: Exception | None = None
        for address in self._shuffled():
            # No time limit of redis-py's own: before Python 3.12 its way of keeping it (wait_for)
            # swallows a cancellation, and the task that connects would go on for ever.
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
        raise RedisConnectionError(f"{self.ignorance()}: {cause!r}") from cause

    def locate_blocking(self) -> Address:
        """As `locate`, for a thread."""
        cause: Exception | None = None
        for address in self._shuffled():
            connection: Any = self._blocking_class(**self._options_for(address, ASK_SECONDS))
            try:
                connection.connect()
                connection.send_command(*self.question, check_health=False)
                return self._note(self.read(address, connection.read_response()))
            except (RedisError, OSError) as error:
                cause = error
            finally:
                connection.disconnect()
        raise RedisConnectionError(f"{self.ignorance()}: {cause!r}") from cause

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
    """Asks the nodes of a cluster which of them serves a slot.

    Args:
        seeds: some of the nodes; the others are learnt from their answers.
        options: of the connections to them, as to the server.
        tls: whether those are encrypted.
        slot: which one.
    """

    question = ("CLUSTER", "SLOTS")

    def __init__(
        self, seeds: tuple[Address, ...], options: Mapping[str, Any], *, tls: bool, slot: int
    ) -> None:
        super().__init__(seeds, options, tls=tls)
        self._seeds = seeds
        self._slot = slot

    def read(self, asked: Address, reply: Any) -> Address:
        """The first node of the range that the slot is in: its primary. The rest are replicas."""
        ranges = cast("list[list[Any]]", reply)
        nodes = [_node(asked, node) for row in ranges for node in row[2:]]
        self._addresses = tuple(dict.fromkeys([*nodes, *self._seeds]))
        for first, last, primary, *_ in ranges:
            if first <= self._slot <= last:
                return _node(asked, primary)
        raise RedisError(f"no node serves slot {self._slot}, says {asked}")

    def ignorance(self) -> str:
        return f"no node of the cluster told which of them serves slot {self._slot}"


def _node(asked: Address, node: list[Any]) -> Address:
    # A node that does not know its own host name means the one that it was reached by.
    host = node[0].decode() if node[0] else ""
    return Address(asked.host if host in ("", "?") else host, int(node[1]))


class SentinelLocator(Locator):
    """Asks sentinels where the primary is.

    Args:
        sentinels: all of them.
        options: of the connections to them.
        tls: whether those are encrypted.
        primary: what they call it.
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

    def ignorance(self) -> str:
        return f"no sentinel told where the primary {self._primary!r} is"


class DiscoveringConnection(AbstractConnection):
    """What makes a TCP connection ask where the server is whenever it connects.

    Attributes:
        locator: whom to ask.
    """

    locator: Locator

    # The one step that every way of connecting takes: a command on a closed connection does too.
    async def _connect(self) -> None:
        connection: Any = self
        connection.host, connection.port = await self.locator.locate()
        await super()._connect()


class DiscoveringBlockingConnection(BlockingAbstractConnection):
    """As `DiscoveringConnection`, for a thread."""

    locator: Locator

    def _connect(self) -> Any:
        connection: Any = self
        connection.host, connection.port = self.locator.locate_blocking()
        return super()._connect()

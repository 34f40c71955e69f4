"""The one subscription connection of a process: passes messages on to all listeners.

Pub/sub may lose messages (a reconnect, a full output buffer), so a message only ever saves time:
listeners read the record when they get one, and within 15 s anyway.

In a cluster it subscribes to the sharded channel beside the ordinary one, at the node that serves
the docket: publishers look there for who listens, and send one of the two; those of an earlier
version send the ordinary one.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from docket.errors import NotPermitted
from docket.store.connection.backoff import backoff_seconds
from docket.store.connection.endpoint import DirectWrites, Endpoint, connect
from docket.store.connection.loop_owner import LoopOwner
from docket.store.keys import sharded, unsharded

logger = logging.getLogger("docket.store")

#: Called with the payload of a message, or with None if messages may have been lost.
Listener = Callable[[bytes | None], None]

#: Time without a message after which the server is pinged, in seconds: a dead peer is as silent as
#: one that has no messages.
QUIET_SECONDS = 15.0


class Subscriber:
    """Channels and their listeners, over one connection that is opened on first use.

    Args:
        endpoint: the server.
        quiet_seconds: time without a message after which the server is pinged.
    """

    def __init__(self, endpoint: Endpoint, quiet_seconds: float = QUIET_SECONDS) -> None:
        self._endpoint = endpoint
        self._owner = LoopOwner(endpoint.display_url)
        self._quiet_seconds = quiet_seconds
        self._listeners: dict[str, list[Listener]] = {}
        self._confirmed: dict[str, asyncio.Future[None]] = {}
        self._connection: DirectWrites | None = None
        self._is_sharded = endpoint.is_cluster
        #: Sharded channels that are being left: whose end the server is to confirm, how often.
        self._left: Counter[str] = Counter()
        self._runner: asyncio.Task[None] | None = None
        self._failures = 0

    @asynccontextmanager
    async def listening(self, channel: str, listener: Listener) -> AsyncGenerator[None]:
        """Call `listener` for every message of `channel` while the context lasts.

        Entered once the server has confirmed the subscription: messages published from then on are
        received while the connection is up. If the server is away, it is entered on its return.

        Raises:
            WrongEventLoop: the call comes from another loop.
            NotPermitted: the server's user may not subscribe to this channel, or to another one in
                use; no message is received.
        """
        self._owner.check()
        self._start()
        listeners = self._listeners.setdefault(channel, [])
        listeners.append(listener)
        try:
            if len(listeners) == 1:
                self._confirmed[channel] = asyncio.get_running_loop().create_future()
                self._tell(*self._joining(channel))
            # Shielded, as it is shared by all listeners of this channel.
            await asyncio.shield(self._confirmed[channel])
            yield
        finally:
            listeners.remove(listener)
            if not listeners:
                self._listeners.pop(channel, None)
                self._confirmed.pop(channel, None)
                self._tell(*self._leaving(channel))

    def reconnect(self) -> None:
        """Drop the connection: the next one finds the node that serves the slot by now."""
        # Nothing more is sent on it, though the runner, which reads, has not seen its end yet.
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.cancel()
            with suppress(asyncio.CancelledError):
                await runner

    def _start(self) -> None:
        if self._runner is None:
            self._runner = asyncio.create_task(self._run(), name="docket subscriber")

    def _joining(self, *channels: str) -> list[tuple[str, ...]]:
        # The ordinary one first: until the sharded one stands, we count as one who has only that.
        commands = [("SUBSCRIBE", *channels)]
        if self._is_sharded:
            commands.append(("SSUBSCRIBE", *map(sharded, channels)))
        return commands

    def _leaving(self, channel: str) -> list[tuple[str, ...]]:
        commands = [("UNSUBSCRIBE", channel)]
        if self._is_sharded:
            self._left[sharded(channel)] += 1
            commands.insert(0, ("SUNSUBSCRIBE", sharded(channel)))
        return commands

    def _tell(self, *commands: tuple[str, ...]) -> None:
        # Without a connection nothing is sent: the next connection subscribes to all channels.
        # In one write: what another listener of the channel says must not come in between. One that
        # is closed, of which the runner has not heard, takes nothing: an error here, in a service
        # that only stops to listen, would end the worker.
        if self._connection is not None:
            self._connection.send_now(*commands)

    async def _run(self) -> None:
        while True:
            connection = self._endpoint.direct_connection()
            try:
                await connect(connection)
                if self._endpoint.is_cluster:
                    await self._check_primary(connection)
                self._is_sharded = self._endpoint.is_cluster
                self._left.clear()
                self._connection = connection
                if self._listeners:
                    self._tell(*self._joining(*self._listeners))
                await self._read(connection)
            except (RedisError, OSError) as error:
                denied = self._endpoint.denied("subscribe", error)
                self._failures += 1
                if denied is None:
                    logger.debug("Subscription connection lost: %s", error)
                else:
                    self._refuse(denied)
            finally:
                self._connection = None
                await connection.disconnect(nowait=True)
            await asyncio.sleep(backoff_seconds(max(1, self._failures)))

    async def _check_primary(self, connection: Any) -> None:
        """Raise MovedError if another node serves the slot: a replica would let us subscribe."""
        channel = next(iter(self._listeners), None)
        if channel is not None:
            await connection.send_command("TYPE", channel, check_health=False)
            with suppress(NoPermissionError):
                await connection.read_response()

    async def _read(self, connection: Any) -> None:
        is_asked = False
        while True:
            try:
                # redis-py returns None when the time is over, and keeps the connection.
                push = await connection.read_response(timeout=self._quiet_seconds)
            except ResponseError as error:
                if not self._is_sharded or "ssubscribe" not in str(error).lower():
                    raise
                # Before Redis 7.0, or without the permission: publishers see that too.
                self._is_sharded = False
                continue
            if push is not None:
                is_asked = False
                self._take(push)
            elif is_asked:
                raise RedisConnectionError("the server was asked whether it is there, in vain")
            else:
                is_asked = True
                connection.send_now(("PING",))

    def _take(self, push: Any) -> None:
        # Not reset by connecting: a user who may connect but not subscribe would retry at once.
        self._failures = 0
        match cast("list[bytes | int] | bytes", push):
            case [b"message", bytes(channel), bytes(payload)]:
                self._hand_out(channel.decode(), payload)
            case [b"smessage", bytes(channel), bytes(payload)]:
                self._hand_out(unsharded(channel.decode()), payload)
            case [b"subscribe", bytes(channel), _]:
                self._confirm(channel.decode())
            case [b"sunsubscribe", bytes(channel), _]:
                self._note_end(channel.decode())
            case _:
                pass  # The end of a subscription, or the answer to a PING.

    def _confirm(self, channel: str) -> None:
        confirmed = self._confirmed.get(channel)
        if confirmed is None:
            return
        if confirmed.done():
            # Subscribed again after a lost connection: messages may have been lost meanwhile.
            self._hand_out(channel, None)
        else:
            confirmed.set_result(None)

    def _note_end(self, channel: str) -> None:
        if channel not in self._left:
            raise RedisConnectionError("another node of the cluster serves the slot now")
        self._left[channel] -= 1
        if not self._left[channel]:
            del self._left[channel]

    def _refuse(self, denied: NotPermitted) -> None:
        """Fail all pending subscriptions.

        Listeners that are already subscribed are not told: they read the record every few seconds.
        """
        if self._failures == 1:
            logger.warning("Messages are not heard, which costs seconds at a time: %s", denied)
        for confirmed in self._confirmed.values():
            if not confirmed.done():
                confirmed.set_exception(denied)
                confirmed.exception()  # nobody may wait for it any more

    def _hand_out(self, channel: str, payload: bytes | None) -> None:
        for listener in tuple(self._listeners.get(channel, ())):
            try:
                listener(payload)
            except Exception as error:
                # Anyone may publish anything: it must not end the connection of all listeners.
                logger.warning("A message on %s was not understood: %s", channel, error)

"""The one connection through which every script call of a process goes.

Calls made in the same turn of the loop leave in one write and come back in one read. Round trips
are the cost of this field: one redis-py round trip a task takes a bare loop from 75,000 to 10,600
tasks a second. So there is no pool: the number of connections does not grow with concurrency.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

import hiredis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoScriptError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from docket.errors import ConnectionClosed, NotPermitted, ServerUnavailable
from docket.store.connection.endpoint import (
    CONNECT_SECONDS,
    STEADY_SECONDS,
    DirectWrites,
    Endpoint,
    backoff_seconds,
    connect,
)
from docket.store.scripts import Script

logger = logging.getLogger("docket.store")

Argument = str | bytes | int | float

#: How long a call may wait for its reply until the connection counts as dead, in seconds: far
#: longer than any script takes, and than a server stands still that writes a snapshot.
SILENCE_SECONDS = 10.0
#: In that time it is looked so often whether a call still waits.
_LOOKS = 10
#: After which the loop has read what came in while it was blocked, in seconds.
_GRACE_SECONDS = 1.0


# hiredis declares the parameter as a tuple of one.
_pack: Callable[[tuple[Argument, ...]], bytes] = cast("Any", hiredis).pack_command


class LostReply(ServerUnavailable):
    """The connection broke after the call was written: it may have taken effect or not."""


class _SentElsewhere(RedisConnectionError):
    """The server answered that another one serves by now."""


class Pipeline:
    """A multiplexed connection: any number of callers, replies in the order of the calls.

    Owned by the process's `Connections`. It reconnects for as long as it is open; a call that is
    made meanwhile waits for that, up to its `patience_seconds`. A call that was written when the
    connection broke fails with LostReply and is never sent again here: only the caller knows
    whether a second time does harm.

    Args:
        endpoint: where the server is.
        silence_seconds: how long a call may wait for its reply until the connection counts as
            dead: a peer that is gone without a word would be waited for for ever.
    """

    def __init__(self, endpoint: Endpoint, silence_seconds: float = SILENCE_SECONDS) -> None:
        self._endpoint = endpoint
        self._silence_seconds = silence_seconds
        self._connection: DirectWrites | None = None
        self._unsent: list[tuple[bytes, asyncio.Future[Any]]] = []
        self._in_flight: deque[asyncio.Future[Any]] = deque()
        self._flush_is_due = False
        self._connected = asyncio.Event()
        self._failure: Exception | None = None
        self._runner: asyncio.Task[None] | None = None
        #: Round trips so far: writes that carried one call or more.
        self.round_trips = 0
        #: Connections lost or refused so far.
        self.disruptions = 0

    def open(self) -> None:
        """Begin to connect, and go on doing so until `close`."""
        if self._runner is None:
            self._connected.clear()
            self._runner = asyncio.create_task(self._run(), name="docket pipeline")

    async def close(self) -> None:
        """Disconnect; calls that still wait fail. Twice is fine."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.cancel()
            with suppress(asyncio.CancelledError):
                await runner

    async def connected(self, patience_seconds: float | None = None) -> None:
        """Wait until the connection stands.

        Args:
            patience_seconds: how long; None for as long as it takes.

        Raises:
            ServerUnavailable: it did not within that time; the message has the last cause.
            ConnectionClosed: it was closed, or never opened.
        """
        if self._connection is not None:
            return
        self._refuse_when_closed()
        try:
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes with the event.
            async with asyncio.timeout(patience_seconds):
                await self._connected.wait()
        except TimeoutError:
            cause = self._failure or "no answer"
            raise self._endpoint.unavailable("connect", cause) from self._failure
        self._refuse_when_closed()

    def _refuse_when_closed(self) -> None:
        if self._runner is None or self._runner.done():
            raise ConnectionClosed(
                f"The connection to {self._endpoint.display_url} was closed while it was in use: "
                "let workers and calls end before their docket does"
            )

    @property
    def is_connected(self) -> bool:
        """Whether the connection stands, as far as is known."""
        return self._connection is not None

    @property
    def oldest_call(self) -> object | None:
        """What stands for the call that has waited longest for its reply; None if none waits."""
        return self._in_flight[0] if self._in_flight else None

    @property
    def failure(self) -> Exception | None:
        """Why it is not connected at the moment, if an attempt failed."""
        return self._failure

    async def call(
        self,
        script: Script,
        keys: Sequence[Argument],
        arguments: Sequence[Argument],
        *,
        patience_seconds: float | None = None,
    ) -> Any:
        """Run a script.

        Args:
            script: which one.
            keys: its KEYS.
            arguments: its ARGV.
            patience_seconds: how long to wait for a connection; None for as long as it takes.

        Raises:
            LostReply: the connection broke; the script may have run.
            ServerUnavailable: there is no connection, or the server said it cannot serve now;
                nothing was done.
            NotPermitted: the server's user may not do what the script does.
            ResponseError: the server refused the call.
        """
        await self.connected(patience_seconds)
        try:
            try:
                return await self.send("EVALSHA", script.digest, len(keys), *keys, *arguments)
            except NoScriptError:
                # The server lost its scripts (SCRIPT FLUSH); this one did not run. With its source
                # it does: loaded first, it may be lost again before it is called.
                return await self.send("EVAL", script.source, len(keys), *keys, *arguments)
        except ResponseError as error:
            denied = self.denied(script.name, error)
            if denied is None:
                raise
            raise denied from error

    async def command(self, *command: Argument, patience_seconds: float | None = None) -> Any:
        """Run a plain command; raises as `call` does."""
        await self.connected(patience_seconds)
        try:
            return await self.send(*command)
        except ResponseError as error:
            denied = self.denied(str(command[0]), error)
            if denied is None:
                raise
            raise denied from error

    def denied(self, operation: str, error: BaseException) -> NotPermitted | None:
        """What to raise instead of an error reply that says that our user may not do this."""
        return self._endpoint.denied(operation, error)

    def send(self, *command: Argument) -> asyncio.Future[Any]:
        """Queue a command for the write at the end of this turn of the loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._unsent.append((_pack(command), future))
        if not self._flush_is_due:
            self._flush_is_due = True
            loop.call_soon(self.flush)
        return future

    def flush(self) -> None:
        """Write what is queued now: the server can begin while the rest is still being made."""
        self._flush_is_due = False
        if self._connection is None or not self._unsent:
            return  # Not connected: whoever connects flushes.
        unsent, self._unsent = self._unsent, []
        self._in_flight.extend(future for _, future in unsent)
        self.round_trips += 1
        self._connection.write_now(b"".join(packed for packed, _ in unsent))

    async def _run(self) -> None:
        failures = 0
        loop = asyncio.get_running_loop()
        lost_at = loop.time()
        watch = asyncio.create_task(self._watch_silence(), name="docket pipeline silence")
        try:
            while True:
                connection = self._endpoint.direct_connection()
                connected_at = math.inf
                try:
                    await connect(connection)
                    connected_at = loop.time()
                    self._failure = None
                    self._connection = connection
                    if failures:
                        self._tell_of_return(connected_at - lost_at)
                    self._connected.set()
                    self.flush()
                    await self._read(connection)
                except (RedisError, OSError) as error:
                    now = loop.time()
                    # Who tells where the server is may not know it yet, and send us to and fro.
                    has_stood = now - connected_at >= STEADY_SECONDS
                    failures = 1 if has_stood else failures + 1
                    if failures == 1:
                        lost_at = now
                    self._lost(error, failures)
                finally:
                    self._connection = None
                    self._connected.clear()
                    await connection.disconnect(nowait=True)
                await asyncio.sleep(backoff_seconds(failures))
        finally:
            watch.cancel()
            self._fail_all("the connection was closed")
            # Wakes who waits for a connection: there will be none.
            self._connected.set()

    async def _watch_silence(self) -> None:
        loop = asyncio.get_running_loop()
        oldest, since = None, loop.time()
        while True:
            # Often, or a call that is made just after a look would be waited for twice as long.
            await asyncio.sleep(self._silence_seconds / _LOOKS)
            if not self._waits_for(oldest):
                oldest, since = self._in_flight[0] if self._in_flight else None, loop.time()
            if oldest is None or loop.time() - since < self._silence_seconds:
                continue
            # The loop may have been blocked all that time, with the reply in the socket.
            await asyncio.sleep(_GRACE_SECONDS)
            if self._connection is not None and self._waits_for(oldest):
                logger.warning(
                    "No reply from %s for %g s: its connection counts as dead",
                    self._endpoint.display_url,
                    self._silence_seconds,
                )
                self._connection.abort()

    def _waits_for(self, call: "asyncio.Future[Any] | None") -> bool:
        return call is not None and bool(self._in_flight) and self._in_flight[0] is call

    def _lost(self, error: Exception, failures: int) -> None:
        # A server that comes back and does not let us in is another reason than the one told.
        refused = isinstance(error, AuthenticationError)
        is_news = refused and not isinstance(self._failure, AuthenticationError)
        self._failure = error
        self.disruptions += 1
        if failures == 1 or is_news:
            logger.warning(
                "Connection to %s lost or refused: %s; connecting again until it stands",
                self._endpoint.display_url,
                self._endpoint.explained(error),
            )
        self._fail_all(error)

    def _tell_of_return(self, seconds: float) -> None:
        logger.info(
            "Connection to %s stands again after %.1f s", self._endpoint.display_url, seconds
        )

    def _fail_all(self, cause: object) -> None:
        for future in self._in_flight:
            if not future.done():
                future.set_exception(LostReply(self._endpoint.unavailable("call", cause)))
        self._in_flight.clear()
        for _, future in self._unsent:
            if not future.done():
                future.set_exception(self._endpoint.unavailable("call", cause))
        self._unsent.clear()

    async def _read(self, connection: Any, *, until_answered: bool = False) -> None:
        while self._in_flight or not until_answered:
            try:
                reply = await connection.read_response(timeout=math.inf, disconnect_on_error=False)
            except (ResponseError, BusyLoadingError) as error:
                self._resolve_error(error)
                if self._endpoint.is_elsewhere(error) and not until_answered:
                    await self._leave(connection, error)
            else:
                future = self._in_flight.popleft()
                if not future.done():
                    future.set_result(reply)

    async def _leave(self, connection: Any, cause: RedisError) -> None:
        """Another server serves by now, and only a new connection finds it.

        After what was written already has been answered: those calls were refused as this one was,
        and did nothing, which is more than a connection that breaks would let us know.
        """
        self._connection = None
        self._connected.clear()
        async with asyncio.timeout(CONNECT_SECONDS):
            await self._read(connection, until_answered=True)
        raise _SentElsewhere(str(cause)) from cause

    def _resolve_error(self, error: RedisError) -> None:
        future = self._in_flight.popleft()
        if not future.done():
            future.set_exception(
                self._endpoint.unavailable("call", error)
                if self._endpoint.is_unavailable(error)
                else error
            )

"""The pipeline: the one connection for all script calls of a process.

Calls made in the same turn of the loop leave in one write, and their replies arrive in one read.
Round trips dominate the cost: one redis-py round trip for each task slows a bare loop from 75,000
to 10,600 tasks a second. So there is no pool: the number of connections does not grow with the
concurrency.
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
    InvalidResponse,
    NoScriptError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from docket.errors import ConnectionClosed, NotPermitted, ServerUnavailable
from docket.loop_calls import occurs
from docket.store.connection.backoff import backoff_seconds
from docket.store.connection.credentials import Login, ProviderFailed
from docket.store.connection.endpoint import (
    CONNECT_SECONDS,
    STEADY_SECONDS,
    DirectWrites,
    Endpoint,
    connect,
)
from docket.store.connection.loop_owner import LoopOwner
from docket.store.connection.replies import Replies
from docket.store.scripts import Script, in_cluster

logger = logging.getLogger("docket.store")

Argument = str | bytes | int | float

#: Longest wait of a call for its reply before the connection counts as dead, in seconds: far longer
#: than any script takes, and than a server pauses to fork for a snapshot.
SILENCE_SECONDS = 10.0
#: Number of looks for a waiting call in that time.
_LOOKS = 10
#: Time for the loop to read the data that arrived while it was blocked, in seconds.
_GRACE_SECONDS = 1.0


# hiredis declares the parameter as a tuple of one.
_pack: Callable[[tuple[Argument, ...]], bytes] = cast("Any", hiredis).pack_command


class LostReply(ServerUnavailable):
    """The connection broke after the call was written: it may have taken effect or not."""


class _SentElsewhere(RedisConnectionError):
    """The server replied that another server is now in charge."""


class Pipeline:
    """A multiplexed connection: any number of callers, replies in the order of the calls.

    Owned by the process's `Connections`. It reconnects for as long as it is open; calls made
    meanwhile wait for up to their `patience_seconds`. A call that was written when the connection
    broke fails with LostReply and is not repeated here: only the caller knows whether that is safe.

    Args:
        endpoint: the server.
        silence_seconds: longest wait of a call for its reply before the connection counts as dead:
            otherwise it would wait for ever for a peer that vanished without closing it.
    """

    def __init__(self, endpoint: Endpoint, silence_seconds: float = SILENCE_SECONDS) -> None:
        self._endpoint = endpoint
        #: The loop that may call: see there.
        self.owner = LoopOwner(endpoint.display_url)
        self._silence_seconds = silence_seconds
        self._connection: DirectWrites | None = None
        #: Those of the connection that was opened last.
        self._replies: Replies
        #: The reason to drop the connection once every call that was written is answered.
        self._leaving: _SentElsewhere | None = None
        self._unsent: list[tuple[bytes, asyncio.Future[Any]]] = []
        self._in_flight: deque[asyncio.Future[Any]] = deque()
        #: The call of `authenticate` whose reply is due.
        self._login: asyncio.Future[Any] | None = None
        self._flush_is_due = False
        self._connected = asyncio.Event()
        self._failure: Exception | None = None
        self._runner: asyncio.Task[None] | None = None
        #: Round trips so far: writes of one or more calls.
        self.round_trips = 0
        #: Connections lost or refused so far.
        self.disruptions = 0
        #: Called after each of them: who waits for no reply would not notice.
        self.on_disruption: set[Callable[[], None]] = set()
        #: Called when a reply says that another server is in charge now.
        self.on_move: Callable[[], None] = lambda: None

    def open(self) -> None:
        """Connect, and reconnect until `close`."""
        if self._runner is None:
            self._connected.clear()
            self._runner = asyncio.create_task(self._run(), name="docket pipeline")

    async def close(self) -> None:
        """Disconnect; pending calls fail. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.cancel()
            with suppress(asyncio.CancelledError):
                await runner

    async def connected(self, patience_seconds: float | None = None) -> None:
        """Wait until the connection is up.

        Args:
            patience_seconds: the time limit; None for no limit.

        Raises:
            ServerUnavailable: it is still down after that time; the message has the last cause.
            ConnectionClosed: it was closed, or never opened.
        """
        if self._connection is not None:
            return
        self.owner.check()
        self._refuse_when_closed()
        if not await occurs(self._connected, patience_seconds):
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
        """Return True if the connection is up, as far as is known."""
        return self._connection is not None

    @property
    def oldest_call(self) -> object | None:
        """An identity of the call that has waited longest for its reply; None if none waits."""
        return self._in_flight[0] if self._in_flight else None

    @property
    def failure(self) -> Exception | None:
        """The error of the last failed attempt, while the connection is down."""
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
            script: the script.
            keys: its KEYS.
            arguments: its ARGV.
            patience_seconds: longest wait for a connection; None for no limit.

        Raises:
            LostReply: the connection broke; the script may have run.
            ServerUnavailable: there is no connection, or the server cannot serve now; nothing was
                done.
            NotPermitted: the server's user lacks a permission that the script needs.
            ResponseError: the server refused the call.
        """
        await self.connected(patience_seconds)
        script = self.variant(script)
        try:
            try:
                return await self.send("EVALSHA", script.digest, len(keys), *keys, *arguments)
            except NoScriptError:
                # The server lost its scripts (SCRIPT FLUSH), and this one did not run. Sent with
                # its source (EVAL) it runs; after SCRIPT LOAD alone it might be flushed again.
                return await self.send("EVAL", script.source, len(keys), *keys, *arguments)
        except ResponseError as error:
            denied = self.denied(script.name, error)
            if denied is None:
                raise
            raise denied from error

    def variant(self, script: Script) -> Script:
        """Return the script as this server is to run it."""
        return in_cluster(script) if self._endpoint.is_cluster else script

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
        """Return the error for a reply that the user lacks a permission, or None."""
        return self._endpoint.denied(operation, error)

    def send(self, *command: Argument) -> asyncio.Future[Any]:
        """Queue a command to be written at the end of this turn of the loop.

        Raises:
            WrongEventLoop: the call comes from another loop.
        """
        loop = asyncio.get_running_loop()
        if loop is not self.owner.loop:
            raise self.owner.refusal()
        future: asyncio.Future[Any] = loop.create_future()
        self._unsent.append((_pack(command), future))
        if not self._flush_is_due:
            self._flush_is_due = True
            loop.call_soon(self.flush)
        return future

    def authenticate(self, login: Login) -> None:
        """Authenticate the open connection; a new one asks for the credentials itself."""
        if self._connection is not None:
            self._login = self.send("AUTH", *login)
            self._login.add_done_callback(self._note_login)

    def _note_login(self, sent: "asyncio.Future[Any]") -> None:
        cause = None if sent.cancelled() else sent.exception()
        if cause is not None and not isinstance(cause, ServerUnavailable):
            logger.warning("%s refuses the pushed token: %s", self._endpoint.display_url, cause)

    def flush(self) -> None:
        """Write the queued commands now, so that the server can begin while more are added."""
        self._flush_is_due = False
        if self._connection is None or not self._unsent:
            return  # Not connected: connecting flushes.
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
                    self._replies = replies = connection.read_by(self._take)
                    self._failure, self._leaving = None, None
                    self._connection = connection
                    if failures:
                        self._tell_of_return(connected_at - lost_at)
                    self._connected.set()
                    self.flush()
                    await replies.ended
                except (RedisError, OSError) as error:
                    now = loop.time()
                    # A locator may not know the new address yet, and send us back and forth.
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
            # Wakes the callers that wait for a connection: there will be none.
            self._connected.set()

    async def _watch_silence(self) -> None:
        loop = asyncio.get_running_loop()
        oldest, since = None, loop.time()
        while True:
            # Several looks, or a call made just after one would wait for twice as long.
            await asyncio.sleep(self._silence_seconds / _LOOKS)
            if not self._waits_for(oldest):
                oldest, since = self._in_flight[0] if self._in_flight else None, loop.time()
            if oldest is None or loop.time() - since < self._silence_seconds:
                continue
            # The loop may have been blocked all the time, with the reply in the socket.
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
        # A server that returns and refuses the login is a new cause, not the one logged before.
        refused = isinstance(error, AuthenticationError | ProviderFailed)
        is_news = refused and type(error) is not type(self._failure)
        self._failure = error
        self.disruptions += 1
        for told in tuple(self.on_disruption):
            told()
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

    def _take(self, reply: Any) -> None:
        if isinstance(reply, Exception):
            self._take_error(reply)
        else:
            future = self._next_in_flight()
            if not future.done():
                future.set_result(reply)
        if self._leaving is not None and not self._in_flight:
            self._replies.end(self._leaving)

    def _take_error(self, error: Exception) -> None:
        # After a token that is refused, the connection has the user that it had.
        is_login = bool(self._in_flight) and self._in_flight[0] is self._login
        match error:
            case AuthenticationError() if not is_login:
                raise error
            case AuthenticationError() | ResponseError() | BusyLoadingError():
                self._resolve_error(error)
                if self._endpoint.is_elsewhere(error) and self._leaving is None:
                    self._leave(error)
            case _:
                raise error

    def _next_in_flight(self) -> "asyncio.Future[Any]":
        if not self._in_flight:
            raise InvalidResponse("a reply to nothing that was asked")
        return self._in_flight.popleft()

    def _leave(self, cause: RedisError) -> None:
        """Drop the connection, since only a new one finds the server that is now in charge.

        First the replies to the calls already written are read: they were refused like this one and
        did nothing, which a broken connection would leave unknown.
        """
        self._connection = None
        self._connected.clear()
        self.on_move()
        self._leaving = _SentElsewhere(str(cause))
        self._leaving.__cause__ = cause
        late = TimeoutError("the server that was in charge before does not answer")
        asyncio.get_running_loop().call_later(CONNECT_SECONDS, self._replies.end, late)

    def _resolve_error(self, error: RedisError) -> None:
        future = self._next_in_flight()
        if not future.done():
            future.set_exception(
                self._endpoint.unavailable("call", error)
                if self._endpoint.is_unavailable(error)
                else error
            )

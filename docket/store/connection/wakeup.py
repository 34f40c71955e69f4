"""The wake-up connection: a blocking connection on which an idle worker waits for work."""

import asyncio
import logging
import math
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisError, ResponseError

from docket.store.connection.credentials import Login
from docket.store.connection.endpoint import Endpoint, connect
from docket.store.keys import Keys

logger = logging.getLogger("docket.store")

#: Seconds past its timeout after which a missing reply means a dead connection.
_GRACE_SECONDS = 5.0


class WakeupConnection:
    """A connection that waits for a token in `{d}:bell`, one wait at a time.

    Owned by the worker's wake-up listener.

    Args:
        endpoint: the server.
        keys: the keys of the docket.
    """

    def __init__(self, endpoint: Endpoint, keys: Keys) -> None:
        self._endpoint = endpoint
        self._key = keys.wakeup
        # Any: redis-py leaves the types of replies open.
        self._connection: Any = None
        self._login: Login | None = None

    def authenticate(self, login: Login) -> None:
        """Authenticate an open connection before its next wait."""
        self._login = login

    async def wait(self, timeout_seconds: float) -> bool:
        """Wait for a token and take it.

        Args:
            timeout_seconds: the longest wait; more than 0.

        Returns:
            True if a token was taken; False after the timeout.

        Raises:
            ServerUnavailable: the connection is refused or broke.
            NotPermitted: the server's user lacks the permission.
        """
        if self._connection is None:
            # A new connection asks for the credentials itself.
            self._connection, self._login = self._endpoint.direct_connection(), None
        connection: Any = self._connection
        login, self._login = self._login, None
        try:
            # Our own timeout: redis-py's returns None, as the server does without a token.
            async with asyncio.timeout(timeout_seconds + _GRACE_SECONDS):
                await connect(connection)
                if login is not None:
                    connection.send_now(("AUTH", *login))
                    await connection.read_response()
                # The server may have closed it since the last wait: then the reader says so.
                connection.send_now(("BLPOP", self._key, timeout_seconds))
                reply: Any = await connection.read_response(timeout=math.inf)
        except (RedisError, OSError) as error:
            await self.close()
            operation = "wait for the bell"
            raise self._endpoint.denied(operation, error) or self._endpoint.unavailable(
                operation, error
            ) from error
        except BaseException:
            # Cancelled with the BLPOP still pending: a token must not be sent to nobody.
            await self.close()
            raise
        return bool(reply)

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(RedisError, OSError, ResponseError):
                await connection.disconnect(nowait=True)

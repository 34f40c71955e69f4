"""The bell: one blocking connection on which an idle worker waits for something to do."""

import asyncio
import logging
import math
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisError, ResponseError

from docket.store.connection.endpoint import Endpoint, connect
from docket.store.keys import Keys

logger = logging.getLogger("docket.store")

#: How much longer than asked a reply may take before the connection counts as dead, in seconds.
_GRACE_SECONDS = 5.0


class WakeupConnection:
    """Waits on `{d}:bell`. Owned by the worker's bell listener; one wait at a time.

    Args:
        endpoint: where the server is.
        keys: of the docket.
    """

    def __init__(self, endpoint: Endpoint, keys: Keys) -> None:
        self._endpoint = endpoint
        self._key = keys.wakeup
        # Any: redis-py leaves the types of replies open.
        self._connection: Any = None

    async def wait(self, timeout_seconds: float) -> bool:
        """Wait for a token and take it.

        Args:
            timeout_seconds: how long; more than 0.

        Returns:
            Whether a token was taken; False after the timeout.

        Raises:
            ServerUnavailable: the connection is refused or broke.
            NotPermitted: the server's user may not.
        """
        connection: Any = self._connection or self._endpoint.connection()
        self._connection = connection
        try:
            # Our own timeout: redis-py's returns None, as the server does when nobody rang.
            async with asyncio.timeout(timeout_seconds + _GRACE_SECONDS):
                await connect(connection)
                await connection.send_command(
                    "BLPOP", self._key, timeout_seconds, check_health=False
                )
                reply: Any = await connection.read_response(timeout=math.inf)
        except (RedisError, OSError) as error:
            await self.close()
            what = "wait for the bell"
            raise self._endpoint.denied(what, error) or self._endpoint.unavailable(
                what, error
            ) from error
        except BaseException:
            # Cancelled while the server still holds our BLPOP: its token must not go to a dead end.
            await self.close()
            raise
        return bool(reply)

    async def close(self) -> None:
        """Disconnect; twice is fine."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(RedisError, OSError, ResponseError):
                await connection.disconnect(nowait=True)

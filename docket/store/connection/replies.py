"""The replies of a connection, read in the very turn of the loop in which they arrive.

By redis-py's stream a reply waits for a turn more: the stream wakes the task that reads, and that
one wakes the caller. Of a single add it is a tenth, and it is on the way of every task.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError

_NOT_ENOUGH = object()
#: As redis-py says it.
CLOSED = "Connection closed by server."

#: Makes an exception of the text of an error reply.
ParseError = Callable[[str], Exception]


class Replies(asyncio.Protocol):
    """The reading side of one open connection.

    Args:
        take: called with each reply, in their order; an error reply is an exception.
        parse_error: redis-py's classes of errors.

    Attributes:
        ended: has the error with which the connection ended; to be awaited by its owner.
    """

    def __init__(self, take: Callable[[Any], None], parse_error: ParseError) -> None:
        self._take = take
        self._reader = cast("Any", hiredis).Reader(
            protocolError=InvalidResponse, replyError=parse_error, notEnoughData=_NOT_ENOUGH
        )
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Hand over the replies that are complete."""
        if self.ended.done():
            return
        reader, take = self._reader, self._take
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not _NOT_ENOUGH:
                take(reply)
        except RedisError as error:
            # What cannot be read, or is no reply to anything: no later one can be told from it.
            self.end(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """End, with the reason of the transport if it has one."""
        self.end(exc or RedisConnectionError(CLOSED))

    def end(self, error: Exception) -> None:
        """End with this error, unless there was one before."""
        if not self.ended.done():
            self.ended.set_exception(error)

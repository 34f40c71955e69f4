"""Connections and forks: a fork shares the sockets of its parent, and must not speak on them.

What stands in the loop's buffers at that moment would be written by both, and the parent would take
the answers to its child's calls for its own. So in a fork each connection of ours leads nowhere. A
task that uses multiprocessing needs none of this; one whose fork comes back to the loop does.
"""

import asyncio
import os
import weakref

from redis.asyncio.connection import AbstractConnection

_connected: weakref.WeakSet[AbstractConnection] = weakref.WeakSet()


def silence_in_forks(connection: AbstractConnection) -> None:
    """Have forks that are made from now on lose this connection, which is connected."""
    _connected.add(connection)


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for connection in list(_connected):
        writer: asyncio.StreamWriter | None = getattr(connection, "_writer", None)
        if writer is not None and not writer.is_closing():
            # The number stays open: closed, it would be that of whatever the child opens next.
            os.dup2(nowhere, writer.get_extra_info("socket").fileno(), inheritable=False)
    os.close(nowhere)
    _connected.clear()


os.register_at_fork(after_in_child=_silence)

"""Connections after a fork: a forked child shares its parent's sockets and must not use them.

The loop's buffers at that moment would be written by both processes, and the parent would take the
replies to its child's calls for its own. So in a child each of our connections leads nowhere. Tasks
that use multiprocessing do not need this; tasks whose fork returns to the loop do.
"""

import asyncio
import os
import weakref

from redis.asyncio.connection import AbstractConnection

_connected: weakref.WeakSet[AbstractConnection] = weakref.WeakSet()


def silence_in_forks(connection: AbstractConnection) -> None:
    """Disconnect this open connection in every process forked from now on."""
    _connected.add(connection)


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for connection in list(_connected):
        writer: asyncio.StreamWriter | None = getattr(connection, "_writer", None)
        if writer is not None and not writer.is_closing():
            # Replaced, not closed: the child would reuse a closed number for its next open file.
            os.dup2(nowhere, writer.get_extra_info("socket").fileno(), inheritable=False)
    os.close(nowhere)
    _connected.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks
    os.register_at_fork(after_in_child=_silence)

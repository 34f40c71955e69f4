"""The connections of the dashboard's server: bounded in number, and in the time to send a request.

uvicorn waits for a request without limit, and a client that sends none needs no password. A few
hundred of them, or as many that send a byte now and then, would keep everybody else out.
"""

from __future__ import annotations

import asyncio
import importlib
from collections import OrderedDict
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

#: The time in which the headers of a request have to arrive, in seconds; also the rest of a body
#: that was answered before it was there.
HEADERS_SECONDS = 15.0
#: The most connections at once.
MOST_CONNECTIONS = 2_000
#: Descriptors that are kept for everything else: the servers of dockets, files, standard streams.
_OTHER_DESCRIPTORS = 64


class ConnectionBounds:
    """The connections of one server.

    At the bound the one that has been without a request for longest is closed, not the new one: a
    browser sends its request at once, and is to be answered however many were opened before it.

    Args:
        most: the most at once; by default as many as the process has descriptors for.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = fitting_number() if most is None else most
        #: Those whose headers are awaited, the oldest first, with their deadlines.
        self._silent: OrderedDict[BoundedProtocol, asyncio.TimerHandle] = OrderedDict()
        self._number = 0

    def protocol(self, **settings: Any) -> BoundedProtocol:
        """Make the protocol of a connection, for uvicorn."""
        return BoundedProtocol(self, **settings)

    def opened(self, connection: BoundedProtocol) -> None:
        """Count a connection, and close another one if there are too many."""
        self._number += 1
        self.await_headers(connection)
        if self._number > self._most:
            oldest = next(iter(self._silent))
            self.heard(oldest)
            oldest.transport.abort()

    def closed(self, connection: BoundedProtocol) -> None:
        """Forget a connection."""
        self._number -= 1
        self.heard(connection)

    def await_headers(self, connection: BoundedProtocol) -> None:
        """Close a connection unless it is heard in time."""
        if connection not in self._silent:
            loop = asyncio.get_running_loop()
            self._silent[connection] = loop.call_later(HEADERS_SECONDS, connection.transport.abort)

    def heard(self, connection: BoundedProtocol) -> None:
        """Wait no more for the headers of a connection."""
        deadline = self._silent.pop(connection, None)
        if deadline is not None:
            deadline.cancel()


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 on one of these connections.

    By h11, whatever else is installed: its headers are bounded.
    """

    def __init__(self, bounds: ConnectionBounds, **settings: Any) -> None:
        super().__init__(**settings)
        self._bounds = bounds

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._bounds.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._bounds.closed(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in a part of a request."""
        super().data_received(data)
        if self._is_answering():
            self._bounds.heard(self)
        elif not self.transport.is_closing():
            self._bounds.await_headers(self)

    def _is_answering(self) -> bool:
        # uvicorn has no cycle before the first request is complete with its headers.
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete


def fitting_number() -> int:
    """Return the number of connections that the descriptors of this process are enough for."""
    try:
        resource = importlib.import_module("resource")
    except ImportError:  # not for Windows, which has no such limit
        return MOST_CONNECTIONS
    soft: int = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(1, min(MOST_CONNECTIONS, soft - _OTHER_DESCRIPTORS))

"""HTTP for probes and scrapers, on the supervisor's own loop: a response proves that it runs.

A small server by hand: GET and HEAD of four paths, one response a connection. It has to withstand
faulty probes, not the internet: headers that never end (5 s), many connections (64). A page in
somebody's browser reaches it too, by a name of its own that leads to our address (DNS rebinding):
so what tells about the pool is told only under a name or an address that is ours.
"""

import asyncio
import contextlib
import errno
import logging
from collections.abc import Callable, Collection
from http import HTTPStatus

from msgspec import Struct

from docket_display.hosts import AllowedHosts
from docket_display.printable import on_one_line
from supervisor.config import Address
from supervisor.errors import AddressInUse, ConfigurationError

HEADER_SECONDS = 5.0
MAX_CONNECTIONS = 64
MAX_HEADER_BYTES = 16 * 1024

log = logging.getLogger("supervisor.endpoints")


class Response(Struct, frozen=True):
    """A body and its status."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"

    def encode(self, *, with_body: bool = True) -> bytes:
        """Encode the response as HTTP."""
        head = (
            f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\n"
            f"Content-Type: {self.content_type}\r\n"
            f"Content-Length: {len(self.body)}\r\n"
            "Cache-Control: no-store\r\n"
            "Connection: close\r\n\r\n"
        )
        return head.encode("ascii") + (self.body if with_body else b"")


def text(status: HTTPStatus, message: str) -> Response:
    """Make a response of one line of text, whatever is in it: a server chooses its errors."""
    return Response(status, on_one_line(message).encode() + b"\n")


Handler = Callable[[], Response]

#: Probes, which tell nothing that is worth a secret and are asked under any name.
PROBES = frozenset({"/livez", "/readyz"})


class HttpServer:
    """Serve the handlers, by path, from `start` until `stop`.

    Arguments:
        address: where to listen; port 0 takes a free one.
        handlers: called on the loop, by path.
        allowed_hosts: names for the Host header, besides addresses, localhost and that of the
            address; "*" allows every name.
    """

    def __init__(
        self,
        address: Address,
        handlers: dict[str, Handler],
        allowed_hosts: Collection[str] = (),
    ) -> None:
        self._address = address
        self._allowed_hosts = AllowedHosts((*allowed_hosts, address.host))
        self._handlers = handlers
        self._server: asyncio.Server | None = None
        #: Oldest first.
        self._connections: dict[asyncio.Task[None], None] = {}

    async def start(self) -> Address:
        """Start to listen; return the address with the port that was taken.

        Raises:
            AddressInUse: another process listens there.
            ConfigurationError: the address cannot be bound for another reason.
        """
        try:
            self._server = await asyncio.start_server(
                self._connected,
                self._address.host or None,
                self._address.port,
                limit=MAX_HEADER_BYTES,
            )
        except OSError as error:
            kind = AddressInUse if error.errno == errno.EADDRINUSE else ConfigurationError
            raise kind(
                f"--http: cannot listen on {self._address}: {error.strerror or error}"
            ) from None
        port = self._server.sockets[0].getsockname()[1]
        return Address(self._address.host, port)

    async def stop(self) -> None:
        """Close the socket and every connection. Twice is fine."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        if len(self._connections) >= MAX_CONNECTIONS:
            # Not the new one: a probe sends its request at once, and must be answered however many
            # connections without a request were opened before it.
            oldest = next(iter(self._connections))
            del self._connections[oldest]
            oldest.cancel()
        self._connections[task] = None
        try:
            async with asyncio.timeout(HEADER_SECONDS):
                writer.write(await self._respond(reader))
                await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.CancelledError):
            # Too slow, gone, or the server stops: no response would be read.
            writer.transport.abort()
        finally:
            self._connections.pop(task, None)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _respond(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            return b"" if not error.partial else _bad("the request is incomplete")
        except asyncio.LimitOverrunError:
            return _bad("the headers are too long")
        first, *headers = head.decode("latin-1").split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _bad("this is not HTTP/1.1")
        method, target, _ = words
        path = target.partition("?")[0]
        hosts = [value for name, _, value in (h.partition(":") for h in headers) if _is_host(name)]
        if path not in PROBES and not self._allowed_hosts.allow(hosts):
            return text(
                HTTPStatus.MISDIRECTED_REQUEST,
                "this name in the Host header is not ours; --http-allow-host NAME allows it",
            ).encode(with_body=method != "HEAD")
        return self._route(method, path).encode(with_body=method != "HEAD")

    def _route(self, method: str, path: str) -> Response:
        handler = self._handlers.get(path)
        if handler is None:
            known = " ".join(sorted(self._handlers))
            return text(HTTPStatus.NOT_FOUND, f"not found; there are {known}")
        if method not in ("GET", "HEAD"):
            return text(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD")
        try:
            return handler()
        except Exception:
            log.exception("%s could not be answered", path)
            return text(HTTPStatus.INTERNAL_SERVER_ERROR, "see the supervisor's log")


def _is_host(header: str) -> bool:
    return header.strip().lower() == "host"


def _bad(message: str) -> bytes:
    return text(HTTPStatus.BAD_REQUEST, message).encode()

"""A small HTTP server on a thread, for probes and scrapers: one answer for every path.

It runs on a thread so that it can answer, and report it, while the event loop is blocked. It has to
withstand faulty clients, not the internet: requests that never end, many connections; and pages in
somebody's browser (see docket_display.hosts).
"""

from __future__ import annotations

import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, cast

from docket.errors import DocketError
from docket_display.hosts import AllowedHosts

logger = logging.getLogger("docket.metrics")

#: Time limit for a client to send its request and to read the answer, in seconds.
REQUEST_SECONDS = 5.0
#: Connections at a time, each with a thread; one more ends the oldest.
MAX_CONNECTIONS = 64
#: Pause after a connection that could not be accepted, in seconds: its thread would spin.
ACCEPT_PAUSE_SECONDS = 0.1
#: Characters of a path in the log.
_SHOWN_PATH = 200


class CannotListen(DocketError, OSError):
    """The process cannot listen on a port for probes or metrics."""


class Answer(NamedTuple):
    """The answer to a request."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


_MISDIRECTED = Answer(
    HTTPStatus.MISDIRECTED_REQUEST,
    b"this name in the Host header is not ours; --http-allow-host NAME, or allowed_hosts= of a "
    b"server in Python, allows it\n",
)


@contextmanager
def serving(
    purpose: str,
    host: str,
    port: int,
    answer: Callable[[], Answer],
    allowed_hosts: Collection[str] = ("*",),
) -> Generator[int]:
    """Answer every GET and HEAD until the context exits; yields the port.

    Args:
        purpose: the purpose of the server, for messages.
        host: name or address of the interface to listen on.
        port: the port; 0 chooses a free one.
        answer: called for each request, on a thread.
        allowed_hosts: names for the Host header, besides addresses, localhost and `host`; "*"
            allows every name.

    Raises:
        CannotListen: the port is taken, or the process lacks the permission.
    """
    try:
        server = _Server((host, port), answer, AllowedHosts((*allowed_hosts, host)))
    except (OSError, OverflowError) as error:
        raise CannotListen(f"cannot serve {purpose} on {host}:{port}: {error}") from error
    thread = threading.Thread(target=server.serve_forever, name=f"docket {purpose}", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    # A slow client must not keep the process from ending.
    daemon_threads = True
    block_on_close = False

    def __init__(
        self, address: tuple[str, int], answer: Callable[[], Answer], allowed_hosts: AllowedHosts
    ) -> None:
        self.answer = answer
        self.allowed_hosts = allowed_hosts
        #: The time at which each connection was accepted, oldest first; changed on all threads.
        self._connections: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection on a thread; if there are too many, end the oldest.

        Not the new one: a probe sends its request at once, and must be answered however many
        connections without a request were opened before it.
        """
        with self._lock:
            if len(self._connections) >= MAX_CONNECTIONS:
                _end(next(iter(self._connections)))
            self._connections[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End the connections that last too long, a few times a second: each byte takes time."""
        with self._lock:
            latest = time.monotonic() - REQUEST_SECONDS
            for connection in [c for c, since in self._connections.items() if since < latest]:
                _end(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log a connection that failed: by its client, or ended here."""
        logger.debug("A connection of %s failed: %r", client_address, sys.exc_info()[1])

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; after a failure (no descriptor is free) not again at once."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(ACCEPT_PAUSE_SECONDS)
            raise


def _end(connection: socket.socket) -> None:
    # Its thread, which reads or writes, closes it: nobody else may, its number could be another's.
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_SECONDS

    def do_GET(self) -> None:
        """Answer with a body."""
        self._reply(with_body=True)

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self._reply(with_body=False)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log requests at level DEBUG: probes come every few seconds."""
        logger.debug(format, *args)

    def _reply(self, *, with_body: bool) -> None:
        server = cast("_Server", self.server)
        try:
            status, body, content_type = (
                server.answer()
                if server.allowed_hosts.allow(self.headers.get_all("Host", []))
                else _MISDIRECTED
            )
        except Exception:
            logger.exception("%s could not be answered", self.path[:_SHOWN_PATH])
            status, body, content_type = (
                HTTPStatus.INTERNAL_SERVER_ERROR,
                b"see the log\n",
                "text/plain",
            )
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

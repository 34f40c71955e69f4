"""A small HTTP server on a thread, for probes and scrapers: one answer for every path.

It runs on a thread so that it can answer, and report it, while the event loop is blocked.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, cast

from docket.errors import DocketError

logger = logging.getLogger("docket.metrics")

#: Time limit for a client to send its request, in seconds.
REQUEST_SECONDS = 5.0
#: Pause after a connection that could not be accepted, in seconds: its thread would spin.
ACCEPT_PAUSE_SECONDS = 0.1


class CannotListen(DocketError, OSError):
    """The process cannot listen on a port for probes or metrics."""


class Answer(NamedTuple):
    """The answer to a request."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


@contextmanager
def serving(purpose: str, host: str, port: int, answer: Callable[[], Answer]) -> Generator[int]:
    """Answer every GET and HEAD until the context exits; yields the port.

    Args:
        purpose: the purpose of the server, for messages.
        host: name or address of the interface to listen on.
        port: the port; 0 chooses a free one.
        answer: called for each request, on a thread.

    Raises:
        CannotListen: the port is taken, or the process lacks the permission.
    """
    try:
        server = _Server((host, port), answer)
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

    def __init__(self, address: tuple[str, int], answer: Callable[[], Answer]) -> None:
        self.answer = answer
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; after a failure (no descriptor is free) not again at once."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(ACCEPT_PAUSE_SECONDS)
            raise


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
        try:
            status, body, content_type = cast("_Server", self.server).answer()
        except Exception:
            logger.exception("%s could not be answered", self.path)
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

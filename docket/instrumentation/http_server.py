"""A small HTTP server on a thread, for probes and scrapers: one answer to every path.

A thread, so that it answers while the event loop is blocked, and can say that it is.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, cast

from docket.errors import DocketError

logger = logging.getLogger("docket.metrics")

#: How long a client may take to send its request, in seconds.
REQUEST_SECONDS = 5.0


class CannotListen(DocketError, OSError):
    """A port for probes or metrics cannot be listened on."""


class Answer(NamedTuple):
    """What a client is told."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


@contextmanager
def serving(what: str, host: str, port: int, answer: Callable[[], Answer]) -> Generator[int]:
    """Answer every GET and HEAD while the context lasts; the port that is listened on.

    Args:
        what: it is for, in messages.
        host: name or address of the interface to listen on.
        port: 0 takes a free one.
        answer: called for each request, on a thread.

    Raises:
        CannotListen: the port is taken, or may not be taken.
    """
    try:
        server = _Server((host, port), answer)
    except (OSError, OverflowError) as error:
        raise CannotListen(f"cannot serve {what} on {host}:{port}: {error}") from error
    thread = threading.Thread(target=server.serve_forever, name=f"docket {what}", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    # A client that is slow to go must not keep the process.
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], answer: Callable[[], Answer]) -> None:
        self.answer = answer
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_SECONDS

    def do_GET(self) -> None:
        """Answer with a body."""
        self._reply(with_body=True)

    def do_HEAD(self) -> None:
        """Answer without one."""
        self._reply(with_body=False)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """At level DEBUG: probes come every few seconds."""
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

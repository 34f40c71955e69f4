"""Asks /status again and again, as fast as it answers, in a thread of its own."""

import asyncio
import json
import socket
import threading
import time
from types import TracebackType
from typing import Self

from stress.runtime.capacity import Sample, sample

#: For one answer; the supervisor's loop never takes this long.
ANSWER_SECONDS = 10.0

REQUEST = b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


class Sampler:
    """Samples during its block; they are complete after it.

    Args:
        port: of the runtime's endpoints.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = threading.Event()
        self.samples: list[Sample] = []

    async def __aenter__(self) -> Self:
        self._sampling = asyncio.create_task(asyncio.to_thread(self._sample))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        await self._sampling

    def _sample(self) -> None:
        while not self._stop.is_set():
            asked_at = time.monotonic()
            answer = _ask(self._port)
            self.samples.append(sample(json.loads(answer), asked_at, time.monotonic()))


def _ask(port: int) -> bytes:
    """The body of /status. By hand: http.client takes longer than the answer does."""
    with socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS) as connection:
        connection.sendall(REQUEST)
        pieces: list[bytes] = []
        while piece := connection.recv(1 << 16):
            pieces.append(piece)
    head, _, body = b"".join(pieces).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ConnectionError(f"/status answered {head!r}")
    return body

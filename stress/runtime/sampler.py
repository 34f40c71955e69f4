"""A thread that requests /status again and again, as fast as it is answered."""

import asyncio
import json
import threading
import time
from types import TracebackType
from typing import Self

from stress.pool import ask
from stress.runtime.capacity import CapacitySample, sample

#: For one answer; the supervisor's loop never takes this long.
ANSWER_SECONDS = 10.0


class CapacitySampler:
    """Takes samples during its block; they are complete after it.

    Arguments:
        port: of the runtime's endpoints.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = threading.Event()
        self.samples: list[CapacitySample] = []

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
            _, body = ask(self._port, "/status", ANSWER_SECONDS)
            self.samples.append(sample(json.loads(body), asked_at, time.monotonic()))

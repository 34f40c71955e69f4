"""What the endpoints of a pool say, all the time."""

import asyncio
import time

from stress.away.figures import Answer
from stress.chaos.hosts import Host

LOOK_SECONDS = 0.1


class Probe:
    """Asks /livez and /readyz again and again, as whoever balances a load does.

    Arguments:
        host: whom.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self.answers: list[Answer] = []

    async def watch(self) -> None:
        """Ask for as long as nobody cancels it."""
        while True:
            for path in ("/livez", "/readyz"):
                asked_at = time.monotonic()
                code, body = await self._host.answer(path)
                self.answers.append(Answer(asked_at, path, code, body.strip()))
            await asyncio.sleep(LOOK_SECONDS)

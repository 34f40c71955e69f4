"""The longest calls of a server by the clock, of scripts and of other commands.

On a machine that others use too, that includes the time in which the server was ready to go on and
had no CPU; the kernel counts that time, and with more than a little of it nothing is judged by the
clock (timed.py judges the scripts by the CPU that they take).
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from docket.store import scripts
from docket.store.scripts import Script
from stress.runtime.report import Figure, Limit
from stress.soak.settings import MUST_CALL_MS

#: Calls from this length on are written down, in microseconds.
SLOWER_THAN = 1_000
#: A server cannot make more calls of that length between two looks, unless our loop is held up.
KEPT = 2_048
LOOK_SECONDS = 1.0
#: Of the time, at most, that the server may wait for a CPU if the clock is to judge it.
MUST_HAVE_CPU = 0.005

#: Ours, that prepare or look: not what is judged.
OWN = frozenset({"slowlog", "flushall", "info", "config", "script", "command"})


def name_of(command: bytes) -> str:
    """What a call is to be known by: `script adopt`, or `XRANGE`."""
    words = command.split(b" ", 2)
    first = words[0].decode(errors="replace")
    match first.lower():
        case "evalsha" if len(words) > 1:
            digest = words[1].decode(errors="replace")
            return f"script {_names().get(digest, 'of somebody else')}"
        case "eval":
            return "script, sent for the first time"
        case _:
            return first.upper()


def _names() -> dict[str, str]:
    # Anew each time: timed.py puts others in their place.
    return {each.digest: each.name for each in vars(scripts).values() if isinstance(each, Script)}


class LongestCalls:
    """The longest call of each name by the clock, in milliseconds.

    Attributes:
        milliseconds: of each name.
        starved: how long the server waited for a CPU, in milliseconds.
        seconds: how long was looked.
    """

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        self.starved = 0.0
        self.seconds = 0.0

    def take(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """What SLOWLOG GET returned."""
        for entry in entries:
            name = name_of(entry["command"])
            if name.lower() not in OWN:
                longest = self.milliseconds.get(name, 0.0)
                self.milliseconds[name] = max(longest, entry["duration"] / 1000)

    def figures(self) -> list[Figure]:
        """The longest call of all and its name's; judged if the server had a CPU when it needed."""
        is_fair = self.starved < MUST_HAVE_CPU * self.seconds * 1000
        limit = Limit("most", at_most=MUST_CALL_MS) if is_fair else None
        floor = ("none was longer", SLOWER_THAN / 1000)
        name, longest = max(self.milliseconds.items(), key=lambda named: named[1], default=floor)
        return [
            Figure(f"longest call by the clock: {name}", [longest], "ms", limit),
            Figure("server waited for a CPU", [self.starved / 1000], "s"),
        ]


@contextlib.asynccontextmanager
async def watched(client: Redis, pid: int) -> AsyncIterator[LongestCalls]:
    """Collect the longest calls of the block; complete after it.

    Args:
        client: of the server.
        pid: of the server.
    """
    await client.config_set("slowlog-log-slower-than", SLOWER_THAN)
    await client.config_set("slowlog-max-len", KEPT)
    await client.slowlog_reset()
    watch, is_over = _Watch(client, pid), asyncio.Event()
    looking = asyncio.create_task(watch.go_on(is_over))
    try:
        yield watch.longest
    finally:
        is_over.set()
        await looking


class _Watch:
    def __init__(self, client: Redis, pid: int) -> None:
        self.longest = LongestCalls()
        self._client = client
        self._schedstat = Path(f"/proc/{pid}/schedstat")
        self._began, self._waited = time.monotonic(), self._waited_ms()

    async def go_on(self, is_over: asyncio.Event) -> None:
        while not is_over.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await is_over.wait()
            await self._look()

    async def _look(self) -> None:
        # Read and emptied in one step: nothing is written down in between.
        pipeline = self._client.pipeline(transaction=True)
        pipeline.slowlog_get(KEPT)
        pipeline.slowlog_reset()
        self.longest.take((await pipeline.execute())[0])
        self.longest.starved = self._waited_ms() - self._waited
        self.longest.seconds = time.monotonic() - self._began

    def _waited_ms(self) -> float:
        try:
            return int(self._schedstat.read_text().split()[1]) / 1e6
        except FileNotFoundError:
            return 0.0  # Linux alone tells.

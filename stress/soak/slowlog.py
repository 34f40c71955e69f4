"""The longest calls of a server by the clock, of scripts and of other commands.

On a machine with other users that includes the time in which the server was ready to go on and had
no CPU. The kernel counts that time, and with more than a little of it nothing is judged by the
clock (script_clocks.py judges the scripts by the CPU that they take).
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from docket.store import scripts
from docket.store.scripts import Script
from stress.report import Figure, Limit
from stress.soak.scale import MUST_CALL_MS

#: Calls from this duration on are logged, in microseconds.
SLOWER_THAN = 1_000
#: A server cannot make more calls of that duration between two looks, unless our loop is blocked.
KEPT = 2_048
LOOK_SECONDS = 1.0
#: Of the time, at most, that the server may wait for a CPU if the clock is to judge it.
MUST_HAVE_CPU = 0.005

#: Commands of this program, to prepare or to look: they are not judged.
OWN = frozenset({"slowlog", "flushall", "info", "config", "script", "command"})


def name_of(command: bytes) -> str:
    """Name a call: `script adopt`, or `XRANGE`."""
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
    # Anew each time: script_clocks.py replaces them.
    return {each.digest: each.name for each in vars(scripts).values() if isinstance(each, Script)}


class LongestCalls:
    """The longest call of each name by the clock, in milliseconds.

    Attributes:
        milliseconds: of each name.
        starved: the time that the server waited for a CPU, in milliseconds.
        seconds: the time that was observed.
    """

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        self.starved = 0.0
        self.seconds = 0.0

    def take(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Add the entries of SLOWLOG GET."""
        for entry in entries:
            name = name_of(entry["command"])
            if name.lower() not in OWN:
                longest = self.milliseconds.get(name, 0.0)
                self.milliseconds[name] = max(longest, entry["duration"] / 1000)

    def figures(self) -> list[Figure]:
        """The figure of the longest call; judged if the server had a CPU when it needed one."""
        is_fair = self.starved < MUST_HAVE_CPU * self.seconds * 1000
        limit = Limit("most", at_most=MUST_CALL_MS) if is_fair else None
        floor = ("none was longer", SLOWER_THAN / 1000)
        name, longest = max(self.milliseconds.items(), key=lambda named: named[1], default=floor)
        return [
            Figure(f"longest call by the clock: {name}", [longest], "ms", limit),
            Figure("server waited for a CPU", [self.starved / 1000], "s"),
        ]


@contextlib.asynccontextmanager
async def longest_calls(client: Redis) -> AsyncGenerator[LongestCalls]:
    """Collect the longest calls of the block; they are complete after it."""
    pid = (await client.info("server"))["process_id"]
    await client.config_set("slowlog-log-slower-than", SLOWER_THAN)
    await client.config_set("slowlog-max-len", KEPT)
    await client.slowlog_reset()
    monitor = _Monitor(client, pid)
    is_over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(monitor.run(is_over))
        try:
            yield monitor.longest
        finally:
            is_over.set()


class _Monitor:
    def __init__(self, client: Redis, pid: int) -> None:
        self.longest = LongestCalls()
        self._client = client
        self._schedstat = Path(f"/proc/{pid}/schedstat")
        self._began, self._waited = time.monotonic(), self._waited_ms()

    async def run(self, is_over: asyncio.Event) -> None:
        # Not cancelled at the end: a look that has emptied the log must report what it read.
        while not is_over.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await is_over.wait()
            await self._look()

    async def _look(self) -> None:
        # Read and emptied in one step, so that nothing is logged in between.
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

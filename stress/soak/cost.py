"""What a task costs: CPU of this process and of the server, in microseconds."""

import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from stress.runtime.report import Figure, Limit


@dataclass
class Cost:
    """Of a number of tasks together, in seconds.

    Args:
        tasks: how many.
        ours: CPU of this process.
        server: CPU of the server.
        wall: time by the clock.
    """

    tasks: int
    ours: float = 0.0
    server: float = 0.0
    wall: float = 0.0

    def less(self, idle: "Cost") -> "Cost":
        """Without what it costs when there is no task at all."""
        return Cost(
            self.tasks, self.ours - idle.ours, self.server - idle.server, self.wall - idle.wall
        )

    @property
    def microseconds(self) -> float:
        """CPU of both for one task."""
        return (self.ours + self.server) * 1e6 / self.tasks


@contextlib.asynccontextmanager
async def metered(client: Redis, tasks: int) -> AsyncIterator[Cost]:
    """The cost of what is done to `tasks` tasks in the block; known after it."""
    cost = Cost(tasks)
    server, ours, wall = await server_cpu(client), time.process_time(), time.monotonic()
    yield cost
    cost.ours, cost.wall = time.process_time() - ours, time.monotonic() - wall
    cost.server = await server_cpu(client) - server


async def server_cpu(client: Redis) -> float:
    """Seconds of CPU that the server has used."""
    told = await client.info("cpu")
    return told["used_cpu_user"] + told["used_cpu_sys"]


def middle(costs: Sequence[Cost]) -> Cost:
    """The one in the middle, by the cost of a task."""
    return sorted(costs, key=lambda cost: cost.microseconds)[len(costs) // 2]


def compared(
    what: str,
    small: Sequence[Cost],
    full: Cost,
    limit: Limit | None,
    sizes: tuple[str, str] | None = None,
) -> list[Figure]:
    """A cost at both sizes, and how many times the one is the other: judged by the medians.

    Args:
        limit: of the ratio.
        sizes: their names, where it is not the number of tasks that makes them.
    """
    smaller, larger = sizes or (f"{small[0].tasks:,}", f"{full.tasks:,}")
    least = statistics.median(cost.microseconds for cost in small)
    ratio = full.microseconds / least
    return [
        Figure(f"{what}, {smaller}", [cost.microseconds for cost in small], "us"),
        Figure(f"{what}, {larger}", [full.microseconds], "us"),
        Figure(f"  of it ours, {larger}", [full.ours * 1e6 / full.tasks], "us"),
        Figure(f"{what}, ratio", [ratio], "", limit),
    ]

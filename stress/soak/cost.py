"""The cost of a task: CPU of this process and of the server, in microseconds."""

import contextlib
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from stress.report import Figure, Limit

#: The costs of a round that adds tasks and runs them.
ADD_AND_RUN = {"add": "add", "run": "run"}


@dataclass
class Cost:
    """The cost of a number of tasks together, in seconds.

    Arguments:
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
        """Subtract the cost of a worker that finds no task at all."""
        return Cost(
            self.tasks, self.ours - idle.ours, self.server - idle.server, self.wall - idle.wall
        )

    @property
    def microseconds(self) -> float:
        """The CPU of both for one task."""
        return (self.ours + self.server) * 1e6 / self.tasks


@contextlib.asynccontextmanager
async def metered(client: Redis, tasks: int) -> AsyncGenerator[Cost]:
    """Measure the cost of the block, which handles `tasks` tasks; it is known after the block."""
    cost = Cost(tasks)
    server, ours, wall = await server_cpu(client), time.process_time(), time.monotonic()
    yield cost
    cost.ours, cost.wall = time.process_time() - ours, time.monotonic() - wall
    cost.server = await server_cpu(client) - server


async def server_cpu(client: Redis) -> float:
    """Ask for the CPU seconds that the server has used."""
    told = await client.info("cpu")
    return told["used_cpu_user"] + told["used_cpu_sys"]


@dataclass(frozen=True)
class Round:
    """One round of a scenario at some size.

    Arguments:
        costs: of its parts, by name.
        weight: memory of the server for one task, in bytes.
        sweep_seconds: duration of a sweep, where there is one.
    """

    costs: dict[str, Cost]
    weight: float = 0.0
    sweep_seconds: float = 0.0


async def at_both_sizes(
    measure: Callable[[int], Awaitable[Round]], small: int, full: int, rounds: int
) -> tuple[list[dict[str, Cost]], Round]:
    """Measure the full size, and the small one before and after it; the first round warms up."""
    await measure(small)
    before = [(await measure(small)).costs for _ in range(rounds)]
    found = await measure(full)
    return [*before, *[(await measure(small)).costs for _ in range(rounds)]], found


def middle(costs: Sequence[Cost]) -> Cost:
    """Find the median one, by the cost of a task."""
    return sorted(costs, key=lambda cost: cost.microseconds)[len(costs) // 2]


def compared(
    what: str,
    small: Sequence[Cost],
    full: Cost,
    limit: Limit | None,
    sizes: tuple[str, str] | None = None,
) -> list[Figure]:
    """Compare a cost at both sizes: both, and their ratio, judged by the medians.

    Arguments:
        limit: of the ratio.
        sizes: their names, where it is not the number of tasks that makes them.
    """
    smaller, larger = sizes or (f"{small[0].tasks:,}", f"{full.tasks:,}")
    least = statistics.median(cost.microseconds for cost in small)
    ratio = full.microseconds / least
    return [
        Figure(f"{what}, {smaller}", [cost.microseconds for cost in small], "us"),
        Figure(f"{what}, {larger}", [full.microseconds], "us"),
        Figure(f"  of which this process, {larger}", [full.ours * 1e6 / full.tasks], "us"),
        Figure(f"{what}, ratio", [ratio], "", limit),
    ]


def compared_all(
    names: Mapping[str, str],
    small: Sequence[Mapping[str, Cost]],
    full: Mapping[str, Cost],
    limit: Limit | None,
    sizes: tuple[str, str] | None = None,
) -> list[Figure]:
    """Compare several costs of the same rounds.

    Arguments:
        names: key of the cost in each round -> name of its figures.
    """
    return [
        figure
        for key, name in names.items()
        for figure in compared(name, [each[key] for each in small], full[key], limit, sizes)
    ]

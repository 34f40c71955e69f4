"""The environment of a scenario: a server of its own, and ways to fill and to empty it."""

import itertools
from collections.abc import Awaitable, Callable, Iterator

from redis.asyncio import Redis

from docket import Docket, TaskCall, Worker
from stress.soak.cost import Cost, metered, middle
from stress.waiting import eventually

#: Calls that are made at once: their objects fill our memory, not the server's.
SLICE = 5_000
CONCURRENCY = 100
#: Workers that find nothing to do, to measure the cost of that.
IDLE_ROUNDS = 9
#: For the server to give the memory of a full size back.
EMPTY_SECONDS = 60.0


class Environment:
    """A server that nobody else uses.

    Arguments:
        url: of the server.
        client: to inspect it.
        before_emptying: called before everything there is removed.
    """

    def __init__(
        self, url: str, client: Redis, before_emptying: Callable[[], Awaitable[None]]
    ) -> None:
        self.url = url
        self.client = client
        self._before_emptying = before_emptying
        self._idle_cost: Cost | None = None

    async def memory(self) -> int:
        """Ask for the bytes that the server holds."""
        return (await self.client.info("memory"))["used_memory"]

    async def empty(self) -> None:
        """Remove everything, and wait until the memory is given back."""
        await self._before_emptying()
        await self.client.flushall(asynchronous=True)

        async def is_free() -> bool:
            return not (await self.client.info("memory")).get("lazyfree_pending_objects")

        await eventually(is_free, EMPTY_SECONDS, every=0.05)

    async def add(
        self, docket: Docket, count: int, call: Callable[[int], TaskCall], at_once: int = SLICE
    ) -> Cost:
        """Add `count` tasks, in calls of `at_once` as a user's batch would be."""
        async with metered(self.client, count) as cost:
            for slice_of in _slices(count, at_once):
                await docket.add_many(map(call, slice_of))
        return cost

    async def drain(self, docket: Docket, count: int, concurrency: int = CONCURRENCY) -> Cost:
        """Let one worker run everything, which must be `count` tasks.

        The cost of a worker that finds nothing to do, its start and end, is subtracted: it would
        make a small number of tasks look expensive, and a large one cheap.

        Raises:
            RuntimeError: it ran another number of tasks.
        """
        async with Worker(docket, concurrency=concurrency) as worker:
            async with metered(self.client, count) as cost:
                await worker.run_until_finished()
            if worker.counters.succeeded != count:
                raise RuntimeError(f"{worker.counters.succeeded} of {count} tasks succeeded")
        return cost.less(await self._idle(docket))

    async def _idle(self, docket: Docket) -> Cost:
        if self._idle_cost is None:
            costs: list[Cost] = []
            for _ in range(IDLE_ROUNDS):
                async with (
                    Worker(docket, concurrency=CONCURRENCY) as worker,
                    metered(self.client, 1) as cost,
                ):
                    await worker.run_until_finished()
                costs.append(cost)
            self._idle_cost = middle(costs)
        return self._idle_cost


def _slices(count: int, at_once: int) -> Iterator[range]:
    for start, stop in itertools.pairwise([*range(0, count, at_once), count]):
        yield range(start, stop)

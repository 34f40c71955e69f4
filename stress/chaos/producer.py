"""A producer: adds tasks of all kinds at a steady pace, and notes each accepted one.

It is a program of its own, so that it can be killed. An add that raises is repeated with the same
key until it is accepted: the docket promises that this schedules once.
"""

import asyncio
import contextlib
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from docket import Agenda, Docket
from stress.chaos import task_kinds
from stress.history import Event, HistoryWriter
from stress.waiting import insist

#: The relative frequency of each kind.
WEIGHTS: dict[str, int] = {
    "plain": 30,
    "payload": 3,
    "retry": 8,
    "failing": 3,
    "late": 2,
    "chain": 4,
    "relay": 4,
    "limited": 14,
    "rated": 4,
    "cool": 3,
    "settled": 3,
    "blocker": 2,
    "threaded": 3,
    "holder": 1,
    "deaf": 1,
    "depending": 6,
    "replaced": 4,
    "cancelled": 5,
    "scheduled": 8,
    "batch": 4,
}
#: One in so many tasks kills its process.
POISON_ONE_IN = 1500
#: One in so many hangs its process, which is killed a stall timeout later.
HANGING_ONE_IN = 3000
#: Adds under way at once.
AT_ONCE = 20
CUSTOMERS = 6
TOPICS = 4

#: The arguments of each kind that takes some.
ARGUMENTS: dict[str, Callable[[random.Random], tuple[Any, ...]]] = {
    "plain": lambda draw: (draw.choice((0.0, 0.01, 0.05, 0.2, 0.5, 2.0)),),
    "payload": lambda draw: (draw.randbytes(draw.choice((10, 1_000, 100_000))),),
    "limited": lambda draw: (draw.randrange(CUSTOMERS), draw.choice((0.01, 0.05, 0.2))),
    "cool": lambda draw: (draw.randrange(TOPICS),),
    "settled": lambda draw: (draw.randrange(TOPICS),),
    "blocker": lambda draw: (draw.uniform(0.1, 1.0),),
    "threaded": lambda draw: (draw.choice((0.01, 0.2, 1.0, 3.0)),),
    # Now and then for longer than a heartbeat may be missed, within the stall timeout.
    "holder": lambda draw: (10.5 if draw.randrange(20) == 0 else 0.05,),
    "deaf": lambda draw: (draw.uniform(0.5, 2.0),),
}

Add = Callable[[], Awaitable[object]]


class Producer:
    """A producer that adds until it is stopped.

    Arguments:
        history: takes what it adds.
        name: the beginning of its keys, which no other producer uses.
        rate: adds in a second.
    """

    def __init__(
        self, docket: Docket, history: HistoryWriter, name: str, rate: float, seed: int
    ) -> None:
        self._docket, self._history = docket, history
        self._name, self._rate = name, rate
        self._random = random.Random(seed)
        self._count = 0
        self.over = asyncio.Event()

    async def run(self) -> None:
        """Add at the given rate until `over`, then finish what was begun."""
        slots = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as adds:
            while not self.over.is_set():
                await slots.acquire()
                task = adds.create_task(self._add_one())
                task.add_done_callback(lambda _: slots.release())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._random.expovariate(self._rate)):
                        await self.over.wait()

    async def _add_one(self) -> None:
        names, weights = list(WEIGHTS), list(WEIGHTS.values())
        kind = self._random.choices(names, weights)[0]
        if self._random.randrange(POISON_ONE_IN) == 0:
            kind = "poison"
        elif self._random.randrange(HANGING_ONE_IN) == 0:
            kind = "hanging"
        await getattr(self, f"_{kind}", self._simple)(kind, self._key(kind))

    def _key(self, kind: str) -> str:
        self._count += 1
        return f"{kind}:{self._name}-{self._count}"

    async def _insist(self, kind: str, key: str, add: Add, number: int = 0) -> None:
        """Add until it is accepted, under one key."""
        self._history.note(kind, Event.WANTED, key, number)
        await self._until_done(add, kind, key)
        self._history.note(kind, Event.ACCEPTED, key, number)

    async def _until_done(self, call: Add, kind: str = "", *keys: str) -> None:
        """Call until it succeeds.

        Arguments:
            keys: of the tasks that the call adds, of that kind.
        """

        def note() -> None:
            for key in keys:
                self._history.note(kind, Event.AGAIN, key)

        await insist(call, draw=self._random, failed=note)

    def _adding(self, task: Any, key: str, *arguments: Any, **options: Any) -> Add:
        return lambda: self._docket.add(task, key=key, **options)(*arguments)

    # The kinds that take more than one call, or another key.

    async def _simple(self, kind: str, key: str) -> None:
        """Add a task of one call, with the arguments that its kind takes."""
        draw = ARGUMENTS.get(kind, lambda _draw: ())
        arguments = draw(self._random)
        number = arguments[0] if kind == "limited" else 0
        add = self._adding(getattr(task_kinds, kind), key, *arguments)
        await self._insist(kind, key, add, number)

    async def _relay(self, kind: str, key: str) -> None:
        await self._simple(kind, f"{key}.0")

    async def _scheduled(self, _kind: str, _key: str) -> None:
        key, due = self._key("plain"), self._in(self._random.uniform(0.0, 8.0))
        await self._insist("plain", key, self._adding(task_kinds.plain, key, 0.01, when=due))

    async def _batch(self, _kind: str, _key: str) -> None:
        keys = [self._key("plain") for _ in range(self._random.randint(2, 20))]
        for key in keys:
            self._history.note("plain", Event.WANTED, key)
        agenda = Agenda()
        for key in keys:
            agenda.add(task_kinds.plain, key=key)(0.01)
        spread = timedelta(seconds=self._random.uniform(0.0, 1.0))
        await self._until_done(lambda: agenda.scatter(self._docket, over=spread), "plain", *keys)
        for key in keys:
            self._history.note("plain", Event.ACCEPTED, key)

    async def _replaced(self, kind: str, key: str) -> None:
        """Added for later, then replaced: the newer revision has to run."""
        due = self._in(self._random.uniform(0.3, 2.0))
        await self._until_done(self._adding(task_kinds.replaced, key, 0, when=due), kind, key)
        await asyncio.sleep(self._random.uniform(0.0, 1.0))
        soon = self._in(self._random.uniform(0.0, 0.5))
        await self._insist(
            kind,
            key,
            lambda: self._docket.replace(task_kinds.replaced, soon, key)(1),
            number=1,
        )

    async def _cancelled(self, kind: str, key: str) -> None:
        """Added, then cancelled at some moment of its life."""
        due = self._in(self._random.choice((0.0, 0.0, 0.5)))
        seconds = self._random.uniform(0.0, 1.0)
        await self._insist(kind, key, self._adding(task_kinds.cancelled, key, seconds, when=due))
        await asyncio.sleep(self._random.uniform(0.0, 1.0))
        self._history.note(kind, Event.CANCELS, key)
        await self._until_done(lambda: self._docket.cancel(key))

    def _in(self, seconds: float) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=seconds)


async def produce(url: str, name: str, folder: Path, docket: str, rate: float, seed: int) -> None:
    """Run one producer until SIGTERM."""
    async with Docket(docket, url) as opened:
        for task in task_kinds.tasks:
            opened.register(task)
        producer = Producer(opened, HistoryWriter(folder, "adds"), name, rate, seed)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, producer.over.set)
        await producer.run()


def main() -> None:
    """Run the producer that the command line describes, in the order of `produce`."""
    url, name, folder, docket, rate, seed = sys.argv[1:]
    asyncio.run(produce(url, name, Path(folder), docket, float(rate), int(seed)))


if __name__ == "__main__":
    main()

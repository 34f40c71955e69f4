"""A simulation of one docket: producers, one server that does one thing at a time, workers.

It has what the arithmetic leaves out: waiting for the server, calls that carry more tasks the
longer they wait, workers that find nothing. Time is simulated; what is random comes from a seed.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from stress.report import percentile
from stress.scale.arithmetic import ROUND_TRIP_SECONDS, Workload
from stress.scale.costs import Costs


@dataclass
class Simulated:
    """The findings of a simulation.

    Arguments:
        rate: tasks a second that were started.
        busy: CPU of the server, as a share of one core.
        waits: from the add to the start of each task, in milliseconds.
        calls: exchanges for each task.
    """

    rate: float
    busy: float
    waits: list[float]
    calls: float

    def wait(self, percent: float) -> float:
        """Find the wait that so many percent of the tasks do not exceed, in milliseconds."""
        return percentile(self.waits, percent) if self.waits else 0.0


@dataclass
class _Worker:
    """A worker process: one exchange at a time, one loop that starts one task after the other."""

    active: int = 0
    ended: int = 0
    is_calling: bool = False
    loop_free: float = 0.0


@dataclass
class _Docket:
    """The simulated docket, and its clock."""

    costs: Costs
    load: Workload
    chance: random.Random
    end: float
    workers: list[_Worker]
    now: float = 0.0
    server_free: float = 0.0
    server_used: float = 0.0
    calls: int = 0
    #: The time at which each waiting task was added.
    ready: deque[float] = field(default_factory=deque[float])
    waits: list[float] = field(default_factory=list[float])
    _events: list[tuple[float, int, Callable[[], None]]] = field(
        default_factory=list[tuple[float, int, Callable[[], None]]]
    )
    _made: int = 0

    def at(self, moment: float, event: Callable[[], None]) -> None:
        self._made += 1  # the order of events of the same moment
        heapq.heappush(self._events, (moment, self._made, event))

    def run(self) -> None:
        while self._events and self._events[0][0] < self.end:
            self.now, _, event = heapq.heappop(self._events)
            event()

    def serve(self, microseconds: float) -> float:
        """Have the server work, after what it has begun; the moment at which it is done."""
        self.server_free = max(self.server_free, self.now) + microseconds * 1e-6
        self.server_used += microseconds * 1e-6
        return self.server_free

    # -- producers

    def produce(self) -> None:
        count, added = self.load.adds, self.now
        done = self.serve(self.costs.add_cost_us(count) * count)
        self.at(done, lambda: self.arrive(count, added))
        self.at(self.now + self.chance.expovariate(self.load.rate / count), self.produce)

    def arrive(self, count: int, added: float) -> None:
        self.ready.extend([added] * count)
        self.wake()

    def wake(self) -> None:
        """Wake one idle worker, if tasks are left and one is idle."""
        idle = [
            each
            for each in self.workers
            if not each.is_calling and each.active < self.load.concurrency
        ]
        if self.ready and idle:
            self.call(self.chance.choice(idle))

    # -- workers

    def call(self, worker: _Worker) -> None:
        worker.is_calling = True
        self.at(self.now + ROUND_TRIP_SECONDS / 2, lambda: self.exchange(worker))

    def exchange(self, worker: _Worker) -> None:
        """Take outcomes and hand out tasks, when the server gets to it."""
        if self.server_free > self.now:
            self.at(self.server_free, lambda: self.exchange(worker))
            return
        ended, worker.ended = worker.ended, 0
        count = min(self.load.concurrency - worker.active, len(self.ready))
        taken = [self.ready.popleft() for _ in range(count)]
        worker.active += count
        self.calls += 1
        done = self.serve(self.costs.call_us + self.costs.task_us * (ended + count) / 2)
        self.at(done + ROUND_TRIP_SECONDS / 2, lambda: self.reply(worker, taken))
        self.at(done, self.wake)

    def reply(self, worker: _Worker, taken: list[float]) -> None:
        worker.is_calling = False
        for added in taken:
            started = max(worker.loop_free, self.now)
            worker.loop_free = started + (self.costs.worker_us + self.load.cpu_us) * 1e-6
            lasts = self.chance.expovariate(1 / self.load.seconds) if self.load.seconds else 0.0
            self.at(worker.loop_free + lasts, lambda: self.finish(worker))
            self.waits.append((started - added) * 1000)
        if worker.ended:
            self.call(worker)

    def finish(self, worker: _Worker) -> None:
        worker.active -= 1
        worker.ended += 1
        if not worker.is_calling:
            self.call(worker)


def simulate(
    costs: Costs, load: Workload, processes: int, seconds: float, seed: int, backlog: int = 0
) -> Simulated:
    """Simulate one docket for some seconds.

    Arguments:
        load: a rate of 0 adds nothing.
        processes: workers, each with a core of its own.
        seconds: simulated time.
        seed: of everything random.
        backlog: tasks that wait at the beginning.
    """
    workers = [_Worker() for _ in range(processes)]
    docket = _Docket(costs, load, random.Random(seed), seconds, workers)
    docket.ready.extend([0.0] * backlog)
    if load.rate:
        docket.at(0.0, docket.produce)
    for worker in workers:
        docket.call(worker)
    docket.run()
    started = len(docket.waits)
    return Simulated(
        started / seconds,
        docket.server_used / seconds,
        docket.waits,
        docket.calls / max(started, 1),
    )


def drained(costs: Costs, load: Workload, processes: int, seconds: float, seed: int) -> Simulated:
    """Simulate workers that never run out of tasks, while nobody adds any."""
    backlog = round(seconds * 1e6 / costs.task_us) + processes * load.concurrency
    return simulate(costs, replace(load, rate=0.0), processes, seconds, seed, backlog)


def busiest_share(dockets: int, owners: int, skew: float, seed: int) -> float:
    """Compute the share of the busiest docket, if the owners of the tasks are spread by hash.

    Arguments:
        owners: those by whom tasks are spread, such as customers.
        skew: how unequal they are: the n-th has 1 / n ** skew of the tasks of the first.
        seed: of the hash.
    """
    chance = random.Random(seed)
    loads = [0.0] * dockets
    for number in range(1, owners + 1):
        loads[chance.randrange(dockets)] += number**-skew
    return max(loads) / sum(loads)

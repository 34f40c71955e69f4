"""The registry of the pool: slots, and the worker processes that fill them.

A slot is a place in the pool, numbered from 1, that is to be filled. A worker process is in the
registry from the request to fork it until it is dead. A slot has one current worker, and a
successor beside it while that one is being replaced; one that was replaced, or whose slot was
given up, stays in the registry until it has died.

            requested ──► starting ──► ready ──► draining ──► drained
                │             │          │           │            │
                └─────────────┴──────────┴───────────┴────────────┴──► dead

A state leads to every later one: the nursery's message that it forked and the worker's message that
it is ready come over two channels, in any order.

The registry knows no process and no clock: times are handed in, and pids are only carried.
"""

import random
from collections.abc import Callable, Iterator
from enum import StrEnum

from msgspec import Struct, field

from ipc.messages import Heartbeat
from supervisor.backoff import Backoff
from supervisor.errors import InvalidTransition
from supervisor.pool.state.replacement import Replacement

#: A loop that has sent no heartbeat for this long serves nobody now: six heartbeats, which a
#: machine under load may delay, but hardly for every worker at once.
LATE_SECONDS = 3.0


class WorkerState(StrEnum):
    """The states of a worker process, in their order; `shown` has the words of /status."""

    REQUESTED = "requested"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    DRAINED = "drained"
    DEAD = "dead"

    @property
    def shown(self) -> str:
        """The word for users: starting, ready, draining or dead."""
        return _SHOWN.get(self, self.value)


_SHOWN = {WorkerState.REQUESTED: "starting", WorkerState.DRAINED: "draining"}

#: From each state, those it leads to.
TRANSITIONS: dict[WorkerState, frozenset[WorkerState]] = {
    state: frozenset(list(WorkerState)[position:])
    for position, state in enumerate(WorkerState, start=1)
}


class Cause(StrEnum):
    """The fixed set of values of the label `reason` of docket_supervisor_worker_restarts_total."""

    CRASH = "crash"
    STALL = "stall"
    BOOT = "boot"
    SPAWN = "spawn"
    NURSERY = "nursery"
    RETIRED = "retired"
    DRAIN = "drain"


class WorkerProcess(Struct, eq=False):
    """One worker process in a slot. Times are seconds of the monotonic clock."""

    number: int
    slot: int
    name: str
    generation: int
    requested_at: float
    state: WorkerState = WorkerState.REQUESTED
    pid: int | None = None
    spawned_at: float | None = None
    ready_at: float | None = None
    died_at: float | None = None
    #: Why it waits for the server, while it does.
    waiting: str | None = None
    #: The consumers under which it has claimed; more than one if it was fenced and came back.
    consumers: list[str] = field(default_factory=list[str])
    #: The latest of its heartbeats, and when it came.
    heartbeat: Heartbeat | None = None
    heartbeat_at: float | None = None
    rss_bytes: int = 0
    #: Why the supervisor killed it, if it did: in a sentence, in one word, and
    #: for which tasks its death counts.
    kill_reason: str | None = None
    kill_cause: Cause | None = None
    blame: str | None = None
    #: When its boot, its drain or its exit after Drained must be over.
    deadline: float | None = None
    #: Whether it has drained and was asked for its stack, since it does not end.
    end_is_late: bool = False
    #: The reason of its last Fault.
    fault: str | None = None
    #: Started only to adopt for a pool that drains: it never claims.
    adopts_only: bool = False
    #: From 0 to 1, drawn once: the place of its own limits in a jittered range.
    jitter: float = field(default_factory=random.random)
    #: It was over --max-rss when it got ready.
    exempt_from_rss: bool = False

    def enter(self, state: WorkerState) -> None:
        """Go to `state`.

        Raises:
            InvalidTransition: the present state does not lead there.
        """
        if state not in TRANSITIONS[self.state]:
            raise InvalidTransition(f"worker {self.slot} cannot go from {self.state} to {state}")
        self.state = state

    def may_enter(self, state: WorkerState) -> bool:
        """Return True if the present state leads to `state`."""
        return state in TRANSITIONS[self.state]

    @property
    def alive(self) -> bool:
        """Return True if it is not known to be dead."""
        return self.state is not WorkerState.DEAD

    @property
    def is_starting(self) -> bool:
        """Return True if it was asked for and is not yet ready."""
        return self.state in (WorkerState.REQUESTED, WorkerState.STARTING)

    @property
    def consumes(self) -> bool:
        """Return True if it can claim tasks now."""
        return self.state is WorkerState.READY and self.waiting is None and not self.adopts_only

    def serves(self, now: float) -> bool:
        """Return True if it is ready: it can claim tasks, and its loop runs.

        The one notion of readiness: of /readyz, /status, STATUS= and the metrics.
        """
        heard_at = self.ready_at if self.heartbeat_at is None else self.heartbeat_at
        return self.consumes and heard_at is not None and now - heard_at <= LATE_SECONDS

    @property
    def can_adopt(self) -> bool:
        """Return True if it can take over a dead one's tasks now; a draining worker still can."""
        return self.state in (WorkerState.READY, WorkerState.DRAINING) and self.waiting is None

    @property
    def in_flight(self) -> int:
        """The tasks that it runs, by its last heartbeat."""
        return 0 if self.heartbeat is None else self.heartbeat.in_flight_total

    def healthy_seconds(self, now: float) -> float:
        """The time since it got ready, without the silence at its end, if it is silent."""
        if self.ready_at is None:
            return 0.0
        until = now if self.heartbeat_at is None else min(now, self.heartbeat_at + LATE_SECONDS)
        return max(0.0, until - self.ready_at)

    def describe(self) -> str:
        """`worker 3 (pid 12)`, for log lines."""
        name = f"worker {self.slot}" if self.slot else "the adopter"
        return f"{name} (pid {self.pid})" if self.pid is not None else name


class Slot(Struct, eq=False):
    """A place in the pool."""

    number: int
    backoff: Backoff
    #: When it may be filled again, if its worker is dead.
    due_at: float = 0.0
    current: WorkerProcess | None = None
    #: Restarts after deaths, not those that a user asked for.
    restarts: int = 0
    #: Why its worker is to be replaced although it lives, while it is.
    replacement: Replacement | None = None
    #: Asked for, not yet ready; then it becomes the current one.
    successor: WorkerProcess | None = None

    @property
    def is_empty(self) -> bool:
        """Return True if nothing alive is in it, and nothing on its way."""
        return self.successor is None and (self.current is None or not self.current.alive)

    @property
    def lacks_worker(self) -> bool:
        """Return True if its worker is dead or not ready yet."""
        current = self.current
        return current is None or not current.alive or current.is_starting

    def crash_loops(self, now: float) -> bool:
        """Return True after two deaths or more in a row, until a worker has proved healthy."""
        if not self.backoff.has_repeated:
            return False
        healthy = 0.0 if self.current is None else self.current.healthy_seconds(now)
        return healthy < self.backoff.healthy_seconds


class WorkerRegistry:
    """All slots and every worker process that is not forgotten.

    Arguments:
        host: first part of the workers' names, `host#SLOT`.
        new_backoff: makes the backoff of a new slot.
    """

    def __init__(self, host: str, new_backoff: Callable[[], Backoff]) -> None:
        self._host = host
        self._new_backoff = new_backoff
        self._slots: dict[int, Slot] = {}
        self._workers: dict[int, WorkerProcess] = {}
        self._last_number = 0
        self.target = 0

    def set_target(self, target: int) -> list[WorkerProcess]:
        """Have `target` slots, the highest given up first; the live workers of those."""
        self.target = target
        for number in range(1, target + 1):
            self._slots.setdefault(number, Slot(number, self._new_backoff()))
        given_up = [self._slots.pop(number) for number in list(self._slots) if number > target]
        inside = [each for slot in given_up for each in (slot.current, slot.successor)]
        return [each for each in inside if each is not None and each.alive]

    def add(self, slot: Slot, generation: int, now: float) -> WorkerProcess:
        """Add a new worker for `slot`, which becomes its current one."""
        slot.current = self._new(slot.number, generation, now)
        return slot.current

    def add_successor(self, slot: Slot, generation: int, now: float) -> WorkerProcess:
        """Add a new worker for `slot`, beside its current one."""
        slot.successor = self._new(slot.number, generation, now)
        return slot.successor

    def add_adopter(self, generation: int, now: float) -> WorkerProcess:
        """Add a worker in no slot (number 0), which adopts for a pool that drains."""
        adopter = self._new(0, generation, now)
        adopter.adopts_only = True
        return adopter

    def _new(self, slot: int, generation: int, now: float) -> WorkerProcess:
        self._last_number += 1
        new = WorkerProcess(self._last_number, slot, f"{self._host}#{slot}", generation, now)
        self._workers[new.number] = new
        return new

    def promote(self, slot: Slot) -> WorkerProcess | None:
        """Make the successor the current worker; the former one."""
        former, slot.current, slot.successor = slot.current, slot.successor, None
        return former

    def forget(self, worker: WorkerProcess) -> None:
        """Drop a dead worker; its slot keeps it until the next one for /status to show."""
        self._workers.pop(worker.number, None)

    def find(self, number: int) -> WorkerProcess | None:
        """The worker of this number, unless forgotten."""
        return self._workers.get(number)

    def awaiting_fork(self, slot: int, generation: int) -> WorkerProcess | None:
        """The worker that the nursery of `generation` was asked to fork for `slot`."""
        for each in self.alive():
            if each.slot == slot and each.generation == generation and each.spawned_at is None:
                return each
        return None

    def slot_of(self, worker: WorkerProcess) -> Slot | None:
        """Its slot, if it is the current worker there."""
        slot = self._slots.get(worker.slot)
        return slot if slot is not None and slot.current is worker else None

    def slot_awaiting(self, worker: WorkerProcess) -> Slot | None:
        """Its slot, if it is the successor there."""
        slot = self._slots.get(worker.slot)
        return slot if slot is not None and slot.successor is worker else None

    def slot(self, number: int) -> Slot | None:
        """The slot of this number, if the pool has it."""
        return self._slots.get(number)

    def slots(self) -> list[Slot]:
        """All slots in the order of their numbers."""
        return [self._slots[number] for number in sorted(self._slots)]

    def alive(self) -> Iterator[WorkerProcess]:
        """Every worker not known to be dead, oldest first."""
        return (each for each in list(self._workers.values()) if each.alive)

    def consuming(self) -> list[WorkerProcess]:
        """The workers that can claim tasks now."""
        return [each for each in self.alive() if each.consumes]

    def starting(self) -> list[WorkerProcess]:
        """The workers of slots that were asked for and are not yet ready."""
        return [each for each in self.alive() if each.is_starting and not each.adopts_only]

    def to_fill(self, now: float) -> list[Slot]:
        """Slots that are empty and whose pause is over; the longest empty one comes first.

        In the order of their numbers, those that hang at their start would keep all others empty.
        """
        due = [slot for slot in self.slots() if slot.is_empty and slot.due_at <= now]
        return sorted(due, key=lambda slot: slot.due_at)

    def next_due(self) -> float | None:
        """The end of the next pause of an empty slot, or of a replacement."""
        empty = [slot.due_at for slot in self._slots.values() if slot.is_empty]
        replaced = [
            slot.replacement.due_at
            for slot in self._slots.values()
            if slot.replacement is not None and slot.successor is None
        ]
        return min(empty + replaced, default=None)

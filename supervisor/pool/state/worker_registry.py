"""The registry of the pool: slots, and the incarnations of workers that fill them (pure).

A slot is a place in the pool, numbered from 1, that is to be filled. An incarnation is one worker
process in it, from the request to fork it until it is dead. A slot has one current incarnation, and
a successor beside it while that one is being replaced; one that was replaced, or whose slot was
given up, stays in the registry until it has died.

            requested ──► starting ──► ready ──► draining ──► drained
                │             │          │           │            │
                └─────────────┴──────────┴───────────┴────────────┴──► dead

`requested` may lead to ready at once: the nursery's word that it forked and the worker's word that
it is ready come over two channels, in any order.

The registry knows no process and no clock: times are handed in, and pids are only carried.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from ipc.messages import Heartbeat
from supervisor.errors import InvalidTransition
from supervisor.pool.state.replacement import Replacement
from supervisor.pool.state.restart_window import Backoff


class WorkerState(StrEnum):
    """Where an incarnation stands; the values of `State.shown` are those of /status."""

    REQUESTED = "requested"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    DRAINED = "drained"
    DEAD = "dead"

    @property
    def shown(self) -> str:
        """The word for operators: starting, ready, draining or dead."""
        return _SHOWN.get(self, self.value)


_SHOWN = {WorkerState.REQUESTED: "starting", WorkerState.DRAINED: "draining"}

#: From each state, those it leads to.
TRANSITIONS: dict[WorkerState, frozenset[WorkerState]] = {
    WorkerState.REQUESTED: frozenset(
        {
            WorkerState.STARTING,
            WorkerState.READY,
            WorkerState.DRAINING,
            WorkerState.DRAINED,
            WorkerState.DEAD,
        }
    ),
    WorkerState.STARTING: frozenset(
        {WorkerState.READY, WorkerState.DRAINING, WorkerState.DRAINED, WorkerState.DEAD}
    ),
    WorkerState.READY: frozenset({WorkerState.DRAINING, WorkerState.DRAINED, WorkerState.DEAD}),
    WorkerState.DRAINING: frozenset({WorkerState.DRAINED, WorkerState.DEAD}),
    WorkerState.DRAINED: frozenset({WorkerState.DEAD}),
    WorkerState.DEAD: frozenset(),
}


class Cause(StrEnum):
    """The bounded set of words for docket_supervisor_worker_restarts_total{reason}."""

    CRASH = "crash"
    STALL = "stall"
    BOOT = "boot"
    SPAWN = "spawn"
    NURSERY = "nursery"
    RETIRED = "retired"
    DRAIN = "drain"


@dataclass(slots=True, eq=False)
class WorkerProcess:
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
    #: The consumers under which it has claimed; more than one if it was struck off and came back.
    consumers: list[str] = field(default_factory=list[str])
    #: The latest of its heartbeats, and when it came.
    heartbeat: Heartbeat | None = None
    heartbeat_at: float | None = None
    rss_bytes: int = 0
    #: Why the supervisor killed it, if it did: in a sentence, in one word, and
    #: whom its death counts for.
    killed_for: str | None = None
    killed_as: Cause | None = None
    blame: str | None = None
    #: When what it is in at most lasts until: boot, drain or the end after Drained.
    deadline: float | None = None
    #: What it said last about itself that was wrong: the reason of a Fault.
    fault: str | None = None
    #: Started only to adopt for a pool that drains: it never claims.
    adopts_only: bool = False
    #: From 0 to 1, drawn once: where in a jittered range its own limits lie.
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
        """Whether the present state leads to `state`."""
        return state in TRANSITIONS[self.state]

    @property
    def alive(self) -> bool:
        """Not known to be dead."""
        return self.state is not WorkerState.DEAD

    @property
    def is_starting(self) -> bool:
        """Asked for and not yet ready."""
        return self.state in (WorkerState.REQUESTED, WorkerState.STARTING)

    @property
    def consumes(self) -> bool:
        """Able to claim tasks now."""
        return self.state is WorkerState.READY and self.waiting is None and not self.adopts_only

    @property
    def can_adopt(self) -> bool:
        """Able to take over a dead one's tasks now; a draining worker still is."""
        return self.state in (WorkerState.READY, WorkerState.DRAINING) and self.waiting is None

    @property
    def in_flight(self) -> int:
        """Tasks it runs, as it said last."""
        return 0 if self.heartbeat is None else self.heartbeat.in_flight_total

    def healthy_seconds(self, now: float) -> float:
        """How long it has been ready."""
        return 0.0 if self.ready_at is None else now - self.ready_at


@dataclass(slots=True, eq=False)
class Slot:
    """A place in the pool."""

    number: int
    backoff: Backoff
    #: When it may be filled again, if its incarnation is dead.
    due_at: float = 0.0
    current: WorkerProcess | None = None
    #: Restarts that nobody had asked for.
    restarts: int = 0
    #: Why its worker is to be replaced although it lives, while it is.
    replacement: Replacement | None = None
    #: Asked for, not yet ready; then it becomes the current one.
    successor: WorkerProcess | None = None

    @property
    def is_empty(self) -> bool:
        """Nothing alive is in it, and nothing on its way."""
        return self.successor is None and (self.current is None or not self.current.alive)


class WorkerRegistry:
    """All slots and every incarnation that is not forgotten.

    Arguments:
        host: first part of the workers' names, `host#SLOT`.
        new_backoff: makes the backoff of a new slot.
    """

    def __init__(self, host: str, new_backoff: Callable[[], Backoff]) -> None:
        self._host = host
        self._new_backoff = new_backoff
        self._slots: dict[int, Slot] = {}
        self._incarnations: dict[int, WorkerProcess] = {}
        self._last_number = 0
        self.target = 0

    def set_target(self, target: int) -> list[WorkerProcess]:
        """Have `target` slots; the highest are given up first. Returns what lived in those."""
        self.target = target
        for number in range(1, target + 1):
            self._slots.setdefault(number, Slot(number, self._new_backoff()))
        given_up = [self._slots.pop(number) for number in list(self._slots) if number > target]
        inside = [each for slot in given_up for each in (slot.current, slot.successor)]
        return [each for each in inside if each is not None and each.alive]

    def add(self, slot: Slot, generation: int, now: float) -> WorkerProcess:
        """A new incarnation for `slot`, which becomes its current one."""
        slot.current = self._new(slot.number, generation, now)
        return slot.current

    def add_successor(self, slot: Slot, generation: int, now: float) -> WorkerProcess:
        """A new incarnation for `slot`, beside its current one."""
        slot.successor = self._new(slot.number, generation, now)
        return slot.successor

    def add_adopter(self, generation: int, now: float) -> WorkerProcess:
        """An incarnation in no slot (number 0), which adopts for a pool that drains."""
        adopter = self._new(0, generation, now)
        adopter.adopts_only = True
        return adopter

    def _new(self, slot: int, generation: int, now: float) -> WorkerProcess:
        self._last_number += 1
        new = WorkerProcess(self._last_number, slot, f"{self._host}#{slot}", generation, now)
        self._incarnations[new.number] = new
        return new

    def promote(self, slot: Slot) -> WorkerProcess | None:
        """Make the successor the current one; the one that was."""
        former, slot.current, slot.successor = slot.current, slot.successor, None
        return former

    def forget(self, process: WorkerProcess) -> None:
        """Drop a dead incarnation; its slot keeps it until the next one for /status to show."""
        self._incarnations.pop(process.number, None)

    def find(self, number: int) -> WorkerProcess | None:
        """The incarnation of this number, unless forgotten."""
        return self._incarnations.get(number)

    def requested_in(self, slot: int, generation: int) -> WorkerProcess | None:
        """The incarnation that the nursery of `generation` was asked to fork for `slot`."""
        for each in self.alive():
            if each.slot == slot and each.generation == generation and each.spawned_at is None:
                return each
        return None

    def slot_of(self, process: WorkerProcess) -> Slot | None:
        """Its slot, if it is the current one there."""
        slot = self._slots.get(process.slot)
        return slot if slot is not None and slot.current is process else None

    def slot_awaiting(self, process: WorkerProcess) -> Slot | None:
        """Its slot, if it is the successor there."""
        slot = self._slots.get(process.slot)
        return slot if slot is not None and slot.successor is process else None

    def slot(self, number: int) -> Slot | None:
        """The slot of this number, if the pool has it."""
        return self._slots.get(number)

    def slots(self) -> list[Slot]:
        """In the order of their numbers."""
        return [self._slots[number] for number in sorted(self._slots)]

    def alive(self) -> Iterator[WorkerProcess]:
        """Every incarnation not known to be dead, oldest first."""
        return (each for each in list(self._incarnations.values()) if each.alive)

    def consuming(self) -> list[WorkerProcess]:
        """Those that can claim tasks now."""
        return [each for each in self.alive() if each.consumes]

    def starting(self) -> list[WorkerProcess]:
        """Those asked for and not yet ready."""
        return [each for each in self.alive() if each.is_starting]

    def to_fill(self, now: float) -> list[Slot]:
        """Slots that are empty and whose pause is over: who has waited for longest comes first.

        By their numbers, as many as may start at once and hang would keep all others empty.
        """
        due = [slot for slot in self.slots() if slot.is_empty and slot.due_at <= now]
        return sorted(due, key=lambda slot: slot.due_at)

    def next_due(self) -> float | None:
        """When the next pause of an empty slot, or of a replacement, ends."""
        empty = [slot.due_at for slot in self._slots.values() if slot.is_empty]
        replaced = [
            slot.replacement.due_at
            for slot in self._slots.values()
            if slot.replacement is not None and slot.successor is None
        ]
        return min(empty + replaced, default=None)

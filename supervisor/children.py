"""The registry of the pool: slots, and the incarnations of workers that fill them (pure).

A slot is a place in the pool, numbered from 1, that is to be filled as long as it is wanted. An
incarnation is one worker process in it, from the request to fork it until it is dead. A slot has
one current incarnation; one that a successor replaced stays in the registry until it has died.

            requested ──► starting ──► ready ──► draining ──► drained
                │             │          │           │            │
                └─────────────┴──────────┴───────────┴────────────┴──► dead

`requested` may lead to ready at once: the nursery's word that it forked and the worker's word that
it is ready come over two channels, in any order.

The registry knows no process and no clock: times are handed in, and pids are only carried.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from ipc.messages import Heartbeat
from supervisor.errors import InvalidTransition
from supervisor.restart import Backoff


class State(StrEnum):
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


_SHOWN = {State.REQUESTED: "starting", State.DRAINED: "draining"}

#: From each state, those it leads to.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.REQUESTED: frozenset(
        {State.STARTING, State.READY, State.DRAINING, State.DRAINED, State.DEAD}
    ),
    State.STARTING: frozenset({State.READY, State.DRAINING, State.DRAINED, State.DEAD}),
    State.READY: frozenset({State.DRAINING, State.DRAINED, State.DEAD}),
    State.DRAINING: frozenset({State.DRAINED, State.DEAD}),
    State.DRAINED: frozenset({State.DEAD}),
    State.DEAD: frozenset(),
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
class Incarnation:
    """One worker process in a slot. Times are seconds of the monotonic clock."""

    number: int
    slot: int
    name: str
    generation: int
    requested_at: float
    state: State = State.REQUESTED
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

    def enter(self, state: State) -> None:
        """Go to `state`.

        Raises:
            InvalidTransition: the present state does not lead there.
        """
        if state not in TRANSITIONS[self.state]:
            raise InvalidTransition(f"worker {self.slot} cannot go from {self.state} to {state}")
        self.state = state

    def may_enter(self, state: State) -> bool:
        """Whether the present state leads to `state`."""
        return state in TRANSITIONS[self.state]

    @property
    def alive(self) -> bool:
        """Not known to be dead."""
        return self.state is not State.DEAD

    @property
    def is_starting(self) -> bool:
        """Asked for and not yet ready."""
        return self.state in (State.REQUESTED, State.STARTING)

    @property
    def consumes(self) -> bool:
        """Able to claim tasks now."""
        return self.state is State.READY and self.waiting is None and not self.adopts_only

    @property
    def can_adopt(self) -> bool:
        """Able to take over a dead one's tasks now; a draining worker still is."""
        return self.state in (State.READY, State.DRAINING) and self.waiting is None

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
    current: Incarnation | None = None
    restarts: int = 0
    #: Wanted by the target; an unwanted slot is forgotten when its last incarnation has died.
    wanted: bool = True

    @property
    def is_empty(self) -> bool:
        """Nothing alive is in it."""
        return self.current is None or not self.current.alive


class Registry:
    """All slots and every incarnation that is not forgotten.

    Arguments:
        host: first part of the workers' names, `host#SLOT`.
        new_backoff: makes the backoff of a new slot.
    """

    def __init__(self, host: str, new_backoff: Callable[[], Backoff]) -> None:
        self._host = host
        self._new_backoff = new_backoff
        self._slots: dict[int, Slot] = {}
        self._incarnations: dict[int, Incarnation] = {}
        self._last_number = 0
        self.target = 0

    def set_target(self, target: int) -> list[Slot]:
        """Want `target` slots; the highest are given up first. Returns those given up."""
        self.target = target
        for number in range(1, target + 1):
            slot = self._slots.setdefault(number, Slot(number, self._new_backoff()))
            slot.wanted = True
        excess = [slot for slot in self._slots.values() if slot.number > target]
        for slot in excess:
            slot.wanted = False
        return excess

    def add(self, slot: Slot, generation: int, now: float) -> Incarnation:
        """A new incarnation for `slot`, which becomes its current one."""
        self._last_number += 1
        name = f"{self._host}#{slot.number}"
        incarnation = Incarnation(self._last_number, slot.number, name, generation, now)
        self._incarnations[incarnation.number] = incarnation
        slot.current = incarnation
        return incarnation

    def add_adopter(self, generation: int, now: float) -> Incarnation:
        """An incarnation in no slot (number 0), which adopts for a pool that drains."""
        self._last_number += 1
        incarnation = Incarnation(
            self._last_number, 0, f"{self._host}#0", generation, now, adopts_only=True
        )
        self._incarnations[incarnation.number] = incarnation
        return incarnation

    def forget(self, incarnation: Incarnation) -> None:
        """Drop a dead incarnation; its slot keeps it until the next one for /status to show."""
        self._incarnations.pop(incarnation.number, None)
        slot = self._slots.get(incarnation.slot)
        if slot is not None and not slot.wanted and slot.is_empty:
            del self._slots[slot.number]

    def find(self, number: int) -> Incarnation | None:
        """The incarnation of this number, unless forgotten."""
        return self._incarnations.get(number)

    def by_pid(self, pid: int) -> Incarnation | None:
        """The live incarnation of this pid."""
        return next((each for each in self.alive() if each.pid == pid), None)

    def requested_in(self, slot: int, generation: int) -> Incarnation | None:
        """The incarnation that the nursery of `generation` was asked to fork for `slot`."""
        for each in self.alive():
            if each.slot == slot and each.generation == generation and each.spawned_at is None:
                return each
        return None

    def slot_of(self, incarnation: Incarnation) -> Slot | None:
        """Its slot, if it is the current one there."""
        slot = self._slots.get(incarnation.slot)
        return slot if slot is not None and slot.current is incarnation else None

    def slots(self) -> list[Slot]:
        """In the order of their numbers."""
        return [self._slots[number] for number in sorted(self._slots)]

    def alive(self) -> Iterator[Incarnation]:
        """Every incarnation not known to be dead, oldest first."""
        return (each for each in list(self._incarnations.values()) if each.alive)

    def consuming(self) -> list[Incarnation]:
        """Those that can claim tasks now."""
        return [each for each in self.alive() if each.consumes]

    def starting(self) -> list[Incarnation]:
        """Those asked for and not yet ready."""
        return [each for each in self.alive() if each.is_starting]

    def to_fill(self, now: float) -> list[Slot]:
        """Wanted slots that are empty and whose pause is over, in order."""
        return [s for s in self.slots() if s.wanted and s.is_empty and s.due_at <= now]

    def next_due(self) -> float | None:
        """When the next pause of an empty slot ends."""
        return min((s.due_at for s in self.slots() if s.wanted and s.is_empty), default=None)

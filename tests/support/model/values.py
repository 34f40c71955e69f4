"""The contents of the world, the requests to it, and its replies."""

from dataclasses import dataclass, field
from typing import Literal

LIVE = frozenset({"scheduled", "queued", "running"})

#: Ticks after the start of everything: the time of a task that waits for a slot.
NEVER = 1 << 40
#: That of a task that a pause has parked.
PARKED = NEVER + 1

Letter = Literal["s", "f", "x", "h"]
#: Channel, and what the message says.
Event = tuple[object, ...]


@dataclass(eq=False)
class Entry:
    """A place in a stream, and the name of the run that is claimed from it.

    letter: of its stream; h for the run of somebody who is no consumer.
    owner: the consumer it was delivered to; None while it waits.
    renewed: when its lease began anew (tick).
    name: what the server calls it, once somebody has looked.
    """

    letter: Letter
    key: str
    owner: str | None = None
    renewed: int = 0
    name: str = ""


@dataclass
class Progress:
    """The progress that is reported, and in which phase: by the entry of a run, or by its name."""

    phase: Entry | str
    current: int = 0
    total: int = 100
    message: str | None = None


@dataclass
class Record:
    """The record of a key's newest execution; instants in ticks.

    Of generation 0 and without a state: of a key that has nothing but a progress.
    """

    generation: int
    function: str
    call: str
    state: str
    when: int
    attempt: int = 1
    deaths: int = 0
    #: How long the run had lasted under which its process died last (ticks); None for none.
    lasted: int | None = None
    token: str = ""
    #: Of requests that were answered under this key before, the newest first.
    earlier: list[str] = field(default_factory=list[str])
    entry: Entry | None = None
    worker: str | None = None
    came_from: str | None = None
    started: int | None = None
    completed: int | None = None
    result: str | None = None
    error: str | None = None
    result_key: str | None = None
    cancelled: bool = False
    poison: bool = False
    #: Of a perpetual task: the generation of the last run that ended; 0 for none.
    perpetual: int | None = None
    #: Of a perpetual task: when runs before this one succeeded and failed last.
    last_success: int | None = None
    last_failure: int | None = None
    progress: Progress | None = None
    expires: int | None = None
    #: The attempts that did not end well: number, and how each ended.
    attempts: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    #: Its place in the lines, and of which attempt; what it waits for: scope -> how many may hold.
    order: int | None = None
    order_attempt: int = 0
    limit_requests: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def is_live(self) -> bool:
        return self.state in LIVE


@dataclass(frozen=True)
class Kept:
    """A failed execution that is kept, from which call of the world on, and until when (tick)."""

    generation: int
    function: str
    call: str
    error: str
    failed_at: int
    expires: int
    attempts: tuple[tuple[int, str], ...]
    perpetual: int | None
    completed: int
    last_success: int | None
    last_failure: int | None


@dataclass(frozen=True)
class Request:
    """A task to be scheduled; see schedule.lua. `when` in ticks, None for now."""

    key: str
    function: str
    call: str
    when: int | None
    token: str
    replace: bool = False
    expected_generation: int = 0
    perpetual: Literal[0, 1, 2] = 0


@dataclass(frozen=True)
class Scheduled:
    """The reply to a request."""

    disposition: str
    generation: int
    state: str


@dataclass(frozen=True)
class Claimed:
    """A task given to a worker, whose later reports name entry and generation."""

    key: str
    entry: Entry
    generation: int
    function: str
    call: str
    when: int
    attempt: int
    deaths: int
    came_from: str | None
    #: Of a quarantined task: see Record. None for others.
    lasted: int | None = None


@dataclass(frozen=True)
class Ending:
    """The end of a run, as its worker reports it.

    kind: of exchange.lua: C F X A P H S.
    delay: of an A (ticks); of a P, counted from `origin`: now, the start of the run, or everything.
    payload: the result of a C, the exception of an F.
    failure: how the attempt failed, for the log of its attempts; "" for one that did not.
    text: the error of an F, or of a P that failed.
    call: what the next run is called with; "" keeps what it had.
    has_outlived: of an H: the run outlived what its process died of before.
    """

    kind: str
    claim: Claimed
    delay: int = 0
    origin: Literal["n", "s", "e"] = "n"
    attempt: int = 1
    payload: str = ""
    text: str = ""
    failure: str = ""
    call: str = ""
    result_key: str = ""
    has_outlived: bool = False


@dataclass(frozen=True)
class Exchanged:
    """The reply to an exchange.

    status: ok, refused or stale. left: tasks that are left, -1 if that was not counted.
    more: whether another call may find more.
    """

    status: str
    claims: list[Claimed] = field(default_factory=list[Claimed])
    superseded: list[int] = field(default_factory=list[int])
    left: int = -1
    more: bool = False

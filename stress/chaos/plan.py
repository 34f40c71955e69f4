"""The plan of faults: drawn from a seed, so that it can be repeated (pure)."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """A kind of fault, in words."""

    KILL_WORKER = "kill -9 of a worker"
    KILL_WORKERS = "kill -9 of all workers of a host"
    KILL_NURSERY = "kill -9 of a nursery"
    KILL_SUPERVISOR = "kill -9 of a supervisor"
    KILL_HOST = "kill -9 of a whole process tree"
    KILL_PRODUCER = "kill -9 of a producer"
    STOP_WORKER = "SIGSTOP of a worker"
    STOP_HOST = "SIGSTOP of a whole process tree"
    RELOAD = "reload"
    NEXT_VERSION = "reload of another version of the tasks"
    SCALE = "scale"
    DRAIN = "drain and start again"
    SERVER_RESTART = "restart of the server"
    SERVER_KILL = "kill -9 of the server"
    SERVER_LOADING = "restart of the server, which takes its time to load"
    SERVER_STOP = "SIGSTOP of the server"
    SERVER_PAUSE = "CLIENT PAUSE"
    SERVER_MISCONF = "MISCONF (a snapshot that fails)"
    SERVER_READONLY = "READONLY (a primary that became a replica)"
    SERVER_OOM = "OOM (maxmemory, noeviction)"
    CLIENT_KILL = "CLIENT KILL of every connection"
    NET_DELAY = "a network that delays"
    NET_CUT = "a network that drops its connections"
    NET_REFUSE = "a network that refuses connections"
    NET_HALF_OPEN = "a network that lets nothing through"
    FAILOVER = "failover, all alive"
    PRIMARY_KILL = "kill -9 of the primary"
    PRIMARY_STOP = "SIGSTOP of the primary, until after the failover"
    REPLICA_KILL = "kill -9 of a replica"
    ACT_PAUSE = "pause of a function"
    ACT_PAUSE_ALL = "pause of the docket"
    ACT_RUN_NOW = "run now, and reschedule, what is scheduled"
    ACT_RETRY = "retry of what failed or was cancelled"
    ACT_CANCEL = "cancel all of a function"


class Topology(StrEnum):
    """The servers that the pools use."""

    ONE = "one"
    """One server, and a network in front of it."""
    SENTINEL = "sentinel"
    """A primary and its replicas under sentinels. All clients connect to the address that these
    name, so there is no network of ours to break. The primary takes writes only while it has a
    replica (min-replicas-to-write), so that nothing but the last instant can be lost."""
    SENTINEL_BARE = "sentinel-bare"
    """The same without that: a replaced primary takes writes until it is demoted, and all of them
    are lost."""


@dataclass(frozen=True, slots=True)
class Traits:
    """The traits of a kind of fault.

    Arguments:
        weight: its relative frequency; outages of everything are rarer, so that work gets done.
        lasts: the least and most seconds that it lasts: some within the lease, some beyond it.
        is_exclusive: it has a whole host, or gives it an order: there is one of these at a time.
    """

    weight: int
    lasts: tuple[float, float] = (0.0, 0.0)
    is_exclusive: bool = False


TRAITS: dict[Kind, Traits] = {
    Kind.KILL_WORKER: Traits(12),
    Kind.KILL_WORKERS: Traits(2),
    Kind.KILL_NURSERY: Traits(3),
    Kind.KILL_SUPERVISOR: Traits(3, is_exclusive=True),
    Kind.KILL_HOST: Traits(2, is_exclusive=True),
    Kind.KILL_PRODUCER: Traits(3),
    Kind.STOP_WORKER: Traits(5, (0.5, 9.0)),
    Kind.STOP_HOST: Traits(2, (0.5, 9.0), is_exclusive=True),
    Kind.RELOAD: Traits(3, is_exclusive=True),
    Kind.NEXT_VERSION: Traits(2, is_exclusive=True),
    Kind.SCALE: Traits(3, is_exclusive=True),
    Kind.DRAIN: Traits(3, is_exclusive=True),
    Kind.SERVER_RESTART: Traits(2),
    Kind.SERVER_KILL: Traits(2),
    Kind.SERVER_LOADING: Traits(1, (0.5, 3.0)),
    Kind.SERVER_STOP: Traits(2, (0.5, 8.0)),
    Kind.SERVER_PAUSE: Traits(2, (0.2, 3.0)),
    Kind.SERVER_MISCONF: Traits(2, (0.5, 3.0)),
    Kind.SERVER_READONLY: Traits(2, (0.5, 3.0)),
    Kind.SERVER_OOM: Traits(2, (0.5, 3.0)),
    Kind.CLIENT_KILL: Traits(3),
    Kind.NET_DELAY: Traits(2, (1.0, 6.0)),
    Kind.NET_CUT: Traits(4),
    Kind.NET_REFUSE: Traits(2, (0.5, 8.0), is_exclusive=True),
    Kind.NET_HALF_OPEN: Traits(2, (0.5, 9.0), is_exclusive=True),
    # Each takes ten or twenty seconds until all sentinels agree again.
    Kind.FAILOVER: Traits(1),
    Kind.PRIMARY_KILL: Traits(1, (0.5, 5.0)),
    Kind.PRIMARY_STOP: Traits(1, (3.0, 8.0)),
    Kind.REPLICA_KILL: Traits(1, (0.5, 5.0)),
    # Within the second after its beginning a pause shows nothing.
    Kind.ACT_PAUSE: Traits(3, (1.5, 3.0)),
    Kind.ACT_PAUSE_ALL: Traits(1, (1.5, 2.5)),
    Kind.ACT_RUN_NOW: Traits(3),
    Kind.ACT_RETRY: Traits(3),
    Kind.ACT_CANCEL: Traits(2),
}

_OF_ONE_SERVER = ("SERVER", "CLIENT", "NET")
_OF_SENTINELS = ("FAILOVER", "PRIMARY", "REPLICA")
#: Faults of the servers and of all their clients, not of one host.
ON_SERVERS = frozenset(
    kind for kind in Kind if kind.name.startswith(("SERVER", "CLIENT", *_OF_SENTINELS))
)
#: Acts of operators, which break nothing.
ACTS = frozenset(kind for kind in Kind if kind.name.startswith("ACT"))


def kinds_of(topology: Topology) -> list[Kind]:
    """The kinds of faults of a topology: either of one server and its network, or of sentinels."""
    others = _OF_SENTINELS if topology is Topology.ONE else _OF_ONE_SERVER
    return [kind for kind in Kind if not kind.name.startswith(others)]


#: Between two faults, in seconds: the mean of an exponential distribution.
MEAN_PAUSE_SECONDS = 1.5
#: Nothing is broken before the pools are ready and busy.
QUIET_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Arguments:
        at: seconds from the beginning of the faults.
        kind: of the fault.
        host: number of the host that it hits; faults of the server, and acts, ignore it.
        lasts: seconds until it is taken back; 0 for what cannot be.
        draw: from 0 to 1, to choose among the processes that are there at that moment.
    """

    at: float
    kind: Kind
    host: int
    lasts: float
    draw: float

    @property
    def target(self) -> str:
        """The target, in words."""
        if self.kind in ACTS:
            return "docket"
        return "server" if self.kind in ON_SERVERS else f"host {self.host}"


def draw_plan(
    seed: int, seconds: float, hosts: int, topology: Topology = Topology.ONE
) -> list[Fault]:
    """Draw all faults of a run, in the order of their times."""
    return list(_drawn(random.Random(seed), seconds, hosts, kinds_of(topology)))


def _drawn(source: random.Random, seconds: float, hosts: int, kinds: list[Kind]) -> Iterator[Fault]:
    weights = [TRAITS[kind].weight for kind in kinds]
    at = QUIET_SECONDS
    # Each kind once, in a random order, before chance decides: a short run misses none.
    first = source.sample(kinds, len(kinds))
    while at < seconds:
        kind = first.pop() if first else source.choices(kinds, weights)[0]
        least, most = TRAITS[kind].lasts
        yield Fault(
            round(at, 3),
            kind,
            source.randrange(hosts),
            round(source.uniform(least, most), 3),
            source.random(),
        )
        at += source.expovariate(1 / MEAN_PAUSE_SECONDS)

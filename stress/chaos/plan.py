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


#: The relative frequency of each kind; outages of everything are rarer, so that work gets done.
WEIGHTS: dict[Kind, int] = {
    Kind.KILL_WORKER: 12,
    Kind.KILL_WORKERS: 2,
    Kind.KILL_NURSERY: 3,
    Kind.KILL_SUPERVISOR: 3,
    Kind.KILL_HOST: 2,
    Kind.KILL_PRODUCER: 3,
    Kind.STOP_WORKER: 5,
    Kind.STOP_HOST: 2,
    Kind.RELOAD: 3,
    Kind.NEXT_VERSION: 2,
    Kind.SCALE: 3,
    Kind.DRAIN: 3,
    Kind.SERVER_RESTART: 2,
    Kind.SERVER_KILL: 2,
    Kind.SERVER_LOADING: 1,
    Kind.SERVER_STOP: 2,
    Kind.SERVER_PAUSE: 2,
    Kind.SERVER_MISCONF: 2,
    Kind.SERVER_READONLY: 2,
    Kind.SERVER_OOM: 2,
    Kind.CLIENT_KILL: 3,
    Kind.NET_DELAY: 2,
    Kind.NET_CUT: 4,
    Kind.NET_REFUSE: 2,
    Kind.NET_HALF_OPEN: 2,
}

#: Under sentinels, instead of faults of one server and of the network in front of it.
SENTINEL_WEIGHTS: dict[Kind, int] = {
    **{
        kind: weight
        for kind, weight in WEIGHTS.items()
        if not kind.name.startswith(("SERVER", "CLIENT", "NET"))
    },
    # Each takes ten or twenty seconds until all sentinels agree again.
    Kind.FAILOVER: 1,
    Kind.PRIMARY_KILL: 1,
    Kind.PRIMARY_STOP: 1,
    Kind.REPLICA_KILL: 1,
}

#: The least and most seconds of a lasting fault: some within the lease, some beyond it.
LASTS: dict[Kind, tuple[float, float]] = {
    Kind.STOP_WORKER: (0.5, 9.0),
    Kind.STOP_HOST: (0.5, 9.0),
    Kind.SERVER_LOADING: (0.5, 3.0),
    Kind.SERVER_STOP: (0.5, 8.0),
    Kind.SERVER_PAUSE: (0.2, 3.0),
    Kind.SERVER_MISCONF: (0.5, 3.0),
    Kind.SERVER_READONLY: (0.5, 3.0),
    Kind.SERVER_OOM: (0.5, 3.0),
    Kind.NET_DELAY: (1.0, 6.0),
    Kind.NET_REFUSE: (0.5, 8.0),
    Kind.NET_HALF_OPEN: (0.5, 9.0),
    Kind.PRIMARY_KILL: (0.5, 5.0),
    Kind.PRIMARY_STOP: (3.0, 8.0),
    Kind.REPLICA_KILL: (0.5, 5.0),
}

#: Faults of the servers and of all their clients, not of one host.
ON_SERVERS = frozenset(
    kind
    for kind in Kind
    if kind.name.startswith(("SERVER", "CLIENT", "FAILOVER", "PRIMARY", "REPLICA"))
)
#: Faults of a whole host, and orders to it: one of these at a time.
EXCLUSIVE = frozenset(
    {
        Kind.KILL_SUPERVISOR,
        Kind.KILL_HOST,
        Kind.STOP_HOST,
        Kind.RELOAD,
        Kind.NEXT_VERSION,
        Kind.SCALE,
        Kind.DRAIN,
        Kind.NET_REFUSE,
        Kind.NET_HALF_OPEN,
    }
)

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
        host: number of the host that it hits; faults of the server ignore it.
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
        return "server" if self.kind in ON_SERVERS else f"host {self.host}"


def weights_of(topology: Topology) -> dict[Kind, int]:
    """The relative frequency of each kind."""
    return WEIGHTS if topology is Topology.ONE else SENTINEL_WEIGHTS


def draw_plan(
    seed: int, seconds: float, hosts: int, topology: Topology = Topology.ONE
) -> list[Fault]:
    """Draw all faults of a run, in the order of their times."""
    return list(_drawn(random.Random(seed), seconds, hosts, weights_of(topology)))


def _drawn(
    source: random.Random, seconds: float, hosts: int, drawn: dict[Kind, int]
) -> Iterator[Fault]:
    kinds, weights = list(drawn), list(drawn.values())
    at = QUIET_SECONDS
    # Each kind once, in a random order, before chance decides: a short run misses none.
    first = source.sample(kinds, len(kinds))
    while at < seconds:
        kind = first.pop() if first else source.choices(kinds, weights)[0]
        least, most = LASTS.get(kind, (0.0, 0.0))
        yield Fault(
            round(at, 3),
            kind,
            source.randrange(hosts),
            round(source.uniform(least, most), 3),
            source.random(),
        )
        at += source.expovariate(1 / MEAN_PAUSE_SECONDS)

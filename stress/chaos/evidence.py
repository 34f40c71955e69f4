"""Evidence of a run: the deaths that supervisors logged, and the keys left on the server."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from redis.asyncio import Redis

from docket.store.keys import Keys
from stress.chaos.checker import Knowledge
from stress.chaos.hosts import DRAIN_SECONDS
from stress.chaos.plan import Kind
from stress.chaos.record import FREEZES, KILLS, OUTAGES, PARTITIONS, InjectedFault, Rollback
from stress.history import Event, Line
from stress.processes import Census

_DEATH = re.compile(r"\(pid (\d+)\) (?:died|ended): (.*?)(?:;|$)", re.MULTILINE)
_GAVE_UP = re.compile(r"(\[worker \d+[^\]]*\] \S+: The worker cannot go on.*(?:\n[^\d].*)*)")

#: Keys of the docket itself, which stay.
OWN = (
    *("stream", "front", "suspects", "queue", "strikes"),
    *("workers", "epochs", "leases", "watch", "bell"),
)
#: From the death of a supervisor to the end of its last worker: a drain, ten seconds more, and as
#: much as it may have been stopped meanwhile.
ORPHAN_SECONDS = DRAIN_SECONDS + 10.0 + 10.0
#: The automatic task is scheduled for ever.
AUTOMATIC = "tick"


def knowledge(
    logs: Iterable[Path],
    census: Census,
    injected: Iterable[InjectedFault],
    processes_of: dict[int, set[int]],
    rollbacks: Iterable[Rollback] = (),
    promised: Iterable[Line] = (),
) -> Knowledge:
    """Collect the processes that died by force, were frozen or cut off, with the times.

    Arguments:
        processes_of: host -> every process that it had.
        rollbacks: spans whose writes may have been lost.
        promised: the history of the producers.
    """
    injected = list(injected)
    killed: dict[int, float] = {}
    frozen: dict[int, list[tuple[float, float]]] = defaultdict(list)
    lost = tuple(rollbacks)
    away = [(each.since, each.until) for each in lost]
    for log in logs:
        for pid in died_by_force(log.read_text(errors="replace")):
            if pid in census.gone:
                killed[pid] = census.gone[pid]
    for each in injected:
        if each.skipped is not None or each.ended is None:
            continue
        if each.kind in KILLS:
            # The earlier of both: a log tells of the death only, whose time is that of a late look.
            killed.update(
                {pid: min(each.took_effect, killed.get(pid, math.inf)) for pid in each.pids}
            )
        elif each.kind in OUTAGES:
            away.append((each.began, each.ended))
        elif each.kind in FREEZES:
            for pid in each.pids:
                frozen[pid].append((each.began, each.ended))
        elif each.kind in PARTITIONS:
            for pid in processes_of.get(each.fault.host, set()):
                frozen[pid].append((each.began, each.ended))
    gone, alive = dict(census.gone), dict(census.alive)
    orphans = _orphaned(
        injected, processes_of, {p: at for p, at in gone.items() if p not in killed}
    )
    again: dict[str, list[float]] = defaultdict(list)
    for line in promised:
        if line.event is Event.AGAIN:
            again[line.key].append(line.at)
    return Knowledge(killed, gone, dict(frozen), lost, alive, tuple(away), orphans, dict(again))


def _orphaned(
    injected: Iterable[InjectedFault], processes_of: dict[int, set[int]], gone: dict[int, float]
) -> dict[int, float]:
    """The processes that ended soon after their supervisor was killed, and the time of that."""
    found: dict[int, float] = {}
    for each in injected:
        if each.kind is not Kind.KILL_SUPERVISOR or each.skipped is not None:
            continue
        died = each.took_effect
        for pid in processes_of.get(each.fault.host, set()):
            if died <= gone.get(pid, 0.0) <= died + ORPHAN_SECONDS:
                found[pid] = died
    return found


def died_by_force(log: str) -> list[int]:
    """Find in a log the workers that did not end by themselves after a drain."""
    return [int(each[1]) for each in _DEATH.finditer(log) if each[2].strip() != "drained"]


def faults_of_ours(log: str) -> list[str]:
    """Find in a log the workers that an error of our own has ended; a sentence each.

    No fault of chaos is a reason to give up, and a death by one would explain all that follows.
    """
    return [f"a worker gave up: {each[1]}" for each in _GAVE_UP.finditer(log)]


async def leftovers(client: Redis, docket: str) -> list[str]:
    """Find keys that a docket must not hold once every pool has ended; a sentence each."""
    wrong: list[str] = []
    prefix = Keys(docket).key("")
    async for raw in client.scan_iter(match=prefix + "*", count=1000):
        key = raw.decode()
        name = key.removeprefix(prefix)
        if name in OWN or name == f"task:{AUTOMATIC}":
            continue
        if await client.ttl(key) == -1:
            wrong.append(f"{key} has no TTL")
    for stream in ("stream", "front", "suspects"):
        if not await client.exists(prefix + stream):
            continue
        if await client.xlen(prefix + stream) > 1:
            wrong.append(f"{stream} holds {await client.xlen(prefix + stream)} entries")
        for consumer in await client.xinfo_consumers(prefix + stream, "workers"):
            if consumer["pending"]:
                wrong.append(f"consumer {consumer['name']!r} of {stream} holds entries")
            wrong.append(f"consumer {consumer['name']!r} of {stream} has no owner")
    if registered := await client.zcard(prefix + "workers"):
        wrong.append(f"{registered} consumers are registered and have no owner")
    return wrong

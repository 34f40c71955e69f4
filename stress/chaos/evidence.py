"""Reads what a run left behind: the deaths that supervisors told of, and the keys on the server."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from redis.asyncio import Redis

from docket.store.keys import Keys
from stress.chaos.hosts import DRAIN_SECONDS
from stress.chaos.judge import Knowledge
from stress.chaos.ledger import Event, Line
from stress.chaos.plan import Kind
from stress.chaos.processes import Census
from stress.chaos.record import FREEZES, KILLS, OUTAGES, PARTITIONS, Broken, Rollback

_DEATH = re.compile(r"\(pid (\d+)\) (?:died|ended): (.*?)(?:;|$)", re.MULTILINE)

#: Keys of a docket's own, which stay.
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
    broken: Iterable[Broken],
    processes_of: dict[int, set[int]],
    rollbacks: Iterable[Rollback] = (),
    promised: Iterable[Line] = (),
) -> Knowledge:
    """Put together who died by force, who was frozen or cut off, and when.

    Arguments:
        processes_of: host -> every process that it had.
        rollbacks: spans whose writes may have been lost.
        promised: what the producers noted.
    """
    broken = list(broken)
    killed: dict[int, float] = {}
    frozen: dict[int, list[tuple[float, float]]] = defaultdict(list)
    lost = tuple(rollbacks)
    away = [(each.since, each.until) for each in lost]
    for log in logs:
        for pid in died_by_force(log.read_text(errors="replace")):
            if pid in census.gone:
                killed[pid] = census.gone[pid]
    for each in broken:
        if each.skipped is not None or each.ended is None:
            continue
        if each.kind in KILLS:
            died = each.began if each.struck is None else each.struck
            killed.update({pid: died for pid in each.pids if pid not in killed})
        elif each.kind in OUTAGES:
            away.append((each.began, each.ended))
        elif each.kind in FREEZES:
            for pid in each.pids:
                frozen[pid].append((each.began, each.ended))
        elif each.kind in PARTITIONS:
            for pid in processes_of.get(each.fault.host, set()):
                frozen[pid].append((each.began, each.ended))
    gone, alive = dict(census.gone), dict(census.alive)
    orphans = _orphaned(broken, processes_of, {p: at for p, at in gone.items() if p not in killed})
    again: dict[str, list[float]] = defaultdict(list)
    for line in promised:
        if line.event is Event.AGAIN:
            again[line.key].append(line.at)
    return Knowledge(killed, gone, dict(frozen), lost, alive, tuple(away), orphans, dict(again))


def _orphaned(
    broken: Iterable[Broken], processes_of: dict[int, set[int]], gone: dict[int, float]
) -> dict[int, float]:
    """Who ended soon after its supervisor was killed, and when that was."""
    found: dict[int, float] = {}
    for each in broken:
        if each.kind is not Kind.KILL_SUPERVISOR or each.skipped is not None:
            continue
        died = each.began if each.struck is None else each.struck
        for pid in processes_of.get(each.fault.host, set()):
            if died <= gone.get(pid, 0.0) <= died + ORPHAN_SECONDS:
                found[pid] = died
    return found


def died_by_force(log: str) -> list[int]:
    """The workers that, as their supervisors said, did not end by themselves after a drain."""
    return [int(each[1]) for each in _DEATH.finditer(log) if each[2].strip() != "drained"]


async def leftovers(client: Redis, docket: str) -> list[str]:
    """What a docket must not hold once all is done and every pool has ended; a sentence each."""
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

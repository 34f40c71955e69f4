"""Slots of concurrency limits: their holders, the tasks that wait, and their order.

A slot is held by the entry of a run and ends with it. All slots of a run are taken at once or none;
who is blocked waits in the line of each scope that blocks it, in the order of first coming, and
nobody who came later takes what it could have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.model.values import NEVER, Claimed, Entry, Record

if TYPE_CHECKING:
    from tests.support.model.world import World


def held(world: World, scope: str) -> int:
    """Count the taken slots of a scope."""
    return sum(scope in scopes for scopes in world.holds.values())


def line(world: World, scope: str) -> list[str]:
    """The keys that wait for a scope, in order."""
    return sorted(world.lines.get(scope, ()), key=lambda key: _order(world.records[key]))


def has_room(world: World, scope: str, size: int, order: int) -> bool:
    """Return True if a task that came at `order` may take a slot: one is free for it."""
    taken = held(world, scope)
    before = sum(_order(world.records[key]) < order for key in world.lines.get(scope, ()))
    return taken < size and taken + before < size


def forgotten(world: World) -> list[str]:
    """The keys that wait although every slot they wait for is free, and kept for no other."""
    return [
        key
        for key in waiting(world)
        if all(
            has_room(world, scope, size, _order(world.records[key]))
            for scope, size in world.records[key].limit_requests.items()
        )
    ]


def waiting(world: World) -> list[str]:
    """The keys that wait for slots."""
    return [key for key, when in world.queue.items() if when == NEVER]


def acquire(world: World, consumer: str, claim: Claimed, limit_requests: dict[str, int]) -> str:
    """Ask for slots: granted | waiting | cancelled | superseded; all but the first end the run."""
    record = world.records.get(claim.key)
    if record is None or not is_owned(record, claim, consumer):
        return "superseded"
    if record.cancelled:
        world.drop(claim.entry)
        world.finish(claim.key, "cancelled")
        return "cancelled"
    come(world, record)
    record.limit_requests = {}
    if limit_requests and sorted(world.holds.get(claim.entry, [])) != sorted(limit_requests):
        release(world, claim.entry)
        if not _take(world, claim, record, limit_requests):
            _wait(world, claim, record, limit_requests)
            return "waiting"
    return "granted"


def come(world: World, record: Record) -> None:
    """Give an execution its place in the lines, which it has from its first try on."""
    if record.order is None or record.order_attempt != record.attempt:
        world.first_come += 1
        record.order, record.order_attempt = world.first_come, record.attempt


def is_owned(record: Record, claim: Claimed, consumer: str) -> bool:
    """Return True if the claim still belongs to the consumer."""
    is_same = record.entry is claim.entry and record.generation == claim.generation
    return is_same and record.state == "running" and record.worker == consumer


def _order(record: Record) -> int:
    assert record.order is not None, "nobody waits who has not come"
    return record.order


def _take(world: World, claim: Claimed, record: Record, limit_requests: dict[str, int]) -> bool:
    blocked = [
        scope
        for scope, size in limit_requests.items()
        if not has_room(world, scope, size, _order(record))
    ]
    if not blocked:
        world.holds[claim.entry] = list(limit_requests)
        return True
    for scope in blocked:
        world.lines.setdefault(scope, set()).add(claim.key)
    return False


def _wait(world: World, claim: Claimed, record: Record, limit_requests: dict[str, int]) -> None:
    world.forget_run(record)
    record.entry, record.state, record.limit_requests = None, "scheduled", dict(limit_requests)
    world.queue[claim.key] = NEVER
    world.publish(claim.key, "scheduled", record.when)
    world.drop(claim.entry)
    for scope in limit_requests:
        serve(world, scope)


def release(world: World, entry: Entry) -> None:
    """Free the slots of an entry that is gone, and pass them to the tasks that wait."""
    for scope in world.holds.pop(entry, []):
        serve(world, scope)


def serve(world: World, scope: str) -> None:
    """Give the free slots of a scope to the tasks in line, in order.

    A task that is blocked elsewhere keeps its slot free.
    """
    passed_over = 0
    while passed_over < len(in_line := line(world, scope)):
        size = world.records[in_line[passed_over]].limit_requests[scope]
        if admit(world, in_line[passed_over]):
            continue
        passed_over += 1
        if held(world, scope) + passed_over >= size:
            return


def admit(world: World, key: str) -> bool:
    """Give a waiting task all its slots, or a place in each line that blocks it."""
    record = world.records[key]
    limit_requests = record.limit_requests
    blocked = [s for s, n in limit_requests.items() if not has_room(world, s, n, _order(record))]
    for scope in blocked:
        world.lines.setdefault(scope, set()).add(key)
    if blocked:
        return False
    entry = world.append("x" if record.deaths else "f", key)
    world.holds[entry] = list(limit_requests)
    for scope in limit_requests:
        world.lines.get(scope, set()).discard(key)
    del world.queue[key]
    record.state, record.entry = "queued", entry
    world.publish(key, "queued", record.when)
    return True


def leave(world: World, key: str) -> None:
    """Take a waiting task away, and move up those behind it."""
    record = world.records[key]
    limit_requests, record.limit_requests = record.limit_requests, {}
    for scope in limit_requests:
        world.lines.get(scope, set()).discard(key)
    for scope in limit_requests:
        serve(world, scope)


def look_after(world: World) -> None:
    """Repair forgotten waiters, as the sweep does; otherwise nothing changes."""
    for key in waiting(world):
        if world.queue.get(key) == NEVER and not admit(world, key):
            for scope in world.records[key].limit_requests:
                serve(world, scope)

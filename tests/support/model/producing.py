"""The operations of producers: schedule, cancel, clear."""

from collections.abc import Sequence

from tests.support.model.values import Record, Request, Scheduled
from tests.support.model.world import World


def schedule(world: World, requests: Sequence[Request]) -> list[Scheduled]:
    """Add or replace tasks, one after the other."""
    return [_schedule(world, request) for request in requests]


def _schedule(world: World, request: Request) -> Scheduled:
    found = world.records.get(request.key)
    if found is not None and (kept := _kept(found, request)):
        return Scheduled(kept, found.generation, found.state)
    if found is not None:
        _make_way(world, request.key, found)
    is_future = request.when is not None and request.when > world.now
    record = world.records[request.key] = Record(
        generation=1 + (found.generation if found else 0),
        function=request.function,
        call=request.call,
        state="scheduled" if is_future else "queued",
        when=world.now if request.when is None else request.when,
        token=request.token,
        earlier=remembered(world, found),
        perpetual=0 if request.perpetual else None,
    )
    if found is not None and request.perpetual:
        record.last_success = found.completed if found.state == "completed" else found.last_success
        record.last_failure = found.completed if found.state == "failed" else found.last_failure
    if is_future:
        world.queue[request.key] = record.when
    else:
        record.entry = world.append("s", request.key)
    world.publish(request.key, record.state, record.when)
    return Scheduled("scheduled", record.generation, record.state)


def _kept(found: Record, request: Request) -> str | None:
    """The disposition, if the existing record is kept."""
    if request.token in {found.token, *found.earlier}:
        # Sent again, or held up on its way: told what it was told the first time.
        return "scheduled"
    if found.is_live and not request.replace:
        return "already"
    if 0 < request.expected_generation < found.generation:
        return "superseded"
    if request.perpetual == 2 and found.state == "failed" and found.poison:
        return "already"
    return None


def remembered(world: World, record: Record | None) -> list[str]:
    """The tokens that are remembered of a record when another request takes its place."""
    if record is None or not record.token:
        return []
    return [record.token, *record.earlier][: world.remembered]


def _make_way(world: World, key: str, found: Record) -> None:
    """Remove a waiting execution. A running one keeps its entry, whose outcome its worker owes."""
    if found.state == "scheduled":
        world.leave_queue(key)
    elif found.state == "queued" and found.entry is not None:
        world.drop(found.entry)


def cancel(world: World, key: str) -> str:
    """Cancel a key: nothing | removed | signalled."""
    record = world.records.get(key)
    if record is None or not record.is_live:
        return "nothing"
    if record.state == "running":
        record.cancelled = True
        world.events.append(("cancel", record.entry, key))
        return "signalled"
    _make_way(world, key, record)
    world.finish(key, "cancelled")
    return "removed"


def clear(world: World) -> int:
    """Cancel all that waits, the queue first, and return the number."""
    cleared = 0
    for key in list(world.queue):
        if key in world.queue:
            world.leave_queue(key)
            world.finish(key, "cancelled")
            cleared += 1
    for letter in ("s", "f", "x"):
        for entry in world.waiting(letter):
            if entry in world.streams[letter]:
                world.drop(entry)
                world.finish(entry.key, "cancelled")
                cleared += 1
    return cleared

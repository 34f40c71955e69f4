"""Manual operations on one execution, without a worker: claim, mark, reschedule."""

from tests.support.model import producing, working
from tests.support.model.values import Entry, Record
from tests.support.model.world import World


def claim(world: World, key: str, generation: int, worker: str) -> Entry | None:
    """Mark what waits under a key running; None if it is not there to be claimed.

    generation 0: whatever waits, and nothing but a new record if nothing does.
    """
    record = world.records.get(key)
    if generation and (record is None or record.generation != generation):
        return None
    if record is not None and record.state == "running":
        return None
    if record is not None and record.is_live:
        _take_away(world, key, record)
    elif generation == 0:
        _write(world, key, record)
    else:
        return None
    entry = Entry("h", key, worker)
    world.start(key, entry, worker)
    return entry


def mark(world: World, key: str, generation: int, entry: Entry | None, state: str) -> bool:
    """End an execution; return True if it was the caller's to end, or had ended so already."""
    record = world.records.get(key)
    if generation and (record is None or record.generation != generation):
        return False
    if entry is not None and (record is None or record.entry is not entry):
        return False
    if record is not None and not record.is_live and generation:
        return record.state == state
    if record is not None and record.is_live:
        _take_away(world, key, record)
    else:
        _write(world, key, record)
    world.finish(key, state)
    return True


def reschedule(
    world: World, key: str, generation: int, entry: Entry, when: int, attempt: int, call: str
) -> str:
    """Give a run up for a later attempt: scheduled | superseded | cancelled."""
    record = world.records.get(key)
    if record is None or record.generation != generation or record.entry is not entry:
        return "superseded"
    if record.state not in {"running", "queued"}:
        return "superseded"
    _take_away(world, key, record)
    if record.cancelled:
        world.finish(key, "cancelled")
        return "cancelled"
    record.earlier, record.token = producing.remembered(world, record), "by hand"
    working.again(world, key, attempt, call, when)
    return "scheduled"


def _take_away(world: World, key: str, record: Record) -> None:
    if record.state == "scheduled":
        world.leave_queue(key)
    elif record.entry is not None:
        world.drop(record.entry)


def _write(world: World, key: str, before: Record | None) -> None:
    generation = 1 + (before.generation if before else 0)
    world.records[key] = Record(generation, "f", "0", "queued", world.now)

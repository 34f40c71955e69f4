"""The operations of operators: retry what has ended, move what waits."""

from tests.support.model.producing import remembered
from tests.support.model.values import Kept, Record
from tests.support.model.world import World


def retry(world: World, key: str, token: str) -> tuple[str, int]:
    """Run the newest failed or cancelled execution of a key again."""
    found = world.records.get(key)
    if found is not None and found.token == token:
        return "retried", found.generation
    if found is not None and found.is_live:
        return "live", 0
    kept = world.kept.get(key)
    # A record is never older than the failure that is kept of its key.
    old: Record | Kept
    if found is not None and found.state in {"failed", "cancelled"}:
        old, has_failed = found, found.state == "failed"
    elif kept is not None:
        old, has_failed = kept, True
    else:
        return "changed", 0
    generation = max(old.generation, found.generation if found else 0) + 1
    world.kept.pop(key, None)
    world.records[key] = Record(
        generation=generation,
        function=old.function,
        call=old.call,
        state="queued",
        when=world.now,
        token=token,
        earlier=remembered(world, found),
        attempts=list(old.attempts),
        perpetual=None if old.perpetual is None else 0,
        last_success=old.last_success,
        last_failure=(
            old.completed if has_failed and old.perpetual is not None else old.last_failure
        ),
    )
    world.place(key, world.now)
    return "retried", generation


def move(world: World, key: str, when: int | None) -> str:
    """Give a task that waits another time; None for now."""
    record = world.records.get(key)
    if record is None or not record.generation:
        return "changed"
    match record.state:
        case "running":
            return "running"
        case "queued" if when is None:
            return "ready"
        case "queued":
            if record.entry is not None:
                world.drop(record.entry)
            record.entry = record.came_from = None
        case "scheduled" if record.limit_requests:
            return "waiting"
        case "scheduled":
            world.queue.pop(key)
        case _:
            return "ended"
    world.place(key, world.now if when is None else when)
    return "moved"

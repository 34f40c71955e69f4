"""Pauses: what is not claimed for the time being, and waits in a line of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.model import slots
from tests.support.model.values import NEVER, PARKED, Entry

if TYPE_CHECKING:
    from tests.support.model.world import World


def scope_of(function: str) -> str:
    """What the line of a paused function is called."""
    return f"\x1fpaused:{function}"


def holds(world: World, name: str) -> bool:
    """Return True if a function, or with "" the whole docket, is paused now."""
    return world.pauses.get(name, -1) > world.now


def pause(world: World, name: str, until: int | None) -> tuple[str, bool]:
    """Pause it; the verdict, and whether it was paused before."""
    if until is not None and until <= world.now:
        return "past", False
    before = holds(world, name)
    world.pauses[name] = NEVER if until is None else until
    return "paused", before


def resume(world: World, name: str, limit: int) -> bool:
    """End a pause, and bring back the first of what it parked; whether there was one."""
    held = holds(world, name)
    if held:
        world.pauses[name] = world.now
    lift(world, name, limit)
    return held


def park(world: World, entry: Entry) -> None:
    """Take the entry of a paused function out of its stream."""
    key = entry.key
    record = world.records[key]
    slots.come(world, record)
    scope = scope_of(record.function)
    record.entry, record.state, record.limit_requests = None, "scheduled", {scope: 0}
    world.queue[key] = PARKED
    world.lines.setdefault(scope, set()).add(key)
    world.publish(key, "scheduled", record.when)
    world.drop(entry)


def lift(world: World, name: str, limit: int) -> int:
    """Bring back the first tasks of a pause that has ended, and remove it after the last."""
    keys = slots.line(world, scope_of(name))[:limit]
    for key in keys:
        record = world.records[key]
        record.entry = world.append("x" if record.deaths else "f", key)
        record.state, record.limit_requests = "queued", {}
        world.lines[scope_of(name)].discard(key)
        del world.queue[key]
        world.publish(key, "queued", record.when)
    if len(keys) < limit:
        world.pauses.pop(name, None)
    return len(keys)


def lift_ended(world: World, limit: int) -> None:
    """Lift the pauses whose end has passed."""
    for name in list(world.pauses):
        if not holds(world, name) and limit:
            limit -= lift(world, name, limit)

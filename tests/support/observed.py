"""All that can be looked at in a docket, and how it differs from what the model says."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from docket.store.keys import Keys
from tests.support.model.slots import line
from tests.support.model.values import NEVER as NEVER_TICKS
from tests.support.model.values import Entry, Progress, Record
from tests.support.model.world import LETTERS, World
from tests.support.passing_time import NEVER

#: One tick of the model, in milliseconds: far more than any example takes.
TICK = 3_600_000
#: What a record may hold besides what is compared.
ENDED = ("completed", "cancelled")
_UNCOMPARED = {"token", "tokens", "trace", "limits", "progress_updated_at", "predecessor"}


@dataclass(frozen=True)
class Observed:
    """What the server has. Entries by the letter of their stream and their id.

    ttls: of the records, milliseconds. streams: letter -> (id, key), oldest first. pending: letter
    -> id -> consumer, and for how many ticks its lease has lasted. queue: key -> score, in order.
    tokens: in the list of wake-ups. failed: the keys that are listed, by when they failed. kept:
    their records, and the milliseconds that each has left. ended: state -> generation and key.
    pauses: by function -> when they end (us), None for never.
    """

    records: dict[str, dict[str, str]]
    ttls: dict[str, int]
    streams: dict[str, list[tuple[str, str]]]
    pending: dict[str, dict[str, tuple[str, int]]]
    queue: dict[str, float]
    tokens: int
    workers: set[str]
    epochs: dict[str, int]
    holds: dict[str, list[str]]
    slots: dict[str, dict[str, str]]
    lines: dict[str, list[str]]
    pauses: dict[str, int | None]
    failed: list[str]
    kept: dict[str, tuple[dict[str, str], int]]
    ended: dict[str, list[tuple[int, str]]]


def observe(client: Any, keys: Keys, names: Sequence[str], scopes: Sequence[str]) -> Observed:
    """Everything, in one transaction; `client` is redis-py's, blocking and decoding."""
    streams = dict(zip(LETTERS, (keys.quarantine, keys.redelivery, keys.stream), strict=True))
    look = client.pipeline()
    for stream in streams.values():
        look.xrange(stream)
        look.xpending_range(stream, "workers", "-", "+", 1000)
    for name in names:
        look.hgetall(keys.record(name))
        look.pttl(keys.record(name))
    for scope in scopes:
        look.hgetall(keys.slots(scope))
        look.zrange(keys.waiting(scope), 0, -1)
    look.zrange(keys.queue, 0, -1, withscores=True)
    look.llen(keys.wakeup)
    look.zrange(keys.workers, 0, -1)
    look.hgetall(keys.epochs)
    look.hgetall(keys.holds)
    look.hgetall(keys.pauses)
    look.zrange(keys.failed, 0, -1)
    for name in names:
        look.hgetall(keys.failed_record(name))
        look.pttl(keys.failed_record(name))
    for state in ENDED:
        look.lrange(getattr(keys, state), 0, -1)
    seen = iter(look.execute(raise_on_error=False))
    entries, pending = dict[str, Any](), dict[str, Any]()
    for letter in streams:
        entries[letter] = [(i, fields["k"]) for i, fields in next(seen)]
        pending[letter] = {
            row["message_id"]: (row["consumer"], row["time_since_delivered"] // TICK)
            for row in next(seen)
        }
    records = {name: (next(seen), next(seen)) for name in names}
    limits = {scope: (next(seen), next(seen)) for scope in scopes}
    queue, tokens, workers, epochs, holds, pauses, failed = (next(seen) for _ in range(7))
    kept = {name: (next(seen), next(seen)) for name in names}
    ended = {state: [_generation_and_key(row) for row in next(seen)] for state in ENDED}
    return Observed(
        {name: record for name, (record, _) in records.items() if record},
        {name: ttl for name, (_, ttl) in records.items()},
        entries,
        pending,
        dict(queue),
        tokens,
        set(workers),
        {name: int(epoch) for name, epoch in epochs.items()},
        {e: msgspec.msgpack.decode(s.encode("latin-1")) for e, s in holds.items()},
        {scope: slots for scope, (slots, _) in limits.items()},
        {scope: waiting for scope, (_, waiting) in limits.items()},
        {name: _end_of(packed.encode("latin-1")) for name, packed in pauses.items()},
        failed,
        {name: found for name, found in kept.items() if found[0]},
        ended,
    )


def _end_of(pause: bytes) -> int | None:
    _, until, _, _ = msgspec.msgpack.decode(pause, type=tuple[str, str, str, str])
    return int(until) if until else None


def _generation_and_key(row: str) -> tuple[int, str]:
    _, generation, key = row.split(" ", 2)
    return int(generation), key


def _attempts(log: str) -> list[tuple[int, str]]:
    rows = (row.split("\x1f") for row in log.split("\x1e") if row)
    return [(int(number), how) for number, how, *_ in rows]


@dataclass(frozen=True)
class Clock:
    """How the server's milliseconds and the model's ticks belong together.

    started: the server's time when the model's was 0, less all that was made to pass since.
    """

    started: int

    def tick(self, microseconds: int | str | bytes | None) -> int | None:
        """The tick of an instant as it is stored, none for none."""
        if not microseconds:
            return None
        return (int(microseconds) // 1000 - self.started) // TICK

    def tick_of_score(self, milliseconds: float) -> int:
        """The tick at which something in the queue is due."""
        return int(milliseconds - self.started) // TICK

    def microseconds(self, tick: int) -> int:
        """The first instant of a tick, as it is stored."""
        return 1000 * (self.started + tick * TICK)


def lasted_of(suspect_for: float) -> int:
    """The ticks that a run had lasted when its process died, of the time that is made of it."""
    return int((suspect_for - 2000) / 1.25) // TICK


def name_entries(world: World, seen: Observed) -> Iterator[str]:
    """The model learns what the server calls its entries; yields what does not fit."""
    for letter in LETTERS:
        expected, found = world.streams[letter], seen.streams[letter]
        if [entry.key for entry in expected] != [key for _, key in found]:
            yield f"stream {letter}: {found} instead of {[e.key for e in expected]}"
            return
        for entry, (identity, _) in zip(expected, found, strict=True):
            name = letter + identity
            if entry.name not in {"", name}:
                yield f"{entry.key} is at {name} and not at {entry.name}"
            entry.name = name


def differences(world: World, seen: Observed, clock: Clock) -> list[str]:
    """What the server has and the model has not, or the other way round; empty if they agree."""
    found = list(name_entries(world, seen))
    found += [
        f"{what}: {has} instead of {should}"
        for what, should, has in _pairs(world, seen, clock)
        if should != has
    ]
    for key, record in world.records.items():
        if key in seen.records:
            found += _of_record(key, record, seen, clock, world.now)
    return found


def _pairs(world: World, seen: Observed, clock: Clock) -> Iterator[tuple[str, object, object]]:
    yield "keys with a record", set(world.records), set(seen.records)
    for letter in LETTERS:
        owned = {
            e.name[1:]: (e.owner, world.now - e.renewed)
            for e in world.streams[letter]
            if e.owner is not None
        }
        yield f"pending of {letter}", owned, seen.pending[letter]
    # How much later than never: 0 for a slot, 1 for a pause.
    ticks = {
        k: ("never", s - NEVER) if s >= NEVER else clock.tick_of_score(s)
        for k, s in seen.queue.items()
    }
    never = {
        k: ("never", w - NEVER_TICKS) if w >= NEVER_TICKS else w for k, w in world.queue.items()
    }
    yield "queue", never, ticks
    ends = {name: None if w == NEVER_TICKS else w for name, w in world.pauses.items()}
    yield "pauses", ends, {name: clock.tick(until) for name, until in seen.pauses.items()}
    yield "registered", set(world.epochs), seen.workers
    yield "epochs", world.epochs, seen.epochs
    holds = {entry.name: sorted(scopes) for entry, scopes in world.holds.items()}
    yield "holds", holds, {entry: sorted(scopes) for entry, scopes in seen.holds.items()}
    # One whose record has expired may still be listed: whoever reads the list skips it.
    yield "failed", sorted(world.kept), sorted(set(seen.failed) & set(seen.kept))
    yield "kept", _kept_of(world), {k: _kept_fields(f) for k, (f, _) in seen.kept.items()}
    for state in ENDED:
        yield f"list of {state}", world.ended[state], seen.ended[state]
    for scope, slots in seen.slots.items():
        holders = {e.name: e.key for e, scopes in world.holds.items() if scope in scopes}
        yield f"slots of {scope}", holders, slots
        yield f"line of {scope}", line(world, scope), seen.lines[scope]


def _kept_of(world: World) -> dict[str, tuple[object, ...]]:
    return {
        key: ("failed", str(k.generation), k.function, k.call, k.error, list(k.attempts))
        for key, k in world.kept.items()
    }


def _kept_fields(fields: dict[str, str]) -> tuple[object, ...]:
    names = ("state", "generation", "function", "call", "error")
    return (*(fields.get(name, "") for name in names), _attempts(fields.get("attempts", "")))


def _of_record(key: str, record: Record, seen: Observed, clock: Clock, now: int) -> Iterator[str]:
    fields = dict(seen.records[key])
    expected = _fields(record)
    for name in ("when", "started_at", "completed_at", "last_success", "last_failure"):
        if name in fields:
            fields[name] = str(clock.tick(fields[name]))
    if "suspect_for" in fields:
        fields["suspect_for"] = str(lasted_of(int(fields["suspect_for"])))
    fields.setdefault("deaths", "0")
    if (attempts := _attempts(fields.pop("attempts", ""))) != record.attempts:
        yield f"{key}.attempts: {attempts} instead of {record.attempts}"
    if not fields.get("entry"):
        fields.pop("entry", None)
    for uncompared in _UNCOMPARED:
        fields.pop(uncompared, None)
    for name in sorted(fields.keys() | expected.keys()):
        if fields.get(name) != expected.get(name):
            yield f"{key}.{name}: {fields.get(name)!r} instead of {expected.get(name)!r}"
    ttl = seen.ttls[key]
    if record.expires is None:
        if ttl != -1:
            yield f"{key} lives and expires in {ttl} ms"
    elif not (record.expires - now - 1) * TICK < ttl <= (record.expires - now) * TICK:
        yield f"{key} expires in {ttl} ms instead of {record.expires - now} ticks"


def _fields(record: Record) -> dict[str, str]:
    progress = record.progress
    values: dict[str, object | None] = {
        "state": record.state,
        "generation": record.generation,
        "function": record.function,
        "call": record.call,
        "when": record.when,
        "attempt": record.attempt,
        "deaths": record.deaths,
        "suspect_for": record.lasted,
        "entry": record.entry.name if record.entry is not None else None,
        "worker": record.worker,
        "from": record.came_from,
        "started_at": record.started,
        "completed_at": record.completed,
        "result": record.result,
        "error": record.error,
        "result_key": record.result_key,
        "cancel": 1 if record.cancelled else None,
        "poison": 1 if record.poison else None,
        "perpetual": record.perpetual,
        "last_success": record.last_success,
        "last_failure": record.last_failure,
        "progress_phase": _phase(progress) if progress else None,
        "progress_current": progress.current if progress else None,
        "progress_total": progress.total if progress else None,
        "progress_message": progress.message if progress else None,
    }
    if not record.generation:
        values |= dict.fromkeys(["state", "function", "call", "when", "attempt"])
    return {name: str(value) for name, value in values.items() if value is not None}


def _phase(progress: Progress) -> str:
    return progress.phase if isinstance(progress.phase, str) else progress.phase.name


def named(entries: Sequence[Entry]) -> list[str]:
    """What the server calls them."""
    return [entry.name for entry in entries]

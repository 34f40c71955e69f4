"""The store of one docket laid open: its transitions as calls, its whole state as a value."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from docket.clock import now, to_microseconds
from docket.store.claims import Claim
from docket.store.coalescing import ScheduleReply, ScheduleRequest, Terms
from docket.store.connection.connections import Connections
from docket.store.keys import Keys
from docket.store.retention import Retention
from docket.store.transitions import Exchanged, OutcomeRow, Transitions

#: Nothing in these tests takes seconds; this is where one that hangs ends.
PATIENCE_SECONDS = 15.0
#: The time in the queue of what a pause has parked.
PARKED = 253402300800001
POISON = (b"poison", "PoisonTask: too many")


@dataclass(frozen=True)
class State:
    """Everything a docket has in Redis.

    records: fields of each record. places: entry -> key, entries named by letter and id.
    pending: entry -> consumer. queue: key -> when. token: whether the list of wake-ups holds one.
    """

    records: dict[str, dict[str, str]]
    places: dict[str, str]
    pending: dict[str, str]
    queue: dict[str, float]
    token: bool
    workers: frozenset[str]
    epochs: dict[str, str]

    def where(self, key: str) -> list[str]:
        """The entries that carry a key."""
        return [entry for entry, found in self.places.items() if found == key]

    def faults(self) -> list[str]:
        """What breaks the rule that a live record is in exactly one place, where it is found."""
        faults = [fault for key in self.records if (fault := self._fault(key)) is not None]
        live = {"scheduled", "queued", "running"}
        named = {r.get("entry") for r in self.records.values() if r.get("state") in live}
        for entry, key in self.places.items():
            if entry not in named and entry not in self.pending:
                faults.append(f"entry {entry} of {key} waits and nobody owns it")
        faults.extend(
            f"{key} is in the queue and not scheduled"
            for key in self.queue
            if self.records.get(key, {}).get("state") != "scheduled"
        )
        return faults

    def _fault(self, key: str) -> str | None:
        record = self.records[key]
        entry, state = record.get("entry", ""), record.get("state")
        match state:
            case "scheduled":
                due = int(record["when"]) / 1000
                sound = self.queue.get(key) in {due, PARKED} and not entry
            case "queued":
                sound = self.places.get(entry) == key and entry not in self.pending
            case "running":
                sound = self.places.get(entry) == key
                sound = sound and self.pending.get(entry) == record["worker"]
            case _:
                sound = entry not in self.places and entry not in self.pending
        return None if sound else f"{key} is {state} and is not where it should be: {record}"


class Store:
    """Made by `store_at`.

    Attributes:
        records: the transitions.
        client: redis-py's, to look and to break things.
    """

    def __init__(self, connections: Connections, keys: Keys, retention: Retention) -> None:
        self.connections = connections
        self.keys = keys
        self.transitions = Transitions(connections.pipeline, keys, retention)
        self.client: Redis = connections.client()

    async def add(
        self,
        key: str = "k",
        *,
        delay_seconds: float | None = None,
        when: int | None = None,
        replace: Literal[0, 1] = 0,
        token: str = "",
        call: bytes = b"call",
        expected: int = 0,
        function: str = "f",
    ) -> ScheduleReply:
        """Schedule a task: for `when` (microseconds), in `delay_seconds`, or at once."""
        at_once = delay_seconds is None and when is None
        if at_once:
            when = to_microseconds(now())  # Nothing awaited: what is added at once leaves together.
        elif when is None:
            when = 1000 * (await self.now() + round((delay_seconds or 0) * 1000))
        request = ScheduleRequest(
            key=key,
            call=call,
            when=when or 0,
            token=token or self.transitions.coalescer.token(),
            terms=Terms(
                function,
                at_once=1 if at_once else 0,
                replace=replace,
                expected_generation=expected,
            ),
        )
        return await self.transitions.coalescer.schedule(request)

    async def now(self) -> int:
        seconds, microseconds = await self.client.time()
        return seconds * 1000 + microseconds // 1000

    async def register(self, *consumers: str) -> None:
        for consumer in consumers:
            await self.transitions.register(consumer, ["f"], timedelta(minutes=1))

    async def exchange(
        self,
        consumer: str = "a",
        outcomes: Sequence[OutcomeRow] = (),
        *,
        want: int = 0,
        epoch: int = 1,
        may_take_quarantined: bool = True,
        census: bool = False,
        failures: Sequence[tuple[int, str]] = (),
    ) -> Exchanged:
        return await self.transitions.exchange(
            consumer,
            epoch,
            want,
            outcomes,
            may_take_quarantined=may_take_quarantined,
            census=census,
            failures=failures,
        )

    async def claim(self, consumer: str = "a", **options: Any) -> Claim:
        exchanged = await self.exchange(consumer, want=1, **options)
        assert len(exchanged.claims) == 1
        return exchanged.claims[0]

    async def adopt(
        self, consumer: str = "a", blame: str = "everyone", max_deliveries: int = 3
    ) -> tuple[int, list[str]]:
        return await self.transitions.adopt(consumer, blame, max_deliveries, POISON)

    async def state(self, *keys: str) -> State:
        """Everything there is, in one transaction; of the records those of `keys`, if named."""
        records = [self.keys.record(key) for key in keys] or [
            key.decode()
            async for key in self.client.scan_iter(match=self.keys.record_prefix + "*", count=1000)
        ]
        streams = {"s": self.keys.stream, "f": self.keys.redelivery, "x": self.keys.quarantine}
        look = self.client.pipeline()
        for stream in streams.values():
            look.xrange(stream)
            look.xpending_range(stream, "workers", "-", "+", 10_000)
        look.zrange(self.keys.queue, 0, -1, withscores=True)
        look.llen(self.keys.wakeup)
        look.zrange(self.keys.workers, 0, -1)
        look.hgetall(self.keys.epochs)
        for record in records:
            look.hgetall(record)
        seen = await look.execute(raise_on_error=False)
        queue, wakeup, workers, epochs, *found = seen[6:]
        return State(
            {
                record.removeprefix(self.keys.record_prefix): _text(fields)
                for record, fields in zip(records, found, strict=True)
                if fields
            },
            {
                letter + identity.decode(): fields[b"k"].decode()
                for letter, entries in zip(streams, seen[0:6:2], strict=True)
                for identity, fields in entries
            },
            {
                letter + row["message_id"].decode(): row["consumer"].decode()
                for letter, rows in zip(streams, seen[1:6:2], strict=True)
                for row in _unless_there_is_no_group(rows)
            },
            {key.decode(): score for key, score in queue},
            bool(wakeup),
            frozenset(name.decode() for name in workers),
            _text(epochs),
        )

    async def record(self, key: str = "k") -> dict[str, str]:
        return _text(await self.client.hgetall(self.keys.record(key)))

    async def sweep_now(self, timeout: timedelta = timedelta(0)) -> int:
        """A sweep of who has watched for long enough."""
        await self.client.set(self.keys.watch, 1, px=60_000)
        return await self.transitions.sweep(timeout)

    async def rewind_queue(self) -> None:
        """Makes everything in the queue due."""
        for key in await self.client.zrange(self.keys.queue, 0, -1):
            await self.client.zadd(self.keys.queue, {key: 1})


def outcome(kind: str, claim: Claim, a: Any = "", b: Any = "", c: Any = "") -> OutcomeRow:
    """An outcome of a claim, as exchange.lua reads it."""
    if (kind, a, b, c) == ("C", "", "", ""):
        return ("N", claim.key, claim.entry, claim.generation)
    return (kind, claim.key, claim.entry, claim.generation, a, b, c)


def _unless_there_is_no_group(rows: Any) -> list[dict[str, Any]]:
    if not isinstance(rows, ResponseError):
        return rows
    if "NOGROUP" not in str(rows):
        raise rows
    return []


def _text(fields: dict[bytes, bytes]) -> dict[str, str]:
    return {k.decode(): v.decode(errors="replace") for k, v in fields.items()}


@asynccontextmanager
async def store_at(
    url: str, docket_name: str, retention: Retention = Retention(timedelta(minutes=1))
) -> AsyncGenerator[Store]:
    """The store of a docket on the server at `url`."""
    keys = Keys(docket_name)
    connections = await Connections.acquire(url, keys=keys)
    try:
        yield Store(connections, keys, retention)
    finally:
        await connections.release()


async def until(
    condition: Callable[[], Awaitable[bool]] | Callable[[], bool], what: str = "it"
) -> None:
    """Returns when an observable state is reached; looks again as often as the loop allows."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = condition()
        if (await found) if isinstance(found, Awaitable) else found:
            return
        assert time.monotonic() < give_up, f"{what} did not happen within {PATIENCE_SECONDS} s"
        await asyncio.sleep(0.002)

"""Limits for tests: a ledger that tasks write themselves, a store with limits, and what is left."""

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import msgspec
from redis.asyncio import Redis

from docket import Docket
from docket.store.claims import Claim
from docket.store.limits import Admission, LimitKind, LimitRequest
from tests.support.store import Store


class Ledger:
    """When each run began and ended, as the tasks themselves saw it."""

    def __init__(self) -> None:
        self.began: list[tuple[float, str, object]] = []
        self._running: defaultdict[str, int] = defaultdict(int)
        #: The most that ran at one instant, by scope.
        self.peak: defaultdict[str, int] = defaultdict(int)

    async def run(self, scope: str, what: object = None, seconds: float = 0.005) -> None:
        self.enter(scope, what)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.leave(scope)

    def enter(self, scope: str, what: object = None) -> None:
        self.began.append((time.monotonic(), scope, what))
        self._running[scope] += 1
        self.peak[scope] = max(self.peak[scope], self._running[scope])

    def leave(self, scope: str) -> None:
        self._running[scope] -= 1

    def order(self) -> list[object]:
        return [what for _, _, what in self.began]

    def most_within(self, seconds: float) -> int:
        """The most runs that began within any period of this length."""
        at = [began for began, _, _ in self.began]
        return max(sum(1 for b in at if a <= b < a + seconds) for a in at)


async def left_behind(client: Redis, prefix: str) -> set[str]:
    """Keys without a TTL that are none of the docket's own few."""
    own = {"stream", "front", "suspects", "queue", "bell", "workers", "epochs", "leases"}
    left = set[str]()
    async for key in client.scan_iter(match=f"{prefix}:*", count=1000):
        name = key.decode().removeprefix(f"{prefix}:")
        if name not in own and await client.ttl(key) == -1:
            left.add(name)
    return left


async def leftovers(docket: Docket) -> set[str]:
    return await left_behind(docket.connections.client(), docket.prefix)


async def states(docket: Docket, *keys: str) -> list[str]:
    found = [await docket.get_execution(key) for key in keys]
    return ["gone" if e is None else e.state.value for e in found]


@dataclass(frozen=True)
class Held:
    """Slots and lines as they are in Redis. By scope: keys that hold a slot, keys in line."""

    holders: dict[str, list[str]]
    lines: dict[str, list[str]]
    #: entry -> scopes.
    holds: dict[str, list[str]]


class LimitedStore:
    """A store whose tasks have limits.

    Attributes:
        store: the store.
        verdicts: of each acquisition, in order.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    async def acquire(
        self, claim: Claim, *limit_requests: LimitRequest, consumer: str = "a"
    ) -> Admission:
        return await self.store.transitions.limits.acquire(
            consumer, (claim.key, claim.entry, claim.generation), limit_requests
        )

    async def started(
        self, key: str, *limit_requests: LimitRequest, consumer: str = "a", **options: Any
    ) -> tuple[Claim, Admission]:
        """Adds a task, claims it and asks for its limits."""
        await self.store.add(key, **options)
        claim = await self.store.claim(consumer)
        assert claim.key == key.encode()
        return claim, await self.acquire(claim, *limit_requests, consumer=consumer)

    async def held(self) -> Held:
        client, keys = self.store.client, self.store.keys
        slots, lines = keys.slots(""), keys.waiting("")
        holders = dict[str, list[str]]()
        async for key in client.scan_iter(match=slots + "*"):
            found = await client.hvals(key)
            holders[key.decode().removeprefix(slots)] = sorted(k.decode() for k in found)
        waiting = dict[str, list[str]]()
        async for key in client.scan_iter(match=lines + "*"):
            found = await client.zrange(key, 0, -1)
            waiting[key.decode().removeprefix(lines)] = [k.decode() for k in found]
        holds = await client.hgetall(keys.holds)
        return Held(
            holders,
            waiting,
            {e.decode(): msgspec.msgpack.decode(s, type=list[str]) for e, s in holds.items()},
        )


def slots(scope: str, size: int = 1) -> LimitRequest:
    return LimitRequest(LimitKind.SLOTS, scope, size)

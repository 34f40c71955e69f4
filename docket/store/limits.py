"""Limits on the server: whether a claimed task may run now, and if not, what becomes of it."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from docket.store import scripts
from docket.store.connection.lease_connection import Lease
from docket.store.connection.pipeline import Pipeline
from docket.store.connection.retrying import retry
from docket.store.keys import Keys
from docket.store.overwritten_keys import log_overwritten

#: Kinds of wishes in the order in which acquire.lua has to see them: who drops the task says so
#: before anything is taken, and slots come last because everything else can refuse them.
KINDS = "CVDRS"

Verdict = Literal["granted", "waiting", "later", "dropped", "cancelled", "superseded"]


class LimitRequest(msgspec.Struct, frozen=True):
    """What one limit of one run asks for; acquire.lua lists the kinds and their numbers."""

    kind: Literal["C", "V", "D", "R", "S"]
    scope: str
    a: int
    b: int = 0


class Admission(NamedTuple):
    """What became of a run: unless it is granted, its record says so already.

    scope: the limit that decided. when: for `later`, server milliseconds; else 0.
    """

    verdict: Verdict
    scope: str
    when: int


class Limits:
    """Admits runs of one docket.

    Args:
        pipeline: the connection.
        keys: of the docket.
        ttl: how long the record of a dropped execution is kept, in milliseconds.
    """

    def __init__(self, pipeline: Pipeline, keys: Keys, ttl: int) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._ttl = ttl

    async def acquire(
        self, consumer: str, run: Lease, requests: Sequence[LimitRequest]
    ) -> Admission:
        """Take all that a run needs, or none of it.

        Waits for a server that is away as long as that takes: a run that is not admitted cannot
        go on, and asking again is harmless.
        """
        arguments: list[str | bytes | int] = [
            self._keys.prefix,
            consumer,
            *run,
            self._ttl,
        ]
        for request in sorted(requests, key=lambda request: KINDS.index(request.kind)):
            arguments += [request.kind, request.scope, request.a, request.b]
        record = self._keys.record_prefix.encode() + run[0]
        keys = [*self._keys.places, record]
        verdict, scope, when, broken = await retry(
            lambda: self._pipeline.call(scripts.ACQUIRE, keys, arguments),
            patience_seconds=math.inf,
        )
        log_overwritten(broken)
        return Admission(verdict.decode(), scope.decode(), when)

    async def sweep(self) -> int:
        """Free the slots of entries that are gone, and look after all who wait; how many mended."""
        cursor, seen, mended = b"0", 0, 0
        while cursor or seen >= 0:
            cursor, seen, found, broken = await self._pipeline.call(
                scripts.SWEEP_LIMITS, self._keys.places, [self._keys.prefix, cursor, seen]
            )
            log_overwritten(broken)
            mended += found
        return mended

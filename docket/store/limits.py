"""The limits on the server, which grant a claimed task its run or decide what becomes of it."""

import math
from collections.abc import Sequence
from enum import Enum
from typing import Literal, NamedTuple

import msgspec

from docket.store import scripts
from docket.store.connection.lease_connection import Lease
from docket.store.connection.pipeline import Pipeline
from docket.store.connection.retrying import retry
from docket.store.keys import Keys
from docket.store.overwritten_keys import log_overwritten
from docket.store.retention import Retention

Verdict = Literal["granted", "waiting", "later", "dropped", "cancelled", "superseded"]


class LimitKind(Enum):
    """The kinds of limits, by their letters in acquire.lua and in the order that it needs.

    Those that drop the task come first, before anything is taken, and slots come last, since
    everything else can refuse them.
    """

    COOLDOWN = "C"
    DROPPING_RATE = "V"
    DEBOUNCE = "D"
    RATE = "R"
    SLOTS = "S"


_ORDER = {kind: place for place, kind in enumerate(LimitKind)}


class LimitRequest(msgspec.Struct, frozen=True):
    """The request of one limit for one run; acquire.lua lists the kinds and their numbers."""

    kind: LimitKind
    scope: str
    a: int
    b: int = 0


class Admission(NamedTuple):
    """The answer to a run's requests; unless it is granted, the record is written already.

    scope: of the limit that decided. when: for `later`, in server milliseconds; else 0.
    """

    verdict: Verdict
    scope: str
    when: int


class Limits:
    """Admit runs of one docket.

    Args:
        pipeline: the connection.
        keys: of the docket.
        retention: how long executions that have ended are kept.
    """

    def __init__(self, pipeline: Pipeline, keys: Keys, retention: Retention) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._retention = retention.argument

    async def acquire(
        self, consumer: str, run: Lease, requests: Sequence[LimitRequest]
    ) -> Admission:
        """Take everything that a run needs, or nothing.

        An absent server is waited for as long as that takes: a run that is not admitted cannot
        continue, and asking again is harmless.
        """
        arguments: list[str | bytes | int] = [
            self._keys.prefix,
            consumer,
            *run,
            self._retention,
        ]
        for request in sorted(requests, key=lambda request: _ORDER[request.kind]):
            arguments += [request.kind.value, request.scope, request.a, request.b]
        record = self._keys.record_prefix.encode() + run[0]
        keys = [*self._keys.places, record]
        verdict, scope, when, broken = await retry(
            lambda: self._pipeline.call(scripts.ACQUIRE, keys, arguments),
            patience_seconds=math.inf,
        )
        log_overwritten(broken)
        return Admission(verdict.decode(), scope.decode(), when)

    async def sweep(self) -> int:
        """Free the slots of entries that are gone, check all waiting tasks, and count repairs."""
        cursor, seen, mended = b"0", 0, 0
        while cursor or seen >= 0:
            cursor, seen, found, broken = await self._pipeline.call(
                scripts.SWEEP_LIMITS, self._keys.places, [self._keys.prefix, cursor, seen]
            )
            log_overwritten(broken)
            mended += found
        return mended

"""The transitions as typed calls: the arguments of their scripts, and their replies as values."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from itertools import chain
from typing import Any, Literal, NamedTuple

from msgspec import Struct
from redis.exceptions import ResponseError

from docket.clock import delay_milliseconds
from docket.errors import DocketError
from docket.store import scripts
from docket.store.claims import Claim, is_text, read_claims
from docket.store.coalescing import BATCH_LIMIT, ScheduleCoalescer
from docket.store.connection.pipeline import Argument, LostReply, Pipeline
from docket.store.connection.retrying import PATIENCE_SECONDS, retry
from docket.store.heartbeats import Heartbeats, read_beats
from docket.store.keys import Keys, Stream
from docket.store.limits import Limits
from docket.store.manual import ManualTransitions
from docket.store.overwritten_keys import MendingPipeline, log_overwritten
from docket.store.pauses import Pauses
from docket.store.recovery import Recovery
from docket.store.retention import Retention
from docket.supervision import FUNCTIONS, NOBODY
from docket_display.printable import decoded

logger = logging.getLogger("docket.store")


#: The time in which workers of old code may still start after newer code has changed a schedule.
ROLLOUT = timedelta(minutes=15)

#: The streams in the order of LETTERS in _entries.lua.
_OLDEST_FIRST = (Stream.QUARANTINE, Stream.REDELIVERY, Stream.READY)


#: An outcome for exchange.lua: kind, key, entry, generation, and but for one kind three values.
OutcomeRow = tuple[str, bytes, bytes, bytes, *tuple[Argument, ...]]


class Schedule(Struct, frozen=True):
    """The schedule of an automatic task, by the code of one worker.

    name: a short name without spaces, the same wherever the schedule is the same.
    is_latest: whether its due time is the latest of those that would do.
    in_use_for: the time since the worker began.
    """

    name: str
    is_latest: bool
    in_use_for: timedelta


class Exchanged(Struct, frozen=True):
    """The reply to an exchange; `left` is -1 unless a census was asked for and there was room."""

    claims: list[Claim]
    superseded: list[int]
    more: bool
    left: int


class ProgressRow(NamedTuple):
    """The stored progress; `updated_at` in server microseconds."""

    current: int
    total: int
    message: str | None
    updated_at: int


class GroupConsumers(NamedTuple):
    """The consumers in the groups of the streams at one moment.

    pending: the pending entries of each.
    registered: the names of those that are registered, whether they are in a group or not.
    """

    pending: dict[bytes, int]
    registered: frozenset[bytes]


class StaleEpoch(DocketError):
    """The exchange was of an older epoch and did nothing; a newer one has its outcomes."""


class Fenced(DocketError):
    """The consumer is not registered (any more): others may have adopted its tasks."""


def _raise_refusal(status: bytes) -> None:
    if status == b"refused":
        raise Fenced("The consumer was fenced; a new name has to be registered")
    if status == b"stale":
        raise StaleEpoch("An exchange of an older epoch arrived late and did nothing")


class Transitions:
    """The transitions of one docket, over the process's pipeline.

    Args:
        pipeline: the connection.
        keys: those of the docket.
        retention: how long executions that have ended are kept.
    """

    def __init__(self, pipeline: Pipeline, keys: Keys, retention: Retention) -> None:
        self._pipeline = MendingPipeline(pipeline, keys)
        self._bare_pipeline = pipeline
        self._keys = keys
        self._retention = retention.argument
        self._ttl = retention.ttl_milliseconds
        #: Schedules tasks; adds made in one turn of the loop share their calls.
        self.coalescer = ScheduleCoalescer(
            pipeline,
            keys,
            keeps_records=retention.execution_ttl.total_seconds() >= 2 * PATIENCE_SECONDS,
        )
        #: Claims and ends executions without being a consumer.
        self.manual = ManualTransitions(pipeline, keys, retention)
        #: Admits the runs of tasks that have limits.
        self.limits = Limits(pipeline, keys, retention)
        #: Keeps tasks from being claimed for the time being.
        self.pauses = Pauses(pipeline, keys)
        #: Finds the tasks that nobody would be given.
        self.recovery = Recovery(pipeline, keys, retention)

    async def fetch(self, key: str) -> dict[bytes, bytes]:
        """Read every field of a record; empty if there is none."""
        flat: list[bytes] = await retry(
            lambda: self._pipeline.command(
                "HGETALL", self._keys.record(key), patience_seconds=PATIENCE_SECONDS
            )
        )
        return dict(zip(flat[::2], flat[1::2], strict=True))

    async def retime(self, key: str, schedule: Schedule, due: int | str) -> bool:
        """Time a waiting automatic task anew if newer code has changed its schedule.

        Args:
            key: its key.
            schedule: that of the code of this worker.
            due: when it is due by that, in the stored form.
        """
        reply = await self._pipeline.call(
            scripts.RETIME,
            [*self._keys.places, self._keys.record(key)],
            [
                self._keys.prefix,
                key,
                schedule.name,
                due,
                int(schedule.is_latest),
                delay_milliseconds(schedule.in_use_for),
                delay_milliseconds(ROLLOUT),
            ],
        )
        return bool(reply)

    async def cancel(
        self, key: str, generation: int = 0
    ) -> Literal["nothing", "removed", "signalled", "changed"]:
        """Cancel what is scheduled, queued or running under a key.

        Args:
            key: the key.
            generation: that of the execution which is meant; 0 for any.
        """
        verdict, broken = await retry(
            lambda: self._pipeline.call(
                scripts.CANCEL,
                [*self._keys.places, self._keys.record(key)],
                [self._keys.prefix, key, self._retention, generation],
                patience_seconds=PATIENCE_SECONDS,
            )
        )
        log_overwritten(broken)
        return verdict.decode()

    async def report_progress(
        self,
        key: str,
        entry: str,
        generation: int,
        operation: str,
        value: str | int,
        *others: str | int,
    ) -> ProgressRow | None:
        """Change the progress of a key: operation "total", "increment", "message" or "all".

        Of a run it is sent once, and otherwise for some seconds; not after a lost reply, since an
        increment that took effect would count twice.

        Args:
            key: the key.
            entry: that of the run that reports; "" if it is no run.
            generation: that of the run; 0 if it is no run.
            operation: the change.
            value: the new value, or the amount to add.
            others: the total and the message, for "all", of which `value` is the current amount.

        Returns:
            The progress after it, or None if the run was superseded and nothing was changed.
        """

        channel, record = self._keys.progress_channel(key), self._keys.record(key)
        change = [channel, entry, generation, operation, value, self._ttl, *others]

        async def call() -> Any:
            return await self._pipeline.call(
                scripts.PROGRESS, [record], change, patience_seconds=PATIENCE_SECONDS
            )

        if entry:
            reply = await call()
        else:
            reply = await retry(call, after_lost_reply=operation != "increment")
        if not reply:
            return None
        current, total, message, updated_at = reply
        return ProgressRow(current, total, message.decode() if message else None, int(updated_at))

    # Workers -----------------------------------------------------------------------------
    # These raise the pipeline's errors and retry nothing, since the exchanger owns recovery.

    async def exchange(
        self,
        consumer: str,
        epoch: int,
        want: int,
        outcomes: Sequence[OutcomeRow],
        *,
        may_take_quarantined: bool,
        census: bool = False,
        failures: Sequence[tuple[int, str]] = (),
    ) -> Exchanged:
        """Hand in outcomes and claim up to `want` tasks; see exchange.lua.

        Args:
            failures: the attempts that failed, each by the index of its outcome and its text.

        Raises:
            Fenced, StaleEpoch: nothing was done.
            LostReply: it may have taken effect; also where a key had to be set aside.
        """
        try:
            reply = await self._bare_pipeline.call(
                scripts.EXCHANGE,
                (*self._keys.places, self._keys.epochs),
                (
                    self._keys.prefix,
                    consumer,
                    epoch,
                    want,
                    1 if may_take_quarantined else 0,
                    self._retention,
                    1 if census else 0,
                    len(outcomes),
                    *chain.from_iterable(outcomes),
                    *chain.from_iterable(failures),
                ),
            )
        except ResponseError as error:
            # It may have failed at its last step, with tasks claimed.
            if await self._pipeline.set_aside(error, consumer):
                raise LostReply(str(error)) from error
            raise
        _raise_refusal(reply[0])
        _, now, more, left, superseded, taken, broken = reply
        if broken:
            log_overwritten(broken)
        claims = read_claims(taken, int(now)) if taken else []
        return Exchanged(claims, superseded or [], more == 1, left)

    async def register(
        self,
        consumer: str,
        function_names: Sequence[str],
        lifetime: timedelta,
        lease: timedelta | None = None,
    ) -> int:
        """Register a consumer; its keys expire `lifetime` after its last heartbeat.

        Args:
            lease: the length of its leases. None leaves it to the steward that sweeps.

        Returns:
            The server's time, in milliseconds.
        """
        return await self._pipeline.call(
            scripts.REGISTER,
            [
                *self._keys.places,
                self._keys.workers,
                self._keys.epochs,
                self._keys.worker_tasks(consumer),
                *(self._keys.task_workers(name) for name in function_names),
            ],
            [
                self._keys.prefix,
                consumer,
                delay_milliseconds(lifetime),
                "" if lease is None else delay_milliseconds(lease),
                *function_names,
            ],
            consumer=consumer,
            functions=function_names,
        )

    async def raise_epoch(self, consumer: str) -> int:
        """Invalidate exchanges that were sent before. Raises Fenced."""
        epoch: int = await self._pipeline.call(scripts.RAISE_EPOCH, [self._keys.epochs], [consumer])
        if epoch == 0:
            _raise_refusal(b"refused")
        return epoch

    async def reclaim(self, consumer: str, epoch: int, running: Sequence[bytes]) -> list[Claim]:
        """Claim the consumer's own pending entries that are not in `running`."""
        claims: list[Claim] = []
        for stream in _OLDEST_FIRST:
            start = b"-"
            while start:
                reply = await self._pipeline.call(
                    scripts.RECLAIM,
                    [*self._keys.places, self._keys.epochs],
                    [
                        self._keys.prefix,
                        consumer,
                        epoch,
                        stream.value,
                        start,
                        self._retention,
                        *running,
                    ],
                )
                _raise_refusal(reply[0])
                _, now, start, taken, broken = reply
                log_overwritten(broken)
                claims.extend(read_claims(taken, now))
        return claims

    async def adopt(
        self, consumer: str, blame: str, max_deliveries: int, poison: tuple[bytes, str]
    ) -> tuple[int, list[str]]:
        """Fence a consumer that is gone, and redeliver its tasks.

        Args:
            consumer: its name.
            blame: the tasks that count a death; see adopt.lua.
            max_deliveries: the number of deaths at which a task is failed.
            poison: the error payload and text of such a task.

        Returns:
            The number of redelivered tasks, and the keys of those failed as poison.
        """
        moved, poisoned, more = 0, list[str](), True
        while more:
            reply = await self._pipeline.call(
                scripts.ADOPT,
                [
                    *self._keys.places,
                    self._keys.workers,
                    self._keys.epochs,
                    self._keys.worker_tasks(consumer),
                ],
                [self._keys.prefix, consumer, blame, max_deliveries, self._retention, *poison],
                consumer=consumer,
            )
            moved += reply[0]
            more = reply[1] == 1
            poisoned.extend(map(decoded, reply[2]))
            log_overwritten(reply[3])
            if blame.startswith(FUNCTIONS):
                blame = NOBODY  # decided by the first call, which saw all of the tasks
        return moved, poisoned

    async def vouch(self, consumer: str, lifetime: timedelta) -> bool:
        """Beat and renew for another consumer; False if it is fenced."""
        reply = await self._pipeline.call(
            scripts.VOUCH,
            [
                *self._keys.places,
                self._keys.workers,
                self._keys.epochs,
                self._keys.worker_tasks(consumer),
            ],
            [self._keys.prefix, consumer, delay_milliseconds(lifetime)],
            consumer=consumer,
        )
        return bool(reply)

    async def promote(self) -> tuple[int, float | None]:
        """Move due tasks to the stream, and bring back what was parked by pauses that have ended.

        Returns:
            The number moved to the stream, and the seconds until the next task is due or the next
            pause ends, if any.
        """
        promoted, pause, broken = await self._pipeline.call(
            scripts.PROMOTE, self._keys.places, [self._keys.prefix, BATCH_LIMIT]
        )
        log_overwritten(broken)
        return promoted, None if pause < 0 else pause / 1_000_000

    async def sweep(self, redelivery_timeout: timedelta) -> int:
        """Redeliver the runs whose lease has ended, and return their number.

        Each call looks at a few hundred entries, however many there are. The first sweeps do
        nothing: a lease lapses only after half the timeout of sweeps without a gap.
        """
        timeout, moved = delay_milliseconds(redelivery_timeout), 0
        for stream in _OLDEST_FIRST:
            start = b"-"
            while start:
                found, start, broken = await self._pipeline.call(
                    scripts.SWEEP,
                    [*self._keys.places, self._keys.watch],
                    [self._keys.prefix, timeout, self._retention, stream.value, start],
                )
                log_overwritten(broken)
                moved += found
        return moved

    async def is_known(self, function_name: str) -> bool:
        """Check for a registered worker that can run a function."""
        knowing: list[bytes] = await self._pipeline.command(
            "SMEMBERS", self._keys.task_workers(function_name)
        )
        return not (await self.beats()).keys().isdisjoint(knowing)

    async def wake_idle(self) -> None:
        """Pass a wake-up token on to the next idle worker."""
        await self._pipeline.call(scripts.WAKE_IDLE, self._keys.places, [])

    async def beats(self) -> dict[bytes, int]:
        """Read the last heartbeat (server ms) of each registered consumer."""
        return read_beats(
            await self._pipeline.command("ZRANGE", self._keys.workers, 0, -1, "WITHSCORES")
        )

    async def beats_at(self) -> Heartbeats:
        """Read the server's time and `beats`, in one round trip."""
        beats, (seconds, microseconds) = await asyncio.gather(
            self.beats(), self._pipeline.command("TIME")
        )
        return Heartbeats(int(seconds) * 1000 + int(microseconds) // 1000, beats)

    async def consumers(self) -> GroupConsumers:
        """Read who is in the groups of the streams, and who is registered."""
        flat, registered = await self._pipeline.call(
            scripts.CONSUMERS, [*self._keys.places, self._keys.workers], []
        )
        pending: dict[bytes, int] = {}
        for name, count in zip(flat[::2], flat[1::2], strict=True):
            if is_text(name):  # The entries of others are redelivered when their leases lapse.
                pending[name] = pending.get(name, 0) + count
        return GroupConsumers(pending, frozenset(registered))

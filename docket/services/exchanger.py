"""The exchanger: hands outcomes in, takes tasks out, one script call at a time.

The heart of the worker. It never sleeps with work to do: an outcome, a freed slot, a token of the
bell or a nudge make it look, and everything that came in while a call was under way rides in the
next one.
"""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable

from docket.errors import NotPermitted, RefusedCall, ServerUnavailable
from docket.instrumentation.counters import TaskCounters
from docket.instrumentation.readiness import Readiness
from docket.lifecycle import Cancelled, Failed, Outcome, Requeued, Superseded
from docket.services.outcomes import count, row_of, unstorable, weight
from docket.services.payloads import Payloads
from docket.services.runs import Consumer, Run, Runs, reject_late
from docket.store.coalescing import BATCH_BYTES, BATCH_LIMIT
from docket.store.connection.endpoint import backoff_seconds
from docket.store.connection.pipeline import LostReply, Pipeline
from docket.store.connection.retrying import retry
from docket.store.transitions import (
    Claim,
    Exchanged,
    Fenced,
    OutcomeRow,
    StaleEpoch,
    Transitions,
)

logger = logging.getLogger("docket.worker")

#: After how long without a connection the runtime hears that we wait for one, in seconds.
PATIENCE_SECONDS = 1.0

#: How long a worker that took a suspect claims nothing beside it, in seconds. What blocked its last
#: process mostly does so at once, or after one answer from elsewhere; an innocent that was claimed
#: before that would wait for the stall timeout with it.
PROBATION_SECONDS = 0.25

#: An outcome on its way: whose, what, and as the script reads it.
Parcel = tuple[Run, Outcome, OutcomeRow]


class Exchanger:
    """The only one that claims, and the only one that records outcomes.

    Args:
        records: of the docket.
        pipeline: the connection, to wait for it.
        consumer: who we are; replaced here when it was struck off.
        runs: what is claimed.
        payloads: encodes what outcomes carry.
        tally: counts outcomes once they are recorded.
        standing: told when the server goes away and comes back; says whether claims are kept.
        concurrency: slots.
        until_finished: end when the docket has nothing left.
        message_batch: most tasks asked for at once.
        lease_seconds: after this long without a sign of life what is claimed goes to others.
    """

    def __init__(
        self,
        records: Transitions,
        pipeline: Pipeline,
        consumer: Consumer,
        runs: Runs,
        payloads: Payloads,
        task_counters: TaskCounters,
        standing: Readiness,
        *,
        concurrency: int,
        until_finished: bool,
        message_batch: int,
        lease_seconds: float,
    ) -> None:
        self._records = records
        self._pipeline = pipeline
        self._consumer = consumer
        self._runs = runs
        self._payloads = payloads
        self._task_counters = task_counters
        self._readiness = standing
        self._until_finished = until_finished
        self._message_batch = min(message_batch, BATCH_LIMIT)
        self._lease_seconds = lease_seconds
        self._outbox: deque[Parcel] = deque()
        self._attention = asyncio.Event()
        self._batch = BATCH_LIMIT
        self._token_to_pass_on = False
        self._doubted = False
        self._draining = False
        self._handing_back = False
        self._nothing_left = False
        self._is_claiming = False
        #: Entries that were cancelled while their claim may have been on its way to us.
        self._cancelled_early: set[bytes] = set()
        self._probation: asyncio.TimerHandle | None = None
        self._fault: BaseException | None = None
        self.concurrency = concurrency
        #: Set while slots are free and the streams were found empty: the bell listener waits then.
        self.hungry = asyncio.Event()

    def look(self) -> None:
        """Exchange soon: something changed."""
        self._attention.set()

    def doubt(self) -> None:
        """Exchange soon even with nothing to say: our consumer may have been struck off."""
        self._doubted = True
        self.look()

    def heard(self, rung: bool) -> None:
        """The bell listener stopped waiting; `rung`: it holds a token."""
        self.hungry.clear()
        if rung and self._want() == 0:
            # No use to us: a token that is kept is a wake-up that an idle worker never gets.
            self._token_to_pass_on = True
        self.look()

    def drain(self) -> None:
        """Claim no more; `run` ends when every outcome is recorded."""
        self._draining = True
        self.look()

    def hand_back(self) -> None:
        """Stop what runs, and what an exchange under way may still bring, for others to run."""
        self._handing_back = True
        for run in self._runs:
            stop(run, Requeued(), self)

    def cancelled(self, entry: bytes) -> None:
        """Somebody cancelled the run of an entry: stop it, if it is ours.

        The message may overtake the reply that brings us the claim.
        """
        run = self._runs.get(entry)
        if run is not None:
            stop(run, Cancelled(), self)
        elif self._is_claiming:
            self._cancelled_early.add(entry)

    @property
    def draining(self) -> bool:
        """Whether it claims no more."""
        return self._draining

    def fail(self, error: BaseException) -> None:
        """A service of this worker broke: `run` raises its error, and the worker with it."""
        self._fault = error
        self.look()

    def report(self, run: Run, outcome: Outcome) -> None:
        """Take the outcome of a run; never fails, whatever the task returned."""
        try:
            row = row_of(run.claim, outcome, self._payloads)
        except BaseException as error:
            # Pickling runs the user's code: any error can come out of it, SystemExit too.
            logger.error(
                "What task %s ended with cannot be stored, so it has failed",
                run.claim.key.decode(),
                exc_info=error,
            )
            outcome = unstorable(outcome, error)
            row = row_of(run.claim, outcome, self._payloads)
        self._runs.report(run)
        self._outbox.append((run, outcome, row))
        self._attention.set()

    def withdraw(self, run: Run) -> None:
        """A run is over whose record the store has written by itself: its slot is free."""
        self._runs.report(run)
        self._runs.remove(run)
        self.look()

    async def run(
        self, start: Callable[[Claim], None], register: Callable[[], Awaitable[None]]
    ) -> None:
        """Exchange until drained, or finished.

        Args:
            start: begins a claimed task.
            register: announces the consumer under its present name.
        """
        self._start, self._register = start, register
        self.look()
        while not self._finished():
            await self._attention.wait()
            self._attention.clear()
            if self._fault is not None:
                raise self._fault
            if self._token_to_pass_on or self._doubted or self._outbox or self._want():
                await self._turn()

    def _finished(self) -> bool:
        settled = not self._outbox and self._runs.active == 0
        return settled and (self._draining or self._nothing_left)

    def _want(self) -> int:
        if self._draining or not self._readiness.may_claim:
            return 0
        if self._probation is not None and self._runs.has_suspect:
            return 0
        return min(max(0, self.concurrency - self._runs.active), self._message_batch)

    async def _turn(self) -> None:
        # While a refused outcome is looked for, nothing else may be the reason of a refusal.
        is_searching = self._batch == 1
        outcomes = self._take_parcels()
        try:
            if not self._pipeline.is_connected:
                # A call would wait as long as it takes, in silence.
                await self._pipeline.connected(PATIENCE_SECONDS)
            if self._token_to_pass_on:
                await self._records.ring()
                self._token_to_pass_on = False
            want = 0 if is_searching else self._want()
            if outcomes or want or self._doubted:
                self._doubted = False
                self._is_claiming = want > 0
                self._absorb(outcomes, want, await self._exchange(outcomes, want))
        except (ServerUnavailable, StaleEpoch) as error:
            self._put_back(outcomes, may_be_applied=isinstance(error, LostReply))
            await self._recover(error)
        except Fenced:
            self._put_back(outcomes, may_be_applied=False)
            await self._start_over()
        except (asyncio.CancelledError, NotPermitted):
            # Whoever cancelled us exchanges once more before it goes. And what our user may not do
            # is no outcome's fault: none is failed for it.
            self._put_back(outcomes, may_be_applied=True)
            raise
        except RefusedCall as error:
            self._isolate(outcomes, error)
        finally:
            self._is_claiming = False
            self._cancelled_early.clear()

    def _take_parcels(self) -> list[Parcel]:
        outcomes: list[Parcel] = []
        size = 0
        # A call over what the server lets a client send (1 GB) would be cut off each time.
        while self._outbox and len(outcomes) < self._batch and size < BATCH_BYTES:
            outcome = self._outbox.popleft()
            size += weight(outcome[2])
            outcomes.append(outcome)
        if self._outbox:
            self.look()
        else:
            self._batch = BATCH_LIMIT
        return outcomes

    async def _exchange(self, outcomes: list[Parcel], want: int) -> Exchanged:
        asked_at = time.monotonic()
        reply = await self._records.exchange(
            self._consumer.name,
            self._consumer.epoch,
            want,
            [row for _, _, row in outcomes],
            may_take_suspect=not self._runs.has_suspect,
            census=self._until_finished,
        )
        reject_late(reply.claims, asked_at, self._lease_seconds)
        return reply

    def _absorb(self, outcomes: list[Parcel], want: int, reply: Exchanged) -> None:
        self._acknowledge(outcomes, reply.superseded)
        self._begin(reply.claims)
        self._nothing_left = self._until_finished and reply.left == 0
        if len(reply.claims) < want and not reply.more:
            self.hungry.set()
        elif self._want():
            # One call takes only so many: slots are free, and nobody said that nothing is left.
            self.look()

    def _begin(self, claims: list[Claim]) -> None:
        for claim in claims:
            self._start(claim)
            if claim.deaths:
                self._keep_to_the_suspect()
            if self._handing_back or claim.entry in self._cancelled_early:
                run = self._runs.get(claim.entry)
                if run is not None:
                    stop(run, Requeued() if self._handing_back else Cancelled(), self)

    def _keep_to_the_suspect(self) -> None:
        if self._probation is not None:
            self._probation.cancel()
        loop = asyncio.get_running_loop()
        self._probation = loop.call_later(PROBATION_SECONDS, self._end_probation)

    def _end_probation(self) -> None:
        self._probation = None
        self.look()

    def _acknowledge(self, outcomes: list[Parcel], superseded: list[int]) -> None:
        lost = frozenset(superseded)
        for index, (run, outcome, _) in enumerate(outcomes):
            self._runs.remove(run)
            # One that was sent twice may not match any more because its first sending was applied.
            is_lost = index in lost and not run.sent_again
            counters = self._task_counters.of(run.claim.function)
            count(counters, Superseded() if is_lost else outcome)

    def _put_back(self, outcomes: list[Parcel], *, may_be_applied: bool) -> None:
        for run, _, _ in outcomes:
            run.sent_again = run.sent_again or may_be_applied
        self._outbox.extendleft(reversed(outcomes))

    async def _recover(self, cause: Exception) -> None:
        """After an error whose call may or may not have taken effect: settle what did.

        The epoch first, so that the lost call can no longer do anything. Then what it had claimed
        for us and we never heard of. Our outcomes go again with the next turn: those that were
        applied do not match any more and change nothing.
        """
        self._readiness.waiting(str(cause))
        failures = 0
        while True:
            try:
                await self._pipeline.connected()
                self._consumer.epoch = await self._records.raise_epoch(self._consumer.name)
                await self._reclaim()
                break
            except (ServerUnavailable, StaleEpoch):
                failures += 1
                await asyncio.sleep(backoff_seconds(failures))
            except Fenced:
                await self._start_over()
                return
        self._readiness.ready()
        self.look()

    async def _reclaim(self) -> None:
        asked_at = time.monotonic()
        claims = await self._records.reclaim(
            self._consumer.name, self._consumer.epoch, self._runs.entries()
        )
        reject_late(claims, asked_at, self._lease_seconds)
        self._begin(claims)

    async def _start_over(self) -> None:
        """Struck off: others run what we ran. Stop those runs and come back under a new name."""
        logger.warning(
            "Worker %s was taken for dead and its tasks were given to others; "
            "they are stopped here, and it goes on under a new name",
            self._consumer.name,
        )
        for run in self._runs:
            stop(run, Superseded(), self)
        self._consumer.renew()
        await retry(self._register, patience_seconds=math.inf)
        self._readiness.ready()
        self.look()

    def _isolate(self, outcomes: list[Parcel], error: RefusedCall) -> None:
        """The server refused a call: find the outcome that it refuses, and fail that one alone."""
        if not outcomes:
            raise error
        if len(outcomes) > 1:
            self._put_back(outcomes, may_be_applied=True)
            self._batch = 1
        elif outcomes[0][0].refused:
            run = outcomes[0][0]
            logger.error(
                "The outcome of task %r cannot be recorded: %s. Its lease is given up, so that it "
                "is redelivered",
                run.claim.key,
                error,
            )
            self._runs.remove(run)
        else:
            run = outcomes[0][0]
            run.refused = True
            failed = Failed(error)
            outcome = (run, failed, row_of(run.claim, failed, self._payloads))
            self._put_back([outcome], may_be_applied=True)
            self._batch = 1
        self.look()


def stop(run: Run, ending: Outcome, exchanger: Exchanger) -> None:
    """Cancel a run; when it has ended, `ending` is its outcome. A run that is ending stays so."""
    if run.reported or run.ending is not None or run.task is None:
        return
    run.ending = ending
    run.task.cancel()
    if not run.begun:
        # Its coroutine never gets to a line of ours: nobody else would report it.
        exchanger.report(run, ending)

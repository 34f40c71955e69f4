"""The exchanger: hands in outcomes and claims tasks, one script call at a time.

The heart of the worker. It never sleeps while there is work: an outcome, a freed slot or a wake-up
makes it exchange, and everything that arrives during a call goes into the next one.
"""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping

from docket.errors import DeserializationError, NotPermitted, RefusedCall, ServerUnavailable
from docket.instrumentation.counters import TaskCounters
from docket.instrumentation.readiness import Readiness
from docket.lifecycle import Cancelled, Completed, Failed, Outcome, Requeued, Superseded
from docket.services.outcomes import (
    BARE_ROW,
    count,
    failure_text,
    row_of,
    unstorable,
    weight,
)
from docket.services.payloads import Payloads
from docket.services.run_log import log_what_follows
from docket.services.runs import Consumer, Run, Runs, reject_late
from docket.store.claims import Claim
from docket.store.coalescing import BATCH_BYTES, BATCH_LIMIT
from docket.store.connection.backoff import backoff_seconds
from docket.store.connection.pipeline import LostReply, Pipeline
from docket.store.connection.retrying import retry
from docket.store.transitions import Exchanged, Fenced, OutcomeRow, StaleEpoch, Transitions

logger = logging.getLogger("docket.worker")

#: Seconds without a connection after which the runtime is told that we wait for one.
PATIENCE_SECONDS = 1.0

#: Seconds for which a worker that took a quarantined task claims nothing beside it. A task that
#: blocked its last process mostly does so again at once, or after one reply from elsewhere; a task
#: claimed before that would wait for the stall timeout with it.
PROBATION_SECONDS = 0.25

#: An outcome that is not recorded yet, its row for the script, and what its attempt is said to have
#: failed with ("" for none).
PendingOutcome = tuple[Run, Outcome, OutcomeRow, str]


class Exchanger:
    """The only part of a worker that claims tasks, and that records outcomes of admitted runs.

    Args:
        transitions: those of the docket.
        pipeline: the connection, to wait for it.
        consumer: the identity of the worker; renewed here when it was fenced.
        runs: the claimed tasks.
        payloads: encodes the values of outcomes.
        task_counters: the counters of each task.
        readiness: told of the loss and return of the server; forbids claims that nobody renews.
        concurrency: the number of slots.
        until_finished: end when the docket has nothing left.
        message_batch: most tasks asked for at once.
        lease_seconds: without a renewal for this long, claimed tasks go to other workers.
        log_attributes: those of the records about the worker.
    """

    def __init__(
        self,
        transitions: Transitions,
        pipeline: Pipeline,
        consumer: Consumer,
        runs: Runs,
        payloads: Payloads,
        task_counters: TaskCounters,
        readiness: Readiness,
        *,
        concurrency: int,
        until_finished: bool,
        message_batch: int,
        lease_seconds: float,
        log_attributes: Mapping[str, object],
    ) -> None:
        self._transitions = transitions
        self._pipeline = pipeline
        self._consumer = consumer
        self._runs = runs
        self._payloads = payloads
        self._task_counters = task_counters
        self._readiness = readiness
        self._until_finished = until_finished
        self._message_batch = min(message_batch, BATCH_LIMIT)
        self._lease_seconds = lease_seconds
        self._log_attributes = log_attributes
        self._outbox: deque[PendingOutcome] = deque()
        self._attention = asyncio.Event()
        self._batch = BATCH_LIMIT
        self._has_token_to_pass_on = False
        self._doubted = False
        self._draining = False
        #: True once it claims tasks.
        self.has_begun = False
        self._requeuing = False
        self._nothing_left = False
        #: It ended without a server: the outcomes in its outbox are not recorded.
        self._is_cut_off = False
        self._is_claiming = False
        #: Entries that were cancelled while the reply with their claim may have been on its way.
        self._cancelled_early: set[bytes] = set()
        self._probation: asyncio.TimerHandle | None = None
        #: Timers at whose ends runs have outlived what their processes died of before.
        self._acquittals: dict[Run, asyncio.TimerHandle] = {}
        self._fault: BaseException | None = None
        self.concurrency = concurrency
        #: Set while slots are free and the streams are empty: then the wake-up listener waits.
        self.idle = asyncio.Event()

    def exchange_soon(self) -> None:
        """Exchange soon, since something has changed."""
        self._attention.set()

    def check_registration(self) -> None:
        """Exchange soon even with nothing to hand in, to find out if our consumer was fenced."""
        self._doubted = True
        self.exchange_soon()

    def on_wakeup(self, has_token: bool) -> None:
        """Exchange soon, since the wake-up listener stopped waiting, perhaps with a token."""
        self.idle.clear()
        if has_token and self._want() == 0:
            # A token that a busy worker keeps is a wake-up that an idle one never gets.
            self._has_token_to_pass_on = True
        self.exchange_soon()

    def drain(self) -> None:
        """Claim no more; `run` ends when every outcome is recorded."""
        self._draining = True
        self.exchange_soon()

    def requeue_runs(self) -> None:
        """Stop all runs, those of a claim that is under way too, and requeue their tasks."""
        self._requeuing = True
        for run in self._runs:
            stop(run, Requeued(), self)

    def cancelled(self, entry: bytes) -> None:
        """Stop the run of an entry that was cancelled, if it is ours.

        The message may overtake the reply with our claim.
        """
        run = self._runs.get(entry)
        if run is not None:
            self._cancel(run)
        elif self._is_claiming:
            self._cancelled_early.add(entry)

    def _cancel(self, run: Run) -> None:
        if stop(run, Cancelled(), self):
            key = run.claim.key.decode()
            logger.info("Cancelling running task %r", key, extra=self._log_attributes)

    @property
    def draining(self) -> bool:
        """Return True if it claims no more."""
        return self._draining

    def fail(self, error: BaseException) -> None:
        """Let `run` raise the error of a service that broke, and the worker with it."""
        self._fault = error
        self.exchange_soon()

    def report(self, run: Run, outcome: Outcome) -> None:
        """Take in the outcome of a run; never fails, whatever the task returned."""
        try:
            row = row_of(run.claim, outcome, self._payloads, is_suspect=run.is_suspect)
        except BaseException as error:
            # Pickling runs the user's code, which may raise anything, SystemExit too.
            logger.error(
                "What task %s ended with cannot be stored, so it has failed",
                run.claim.key.decode(),
                exc_info=error,
            )
            outcome = unstorable(outcome, error)
            row = row_of(run.claim, outcome, self._payloads)
        self._free(run)
        self._outbox.append((run, outcome, row, failure_text(outcome)))
        self._attention.set()

    def withdraw(self, run: Run) -> None:
        """Free the slot of a run that the store has ended, and recorded, by itself."""
        self._free(run)
        self._runs.remove(run)
        self.exchange_soon()

    def _free(self, run: Run) -> None:
        self._runs.report(run)
        if self._acquittals and (timer := self._acquittals.pop(run, None)) is not None:
            timer.cancel()

    async def run(
        self, start: Callable[[Claim], None], register: Callable[[], Awaitable[None]]
    ) -> None:
        """Exchange until drained, or finished.

        Args:
            start: begins a claimed task.
            register: registers the consumer under its present name.
        """
        self._start, self._register = start, register
        self.has_begun = True
        self.exchange_soon()
        while not self._finished():
            await self._attention.wait()
            self._attention.clear()
            if self._fault is not None:
                raise self._fault
            if self._has_token_to_pass_on or self._doubted or self._outbox or self._want():
                await self._turn()

    @property
    def unrecorded(self) -> int:
        """The number of outcomes that could not be handed in at the end."""
        return len(self._outbox)

    def _finished(self) -> bool:
        settled = self._runs.active == 0 and (not self._outbox or self._is_cut_off)
        return settled and (self._draining or self._nothing_left)

    def _want(self) -> int:
        if self._draining or not self._readiness.may_claim:
            return 0
        if self._probation is not None and self._runs.has_suspect:
            return 0
        return min(max(0, self.concurrency - self._runs.active), self._message_batch)

    async def _turn(self) -> None:
        # During the search for a refused outcome nothing else may be the cause of a refusal.
        is_searching = self._batch == 1
        outcomes = self._take_outcomes()
        try:
            if not self._pipeline.is_connected:
                # A call would wait for the connection for ever, and report nothing.
                await self._pipeline.connected(PATIENCE_SECONDS)
            if self._has_token_to_pass_on:
                await self._transitions.wake_idle()
                self._has_token_to_pass_on = False
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
            # A cancelled worker exchanges once more before it ends. And a missing permission is
            # no outcome's fault, so no outcome is marked failed.
            self._put_back(outcomes, may_be_applied=True)
            raise
        except RefusedCall as error:
            self._isolate(outcomes, error)
        finally:
            self._is_claiming = False
            self._cancelled_early.clear()

    def _take_outcomes(self) -> list[PendingOutcome]:
        outcomes: list[PendingOutcome] = []
        size = 0
        # The server would cut the connection each time at a call over its limit (1 GB).
        while self._outbox and len(outcomes) < self._batch and size < BATCH_BYTES:
            outcome = self._outbox.popleft()
            if len(row := outcome[2]) > BARE_ROW:
                size += weight(row)
            outcomes.append(outcome)
        if self._outbox:
            self.exchange_soon()
        else:
            self._batch = BATCH_LIMIT
        return outcomes

    async def _exchange(self, outcomes: list[PendingOutcome], want: int) -> Exchanged:
        asked_at = time.monotonic()
        reply = await self._transitions.exchange(
            self._consumer.name,
            self._consumer.epoch,
            want,
            [row for _, _, row, _ in outcomes],
            may_take_quarantined=not self._runs.has_suspect,
            census=self._until_finished,
            failures=[(at, failure) for at, (_, _, _, failure) in enumerate(outcomes) if failure],
        )
        reject_late(reply.claims, asked_at, self._lease_seconds)
        return reply

    def _absorb(self, outcomes: list[PendingOutcome], want: int, reply: Exchanged) -> None:
        self._acknowledge(outcomes, reply.superseded)
        self._begin(reply.claims)
        self._nothing_left = self._until_finished and reply.left == 0
        if len(reply.claims) < want and not reply.more:
            self.idle.set()
        elif self._want():
            # One call claims a limited number: slots are free, and there may be tasks left.
            self.exchange_soon()

    def _begin(self, claims: list[Claim]) -> None:
        for claim in claims:
            if claim.fault is not None:
                self._refuse(claim, claim.fault)
                continue
            self._start(claim)
            if claim.suspect_seconds:
                self._begin_probation()
                self._acquit_later(claim)
            if self._requeuing or claim.entry in self._cancelled_early:
                run = self._runs.get(claim.entry)
                if run is not None and self._requeuing:
                    stop(run, Requeued(), self)
                elif run is not None:
                    self._cancel(run)

    def _refuse(self, claim: Claim, fault: str) -> None:
        """Fail a task whose record cannot be read; those beside it run."""
        error = DeserializationError(f"The record of the task is malformed: {fault}")
        logger.error("Task %r has failed: %s", claim.key, error, extra=self._log_attributes)
        run = Run(claim, self._task_counters.of(claim.function))
        self._runs.add(run)
        run.counters.started += 1
        self.report(run, Failed(error))

    def _begin_probation(self) -> None:
        if self._probation is not None:
            self._probation.cancel()
        loop = asyncio.get_running_loop()
        self._probation = loop.call_later(PROBATION_SECONDS, self._end_probation)

    def _end_probation(self) -> None:
        self._probation = None
        self.exchange_soon()

    def _acquit_later(self, claim: Claim) -> None:
        run = self._runs.get(claim.entry)
        if run is not None and run.is_suspect and math.isfinite(claim.suspect_seconds):
            loop = asyncio.get_running_loop()
            self._acquittals[run] = loop.call_later(claim.suspect_seconds, self._acquit, run)

    def _acquit(self, run: Run) -> None:
        del self._acquittals[run]
        self._runs.acquit(run)
        self.exchange_soon()

    def _acknowledge(self, outcomes: list[PendingOutcome], superseded: list[int]) -> None:
        lost = frozenset(superseded)
        for index, (run, outcome, _, _) in enumerate(outcomes):
            self._runs.remove(run)
            if not lost and run.followed is None and type(outcome) is Completed:
                run.counters.succeeded += 1  # Most: what follows takes longer than all the rest.
                continue
            # One that was sent twice may no longer match because its first sending was applied.
            is_lost = index in lost and not run.sent_again
            if run.followed is not None:
                log_what_follows(run.followed, is_superseded=is_lost)
            count(run.counters, outcome, is_superseded=is_lost)

    def _put_back(self, outcomes: list[PendingOutcome], *, may_be_applied: bool) -> None:
        for run, _, _, _ in outcomes:
            run.sent_again = run.sent_again or may_be_applied
        self._outbox.extendleft(reversed(outcomes))

    async def _recover(self, cause: Exception) -> None:
        """Settle a failed call that may or may not have taken effect.

        First the epoch is raised, so that a late call does nothing. Then the tasks that the call
        had claimed without our knowledge are taken. Our outcomes are sent again with the next turn:
        those that were applied do not match any more and change nothing.
        """
        self._readiness.waiting(str(cause))
        failures, leave_at = 0, time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                if not await self._reconnected(leave_at):
                    self._is_cut_off = True
                    return
                self._consumer.epoch = await self._transitions.raise_epoch(self._consumer.name)
                await self._reclaim()
                break
            except (ServerUnavailable, StaleEpoch):
                if self._may_leave() and time.monotonic() >= leave_at:
                    self._is_cut_off = True
                    return
                failures += 1
                await asyncio.sleep(backoff_seconds(failures))
            except Fenced:
                await self._start_over()
                return
        self._readiness.ready()
        self.exchange_soon()

    async def _reconnected(self, leave_at: float) -> bool:
        """Wait for the connection; False if there is nothing left to wait for.

        A worker that drains waits for the server with outcomes until its deadline, and with none
        not at all; but until `leave_at`, since most interruptions are short.
        """
        connected = asyncio.ensure_future(self._pipeline.connected())
        changed = asyncio.ensure_future(self._attention.wait())
        try:
            while not connected.done():
                patience = None
                if self._may_leave():
                    patience = leave_at - time.monotonic()
                    if patience <= 0:
                        return False
                await asyncio.wait(
                    {connected, changed}, timeout=patience, return_when=asyncio.FIRST_COMPLETED
                )
                if changed.done() and not connected.done():
                    self._attention.clear()
                    changed = asyncio.ensure_future(self._attention.wait())
            await connected
            return True
        finally:
            connected.cancel()
            changed.cancel()

    def _may_leave(self) -> bool:
        has_nothing = not self._outbox or self._requeuing
        return self._draining and self._runs.active == 0 and has_nothing

    async def _reclaim(self) -> None:
        asked_at = time.monotonic()
        claims = await self._transitions.reclaim(
            self._consumer.name, self._consumer.epoch, self._runs.entries()
        )
        reject_late(claims, asked_at, self._lease_seconds)
        self._begin(claims)

    async def _start_over(self) -> None:
        """Stop all runs, since our consumer was fenced, and come back under a new name."""
        logger.warning(
            "Worker %s was taken for dead and its tasks were given to others; "
            "they are stopped here, and it goes on under a new name",
            self._consumer.name,
            extra=self._log_attributes,
        )
        for run in self._runs:
            stop(run, Superseded(), self)
        self._consumer.take_new_name()
        await retry(self._register, patience_seconds=math.inf)
        self._readiness.ready()
        self.exchange_soon()

    def _isolate(self, outcomes: list[PendingOutcome], error: RefusedCall) -> None:
        """Find the outcome for which the server refuses a call, and fail that one alone."""
        if not outcomes:
            raise error
        if len(outcomes) > 1:
            self._put_back(outcomes, may_be_applied=True)
            self._batch = 1
        elif (run := outcomes[0][0]).refused:
            logger.error(
                "The outcome of task %r cannot be recorded: %s. Its lease is given up, so that it "
                "is redelivered",
                run.claim.key,
                error,
            )
            self._runs.remove(run)
        else:
            run.refused = True
            failed = Failed(error)
            row = row_of(run.claim, failed, self._payloads)
            self._put_back([(run, failed, row, failure_text(failed))], may_be_applied=True)
            self._batch = 1
        self.exchange_soon()


def stop(run: Run, ending: Outcome, exchanger: Exchanger) -> bool:
    """Cancel a run that is not ending already; `ending` becomes its outcome.

    Returns:
        True if it was cancelled by this call.
    """
    if run.reported or run.ending is not None or run.task is None:
        return False
    run.ending = ending
    run.task.cancel()
    if not run.begun:
        # Its coroutine never reaches a line of ours, so nothing else would report it.
        exchanger.report(run, ending)
    return True

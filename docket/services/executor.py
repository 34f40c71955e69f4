"""The executor: one claimed task from its payload to its outcome, a pipeline of short steps."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from docket.annotations import CallFormat
from docket.clock import from_milliseconds
from docket.codec import Call, decode_call
from docket.dependencies.plan import Plan, compile_plan
from docket.dependencies.resolve import Resolution
from docket.errors import UnknownTask
from docket.execution import Execution, TaskFunction
from docket.instrumentation import Counters
from docket.lifecycle import Again, Completed, Failed, HandedBack, Outcome
from docket.services.exchanger import Exchanger
from docket.services.runs import Run, Runs
from docket.store.records import Claim
from docket.supervision import Supervision

if TYPE_CHECKING:
    from docket.docket import Docket
    from docket.worker import Worker

logger = logging.getLogger("docket.worker")


class Executor:
    """Starts claimed tasks and reports their outcomes to the exchanger.

    Args:
        docket: whose tasks.
        worker: on whose behalf; what tasks get as CurrentWorker.
        runs: where runs are kept.
        exchanger: takes the outcomes.
        counters: counts starts, durations, punctuality.
        supervision: told of the first task redelivered from each dead consumer.
    """

    def __init__(
        self,
        docket: Docket,
        worker: Worker,
        runs: Runs,
        exchanger: Exchanger,
        counters: Counters,
        supervision: Supervision,
    ) -> None:
        self._docket = docket
        self._worker = worker
        self._runs = runs
        self._exchanger = exchanger
        self._counters = counters
        self._supervision = supervision
        self._seen_dead: set[bytes] = set()
        self._formats: dict[TaskFunction, CallFormat] = {}
        self._loop = asyncio.get_running_loop()

    def start(self, claim: Claim) -> None:
        """Begin a claimed task."""
        run = Run(claim)
        self._runs.add(run)
        counters = self._counters
        counters.started += 1
        counters.punctuality.observe(max(0, claim.started_at - claim.when) / 1000)
        if claim.came_from is not None:
            counters.redelivered += 1
            if claim.came_from not in self._seen_dead:
                self._seen_dead.add(claim.came_from)
                self._supervision.redelivered(claim.came_from.decode(), run.started_at)
        run.task = self._loop.create_task(self._run(run))

    async def _run(self, run: Run) -> None:
        run.begun = True
        outcome = await self._outcome(run)
        self._counters.duration.observe(time.monotonic() - run.started_at)
        self._exchanger.report(run, outcome)

    async def _outcome(self, run: Run) -> Outcome:
        try:
            return await self._execute(run.claim)
        except asyncio.CancelledError as error:
            # Ours only if somebody said what it stands for; else the task raised it of itself.
            return run.ending or Failed(error)
        except (KeyboardInterrupt, GeneratorExit):
            return HandedBack()
        except BaseException as error:
            # SystemExit too: it fails the task that raised it, not the process.
            return run.ending or Failed(error)

    async def _execute(self, claim: Claim) -> Outcome:
        name = claim.function.decode()
        function = self._docket.tasks.get(name)
        if function is None:
            return await self._fall_back(claim, name)
        call = decode_call(claim.call)
        plan = self._docket.plans[name]
        if plan.bare and not logger.isEnabledFor(logging.INFO):
            return Completed(await function(*call[0], **call[1]))
        return await self._execute_call(claim, name, function, plan, call)

    async def _fall_back(self, claim: Claim, name: str) -> Outcome:
        fallback = self._worker.fallback_task
        if fallback is None:
            logger.warning(
                "Unknown task %r received - dropping. "
                "Register via CLI (--tasks your.module:tasks) or API (docket.register(func)).",
                name,
            )
            return Failed(UnknownTask(name))
        return await self._execute_call(
            claim, name, fallback, compile_plan(fallback), decode_call(claim.call)
        )

    async def _execute_call(
        self, claim: Claim, name: str, function: TaskFunction, plan: Plan, call: Call
    ) -> Outcome:
        execution = self._execution(claim, name, function, call)
        described = self._log_start(execution) if logger.isEnabledFor(logging.INFO) else None
        started = time.monotonic()
        resolution = None if plan.bare else self._resolution(plan, execution)
        try:
            result = await _call(execution, resolution)
        except Exception as error:
            outcome = _after_failure(execution, resolution, error)
            if described is not None:
                _log_failure(described, time.monotonic() - started, outcome, error)
            return outcome
        if described is not None:
            logger.info("↩ [%s] %s", _duration(time.monotonic() - started), described)
        return Completed(result)

    def _execution(self, claim: Claim, name: str, function: TaskFunction, call: Call) -> Execution:
        execution = Execution(
            self._docket,
            function,
            call[0],
            call[1],
            claim.key.decode(),
            from_milliseconds(claim.when),
            claim.attempt,
            redelivered=claim.came_from is not None,
            function_name=name,
            generation=int(claim.generation),
            message_id=claim.entry.decode(),
        )
        execution.mark_running(self._worker.name, claim.started_at)
        return execution

    def _resolution(self, plan: Plan, execution: Execution) -> Resolution:
        return Resolution(plan, docket=self._docket, worker=self._worker, execution=execution)

    def _log_start(self, execution: Execution) -> str:
        call_format = self._formats.get(execution.function)
        if call_format is None:
            call_format = self._formats[execution.function] = CallFormat(execution.function)
        described = call_format(execution.function_name, execution.args, execution.kwargs)
        described = f"{described}{{{execution.key}}}"
        assert execution.started_at is not None
        late = (execution.started_at - execution.when).total_seconds()
        logger.info("↬ [%s] %s", _duration(late), described)
        return described


async def _call(execution: Execution, resolution: Resolution | None) -> object:
    if resolution is None:
        return await execution.function(*execution.args, **execution.kwargs)
    async with resolution as kwargs:
        return await execution.function(*execution.args, **kwargs)
    return None  # A dependency swallowed the task's exception: it ended without a result.


def _after_failure(
    execution: Execution, resolution: Resolution | None, error: Exception
) -> Again | Failed:
    handler = resolution.failure_handler() if resolution is not None else None
    again = handler.after_failure(execution, error) if handler is not None else None
    return again if again is not None else Failed(error)


def _log_failure(described: str, seconds: float, outcome: Outcome, error: Exception) -> None:
    duration = _duration(seconds)
    if isinstance(outcome, Again):
        logger.info(
            "↩ [%s] %s failed (%s: %s); attempt %d follows in %s",
            duration,
            described,
            type(error).__name__,
            error,
            outcome.attempt,
            _duration(outcome.delay_seconds),
        )
    else:
        logger.error("↩ [%s] %s", duration, described, exc_info=error)


def _duration(seconds: float) -> str:
    """A duration as the log shows it: milliseconds below a second, else seconds."""
    if abs(seconds) < 1:
        return f"{seconds * 1000:6.0f}ms"
    return f"{seconds:6.1f}s "

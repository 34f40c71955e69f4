"""The executor: runs claimed tasks, from payload to outcome, in short steps."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, cast

from docket.clock import from_microseconds
from docket.dependencies.handlers import TaskOutcome, end_of
from docket.dependencies.plan import Plan
from docket.dependencies.resolution import Resolution
from docket.execution import Execution, TaskFunction
from docket.instrumentation.counters import TaskCounters
from docket.instrumentation.tracing import context_of, end_with, span_of_run, tracer
from docket.lifecycle import (
    Cancelled,
    Completed,
    Deferred,
    Failed,
    Outcome,
    Perpetuated,
    Requeued,
    Retried,
)
from docket.serialization.pickle_codec import Call
from docket.services.admission import AdmissionController, NotAdmitted, after_block
from docket.services.exchanger import Exchanger
from docket.services.faults import Faults
from docket.services.result_writer import ResultWriter
from docket.services.run_log import RunLog
from docket.services.run_quota import RunQuota
from docket.services.runs import Run, Runs
from docket.services.task_plans import TaskPlans
from docket.services.task_threads import outlast
from docket.services.unknown_tasks import UnknownTasks, default_fallback_task
from docket.store.claims import Claim
from docket.store.results import RecordedResults
from docket.supervision import Supervision, run_here

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from docket.docket import Docket
    from docket.services.function_threads import FunctionThreads
    from docket.worker import Worker

logger = logging.getLogger("docket.worker")


class Executor:
    """A runner of claimed tasks that reports their outcomes to the exchanger.

    Args:
        docket: the docket of the tasks.
        worker: the worker, which tasks get as CurrentWorker.
        runs: the table of running tasks.
        exchanger: takes the outcomes.
        task_counters: counts starts, durations and punctuality.
        supervision: told of the first task redelivered from each dead consumer.
        is_shutting_down: whether the worker ends: then a run that is cancelled was interrupted.
    """

    def __init__(
        self,
        docket: Docket,
        worker: Worker,
        runs: Runs,
        exchanger: Exchanger,
        task_counters: TaskCounters,
        supervision: Supervision,
        is_shutting_down: Callable[[], bool],
    ) -> None:
        self._docket = docket
        self._worker = worker
        self._runs = runs
        self._exchanger = exchanger
        self._task_counters = task_counters
        self._supervision = supervision
        self._is_shutting_down = is_shutting_down
        self._admission_controller = AdmissionController(docket.transitions.limits, worker)
        #: The runs left to certain keys; None for no limit.
        self.run_quota: RunQuota | None = None
        self._plans = TaskPlans(docket.plans, worker.dependencies)
        self._unknown = UnknownTasks(docket)
        self._faults = Faults(docket)
        self._strikes = docket.strike_list
        self._tracer = tracer()
        self._decode_call = docket.serializer.decode_call
        self._result_writer = _result_writer(docket)
        self._seen_dead: set[bytes] = set()
        self._gated: dict[bytes, bool] = {}
        self._loop = asyncio.get_running_loop()
        #: Made before the first task runs, as its import holds up the loop, or when one is met that
        #: was not known then.
        self._function_threads: FunctionThreads | None = None
        if any(plan.plain for plan in docket.plans.values()):
            self._function_threads = self._make_function_threads()

    def start(self, claim: Claim) -> None:
        """Start a claimed task."""
        run = Run(claim, self._task_counters.of(claim.function))
        self._runs.add(run)
        if not self._is_gated(claim.function):
            _count_start(run)
        if claim.came_from is not None:
            run.counters.redelivered += 1
            if claim.came_from not in self._seen_dead:
                self._seen_dead.add(claim.came_from)
                self._supervision.redelivered(
                    claim.came_from.decode(errors="replace"), run.started_at
                )
        run.task = self._loop.create_task(self._run(run))

    def _is_gated(self, function: bytes) -> bool:
        """Return whether a start counts only once its limits admit it."""
        gated = self._gated.get(function)
        if gated is None:
            plan = self._docket.plans.get(function.decode())
            if plan is None:
                return False  # Not kept: whoever may add tasks can make up any number of names.
            gated = self._gated[function] = bool(plan.gates)
        return gated

    async def _run(self, run: Run) -> None:
        run.begun = True
        run_here.set(run)  # in a context of its own: every asyncio task has one
        if self._tracer is None and self.run_quota is None:
            # As in `_outcome`: another coroutine between the loop and the task would cost each run.
            try:
                outcome = await self._execute(run)
            except BaseException as error:
                outcome = self._after_break(run, error)
        elif self._tracer is None:
            outcome = await self._outcome(run)
        else:
            outcome = await self._in_span(self._tracer, run)
        if isinstance(outcome, NotAdmitted):
            self._exchanger.withdraw(run)
            return
        if run.in_threads and not _has_returned(outcome):
            await outlast(run, self._worker.log_attributes)
        if self._result_writer is not None:
            outcome = await self._result_writer.keep(run, outcome)
        run.counters.duration.observe(time.monotonic() - run.started_at)
        self._exchanger.report(run, outcome)
        # Its context knows the run: without this, each run would wait for the garbage collector.
        run.task = None

    async def _in_span(self, tracer: Tracer, run: Run) -> Outcome | NotAdmitted:
        claim = run.claim
        name = claim.function.decode()
        attributes = {
            "docket.name": self._worker.docket.name,
            "docket.worker": self._worker.name,
            "docket.task": name,
            "docket.key": claim.key.decode(),
            "docket.when": from_microseconds(claim.when).isoformat(),
            "docket.attempt": claim.attempt,
            "code.function.name": name,
        }
        with span_of_run(tracer, name, context_of(claim.trace), attributes) as span:
            outcome = await self._outcome(run)
            end_with(span, outcome)
            return outcome

    async def _outcome(self, run: Run) -> Outcome | NotAdmitted:
        try:
            if self.run_quota is None:
                return await self._execute(run)
            return await self._execute_within(self.run_quota, run)
        except BaseException as error:
            return self._after_break(run, error)

    def _after_break(self, run: Run, error: BaseException) -> Outcome:
        """Return the outcome of a run whose payload is unreadable, or whose handler is broken."""
        outcome = self._cut_short(run, error) or self._after_fault(run, error)
        self._log_of(run).end(outcome, error)
        return outcome

    async def _execute_within(self, quota: RunQuota, run: Run) -> Outcome | NotAdmitted:
        claim = run.claim
        key = claim.key.decode()
        quota.take(key)
        outcome = await self._execute(run)
        if isinstance(outcome, Retried) and outcome.attempt > claim.attempt:
            if quota.allows_another(key):
                return outcome
            name = claim.function.decode()
            function = self._docket.tasks.get(name, self._worker.fallback_task)
            call = self._decode_call(function, claim.call)
            self._strike(run, self._execution(claim, name, function, call))
            return Cancelled()
        if isinstance(outcome, NotAdmitted | Retried | Deferred):
            quota.give_back(key)
        return outcome

    async def _execute(self, run: Run) -> Outcome | NotAdmitted:
        claim = run.claim
        name = claim.function.decode()
        function = self._docket.tasks.get(name)
        if function is None:
            return await self._fall_back(run, name)
        call = self._decode_call(function, claim.call)
        if not self._strikes.is_empty and self._is_stricken(run, name, function, call):
            return Cancelled()
        plan = self._plans.of_task(name, function)
        if not plan.bare or logger.isEnabledFor(logging.INFO):
            return await self._execute_call(run, name, function, plan, call)
        run.unmade_execution = (self._execution, claim, name, function, call)
        try:
            return Completed(await _awaitable(name, function(*call[0], **call[1])))
        except BaseException as error:
            execution = run.execution or self._execution(claim, name, function, call)
            outcome = await self._after_error(run, execution, None, error)
            self._log_of(run, execution).end(outcome, error)
            return outcome

    async def _fall_back(self, run: Run, name: str) -> Outcome | NotAdmitted:
        fallback = self._worker.fallback_task
        if fallback is default_fallback_task:
            kept = await self._unknown.kept(run.claim)
            if kept is not None:
                return kept
        call = self._decode_call(fallback, run.claim.call)
        if not self._strikes.is_empty and self._is_stricken(run, name, fallback, call):
            return Cancelled()
        return await self._execute_call(
            run, name, fallback, self._plans.of_function(fallback), call
        )

    def _is_stricken(self, run: Run, name: str, function: TaskFunction, call: Call) -> bool:
        execution = self._execution(run.claim, name, function, call)
        if not self._strikes.is_stricken(execution):
            return False
        self._strike(run, execution)
        return True

    def _strike(self, run: Run, execution: Execution) -> None:
        run.counters.stricken += 1
        self._log_of(run, execution).strike()

    async def _execute_call(
        self, run: Run, name: str, function: TaskFunction, plan: Plan, call: Call
    ) -> Outcome | NotAdmitted:
        execution = self._execution(run.claim, name, function, call)
        run.execution = execution
        log = self._log_of(run, execution)
        started = time.monotonic()
        resolution = None if plan.bare else self._resolution(plan, execution)
        try:
            if resolution is not None and plan.gates:
                not_admitted = await self._admission_controller.admit(run, resolution, log)
                if not_admitted is not None:
                    return not_admitted
                if self._is_gated(run.claim.function):
                    _count_start(run)
            log.start()
            result = await _call(execution, self._on_loop(run, function, plan), resolution)
        except BaseException as error:
            outcome = await self._after_error(run, execution, resolution, error)
            execution.forget_progress()
            log.end(outcome, error)
            return outcome
        ended = TaskOutcome(timedelta(seconds=time.monotonic() - started), result)
        outcome = Completed(result)
        if resolution is not None:
            outcome = await end_of(execution, ended, None, resolution.completion_handler())
            outcome = self._bound(execution, outcome)
            execution.forget_progress()
        log.end(outcome)
        return outcome

    def _on_loop(self, run: Run, function: TaskFunction, plan: Plan) -> TaskFunction:
        """Return what is called on the loop for a task."""
        if not plan.plain:
            return function
        if self._function_threads is None:
            self._function_threads = self._make_function_threads()
        return partial(self._function_threads.call, run, function)

    def _make_function_threads(self) -> FunctionThreads:
        worker = self._worker
        module = importlib.import_module("docket.services.function_threads")
        return module.FunctionThreads(lambda: worker.concurrency, worker.log_attributes)

    async def _after_error(
        self, run: Run, execution: Execution, resolution: Resolution | None, error: BaseException
    ) -> Outcome:
        """Return the outcome of a task that raised an error.

        Any error fails the task and goes no further, including SystemExit and KeyboardInterrupt: if
        requeued, a task that raises one would be run again and again.
        """
        cut_short = self._cut_short(run, error)
        if cut_short is not None:
            return cut_short
        blocked = after_block(error)
        if blocked is not None:
            return blocked
        if resolution is None:
            return Failed(error)
        duration = timedelta(seconds=time.monotonic() - run.started_at)
        outcome = await end_of(
            execution,
            TaskOutcome(duration, exception=error),
            resolution.failure_handler(),
            resolution.completion_handler(),
        )
        return self._bound(execution, outcome)

    def _after_fault(self, run: Run, error: BaseException) -> Outcome:
        claim, name = run.claim, run.claim.function.decode()
        duration = timedelta(seconds=time.monotonic() - run.started_at)
        outcome = self._faults.outcome(
            claim,
            error,
            duration,
            lambda: self._execution(claim, name, self._docket.tasks[name], ((), {})),
        )
        quota = self.run_quota
        return outcome if quota is None else quota.bound(claim.key.decode(), outcome)

    def _bound(self, execution: Execution, outcome: Outcome) -> Outcome:
        return outcome if self.run_quota is None else self.run_quota.bound(execution.key, outcome)

    def _cut_short(self, run: Run, error: BaseException) -> Outcome | None:
        """Return the outcome of a run that was cancelled, by anybody; None if it was not."""
        if run.ending is not None:
            return run.ending
        is_cancelled = isinstance(error, asyncio.CancelledError)
        if self._is_shutting_down():
            # Not by us: by what ends the loop, say. A task may answer that with another error.
            is_interrupted = is_cancelled or (run.task is not None and run.task.cancelling() > 0)
            return Requeued() if is_interrupted else None
        return Cancelled() if is_cancelled else None

    def _execution(self, claim: Claim, name: str, function: TaskFunction, call: Call) -> Execution:
        execution = Execution(
            self._docket,
            function,
            call[0],
            call[1],
            claim.key.decode(),
            from_microseconds(claim.when),
            claim.attempt,
            None if claim.trace is None else context_of(claim.trace),
            redelivered=claim.came_from is not None,
            function_name=name,
            generation=int(claim.generation),
            message_id=claim.entry.decode(),
        )
        execution.mark_running(self._worker.name, claim.started_at)
        return execution

    def _resolution(self, plan: Plan, execution: Execution) -> Resolution:
        return Resolution(plan, docket=self._docket, worker=self._worker, execution=execution)

    def _log_of(self, run: Run, execution: Execution | None = None) -> RunLog:
        return RunLog(run, self._worker.log_attributes, execution)


def _count_start(run: Run) -> None:
    late = run.claim.started_at - run.claim.when
    run.counters.started += 1
    run.counters.punctuality.observe(late / 1_000_000 if late > 0 else 0.0)


def _result_writer(docket: Docket) -> ResultWriter | None:
    storage = docket.result_storage
    # Without a record of the ended execution its result could not be found.
    if storage is None or isinstance(storage, RecordedResults) or not docket.execution_ttl:
        return None
    return ResultWriter(docket, storage)


async def _call(
    execution: Execution, function: TaskFunction, resolution: Resolution | None
) -> object:
    name = execution.function_name
    if resolution is None:
        return await _awaitable(name, function(*execution.args, **execution.kwargs))
    async with resolution as kwargs:
        runtime = resolution.runtime()
        if runtime is not None:
            return await runtime.run(execution, function, execution.args, kwargs)
        return await _awaitable(name, function(*execution.args, **kwargs))
    return None  # A dependency suppressed the task's exception.


def _has_returned(outcome: Outcome) -> bool:
    """Return whether a task returned: what it left behind in threads is not the task any more."""
    ended = outcome.ended if isinstance(outcome, Perpetuated) else outcome
    return isinstance(ended, Completed)


def _awaitable(name: str, returned: object) -> Awaitable[object]:
    """Return the awaitable of a task; a plain function that returns a coroutine is a task too."""
    if type(returned) is CoroutineType:
        return cast("Awaitable[object]", returned)
    if inspect.isawaitable(returned):
        return returned
    raise TypeError(
        f"Task {name!r} returned a {type(returned).__name__} that cannot be awaited, although it "
        "was expected to return an awaitable: by its annotation, or by what it wraps"
    )

"""The worker, which claims tasks of a docket and runs them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from contextvars import Context, copy_context
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self

from docket.clock import duration

# Whoever used pydocket imports from here what a worker deals with: hence the three `import *`.
from docket.dependencies import *  # noqa: F403
from docket.dependencies.base import current
from docket.dependencies.shared import SharedContext
from docket.dependencies.worker_dependencies import named_dependencies
from docket.dependencies.worker_lifecycle import worker_lifecycles
from docket.docket import Docket
from docket.errors import DocketError
from docket.execution import *  # noqa: F403
from docket.execution import TaskFunction
from docket.instrumentation import *  # noqa: F403
from docket.instrumentation.counters import Counters, TaskCounters
from docket.instrumentation.meters import counters_of
from docket.instrumentation.process_registry import PROCESS_REGISTRY, RunningWorker
from docket.instrumentation.readiness import Readiness
from docket.loading import load_function
from docket.services import adoption, service_group, worker_reports
from docket.services.exchanger import Exchanger
from docket.services.executor import Executor
from docket.services.payloads import Payloads
from docket.services.process_report import PoolMember, ProcessReport
from docket.services.registration import GOODBYE_SECONDS, Registration, worker_names
from docket.services.run_quota import RunQuota
from docket.services.runs import Consumer, Runs
from docket.services.seeder import Seeder
from docket.services.service_group import ServiceGroup, ServiceSettings
from docket.services.shutdown import Shutdown, hand_back
from docket.services.standalone import STANDARD_TASKS, run_program
from docket.services.task_threads import watch_default_executor
from docket.services.unknown_tasks import default_fallback_task
from docket.supervision import EVERYONE, NOBODY, Adoption, RunningTask, Supervision, Unsupervised

logger = logging.getLogger("docket.worker")


class Worker:
    """Execute the tasks of a docket, as one of any number of workers.

    Use it as an async context manager.

    Example:
        async with Docket() as docket, Worker(docket) as worker:
            await worker.run_forever()

    Args:
        docket: the docket of the tasks.
        name: its name for people; `hostname#pid` by default.
        concurrency: the number of tasks that run at once.
        redelivery_timeout: the length of a lease: a task whose worker stops renewing it, without a
            death that is noticed earlier, goes to another worker after this time.
        reconnection_delay, minimum_check_interval, scheduling_resolution: accepted for
            compatibility, and kept as attributes. This worker is woken by events and polls
            nothing at these intervals, except that `run_until_finished` looks every
            `minimum_check_interval` for the end of the tasks of other workers.
        schedule_automatic_tasks: whether it seeds automatic perpetual tasks.
        enable_internal_instrumentation: whether internal calls are traced too.
        fallback_task: runs tasks whose name is not registered here; the default drops them.
        dependencies: entered around every task of this worker: a mapping by name, a sequence, or
            "module:member" where either stands.
        message_batch: most tasks claimed in one call, at least 1.

    Raises:
        ValueError: concurrency or message_batch is less than 1, or a duration is not positive, or
            a name of `dependencies` is reserved. TypeError: one is not a Dependency.
    """

    def __init__(
        self,
        docket: Docket,
        name: str | None = None,
        concurrency: int = 10,
        redelivery_timeout: timedelta = timedelta(minutes=5),
        reconnection_delay: timedelta = timedelta(seconds=5),
        minimum_check_interval: timedelta = timedelta(milliseconds=250),
        scheduling_resolution: timedelta = timedelta(milliseconds=250),
        schedule_automatic_tasks: bool = True,
        enable_internal_instrumentation: bool = False,
        fallback_task: TaskFunction | None = None,
        dependencies: Mapping[str, Any] | Sequence[Any] | str | None = None,
        message_batch: int = 1000,
    ) -> None:
        if concurrency < 1 or message_batch < 1:
            raise ValueError(
                "concurrency and message_batch must be at least 1, not "
                f"{concurrency} and {message_batch}"
            )
        redelivery_timeout = duration("redelivery_timeout", redelivery_timeout)
        if redelivery_timeout <= timedelta(0):
            raise ValueError(f"redelivery_timeout must be positive, not {redelivery_timeout}")
        self.docket = docket
        #: Its name, and that in metrics, which never has a process id in it.
        self.name, self.label = worker_names(name)
        self.concurrency = concurrency
        self.redelivery_timeout = redelivery_timeout
        self.reconnection_delay = duration("reconnection_delay", reconnection_delay)
        self.minimum_check_interval = duration("minimum_check_interval", minimum_check_interval)
        self.scheduling_resolution = duration("scheduling_resolution", scheduling_resolution)
        self.schedule_automatic_tasks = schedule_automatic_tasks
        self.enable_internal_instrumentation = enable_internal_instrumentation
        self.fallback_task = fallback_task or default_fallback_task
        self.dependencies = named_dependencies(dependencies)
        self.message_batch = message_batch
        #: The attributes of its log records.
        self.log_attributes: Mapping[str, str] = {
            **self.labels(),
            "docket.queue_key": docket.queue_key,
            "docket.stream_key": docket.stream_key,
        }
        #: Shared by its tasks; see docket.dependencies.Shared.
        self.shared = SharedContext()
        self._is_entered = False
        self._context = ExitStack()
        self._run_quota: RunQuota | None = None
        self._seeder = Seeder(docket)
        self._consumer = Consumer(self.name)
        self._runs = Runs()
        self._task_counters, self._earlier = self._make_counters(), TaskCounters()
        self._readiness = Readiness(Unsupervised(), lambda: False)
        self._exchanger: Exchanger | None = None
        self._services: ServiceGroup | None = None
        self._shutdown: Shutdown | None = None
        self._is_steward = self._is_supervised = False
        self._deadline: asyncio.TimerHandle | None = None
        #: The number of outcomes that its last run could not record before it ended.
        self.unrecorded = 0

    def __repr__(self) -> str:
        return f"<Worker {self.name!r} of {self.docket!r}>"

    async def __aenter__(self) -> Self:
        self._is_entered = True
        self._enter_context(self._context)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._shutdown is not None:
                # Of a run in another asyncio task, which may still use the shared values.
                self._shutdown.begin()
                await self._shutdown.ended.wait()
        finally:
            # If the wait was cancelled, the run closes them when it ends.
            self._is_entered = False
        try:
            await self.shared.close()
        finally:
            self._context.close()

    def _enter_context(self, stack: ExitStack) -> None:
        """Let code see this worker as the current one until the stack is closed."""
        stack.enter_context(current(self.docket, self))
        stack.enter_context(self.shared.current())

    def labels(self) -> dict[str, str]:
        """Return the labels of this worker in metrics, traces and logs."""
        return {**self.docket.labels(), "docket.worker": self.name}

    @property
    def consumer(self) -> str:
        """Its name in the streams: its own and a nonce; never reused."""
        return self._consumer.name

    @property
    def counters(self) -> Counters:
        """The counters since this worker was made, summed at this moment."""
        total = self._earlier.total()
        total.add(self._task_counters.total())
        return total

    @property
    def loop_lag_seconds(self) -> float:
        """The delay of the loop's last tick."""
        return self._services.heartbeater.loop_lag_seconds if self._services is not None else 0.0

    # Running ------------------------------------------------------------------------------
    # Whoever cancels a run drains it: it finishes its tasks, and returns. A second cancellation
    # interrupts them, so that other workers run them again, and raises CancelledError.

    async def run_until_finished(self) -> None:
        """Run tasks until the docket has none left, scheduled ones included, or until drained."""
        await self._run(Unsupervised(), until_finished=True, is_steward=True)

    async def run_at_most(self, iterations_by_key: Mapping[str, int]) -> None:
        """Run tasks until the docket has none left, with a limit to the runs of some keys.

        For tests of tasks that would go on for ever: the last run allowed has no successor, a retry
        of it is cancelled, and until the end the key is stricken for this docket object.

        Args:
            iterations_by_key: the most runs of a key, attempts of retries included.
        """
        self._run_quota = quota = RunQuota(iterations_by_key)
        self.docket.strike_list.add_condition(quota.is_used_up)
        try:
            await self._run(Unsupervised(), until_finished=True, is_steward=True)
        finally:
            self.docket.strike_list.remove_condition(quota.is_used_up)
            self._run_quota = None

    async def run_forever(self) -> None:
        """Run tasks until drained.

        Cancelling the asyncio task that awaits it drains it: it claims no more, finishes its tasks,
        and returns None. Cancelled again, it interrupts them: another worker will run them again.

        Raises:
            CancelledError: it was cancelled twice.
        """
        await self._run(Unsupervised(), until_finished=False, is_steward=True)

    async def run_supervised(
        self,
        supervision: Supervision,
        *,
        stall_timeout_seconds: float = 60.0,
        keeper_interval_seconds: float = 0.5,
        member: PoolMember | None = None,
    ) -> None:
        """Run tasks until drained, on behalf of a runtime that supervises this process.

        No signal handlers, and not its own steward: the runtime appoints one.

        Args:
            supervision: receives the reports of the worker.
            stall_timeout_seconds: loop silence after which heartbeat and leases lapse.
            keeper_interval_seconds: the interval of the calls of `supervision.beat`.
            member: its place in the pool, for those who look at the workers of the docket.
        """
        await self._run(
            supervision,
            until_finished=False,
            is_steward=False,
            stall_timeout_seconds=stall_timeout_seconds,
            keeper_interval_seconds=keeper_interval_seconds,
            member=member,
        )

    async def _run(
        self,
        supervision: Supervision,
        *,
        until_finished: bool,
        is_steward: bool,
        stall_timeout_seconds: float = 60.0,
        keeper_interval_seconds: float = 0.5,
        member: PoolMember | None = None,
    ) -> None:
        if self._exchanger is not None:
            raise DocketError(f"{self!r} is running already: make another one to run twice at once")
        watch_default_executor(asyncio.get_running_loop(), is_ours=not is_steward)
        pipeline = self.docket.connections.pipeline
        self.docket.strike_list.read_pickles()
        self._readiness = Readiness(supervision, lambda: pipeline.is_connected)
        self._is_steward, self._is_supervised = self._is_steward or is_steward, not is_steward
        self._exchanger = exchanger = self._make_exchanger(until_finished)
        # The end of another worker's last run wakes nobody: look for the end more often.
        often = self.minimum_check_interval.total_seconds()
        settings = ServiceSettings(
            redelivery_timeout=self.redelivery_timeout,
            wakeup_seconds=max(often, 0.01) if until_finished else service_group.WAKEUP_SECONDS,
            stall_timeout_seconds=stall_timeout_seconds,
            keeper_interval_seconds=keeper_interval_seconds,
            report=ProcessReport(lambda: self.concurrency, member),
        )
        self._services = services = self._make_services(exchanger, settings)
        services.steward.appoint(self._is_steward)
        try:
            with ExitStack() as stack:
                stack.enter_context(PROCESS_REGISTRY.at_work(self._figures()))
                self._enter_context(stack)
                context = copy_context()
                work = self._work(exchanger, services, context)
                self._shutdown = Shutdown(
                    asyncio.create_task(work, name="docket run", context=context),
                    exchanger,
                    self.drain,
                    lambda: exchanger.has_begun and (bool(self._runs) or pipeline.is_connected),
                )
                await self._shutdown.wait()
        finally:
            shutdown, self._shutdown = self._shutdown, None
            self.unrecorded = exchanger.unrecorded
            self._exchanger = self._services = None
            # The process's registry takes over the counters of a run once, when it ends.
            self._earlier.add(self._task_counters)
            self._task_counters = self._make_counters()
            # Its name was fenced at the end, and a name is never reused.
            self._consumer.take_new_name()
            if self._deadline is not None:
                # It would requeue the tasks of a later run of this worker.
                self._deadline.cancel()
                self._deadline = None
            if shutdown is not None:
                shutdown.ended.set()

    async def _work(self, exchanger: Exchanger, services: ServiceGroup, context: Context) -> None:
        if not self._is_supervised:
            worker_reports.log_tasks(self.docket, self.name, self.log_attributes)
        try:
            async with worker_lifecycles(self.docket, self, context, exchanger.fail):
                await self._exchange(exchanger, services)
        finally:
            if not self._is_entered:
                await self.shared.close()

    async def _exchange(self, exchanger: Exchanger, services: ServiceGroup) -> None:
        runs, task_counters, shutdown = self._runs, self._task_counters, self._shutdown
        assert shutdown is not None
        executor = Executor(
            self.docket,
            self,
            runs,
            exchanger,
            task_counters,
            self._readiness,
            lambda: exchanger.draining or shutdown.is_requested,
        )
        executor.run_quota = self._run_quota
        registration = Registration(
            self.docket,
            self._consumer,
            self._readiness,
            self.redelivery_timeout,
            services.report.began,
            lambda consumer: self.adopt(consumer, blame=NOBODY),
        )
        if not await registration.register_patiently(exchanger):
            return
        try:
            if not self._is_supervised:  # the supervisor tells it once for the pool
                await self.docket.connections.tell_policy(self.docket.url)
            async with services.at_work():
                if self.schedule_automatic_tasks:
                    await self._seeder.seed()
                self._readiness.ready()
                try:
                    await exchanger.run(executor.start, registration.register)
                except asyncio.CancelledError:
                    # Not a drain, which waits. Tasks are stopped and requeued before we end.
                    exchange = partial(exchanger.run, executor.start, registration.register)
                    await hand_back(exchanger, runs, exchange)
                    raise
                except Exception:
                    # Other workers will run these tasks: they must not go on here as well.
                    exchanger.requeue_runs()
                    await runs.ended(GOODBYE_SECONDS, outlast_threads=not self._is_supervised)
                    raise
        finally:
            # A supervised worker leaves a run that would not end to its supervisor, which waits for
            # the process to end; and nobody may begin what goes on in a thread here.
            if not ((runs.active and self._is_supervised) or runs.in_threads):
                await registration.unregister(self.name, self.log_attributes)

    def _make_services(self, exchanger: Exchanger, settings: ServiceSettings) -> ServiceGroup:
        return ServiceGroup(
            self.docket,
            self._consumer,
            self._runs,
            exchanger,
            self._readiness,
            lambda consumer: self.adopt(consumer, blame=NOBODY),
            self._seeder.seed if self.schedule_automatic_tasks else None,
            settings,
            worker_reports.statistics_reporter(self.docket, self._task_counters),
            worker_reports.backlog_reporter(self.docket, self._readiness)
            if self._is_supervised
            else None,
        )

    def _figures(self) -> RunningWorker:
        return worker_reports.figures_of(
            self.docket,
            self.label,
            self._task_counters,
            self._readiness,
            self._runs,
            lambda: self.concurrency,
        )

    def _make_exchanger(self, until_finished: bool) -> Exchanger:
        docket, is_seen = self.docket, self.enable_internal_instrumentation
        lease = service_group.shortest_lease(docket, self.redelivery_timeout)
        return Exchanger(
            docket.traced_transitions() if is_seen else docket.transitions,
            self.docket.connections.pipeline,
            self._consumer,
            self._runs,
            Payloads(self.docket),
            self._task_counters,
            self._readiness,
            concurrency=self.concurrency,
            until_finished=until_finished,
            message_batch=self.message_batch,
            lease_seconds=lease.total_seconds(),
            log_attributes=self.log_attributes,
        )

    def _make_counters(self) -> TaskCounters:
        return TaskCounters(counters_of({**self.docket.labels(), "docket.worker": self.label}))

    @classmethod
    async def run(
        cls,
        docket_name: str = "docket",
        url: str = "redis://localhost:6379/0",
        name: str | None = None,
        concurrency: int = 10,
        redelivery_timeout: timedelta = timedelta(minutes=5),
        reconnection_delay: timedelta = timedelta(seconds=5),
        minimum_check_interval: timedelta = timedelta(milliseconds=100),
        scheduling_resolution: timedelta = timedelta(milliseconds=250),
        schedule_automatic_tasks: bool = True,
        enable_internal_instrumentation: bool = False,
        until_finished: bool = False,
        healthcheck_port: int | None = None,
        metrics_port: int | None = None,
        tasks: list[str] = STANDARD_TASKS,
        fallback_task: str | None = None,
        message_batch: int = 1000,
        dependencies: Mapping[str, Any] | Sequence[Any] | str | None = None,
        allowed_hosts: Sequence[str] = (),
    ) -> None:
        """Run a worker as the program: it owns the event loop and its signals.

        The other ways to run one install no signal handlers. Here the first TERM or INT drains,
        the second requeues the tasks that still run, and the third waits for nothing; it returns
        after each. A setting that is an empty text is not given.

        Args:
            docket_name, url: the name and URL of the docket.
            until_finished: end when the docket has no task left.
            healthcheck_port, metrics_port: ports of the servers of docket.instrumentation.
            allowed_hosts: names under which metrics may be asked for; see its metrics_server.
            tasks: collections of tasks, "module:collection" each.
            fallback_task: "module:function". All others are those of Worker.

        Raises:
            ValueError, TypeError, ImportError, AttributeError: a setting or a path is wrong.
            CannotListen: (an OSError) a port is taken.
        """
        fallback = load_function(fallback_task) if fallback_task else None
        docket = Docket(
            docket_name or "docket",
            url or "redis://localhost:6379/0",
            enable_internal_instrumentation=enable_internal_instrumentation,
        )
        make = partial(
            cls,
            docket,
            name,
            concurrency,
            redelivery_timeout,
            reconnection_delay,
            minimum_check_interval,
            scheduling_resolution,
            schedule_automatic_tasks,
            enable_internal_instrumentation,
            fallback,
            dependencies or None,
            message_batch,
        )
        ports = (healthcheck_port, metrics_port)
        await run_program(docket, tasks, make, until_finished, *ports, allowed_hosts)

    # Under a runtime ----------------------------------------------------------------------

    def drain(self, deadline_seconds: float | None = None) -> None:
        """Claim no more, finish the running tasks, then end.

        Args:
            deadline_seconds: from now; tasks that still run then are cancelled and requeued. None
                sets no deadline. A later call can only bring it forward.
        """
        exchanger = self._exchanger
        if exchanger is None:
            return
        if self._runs.active and not exchanger.draining:
            logger.info(
                "Shutdown requested, finishing %d active tasks...",
                self._runs.active,
                extra=self.log_attributes,
            )
        exchanger.drain()
        self._readiness.draining()
        if deadline_seconds is None:
            return
        loop = asyncio.get_running_loop()
        when = loop.time() + max(0.0, deadline_seconds)
        if self._deadline is not None:
            if self._deadline.when() <= when:
                return
            self._deadline.cancel()
        self._deadline = loop.call_at(when, exchanger.requeue_runs)

    def appoint_steward(self, on: bool) -> None:
        """Make this worker the steward, which performs the pool's duties, or relieve it."""
        self._is_steward = on
        if self._services is not None:
            self._services.steward.appoint(on)

    async def adopt(
        self, consumer: str, *, blame: str = EVERYONE, max_deliveries: int = 3
    ) -> Adoption:
        """Give the tasks of a dead consumer to other workers.

        Args:
            consumer: the dead one; it is fenced, and cannot exchange any more.
            blame: the tasks that count a death; see docket.supervision.
            max_deliveries: the number of deaths at which a task is failed as poison.

        Raises:
            ServerUnavailable: the server is away; adopt again, every part of it is idempotent.
        """
        return await adoption.adopt(self.docket, consumer, blame, max_deliveries)

    async def vouch(self, consumer: str) -> bool:
        """Beat and renew leases for a consumer whose process lives but cannot do so itself.

        For a runtime that watches the process: C code that holds the GIL silences its heartbeater.

        Args:
            consumer: another worker's.

        Returns:
            False if it was fenced before: its tasks have gone to others.

        Raises:
            ServerUnavailable: the server is away.
        """
        return await adoption.vouch(self.docket, consumer)

    def set_concurrency(self, concurrency: int) -> None:
        """Change the number of tasks that run at once; runs over a lower limit finish.

        Raises:
            ValueError: it is less than 1.
        """
        if concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, not {concurrency}")
        self.concurrency = concurrency
        if self._exchanger is not None:
            self._exchanger.concurrency = concurrency
            self._exchanger.exchange_soon()

    def running_tasks(self) -> list[RunningTask]:
        """List the tasks that run at this moment, oldest first."""
        return self._runs.running_tasks()

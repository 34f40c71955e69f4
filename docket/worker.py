"""The worker: claims tasks of a docket and runs them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from docket.docket import Docket
from docket.errors import ConnectionClosed, DocketError, PoisonTask, RefusedCall, ServerUnavailable
from docket.instrumentation.process_registry import PROCESS_REGISTRY
from docket.instrumentation.readiness import Readiness
from docket.loading import load_function
from docket.services import service_group as crews
from docket.services.exchanger import Exchanger
from docket.services.executor import Executor
from docket.services.outcomes import error_text
from docket.services.payloads import Payloads
from docket.services.run_quota import RunQuota
from docket.services.standalone import run_standalone
from docket.store.connection.endpoint import backoff_seconds
from docket.supervision import EVERYONE, NOBODY, Adoption, Alone, RunningTask, Supervision
from docket.worker_base import WorkerBase

logger = logging.getLogger("docket.worker")

#: The tasks of `Worker.run` if none are named.
STANDARD_TASKS = ["docket.tasks:standard_tasks"]

#: After how long without a server a worker that starts says that it waits for one, in seconds.
PATIENCE_SECONDS = 1.0
#: How long a worker that ends waits for an absent server, in seconds; what it could not record
#: then is redelivered.
GOODBYE_SECONDS = 5.0


class Worker(WorkerBase):
    """Executes tasks of a docket. As many as one likes may work on one docket.

    An async context manager, for the time it is used.

    Example:
        async with Docket() as docket, Worker(docket) as worker:
            await worker.run_forever()

    Args:
        docket: whose tasks it runs.
        name: shown to others; `hostname#pid` by default.
        concurrency: how many tasks run at once.
        redelivery_timeout: a task whose worker neither renewed its lease nor died noticed goes to
            another one after this time.
        reconnection_delay, minimum_check_interval, scheduling_resolution: accepted for
            compatibility, and attributes. This worker is woken by events: it polls nothing at
            these intervals.
        schedule_automatic_tasks: whether it seeds automatic perpetual tasks.
        enable_internal_instrumentation: whether internal calls are traced too.
        fallback_task: runs tasks whose name is not registered here.
        dependencies: entered around every task of this worker: a mapping by name, a sequence, or
            "module:member" where either stands.
        message_batch: most tasks claimed in one call, at least 1.

    Raises:
        ValueError: concurrency or message_batch is less than 1, or a duration is not positive, or
            a name of `dependencies` is reserved. TypeError: one is not a Dependency.
    """

    @property
    def loop_lag_seconds(self) -> float:
        """How late the loop was at its last tick."""
        return self._services.heartbeater.loop_lag_seconds if self._services is not None else 0.0

    # Running ------------------------------------------------------------------------------

    async def run_until_finished(self) -> None:
        """Run tasks until the docket has none left, scheduled ones included."""
        await self._run(Alone(), until_finished=True, is_steward=True)

    async def run_at_most(self, iterations_by_key: Mapping[str, int]) -> None:
        """Run tasks until the docket has none left, some keys only so many times.

        For tests of tasks that would go on for ever: the last run allowed has neither successor nor
        retry, and what is claimed beyond it is cancelled.

        Args:
            iterations_by_key: the most runs of a key, attempts of retries included.
        """
        self._run_quota = RunQuota(iterations_by_key)
        try:
            await self._run(Alone(), until_finished=True, is_steward=True)
        finally:
            self._run_quota = None

    async def run_forever(self) -> None:
        """Run tasks until drained or cancelled.

        Cancelled, it hands back what it runs: another worker will run those tasks again.
        """
        await self._run(Alone(), until_finished=False, is_steward=True)

    async def run_supervised(
        self,
        supervision: Supervision,
        *,
        stall_timeout_seconds: float = 60.0,
        keeper_interval_seconds: float = 0.5,
    ) -> None:
        """Run tasks until drained, on behalf of a runtime that supervises this process.

        No signal handlers, and not its own steward: the runtime appoints one.

        Args:
            supervision: what is told.
            stall_timeout_seconds: loop silence after which heartbeat and leases lapse.
            keeper_interval_seconds: how often `supervision.beat` is called.
        """
        await self._run(
            supervision,
            until_finished=False,
            is_steward=False,
            stall_timeout_seconds=stall_timeout_seconds,
            keeper_interval_seconds=keeper_interval_seconds,
        )

    async def _run(
        self,
        supervision: Supervision,
        *,
        until_finished: bool,
        is_steward: bool,
        stall_timeout_seconds: float = 60.0,
        keeper_interval_seconds: float = 0.5,
    ) -> None:
        if self._exchanger is not None:
            raise DocketError(f"{self!r} is running already: make another one to run twice at once")
        pipeline = self.docket.connections.pipeline
        self._readiness = Readiness(supervision, lambda: pipeline.is_connected)
        self._is_steward, self._is_supervised = self._is_steward or is_steward, not is_steward
        self._exchanger = exchanger = self._make_exchanger(until_finished)
        # Another worker's last run leaves no token behind: who waits for the end looks more often.
        wait = (
            self.minimum_check_interval.total_seconds() if until_finished else crews.WAKEUP_SECONDS
        )
        settings = crews.ServiceSettings(
            redelivery_timeout=self.redelivery_timeout,
            wakeup_seconds=max(wait, 0.01),
            stall_timeout_seconds=stall_timeout_seconds,
            keeper_interval_seconds=keeper_interval_seconds,
        )
        self._services = services = self._make_crew(exchanger, settings)
        services.steward.appoint(self._is_steward)
        try:
            with PROCESS_REGISTRY.at_work(self._running_worker(self._readiness)):
                await self._work(exchanger, services)
        finally:
            self._exchanger = self._services = None
            self._begin_to_count_anew()
            # It was struck off at the end, and a name is never used again.
            self._consumer.renew()
            if self._deadline is not None:
                # Else it would hand back what a later run of this worker runs by then.
                self._deadline.cancel()
                self._deadline = None
            if not self._is_entered:
                await self.shared.close()

    async def _work(self, exchanger: Exchanger, services: crews.ServiceGroup) -> None:
        runs, task_counters = self._runs, self._task_counters
        executor = Executor(self.docket, self, runs, exchanger, task_counters, self._readiness)
        executor.run_quota = self._run_quota
        if not await self._register_patiently(exchanger):
            return
        try:
            async with services.at_work():
                if self.schedule_automatic_tasks:
                    await self._seeder.seed()
                self._readiness.ready()
                try:
                    await exchanger.run(executor.start, self._register)
                except asyncio.CancelledError:
                    # Not a drain, which waits: whoever cancels us wants to be gone. What runs is
                    # stopped, and recorded as handed back before we are.
                    exchanger.hand_back()
                    exchanger.drain()
                    with suppress(TimeoutError, ConnectionClosed):
                        async with asyncio.timeout(GOODBYE_SECONDS):
                            await exchanger.run(executor.start, self._register)
                    raise
                except Exception:
                    # Others will run what runs here: it must not go on beside them.
                    exchanger.hand_back()
                    await self._runs.ended(GOODBYE_SECONDS)
                    raise
        finally:
            await self._unregister()

    def _make_crew(
        self, exchanger: Exchanger, settings: crews.ServiceSettings
    ) -> crews.ServiceGroup:
        return crews.ServiceGroup(
            self.docket,
            self._consumer,
            self._runs,
            exchanger,
            self._readiness,
            lambda consumer: self.adopt(consumer, blame=NOBODY),
            self._seeder.seed if self.schedule_automatic_tasks else None,
            settings,
        )

    def _make_exchanger(self, until_finished: bool) -> Exchanger:
        docket, is_seen = self.docket, self.enable_internal_instrumentation
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
            lease_seconds=crews.shortest_lease(docket, self.redelivery_timeout).total_seconds(),
        )

    async def _register(self) -> None:
        names, lifetime = tuple(self.docket.tasks), crews.consumer_lifetime(self.docket)
        records, lease = self.docket.transitions, self.redelivery_timeout
        await records.register(self._consumer.name, names, lifetime, lease)

    async def _register_patiently(self, exchanger: Exchanger) -> bool:
        """Register as soon as there is a server; False if we are to drain before."""
        failures = 0
        while not exchanger.draining:
            try:
                await self.docket.connections.pipeline.connected(PATIENCE_SECONDS)
                # Before the first claim: what is stricken may not be run by accident.
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self.docket.wait_for_strikes_loaded()
                await self._register()
                return True
            except (ServerUnavailable, TimeoutError) as error:
                failures += 1
                self._readiness.waiting(str(error) or self.docket.strike_list.unread)
                await asyncio.sleep(backoff_seconds(failures))
        return False

    async def _unregister(self) -> None:
        """Strike ourselves off; a run that would not end, if there is one, goes to others.

        But not before this process has ended, if there is somebody who sees to that.
        """
        if self._runs.active and self._is_supervised:
            return
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self.docket.transitions.ring()
                await self.adopt(self._consumer.name, blame=NOBODY)
        except (DocketError, RefusedCall, TimeoutError) as error:
            logger.warning(
                "Worker %s ends without signing off (%r): what it has not recorded is redelivered "
                "when others notice that its heartbeat stopped",
                self.name,
                error,
            )

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
    ) -> None:
        """Run a worker as the program: it owns the event loop and its signals.

        The other ways to run one install no signal handlers. Here the first TERM or INT drains,
        the second hands back what still runs, and the third waits for nothing.

        Args:
            docket_name, url: of the docket.
            until_finished: end when the docket has no task left.
            healthcheck_port, metrics_port: where to serve what docket.instrumentation tells.
            tasks: collections of tasks, "module:collection" each.
            fallback_task: "module:function". All others: as of Worker.

        Raises:
            ValueError, TypeError, ImportError, AttributeError: a setting or a path is wrong.
            CannotListen: (an OSError) a port is taken.
        """
        fallback = None if fallback_task is None else load_function(fallback_task)
        async with Docket(
            docket_name, url, enable_internal_instrumentation=enable_internal_instrumentation
        ) as docket:
            for path in tasks:
                docket.register_collection(path)
            worker = cls(
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
                dependencies,
                message_batch,
            )
            async with worker:
                await run_standalone(worker, until_finished, healthcheck_port, metrics_port)

    # Under a runtime ----------------------------------------------------------------------

    def drain(self, deadline_seconds: float | None = None) -> None:
        """Claim no more, finish what runs, then end.

        Args:
            deadline_seconds: from now; what still runs then is cancelled and handed back. None
                for no deadline. A later call may only bring it nearer.
        """
        exchanger = self._exchanger
        if exchanger is None:
            return
        logger.info("Shutdown requested, finishing %d active tasks", self._runs.active)
        exchanger.drain()
        self._readiness.draining()
        if deadline_seconds is None:
            return
        loop = asyncio.get_running_loop()
        when = loop.time() + max(0.0, deadline_seconds)
        if self._deadline is not None and self._deadline.when() <= when:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = loop.call_at(when, exchanger.hand_back)

    def appoint_steward(self, on: bool) -> None:
        """Make this worker the one that does what is needed once a pool, or relieve it."""
        self._is_steward = on
        if self._services is not None:
            self._services.steward.appoint(on)

    async def adopt(
        self, consumer: str, *, blame: str = EVERYONE, max_deliveries: int = 3
    ) -> Adoption:
        """Give the tasks of a dead consumer to whoever is free.

        Args:
            consumer: the dead one; it is struck off, and may not exchange any more.
            blame: whose deaths count; see docket.supervision.
            max_deliveries: deaths at which a task is failed as poison.

        Raises:
            ServerUnavailable: the server is away; adopt again, every part of it is idempotent.
        """
        error = PoisonTask(
            f"{max_deliveries} worker processes died while they ran this task: it is not delivered "
            "again. See the logs of those workers; schedule it anew once the cause is mended"
        )
        payload = self.docket.serializer.encode_error(error)
        moved, poisoned = await self.docket.transitions.adopt(
            consumer, blame, max_deliveries, (payload, error_text(error))
        )
        return Adoption(consumer, moved, tuple(poisoned))

    def set_concurrency(self, concurrency: int) -> None:
        """Change how many tasks run at once; runs over a lower limit finish.

        Raises:
            ValueError: it is less than 1.
        """
        if concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, not {concurrency}")
        self.concurrency = concurrency
        if self._exchanger is not None:
            self._exchanger.concurrency = concurrency
            self._exchanger.look()

    def nudge(self) -> None:
        """Look at the streams now."""
        if self._exchanger is not None:
            self._exchanger.look()

    def running_tasks(self) -> list[RunningTask]:
        """What runs at this moment, oldest first."""
        return self._runs.running_tasks()

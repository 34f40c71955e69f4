"""What a worker is before it works: its settings, its name, what it has counted."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from docket.dependencies.shared import SharedContext
from docket.dependencies.worker_dependencies import named_dependencies
from docket.docket import Docket
from docket.execution import TaskFunction
from docket.instrumentation.collector import DEPTHS_PATIENCE_SECONDS
from docket.instrumentation.counters import Counters, TaskCounters
from docket.instrumentation.process_registry import RunningWorker
from docket.instrumentation.readiness import Readiness
from docket.services.runs import Consumer, Runs
from docket.services.seeder import Seeder
from docket.store.depths import depths
from docket.supervision import Alone

if TYPE_CHECKING:
    from docket.services.exchanger import Exchanger
    from docket.services.run_quota import RunQuota
    from docket.services.service_group import ServiceGroup


class WorkerBase:
    """Settings and counters; see Worker."""

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
        if redelivery_timeout <= timedelta(0):
            raise ValueError(f"redelivery_timeout must be positive, not {redelivery_timeout}")
        self.docket = docket
        self.name = name or f"{socket.gethostname()}#{os.getpid()}"
        #: What it is called in metrics: its name, but never with a process id.
        self.label = name or socket.gethostname()
        self.concurrency = concurrency
        self.redelivery_timeout = redelivery_timeout
        self.reconnection_delay = reconnection_delay
        self.minimum_check_interval = minimum_check_interval
        self.scheduling_resolution = scheduling_resolution
        self.schedule_automatic_tasks = schedule_automatic_tasks
        self.enable_internal_instrumentation = enable_internal_instrumentation
        self.fallback_task = fallback_task
        self.dependencies = named_dependencies(dependencies)
        self.message_batch = message_batch
        #: What its tasks share; see docket.dependencies.Shared.
        self.shared = SharedContext()
        self._is_entered = False
        self._run_quota: RunQuota | None = None
        self._seeder = Seeder(docket)
        self._consumer = Consumer(self.name)
        self._runs = Runs()
        self._task_counters, self._earlier = TaskCounters(), TaskCounters()
        self._readiness = Readiness(Alone(), lambda: False)
        self._exchanger: Exchanger | None = None
        self._services: ServiceGroup | None = None
        self._is_steward = self._is_supervised = False
        self._deadline: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Worker {self.name!r} of {self.docket!r}>"

    async def __aenter__(self) -> Self:
        self._is_entered = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_entered = False
        await self.shared.close()

    @property
    def consumer(self) -> str:
        """Its name in the streams: its own and a nonce, never used again."""
        return self._consumer.name

    @property
    def counters(self) -> Counters:
        """What happened since this worker was made: a sum, made at this moment."""
        total = self._earlier.total()
        total.add(self._task_counters.total())
        return total

    def _running_worker(self, standing: Readiness) -> RunningWorker:
        docket = self.docket
        pipeline, disruptions = docket.connections.pipeline, docket.connections.pipeline.disruptions
        return RunningWorker(
            docket.name,
            self.label,
            self._task_counters,
            standing,
            running=self._runs.functions,
            disruptions=lambda: pipeline.disruptions - disruptions,
            strikes=lambda: docket.strike_list.in_effect,
            depths=lambda: depths(pipeline, docket.keys, DEPTHS_PATIENCE_SECONDS),
            loop=asyncio.get_running_loop(),
        )

    def _begin_to_count_anew(self) -> None:
        # What a run has counted is kept by the process's ledger when it ends, and once only.
        self._earlier.add(self._task_counters)
        self._task_counters = TaskCounters()

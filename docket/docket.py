"""The docket: where tasks are registered, scheduled, replaced, cancelled and looked up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, ParamSpec, TypeVar, overload

import uuid_utils

from docket.base import DocketBase
from docket.batches import refuse_stricken, schedule_calls
from docket.calls import TaskCall
from docket.clock import now
from docket.execution import Execution, TaskFunction
from docket.execution.execution import execution_from_record
from docket.inspection import (
    DocketSnapshot,
    RunningExecution,
    WorkerInfo,
    live_workers,
    take_snapshot,
)
from docket.instrumentation.tracing import is_on
from docket.registry import name_of
from docket.spans import span_of_scheduling
from docket.store.connection.retrying import PATIENCE_SECONDS
from docket.store.scan import clear
from docket.strike_rules import LiteralOperator, Operator

__all__ = ["Docket", "DocketSnapshot", "RunningExecution", "WorkerInfo"]

P = ParamSpec("P")
R = TypeVar("R")


class Docket(DocketBase):
    """A collection of tasks to be run now, later, or again and again.

    An async context manager: it connects on entry.

    Example:
        async with Docket(name="orders", url="redis://localhost:6379/0") as docket:
            await docket.add(send_invoice)("order-17")

    Args:
        name: of the docket; not empty, no braces.
        url: of the server: redis://, rediss://, unix://, valkey://, memory://[name] (a private
            server of this process) or embedded:///folder (one that keeps its data there).
        heartbeat_interval: how often workers say that they live.
        missed_heartbeats: how many may be missed before a worker counts as dead.
        execution_ttl: how long the record of an ended execution is kept; 0 keeps nothing.
        result_storage: where results and exceptions are kept: anything with async
            `put(key, value, *, ttl)` (ttl in seconds) and `get(key)`, as the stores of
            py-key-value-aio have; by default they are in the task's record.
        enable_internal_instrumentation: whether internal calls are traced too.
        credential_provider: redis-py's, asked at every connect.
        serializer: "pickle" stores values of any kind; "msgpack" stores nothing executable, and
            gives tasks their arguments in the types that they are annotated with. All processes
            of a docket use the same one.

    Raises:
        ValueError: a name, URL or serializer that cannot be used, or a duration that is not
            positive.
    """

    @overload
    def add(
        self,
        function: Callable[P, Awaitable[R]],
        when: datetime | None = None,
        key: str | None = None,
    ) -> Callable[P, Awaitable[Execution]]: ...

    @overload
    def add(
        self, function: str, when: datetime | None = None, key: str | None = None
    ) -> Callable[..., Awaitable[Execution]]: ...

    def add(
        self,
        function: TaskFunction | str,
        when: datetime | None = None,
        key: str | None = None,
    ) -> Callable[..., Awaitable[Execution]]:
        """Add a task to the docket.

        Args:
            function: the task, or the name of a registered one.
            when: when it is due; now by default.
            key: a name for it; while an execution with that key is scheduled, queued or running,
                another is not added (its `disposition` says so). A new UUIDv7 by default.

        Returns:
            What to call with the task's arguments; it schedules and returns the execution.

        Raises:
            KeyError: no task of that name is registered.
        """
        name, target = self.resolve(function)

        async def scheduler(*args: Any, **kwargs: Any) -> Execution:
            return await self._schedule(name, target, args, kwargs, when, key, replace=False)

        return scheduler

    @overload
    def replace(
        self, function: Callable[P, Awaitable[R]], when: datetime, key: str
    ) -> Callable[P, Awaitable[Execution]]: ...

    @overload
    def replace(
        self, function: str, when: datetime, key: str
    ) -> Callable[..., Awaitable[Execution]]: ...

    def replace(
        self, function: TaskFunction | str, when: datetime, key: str
    ) -> Callable[..., Awaitable[Execution]]:
        """Put a task in the place of what waits under a key.

        While the key runs, both executions exist: the record shows the newer one, and the older
        run's outcome is not recorded.

        Args:
            function: the task, or the name of a registered one.
            when: when it is due.
            key: the key.

        Raises:
            KeyError: no task of that name is registered.
        """
        name, target = self.resolve(function)

        async def scheduler(*args: Any, **kwargs: Any) -> Execution:
            return await self._schedule(name, target, args, kwargs, when, key, replace=True)

        return scheduler

    async def cancel(self, key: str) -> None:
        """Cancel what is under a key.

        What waits is removed, and its key is free at once. What runs has its coroutine cancelled;
        if it ends before the worker hears of it, the cancellation has no effect.
        """
        if await self.transitions.cancel(key) == "removed":
            self.producer.cancelled += 1

    async def get_execution(self, key: str) -> Execution | None:
        """The execution of a key as it is now, or None if there is no record of it.

        Raises:
            DeserializationError: its arguments cannot be read back here.
        """
        record = await self.transitions.fetch(key)
        if b"call" not in record:
            return None
        return self.execution_of(key, record)

    # Many at once -------------------------------------------------------------------------

    @overload
    def call(
        self,
        function: Callable[P, Awaitable[R]],
        when: datetime | None = None,
        key: str | None = None,
    ) -> Callable[P, TaskCall]: ...

    @overload
    def call(
        self, function: str, when: datetime | None = None, key: str | None = None
    ) -> Callable[..., TaskCall]: ...

    def call(
        self,
        function: TaskFunction | str,
        when: datetime | None = None,
        key: str | None = None,
    ) -> Callable[..., TaskCall]:
        """Make a call of a task for `add_many` or `replace_many`; nothing is scheduled yet.

        The arguments, and what is raised, are those of `add`.

        Returns:
            What to call with the task's arguments.
        """
        _, target = self.resolve(function)
        name = function if isinstance(function, str) else None

        def caller(*args: Any, **kwargs: Any) -> TaskCall:
            call = TaskCall(target, args, kwargs, _key_or_new(key), when or now(), name)
            return call.due_at_once() if when is None else call

        return caller

    async def add_many(
        self, calls: Iterable[TaskCall], *, chunk_size: int | None = 1000
    ) -> list[Execution]:
        """Add many tasks in few round trips, each as `add` would.

        Args:
            calls: made by `call`.
            chunk_size: how many are taken from `calls` and scheduled at a time, at least 1; None
                for all.

        Returns:
            The executions, in the order of the calls. One that could not be scheduled for a reason
            of its own has the disposition FAILED, and `schedule_exception` says why.

        Raises:
            ValueError: chunk_size is less than 1.
            ServerUnavailable: the server is away; some may have been scheduled.
            PayloadTooLarge, TypeError, UnicodeEncodeError: arguments or a key that cannot be
                stored; nothing of their chunk was scheduled.
        """
        return await schedule_calls(self, calls, chunk_size, replace=False)

    async def replace_many(
        self, calls: Iterable[TaskCall], *, chunk_size: int | None = 1000
    ) -> list[Execution]:
        """Put many tasks in the place of what waits under their keys; otherwise as `add_many`."""
        return await schedule_calls(self, calls, chunk_size, replace=True)

    async def schedule(self, execution: Execution) -> None:
        """Add an execution that was made by hand; its `disposition` says what became of it."""
        await self._schedule_unless_stricken(execution, execution.when, replace=False)

    async def clear(self) -> int:
        """Cancel everything that is scheduled or queued; what runs is left alone.

        Returns:
            How many tasks that were.
        """
        cleared = await clear(self.connections.pipeline, self.keys, self.execution_ttl)
        self.producer.cleared += cleared
        return cleared

    # Strikes ------------------------------------------------------------------------------

    async def strike(
        self,
        function: TaskFunction | str | None = None,
        parameter: str | None = None,
        operator: Operator | LiteralOperator = "==",
        value: Hashable | None = None,
    ) -> None:
        """Strike tasks: until `restore`, they are neither scheduled nor run, by any process.

        Args:
            function: the task, or its name; None for all tasks.
            parameter: which of its parameters decides; None for every call of it.
            operator: how the argument (or its default) is compared with `value`. A comparison that
                is not possible is no match, and is logged.
            value: what with; for "between" a pair, bounds included.

        Raises:
            ValueError: there is no such operator.
            ServerUnavailable: the server is away.
        """
        await self.strike_list.strike(_name_or_none(function), parameter, operator, value)

    async def restore(
        self,
        function: TaskFunction | str | None = None,
        parameter: str | None = None,
        operator: Operator | LiteralOperator = "==",
        value: Hashable | None = None,
    ) -> None:
        """Take back the strike that was issued with these arguments; raises as `strike` does."""
        await self.strike_list.restore(_name_or_none(function), parameter, operator, value)

    async def wait_for_strikes_loaded(self) -> None:
        """Wait until the strikes that were issued before are in effect in this process."""
        await self.strike_list.wait_for_strikes_loaded()

    async def strikes_known(self) -> None:
        """As `wait_for_strikes_loaded`, for a producer: it does not wait for ever.

        Raises:
            ServerUnavailable: the server stayed away for PATIENCE_SECONDS.
        """
        if not self.strike_list.is_loaded:
            await self.connections.pipeline.connected(PATIENCE_SECONDS)
            # A server that is there and cannot be read from: the call itself will say why.
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self.strike_list.wait_for_strikes_loaded()

    # Inspection ---------------------------------------------------------------------------

    async def snapshot(self) -> DocketSnapshot:
        """What waits and what runs on the docket, and the workers that live.

        Not one instant: it is read page by page, while tasks begin and end.
        """
        return await take_snapshot(self)

    async def workers(self) -> Collection[WorkerInfo]:
        """The workers that can claim tasks and were heard of lately."""
        return await live_workers(self)

    async def task_workers(self, task_name: str) -> Collection[WorkerInfo]:
        """Those of the workers that can run the task of this name."""
        return [worker for worker in await live_workers(self) if task_name in worker.tasks]

    def execution_of(self, key: str, record: Mapping[bytes, bytes]) -> Execution:
        """The execution that a record describes. Raises DeserializationError."""
        function = self.function_of(record[b"function"].decode())
        return execution_from_record(self, function, key, record)

    async def _schedule(
        self,
        name: str,
        function: TaskFunction,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        when: datetime | None,
        key: str | None,
        *,
        replace: bool,
    ) -> Execution:
        execution = Execution(
            self,
            function,
            args,
            kwargs,
            _key_or_new(key),
            when or now(),
            1,
            function_name=name,
        )
        await self._schedule_unless_stricken(execution, when, replace=replace)
        return execution

    async def _schedule_unless_stricken(
        self, execution: Execution, due: datetime | None, *, replace: bool
    ) -> None:
        if is_on():
            with span_of_scheduling(execution, replace=replace):
                await self._schedule_now(execution, due, replace=replace)
        elif not self.strike_list.is_loaded:
            await self._schedule_now(execution, due, replace=replace)
        elif not refuse_stricken(self, execution):
            # As `_schedule_now` does once strikes are known: an add in a burst counts every await.
            await execution.submit(replace, due)

    async def _schedule_now(
        self, execution: Execution, due: datetime | None, *, replace: bool
    ) -> None:
        await self.strikes_known()
        if not refuse_stricken(self, execution):
            await execution.submit(replace, due)


def _key_or_new(key: str | None) -> str:
    return str(uuid_utils.uuid7()) if key is None else key


def _name_or_none(function: TaskFunction | str | None) -> str | None:
    return function if function is None or isinstance(function, str) else name_of(function)

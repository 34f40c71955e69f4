"""The docket, on which tasks are registered, scheduled, replaced, cancelled and looked up."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Hashable,
    Iterable,
    Mapping,
)
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, overload

from docket.backlog import Backlog
from docket.blocking import SyncDocket
from docket.calls import TaskCall, new_key
from docket.clock import LONGEST, aware, duration, now
from docket.errors import DocketError
from docket.execution import Disposition, Execution, ExecutionState, TaskFunction
from docket.execution.execution import execution_from_record
from docket.execution.results import ResultStorage
from docket.inspection import (
    DocketSnapshot,
    RunningExecution,
    WorkerInfo,
    live_workers,
    read_backlog,
    read_statistics,
    take_snapshot,
)
from docket.instrumentation.process_registry import PROCESS_REGISTRY
from docket.instrumentation.tracing import span_of_call
from docket.operations import Operations
from docket.pauses import Pause, pause, pauses, resume
from docket.registry import Registry, name_of
from docket.scheduling import Scheduler
from docket.serialization.serializers import Serializer, serializer_named
from docket.statistics import Statistics
from docket.store.connection.connections import Connections
from docket.store.connection.urls import validate_url
from docket.store.keys import WORKER_GROUP, Keys
from docket.store.results import RecordedResults
from docket.store.retention import KEEP_FAILED, KEEP_FAILED_MOST, Retention
from docket.store.scan import clear
from docket.store.traced_transitions import TracedTransitions
from docket.store.transitions import Transitions
from docket.strike_rules import (
    LiteralOperator,
    Operator,
    Restore,
    Strike,
    StrikeInstruction,
    StrikeRecord,
)
from docket.strikelist import StrikeList
from docket.tasks import TaskCollection
from docket_display.redaction import without_password

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.credentials import CredentialProvider

__all__ = [
    "Backlog",
    "Disposition",
    "Docket",
    "DocketSnapshot",
    "Execution",
    "ExecutionState",
    "LiteralOperator",
    "Operator",
    "Pause",
    "Restore",
    "ResultStorage",
    "RunningExecution",
    "Statistics",
    "Strike",
    "StrikeList",
    "StrikeRecord",
    "TaskCall",
    "TaskCollection",
    "TaskFunction",
    "WorkerInfo",
]

#: Beyond it no death would be noticed in any useful time, and timers of threads would overflow.
_LONGEST_HEARTBEAT_INTERVAL = timedelta(days=1)
#: The most failed executions that a docket may keep: their records are in the server's memory.
MOST_KEPT = 100_000_000

P = ParamSpec("P")


class Docket(Registry, Operations):
    """A collection of tasks to be run now, later, or again and again.

    An async context manager: it connects on entry.

    Example:
        async with Docket(name="orders", url="redis://localhost:6379/0") as docket:
            await docket.add(send_invoice)("order-17")

    Args:
        name: the name of the docket; not empty, no braces.
        url: the URL of its server: redis://, rediss://, unix://, valkey://, memory://[name] (one of
            this process alone) or embedded:///folder (one that keeps its data there).
        heartbeat_interval: the interval of the workers' heartbeats; at most a day.
        missed_heartbeats: the number of missed ones after which a worker counts as dead.
        execution_ttl: the time to keep the record of an ended execution; 0 keeps nothing.
        result_storage: a store for results and exceptions: anything with async
            `put(key, value, *, ttl)` (ttl in seconds) and `get(key)`, as the stores of
            py-key-value-aio have, and perhaps `setup()`, which is awaited on entry; by default
            they are kept in the task's record.
        enable_internal_instrumentation: whether internal calls are traced too.
        credential_provider: a provider of redis-py's, asked at every connect; its method
            get_credentials_async is enough. Not asked for an embedded server.
        serializer: "pickle" stores values of any kind; "msgpack" stores nothing executable, and
            converts arguments to the annotated types. All processes of a docket use the same
            one.
        keep_failed: the time to keep failed executions for those who look at them and retry them,
            the newest of each key; 0 keeps none.
        keep_failed_most: the most of them; the oldest give way.
        keep_statistics: the time to keep the statistics of workers; 0 keeps none. All processes
            of a docket use the same one.

    Raises:
        ValueError: a name, URL or serializer that cannot be used, or a duration that is not
            positive.
    """

    def __init__(
        self,
        name: str = "docket",
        url: str = "redis://localhost:6379/0",
        heartbeat_interval: timedelta = timedelta(seconds=2),
        missed_heartbeats: int = 5,
        execution_ttl: timedelta = timedelta(minutes=15),
        result_storage: ResultStorage | None = None,
        enable_internal_instrumentation: bool = False,
        credential_provider: CredentialProvider | None = None,
        serializer: Literal["pickle", "msgpack"] = "pickle",
        *,
        keep_failed: timedelta = KEEP_FAILED,
        keep_failed_most: int = KEEP_FAILED_MOST,
        keep_statistics: timedelta = timedelta(hours=25),
    ) -> None:
        #: Encodes and decodes payloads.
        self.serializer: Serializer = serializer_named(serializer)
        super().__init__()
        validate_url(url, has_provider=credential_provider is not None)
        heartbeat_interval = duration("heartbeat_interval", heartbeat_interval)
        execution_ttl = duration("execution_ttl", execution_ttl)
        if heartbeat_interval <= timedelta(0) or missed_heartbeats < 1:
            raise ValueError(
                "heartbeat_interval and missed_heartbeats must be positive, not "
                f"{heartbeat_interval} and {missed_heartbeats}"
            )
        if heartbeat_interval > _LONGEST_HEARTBEAT_INTERVAL:
            raise ValueError(
                f"heartbeat_interval must be at most {_LONGEST_HEARTBEAT_INTERVAL}, but is "
                f"{heartbeat_interval}"
            )
        if execution_ttl < timedelta(0):
            raise ValueError(f"execution_ttl must not be negative, but is {execution_ttl}")
        self.name = name
        self.url = url
        self.heartbeat_interval = heartbeat_interval
        self.missed_heartbeats = missed_heartbeats
        self.execution_ttl = min(execution_ttl, LONGEST)
        self.keep_statistics = _kept_for("keep_statistics", keep_statistics)
        #: How long executions that have ended are kept.
        self.retention = Retention(
            self.execution_ttl, _kept_for("keep_failed", keep_failed), _kept_most(keep_failed_most)
        )
        self.result_storage = result_storage
        self.enable_internal_instrumentation = enable_internal_instrumentation
        #: Every key of this docket.
        self.keys = Keys(name)
        #: Counts the tasks that this process schedules, cancels and clears.
        self.producer = PROCESS_REGISTRY.producer(name)
        #: The strikes in effect, followed while the docket is open.
        self.strike_list = StrikeList(
            url, name, enable_internal_instrumentation, credential_provider, serializer
        )
        #: Puts executions on this docket.
        self.scheduler = Scheduler(self)
        self._credential_provider = credential_provider
        self._connections: Connections | None = None
        self._transitions: Transitions | None = None

    def __repr__(self) -> str:
        return f"<Docket {self.name!r} on {without_password(self.url)}>"

    async def __aenter__(self) -> Self:
        if self._connections is not None:
            raise DocketError(f"{self!r} is open already: one `async with` at a time")
        await _set_up(self.result_storage)
        self._connections = await Connections.acquire(
            self.url, self._credential_provider, keys=self.keys
        )
        if self.result_storage is None:
            self.result_storage = RecordedResults(self._connections.pipeline, self.keys)
        transitions = TracedTransitions if self.enable_internal_instrumentation else Transitions
        self._transitions = transitions(self._connections.pipeline, self.keys, self.retention)
        await self.strike_list.follow()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._connections is not None:
            self._connections.pipeline.owner.check()
        connections, self._connections, self._transitions = self._connections, None, None
        if isinstance(self.result_storage, RecordedResults):
            self.result_storage = None
        await self.strike_list.close()
        if connections is not None:
            await connections.release()

    def labels(self) -> dict[str, str]:
        """Return the labels of this docket in metrics, traces and logs."""
        return {"docket.name": self.name}

    @property
    def is_open(self) -> bool:
        """Return True inside `async with`."""
        return self._connections is not None

    def sync(self) -> SyncDocket:
        """Return the calls of this docket for threads without an event loop.

        Flask, Django and scripts add tasks by it: `docket.sync().add(task)(...)`.
        """
        return SyncDocket(self)

    @property
    def connections(self) -> Connections:
        """The process's connections to the server. Raises DocketError outside `async with`."""
        if self._connections is None:
            raise DocketError(f"{self!r} is not open: use it inside `async with`")
        return self._connections

    @property
    def transitions(self) -> Transitions:
        """The transitions of this docket. Raises DocketError outside `async with`."""
        if self._transitions is None:
            raise DocketError(f"{self!r} is not open: use it inside `async with`")
        return self._transitions

    def traced_transitions(self) -> TracedTransitions:
        """Make transitions with a span around each internal call."""
        return TracedTransitions(self.connections.pipeline, self.keys, self.retention)

    def register(self, function: TaskFunction, names: list[str] | None = None) -> None:
        """Register a task, so that it can be scheduled by name and run by workers.

        It replaces another function of the same name, with a warning that names both, once.

        Args:
            function: an async function.
            names: the names to register it under; its own by default.

        Raises:
            UnfitValue: under msgpack, the annotation of its result cannot be evaluated.
            TypeError: it yields, or has no name of its own and none is given.
            ValueError, CycleError: its dependencies cannot work; see docket.dependencies. An
                automatic task requires arguments.
        """
        self.serializer.check(function)
        super().register(function, names)

    # One task -----------------------------------------------------------------------------

    @overload
    def add(
        self,
        function: Callable[P, object],
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
            when: its due time, timezone-aware; now by default.
            key: a name for it. While an execution with that key is scheduled, queued or running,
                another is not added, which its `disposition` reports. A new UUIDv7 by default.

        Returns:
            A function to call with the task's arguments; it schedules and returns the execution.

        Raises:
            KeyError: no task of that name is registered.
            TypeError: `when` is no datetime or a naive one (raised by the function that is
                returned).
        """
        name, target = self.resolve(function)
        return partial(self.scheduler.add, name, target, when, key, False)

    @overload
    def replace(
        self, function: Callable[P, object], when: datetime | None, key: str
    ) -> Callable[P, Awaitable[Execution]]: ...

    @overload
    def replace(
        self, function: str, when: datetime | None, key: str
    ) -> Callable[..., Awaitable[Execution]]: ...

    def replace(
        self, function: TaskFunction | str, when: datetime | None, key: str
    ) -> Callable[..., Awaitable[Execution]]:
        """Replace the execution that waits under a key, if any, with a new one.

        If the key is running, both executions exist: the record shows the newer one, and the
        outcome of the older run is not recorded.

        Args:
            function: the task, or the name of a registered one.
            when: its due time, timezone-aware; None for now.
            key: the key.

        Raises:
            KeyError: no task of that name is registered.
        """
        name, target = self.resolve(function)
        return partial(self.scheduler.add, name, target, when, key, True)

    async def cancel(self, key: str) -> None:
        """Cancel the execution of a key.

        One that waits is removed, and its key is free at once. For one that runs, the coroutine is
        cancelled; if it ends before the worker is notified, the cancellation has no effect. What
        it does in a thread cannot be stopped: it is cancelled once the thread has ended.
        """
        with span_of_call("docket.cancel", {**self.labels(), "docket.key": key}):
            if await self.transitions.cancel(key) == "removed":
                self.producer.cancelled += 1

    async def get_execution(self, key: str) -> Execution | None:
        """Return the execution of a key as it is now, or None if there is no record of it.

        Raises:
            DeserializationError: its arguments cannot be decoded here.
        """
        record = await self.transitions.fetch(key)
        if b"call" not in record:
            return None
        return self.execution_of(key, record)

    # Many at once -------------------------------------------------------------------------

    @overload
    def call(
        self,
        function: Callable[P, object],
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

        The arguments and errors are those of `add`.

        Returns:
            A function to call with the task's arguments.
        """
        _, target = self.resolve(function)
        name = function if isinstance(function, str) else None

        def caller(*args: Any, **kwargs: Any) -> TaskCall:
            due = now() if when is None else aware("when", when)
            return TaskCall(target, args, kwargs, new_key() if key is None else key, due, name)

        return caller

    async def add_many(
        self, calls: Iterable[TaskCall], *, chunk_size: int | None = 1000
    ) -> list[Execution]:
        """Add many tasks in few round trips, each as `add` would.

        Args:
            calls: made by `call`.
            chunk_size: the number of calls to take and schedule at a time, at least 1; None takes
                all. The server works on one chunk while the next one is made.

        Returns:
            The executions, in the order of the calls. One that could not be scheduled for a reason
            of its own has the disposition FAILED, and the reason in `schedule_exception`.

        Raises:
            ValueError: chunk_size is less than 1.
            ServerUnavailable: the server is away; some may have been scheduled.
            PayloadTooLarge, TypeError, UnicodeEncodeError: arguments or a key that cannot be
                stored; nothing of their chunk was scheduled.
        """
        return await self.scheduler.add_many(calls, chunk_size, replace=False)

    async def replace_many(
        self, calls: Iterable[TaskCall], *, chunk_size: int | None = 1000
    ) -> list[Execution]:
        """Replace the executions that wait under many keys; otherwise as `add_many`."""
        return await self.scheduler.add_many(calls, chunk_size, replace=True)

    async def schedule(self, execution: Execution) -> None:
        """Add an execution that was made by hand; its `disposition` is the result."""
        await self.scheduler.schedule(execution, span_name="docket.schedule")

    async def clear(self) -> int:
        """Cancel everything that is scheduled or queued; running tasks are left alone.

        Returns:
            The number of cancelled tasks.
        """
        with span_of_call("docket.clear", self.labels()):
            cleared = await clear(self.connections.pipeline, self.keys, self.retention)
        self.producer.cleared += cleared
        return cleared

    # Strikes ------------------------------------------------------------------------------

    async def strike(
        self,
        function: TaskFunction | str | None = None,
        parameter: str | None = None,
        operator: Operator | LiteralOperator = "==",
        value: Hashable | None = None,
        *,
        reason: str | None = None,
        by: str | None = None,
    ) -> None:
        """Strike tasks: until `restore`, they are neither scheduled nor run, by any process.

        Args:
            function: the task, or its name; None for all tasks.
            parameter: the parameter that decides; None for every call of the task.
            operator: the comparison of the argument (or its default) with `value`. A comparison
                that is not possible is no match, and is logged.
            value: the value to compare with; for "between" a pair, bounds included.
            reason: the reason, which `strikes` lists; at most 1,000 characters.
            by: its author, likewise.

        Raises:
            ValueError: there is no such operator, or a remark is too long.
            ServerUnavailable: the server is away.
        """
        strike = Strike(
            _name_or_none(function), parameter, Operator(operator), value, reason=reason, by=by
        )
        await self._instruct("docket.strike", strike)

    async def restore(
        self,
        function: TaskFunction | str | None = None,
        parameter: str | None = None,
        operator: Operator | LiteralOperator = "==",
        value: Hashable | None = None,
        *,
        reason: str | None = None,
        by: str | None = None,
    ) -> None:
        """Withdraw the strike that was issued with these arguments; raises as `strike` does."""
        restore = Restore(
            _name_or_none(function), parameter, Operator(operator), value, reason=reason, by=by
        )
        await self._instruct("docket.restore", restore)

    async def _instruct(self, span_name: str, instruction: StrikeInstruction) -> None:
        with span_of_call(span_name, {**self.labels(), **instruction.labels()}):
            await self.strike_list.send_instruction(instruction)

    async def wait_for_strikes_loaded(self) -> None:
        """Wait until the strikes that were issued before are in effect in this process."""
        await self.strike_list.wait_for_strikes_loaded()

    # Inspection ---------------------------------------------------------------------------

    async def snapshot(self) -> DocketSnapshot:
        """Return the waiting and running tasks of the docket, and its live workers.

        It is not one instant: it is read page by page, while tasks begin and end.
        """
        return await take_snapshot(self)

    async def workers(self) -> Collection[WorkerInfo]:
        """List the workers that can claim tasks and have a recent heartbeat."""
        return await live_workers(self)

    async def task_workers(self, task_name: str) -> Collection[WorkerInfo]:
        """List the workers that can run the task of this name."""
        return [worker for worker in await live_workers(self) if task_name in worker.tasks]

    def execution_of(self, key: str, record: Mapping[bytes, bytes]) -> Execution:
        """Make the execution of a record. Raises DeserializationError."""
        function = self.function_of(record.get(b"function", b"").decode(errors="replace"))
        return execution_from_record(self, function, key, record)

    # Figures ------------------------------------------------------------------------------

    async def backlog(self) -> Backlog:
        """Count the tasks of the docket by state, and tell for how long the first has waited.

        One call that takes well under a millisecond, however many tasks there are.

        Raises:
            ServerUnavailable: the server is away.
        """
        return await read_backlog(self)

    async def statistics(self, over: timedelta = timedelta(hours=1)) -> Statistics:
        """Sum up what the workers of the docket did with each function.

        Workers hand in their counters every five seconds, and when they end; what one that died
        had counted since is missing.

        Args:
            over: the time to look back, at most `keep_statistics`. The period begins with a full
                minute; with a quarter of an hour, if it is longer than two hours.

        Raises:
            TypeError: `over` is no timedelta.
            ValueError: `over` is not positive, or longer than statistics are kept.
            ServerUnavailable: the server is away.
        """
        return await read_statistics(self, over)

    # Keys and connections -----------------------------------------------------------------

    @property
    def prefix(self) -> str:
        """The prefix of every key of this docket."""
        return self.keys.prefix

    def key(self, suffix: str) -> str:
        """Make a key of this docket."""
        return self.keys.key(suffix)

    def runs_key(self, key: str) -> str:
        """Make the Redis key of a task's record."""
        return self.keys.record(key)

    @property
    def stream_key(self) -> str:
        """The Redis key of the stream of tasks that are ready."""
        return self.keys.stream

    @property
    def queue_key(self) -> str:
        """The Redis key of the sorted set of tasks that are scheduled for later."""
        return self.keys.queue

    @property
    def workers_set(self) -> str:
        """The Redis key of the sorted set of workers."""
        return self.keys.workers

    @property
    def worker_group_name(self) -> str:
        """The consumer group of the workers, in each stream of tasks."""
        return WORKER_GROUP

    @asynccontextmanager
    async def redis(self) -> AsyncGenerator[Redis]:
        """Give redis-py's client for the docket's server, for commands of your own.

        It belongs to the docket: do not close it.
        """
        yield self.connections.client()

    # Pauses and strikes -------------------------------------------------------------------

    async def pause(
        self,
        function: TaskFunction | str | None = None,
        *,
        until: datetime | timedelta | None = None,
        reason: str | None = None,
        by: str | None = None,
    ) -> Pause | None:
        """Pause tasks: until `resume`, no worker claims them. They wait, and none is lost.

        It holds from now on in every process, and survives restarts. What runs goes on, and tasks
        are scheduled as before. A pause of the same tasks that is in effect gets this end, reason
        and author.

        Args:
            function: the task, or its name, which need not be registered here; None for the whole
                docket.
            until: its end: an aware datetime, or a time from now; None for no end.
            reason: the reason, which `pauses` lists; at most 1,000 characters.
            by: its author, likewise.

        Returns:
            The pause that was in effect before, or None.

        Raises:
            TypeError: `until` is none of these, or a naive datetime.
            ValueError: `until` is past, the name is empty, or a remark is too long.
            DocketError: there are a thousand pauses.
            ServerUnavailable: the server is away.
        """
        with span_of_call("docket.pause", self.labels()):
            return await pause(self, _name_or_none(function), until, reason, by)

    async def resume(self, function: TaskFunction | str | None = None) -> bool:
        """End the pause of a task, or that of the whole docket, which are two different ones.

        The tasks that were held up run in the order in which they came, before new ones.

        Args:
            function: the task, or its name; None for the pause of the whole docket.

        Returns:
            True; False if it was not paused.

        Raises:
            ServerUnavailable: the server was away; if it was for the last part only, a worker does
                the rest.
        """
        with span_of_call("docket.resume", self.labels()):
            return await resume(self, _name_or_none(function))

    async def pauses(self) -> list[Pause]:
        """List the pauses in effect: that of the whole docket first, then by the task's name."""
        return await pauses(self)

    async def strikes(self) -> list[StrikeRecord]:
        """List the strikes in effect, the last one issued last."""
        return await self.strike_list.records()


async def _set_up(storage: ResultStorage | None) -> None:
    setup = getattr(storage, "setup", None)
    if setup is not None:
        await setup()


def _name_or_none(function: TaskFunction | str | None) -> str | None:
    return function if function is None or isinstance(function, str) else name_of(function)


def _kept_for(name: str, length: timedelta) -> timedelta:
    length = duration(name, length)
    if length < timedelta(0):
        raise ValueError(f"{name} must not be negative, but is {length}")
    return min(length, LONGEST)


def _kept_most(number: int) -> int:
    if not 1 <= number <= MOST_KEPT:
        raise ValueError(f"keep_failed_most must be between 1 and {MOST_KEPT}, but is {number}")
    return number

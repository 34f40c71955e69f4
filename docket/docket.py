"""The docket: where tasks are registered, scheduled, replaced, cancelled and looked up."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, cast, overload

import uuid_utils

from docket.clock import now
from docket.dependencies.perpetual import perpetual_of, refuse_required_arguments
from docket.dependencies.plan import Plan, compile_plan
from docket.errors import DocketError, UnknownTask
from docket.execution import Execution, TaskFunction, execution_from_record
from docket.store.connection import Connections
from docket.store.endpoint import validate_url, without_password
from docket.store.keys import Keys
from docket.store.records import Records

if TYPE_CHECKING:
    from redis.credentials import CredentialProvider

P = ParamSpec("P")
R = TypeVar("R")


async def _unregistered(*args: Any, **kwargs: Any) -> None:
    """Stands for the function of an execution whose task is not registered here."""
    raise UnknownTask("of this execution")


class Docket:
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
        enable_internal_instrumentation: whether internal calls are traced too.
        credential_provider: redis-py's, asked at every connect.

    Raises:
        ValueError: a name or URL that cannot be used, or a duration that is not positive.
    """

    def __init__(
        self,
        name: str = "docket",
        url: str = "redis://localhost:6379/0",
        heartbeat_interval: timedelta = timedelta(seconds=2),
        missed_heartbeats: int = 5,
        execution_ttl: timedelta = timedelta(minutes=15),
        enable_internal_instrumentation: bool = False,
        credential_provider: CredentialProvider | None = None,
    ) -> None:
        validate_url(url)
        if heartbeat_interval <= timedelta(0) or missed_heartbeats < 1:
            raise ValueError(
                "heartbeat_interval and missed_heartbeats must be positive, not "
                f"{heartbeat_interval} and {missed_heartbeats}"
            )
        if execution_ttl < timedelta(0):
            raise ValueError(f"execution_ttl must not be negative, but is {execution_ttl}")
        self.name = name
        self.url = url
        self.heartbeat_interval = heartbeat_interval
        self.missed_heartbeats = missed_heartbeats
        self.execution_ttl = execution_ttl
        self.enable_internal_instrumentation = enable_internal_instrumentation
        #: The registered tasks by name.
        self.tasks: dict[str, TaskFunction] = {}
        #: Their compiled dependencies, by name: an executor runs these.
        self.plans: dict[str, Plan] = {}
        #: Every key of this docket.
        self.keys = Keys(name)
        self._credential_provider = credential_provider
        self._connections: Connections | None = None
        self._records: Records | None = None

    def __repr__(self) -> str:
        return f"<Docket {self.name!r} on {without_password(self.url)}>"

    async def __aenter__(self) -> Self:
        if self._connections is not None:
            raise DocketError(f"{self!r} is open already: one `async with` at a time")
        self._connections = await Connections.acquire(self.url, self._credential_provider)
        self._records = Records(self._connections.pipeline, self.keys, self.execution_ttl)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        connections, self._connections, self._records = self._connections, None, None
        if connections is not None:
            await connections.release()

    @property
    def connections(self) -> Connections:
        """The process's connections to the server. Raises DocketError outside `async with`."""
        if self._connections is None:
            raise DocketError(f"{self!r} is not open: use it inside `async with`")
        return self._connections

    @property
    def records(self) -> Records:
        """The transitions of this docket. Raises DocketError outside `async with`."""
        if self._records is None:
            raise DocketError(f"{self!r} is not open: use it inside `async with`")
        return self._records

    @property
    def prefix(self) -> str:
        """What every key of this docket begins with."""
        return self.keys.prefix

    def key(self, suffix: str) -> str:
        """A key of this docket."""
        return self.keys.key(suffix)

    def register(self, function: TaskFunction, names: list[str] | None = None) -> None:
        """Make a task known, so that it can be scheduled by name and run by workers.

        Args:
            function: an async function.
            names: what to know it as; its own name by default.

        Raises:
            TypeError: it yields, or has no name of its own and none is given.
            ValueError, CycleError: its dependencies cannot work; see docket.dependencies. An
                automatic task requires arguments.
        """
        _refuse_generator(function)
        plan = compile_plan(function)
        known_as = names or [_name_of(function)]
        refuse_required_arguments(known_as[0], plan)
        for name in known_as:
            self.tasks[name] = function
            self.plans[name] = plan

    def is_perpetual(self, name: str) -> bool:
        """Whether the task of this name, as it is registered here, runs again and again."""
        plan = self.plans.get(name)
        return plan is not None and not plan.bare and perpetual_of(plan) is not None

    def register_collection(self, collection_path: str) -> None:
        """Register every task of a collection.

        Args:
            collection_path: "module:attribute"; the attribute is an iterable of functions.

        Raises:
            ValueError: the path has not that form.
            ImportError: the module does not import.
            AttributeError: it has no such attribute.
            TypeError: the attribute is not an iterable of functions.
        """
        module_name, separator, attribute = collection_path.partition(":")
        if not (module_name and separator and attribute):
            raise ValueError(
                f"Task collection {collection_path!r} is not of the form 'module:collection'"
            )
        module = importlib.import_module(module_name)
        try:
            collection = getattr(module, attribute)
        except AttributeError:
            raise AttributeError(
                f"Module {module_name!r} has no collection {attribute!r}: nothing was registered"
            ) from None
        for function in _functions_of(collection, collection_path):
            self.register(function)

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
        name, target = self._resolve(function)

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
        name, target = self._resolve(function)

        async def scheduler(*args: Any, **kwargs: Any) -> Execution:
            return await self._schedule(name, target, args, kwargs, when, key, replace=True)

        return scheduler

    async def cancel(self, key: str) -> None:
        """Cancel what is under a key.

        What waits is removed, and its key is free at once. What runs has its coroutine cancelled;
        if it ends before the worker hears of it, the cancellation has no effect.
        """
        await self.records.cancel(key)

    async def get_execution(self, key: str) -> Execution | None:
        """The execution of a key as it is now, or None if there is no record of it.

        Raises:
            DeserializationError: its arguments cannot be read back here.
        """
        record = await self.records.fetch(key)
        if b"call" not in record:
            return None
        function = self.tasks.get(record[b"function"].decode(), _unregistered)
        return execution_from_record(self, function, key, record)

    def _resolve(self, function: TaskFunction | str) -> tuple[str, TaskFunction]:
        if isinstance(function, str):
            if function not in self.tasks:
                raise UnknownTask(function)
            return function, self.tasks[function]
        name = _name_of(function)
        if self.tasks.get(name) is not function:
            self.register(function)
        return name, function

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
            str(uuid_utils.uuid7()) if key is None else key,
            when or now(),
            1,
            function_name=name,
        )
        await execution.schedule(replace, due=when)
        return execution


def _refuse_generator(function: TaskFunction) -> None:
    # A plain `def` may return a coroutine (a decorator's wrapper does): only a run can tell.
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError(
            f"{function!r} cannot be a task, because it yields: a task is an async function "
            "that returns"
        )


def _name_of(function: TaskFunction) -> str:
    name = getattr(function, "__name__", None)
    if not isinstance(name, str):
        raise TypeError(
            f"{function!r} has no name that it could be known by: register it under one, with "
            "`register(function, names=[...])`, and schedule it by that name"
        )
    return name


def _functions_of(collection: object, path: str) -> list[TaskFunction]:
    if not isinstance(collection, Iterable):
        raise TypeError(f"Task collection {path!r} is a {type(collection).__name__}, not iterable")
    functions = list(cast("Iterable[object]", collection))
    for function in functions:
        if not callable(function):
            raise TypeError(f"Task collection {path!r} holds {function!r}, which is not a function")
    return cast("list[TaskFunction]", functions)

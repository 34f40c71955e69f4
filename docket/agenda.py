"""The agenda: tasks that are collected first and scheduled together, spread over a time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, ParamSpec, overload

from docket.clock import aware, duration, now
from docket.docket import Docket
from docket.execution import Disposition, Execution, TaskFunction

P = ParamSpec("P")

#: A task (or its name), its arguments, and its key, if one is given.
Entry = tuple[TaskFunction | str, tuple[Any, ...], dict[str, Any], str | None]


class Agenda:
    """A collection of calls that are scheduled together.

    Example:
        agenda = Agenda()
        for item in items:
            agenda.add(process_item)(item)
        await agenda.scatter(docket, over=timedelta(minutes=50))
    """

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        """Iterate over the calls: task, arguments, keyword arguments, key."""
        return iter(self._entries)

    @overload
    def add(self, function: Callable[P, object], key: str | None = None) -> Callable[P, None]: ...

    @overload
    def add(self, function: str, key: str | None = None) -> Callable[..., None]: ...

    def add(self, function: TaskFunction | str, key: str | None = None) -> Callable[..., None]:
        """Add a task.

        Args:
            function: the task, or the name of one that the docket will know.
            key: the key to schedule it under; a new one by default.

        Returns:
            A function to call with the task's arguments.
        """

        def collector(*args: Any, **kwargs: Any) -> None:
            self._entries.append((function, args, kwargs, key))

        return collector

    def clear(self) -> None:
        """Remove all calls."""
        self._entries.clear()

    async def scatter(
        self,
        docket: Docket,
        over: timedelta,
        start: datetime | None = None,
        jitter: timedelta | None = None,
    ) -> list[Execution]:
        """Schedule all calls in their order, evenly spread over a time.

        The first is due at the start of the time, the last at its end, and a single one in the
        middle. The agenda keeps its calls, and can be scattered again.

        Args:
            docket: the docket to schedule them on.
            over: the length of the time.
            start: the start of the time; now by default.
            jitter: each call is moved by a random time up to this, back or forth, but never to
                before `start`.

        Returns:
            The executions, in the order in which they were added.

        Raises:
            KeyError: a name is not registered. Nothing was scheduled.
            ValueError: `over` is not positive, or a task is stricken. Nothing was scheduled.
            ServerUnavailable, RuntimeError: not all were scheduled.
        """
        over = duration("over", over)
        if over <= timedelta(0):
            raise ValueError("'over' parameter must be a positive duration")
        begin = now() if start is None else aware("start", start)
        jitter = None if jitter is None else duration("jitter", jitter)
        calls = [
            docket.call(function, _moved(begin + offset, begin, jitter), key)(*args, **kwargs)
            for offset, (function, args, kwargs, key) in zip(
                _offsets(len(self), over), self, strict=True
            )
        ]
        for name in await docket.scheduler.stricken_names(calls):
            raise ValueError(f"Task {name!r} is stricken: nothing of the agenda was scheduled")
        executions = await docket.add_many(calls)
        for execution in executions:
            _refuse_unscheduled(execution)
        return executions


def _offsets(count: int, over: timedelta) -> list[timedelta]:
    if count == 1:
        return [over / 2]
    return [over * i / (count - 1) for i in range(count)]


def _moved(when: datetime, begin: datetime, jitter: timedelta | None) -> datetime:
    return when if jitter is None else max(begin, when + jitter * random.uniform(-1, 1))


def _refuse_unscheduled(execution: Execution) -> None:
    if execution.schedule_exception is not None:
        raise execution.schedule_exception
    if execution.disposition is Disposition.STRUCK:
        raise ValueError(
            f"Task {execution.function_name!r} was stricken while the agenda was scheduled: "
            f"{execution.key!r} was not, others may have been"
        )

"""A clean docket for each of users' tests, and assertions about the tasks on it.

The assertions consider waiting tasks, scheduled or queued, and not those that are running or have
ended.
"""

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Literal
from uuid import uuid4

from docket.docket import Docket
from docket.execution import Execution

__all__ = [
    "assert_no_tasks",
    "assert_task_count",
    "assert_task_not_scheduled",
    "assert_task_scheduled",
    "clean_docket",
]


@asynccontextmanager
async def clean_docket(
    *, serializer: Literal["pickle", "msgpack"] = "pickle"
) -> AsyncGenerator[Docket]:
    """Open a docket that nothing else has used, on the server of `memory://`.

    All dockets of a process share that server; this one has a name of its own. With pytest, the
    fixtures of `docket.pytest_plugin` make one for each test.

    Example:
        async with clean_docket() as docket, Worker(docket) as worker:
            await docket.add(send_invoice)("order-17")
            await worker.run_until_finished()

    Args:
        serializer: that of the docket, as for `Docket`.
    """
    name = f"test-{uuid4()}"
    async with Docket(name, url="memory://", serializer=serializer) as docket:
        yield docket


async def assert_task_scheduled(
    docket: Docket,
    function: str | Callable[..., Any],
    *,
    args: tuple[Any, ...] | None = None,
    kwargs: dict[str, Any] | None = None,
    key: str | None = None,
) -> None:
    """Assert that a task is waiting on the docket.

    Args:
        docket: the docket.
        function: the task, or its name.
        args: exactly these positional arguments; None for any.
        kwargs: at least these keyword arguments, with these values; None for any.
        key: the key; None for any.

    Raises:
        AssertionError: it is not; the message shows the criteria and the waiting tasks.
    """
    __tracebackhide__ = True
    waiting = await _waiting(docket)
    name = _name_of(function)
    if _matching(waiting, name, args, kwargs, key):
        return
    if not waiting:
        raise AssertionError(f"Task {name} not found: no tasks scheduled on docket")
    criteria = [f"function={name}"]
    if key is not None:
        criteria.append(f"key={key!r}")
    if args is not None:
        criteria.append(f"args={args!r}")
    if kwargs is not None:
        criteria.append(f"kwargs={kwargs!r}")
    raise AssertionError(
        f"Task {name} not found with {', '.join(criteria)}\n\nScheduled tasks:\n{_listed(waiting)}"
    )


async def assert_task_not_scheduled(
    docket: Docket,
    function: str | Callable[..., Any],
    *,
    args: tuple[Any, ...] | None = None,
    kwargs: dict[str, Any] | None = None,
    key: str | None = None,
) -> None:
    """Assert that no such task is waiting on the docket.

    The arguments are those of `assert_task_scheduled`.

    Raises:
        AssertionError: one is; the message shows the first.
    """
    __tracebackhide__ = True
    name = _name_of(function)
    found = _matching(await _waiting(docket), name, args, kwargs, key)
    if found:
        raise AssertionError(
            f"Task {name} found but should not be scheduled\nFound: {_shown(found[0])}"
        )


async def assert_task_count(
    docket: Docket, function: str | Callable[..., Any] | None = None, *, count: int
) -> None:
    """Assert the number of tasks waiting on the docket.

    Args:
        docket: the docket.
        function: count only this task, or the task of this name; None for all.
        count: the expected number.

    Raises:
        AssertionError: there are more or fewer; the message shows them.
    """
    __tracebackhide__ = True
    waiting = await _waiting(docket)
    what = "all tasks"
    if function is not None:
        name = _name_of(function)
        what = f"tasks for {name}"
        waiting = [execution for execution in waiting if execution.function_name == name]
    if len(waiting) != count:
        there = f"\n{_listed(waiting)}" if waiting else ""
        raise AssertionError(f"Expected {count} {what}, found {len(waiting)}{there}")


async def assert_no_tasks(docket: Docket) -> None:
    """Assert that no task is waiting on the docket.

    Raises:
        AssertionError: there are some; the message shows them.
    """
    __tracebackhide__ = True
    waiting = await _waiting(docket)
    if waiting:
        raise AssertionError(
            f"Expected no tasks, found {len(waiting)} task(s) scheduled:\n{_listed(waiting)}"
        )


async def _waiting(docket: Docket) -> list[Execution]:
    return list((await docket.snapshot()).future)


def _matching(
    executions: Iterable[Execution],
    name: str,
    args: tuple[Any, ...] | None,
    kwargs: dict[str, Any] | None,
    key: str | None,
) -> list[Execution]:
    return [
        execution
        for execution in executions
        if execution.function_name == name
        and args in (None, execution.args)
        and (kwargs or {}).items() <= execution.kwargs.items()
        and key in (None, execution.key)
    ]


def _name_of(function: str | Callable[..., Any]) -> str:
    return function if isinstance(function, str) else function.__name__


def _listed(executions: Iterable[Execution]) -> str:
    return "\n".join(f"  - {_shown(execution)}" for execution in executions)


def _shown(execution: Execution) -> str:
    return (
        f"{execution.function_name}(args={execution.args!r}, kwargs={execution.kwargs!r}, "
        f"key={execution.key!r})"
    )

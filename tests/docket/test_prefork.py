"""The preparation of a process that forks workers."""

from collections.abc import Iterator

import pytest

from docket import Depends, Docket, Retry, prefork
from docket.registry import Registry
from docket.tasks import standard_tasks

SERVER = "redis://localhost:6379/0"


def registered(function: object) -> Registry:
    registry = Registry()
    registry.register(function)  # type: ignore[arg-type]
    return registry


def test_what_is_prepared_is_compiled_once_for_all_dockets() -> None:
    async def prepared(retry: Retry = Retry(attempts=2)) -> None:
        """A task with something to compile."""

    async def other(retry: Retry = Retry(attempts=2)) -> None:
        """Another one, which is not prepared."""

    prefork.prepare(SERVER, [prepared])

    first, second = registered(prepared), registered(prepared)
    assert first.plans["prepared"] is second.plans["prepared"]
    assert first.plans["prepared"].function is prepared
    assert registered(other).plans["other"] is not registered(other).plans["other"]


def test_the_built_in_tasks_are_prepared_too() -> None:
    prefork.prepare(SERVER, [])

    first, second = Docket().plans, Docket().plans
    for task in standard_tasks:
        assert first[task.__name__] is second[task.__name__]


def test_what_cannot_be_prepared_is_left_to_whoever_registers_it() -> None:
    async def twice(first: Retry = Retry(), second: Retry = Retry()) -> None:
        """Have two dependencies of which a task may have one."""

    def produce() -> Iterator[int]:
        yield 1

    async def of_nothing(value: int = Depends("no function")) -> None:  # type: ignore[arg-type]
        """Depend on what cannot be called."""

    prefork.prepare("nonsense, with a password", [twice, produce, of_nothing, "no task"])  # type: ignore[list-item]

    with pytest.raises(ValueError, match="Only one Retry dependency is allowed per task"):
        registered(twice)
    with pytest.raises(TypeError, match="cannot be a task, because it yields"):
        registered(produce)
    with pytest.raises(ValueError, match="URL has no scheme"):
        Docket(url="nonsense, with a password")

# ruff: noqa: T201 - the examples print
"""The rest of the examples of the users' guide to dependencies: arguments, failures, guidelines."""

import os
import random
from collections.abc import Iterator

import pytest

from docket import Depends, Docket, Execution, TaskArgument
from tests.support.dockets import failure_of, finish, result_of
from tests.support.guide import DEFAULT_CONFIG, APIClient, MetricsClient, database, redis, world

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _fresh_world() -> Iterator[None]:
    world.reset()
    yield
    world.reset()


async def run(docket: Docket, execution: Execution) -> None:
    """Run the execution and whatever else is there; it must succeed."""
    await finish(docket)
    assert await result_of(execution) is None


# TaskArgument -----------------------------------------------------------------------------


async def get_user_context(user_id: int = TaskArgument()) -> dict:
    """Dependency that fetches user context based on task argument."""
    user = await world.fetch("user", user_id)
    return {
        "user": user,
        "permissions": await world.fetch("permissions", user_id),
        "preferences": await world.fetch("preferences", user_id),
    }


async def send_personalized_email(
    user_id: int, message: str, user_context=Depends(get_user_context)
) -> None:
    # user_context is populated based on the user_id argument
    email = f"{message} ({user_context['preferences']})"
    await world.does("email", user_context["user"], email)


async def test_a_dependency_sees_the_argument_of_the_task(docket: Docket) -> None:
    await run(docket, await docket.add(send_personalized_email)(4, message="Hi"))

    assert world.done == [("email", "user of 4", "Hi (preferences of 4)")]


async def get_optional_config(
    config_name: str | None = TaskArgument("config", optional=True),
) -> dict:
    """Get configuration if provided, otherwise use defaults."""
    if config_name:
        return {"loaded": await world.fetch("config", config_name)}
    return DEFAULT_CONFIG


async def flexible_task(
    data: dict,
    config: str | None = None,  # Optional argument
    resolved_config=Depends(get_optional_config),
) -> None:
    # resolved_config will be loaded config or defaults
    await world.does("process", data, resolved_config)


async def test_an_argument_that_was_not_passed_may_be_optional(docket: Docket) -> None:
    await run(docket, await docket.add(flexible_task)({}))
    await run(docket, await docket.add(flexible_task)({}, config="x"))

    assert world.done == [
        ("process", {}, DEFAULT_CONFIG),
        ("process", {}, {"loaded": "config of x"}),
    ]


# Dependency error handling ----------------------------------------------------------------


async def unreliable_dependency():
    if random.random() < 0.5:
        raise ValueError("Service unavailable")
    return "success"


async def dependent_task(value=Depends(unreliable_dependency)) -> None:
    print(f"Got value: {value}")


async def test_a_task_whose_dependency_fails_is_not_run_and_says_which_it_was(
    docket: Docket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(random, "random", lambda: 0.1)
    unlucky = await docket.add(dependent_task)()
    await finish(docket)

    error = await failure_of(unlucky)
    assert isinstance(error, ExceptionGroup)
    assert "Failed to resolve dependencies for parameter(s): value" in str(error)
    assert [repr(cause) for cause in error.exceptions] == ["ValueError('Service unavailable')"]
    assert not capsys.readouterr().out


async def test_a_task_whose_dependency_succeeds_runs(
    docket: Docket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(random, "random", lambda: 0.9)
    await run(docket, await docket.add(dependent_task)())

    assert capsys.readouterr().out == "Got value: success\n"


# Guidelines -------------------------------------------------------------------------------


# Good: Reusable across many tasks
async def get_api_client():
    return APIClient(api_key=os.getenv("API_KEY"))


# Less ideal: Too specific to one task
async def get_user_api_client_for_profile_updates():
    return APIClient(api_key=os.getenv("API_KEY"), timeout=30)


# Good: Focused dependencies
async def get_database():
    return await database.connect()


async def get_cache():
    return redis.Redis()


# Less ideal: Too many responsibilities
async def get_all_services():
    return {
        "db": await database.connect(),
        "cache": redis.Redis(),
        "api": APIClient(),
        "metrics": MetricsClient(),
    }


async def use_clients(
    client=Depends(get_api_client),
    slow_client=Depends(get_user_api_client_for_profile_updates),
) -> None:
    await world.does("clients", client.api_key, slow_client.timeout)


async def use_services(
    db=Depends(get_database), cache=Depends(get_cache), services=Depends(get_all_services)
) -> None:
    await world.does(type(db) is type(services["db"]), type(cache) is type(services["cache"]))


async def test_reusable_and_focused_dependencies_are_given_as_they_are_returned(
    docket: Docket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    executions = [await docket.add(use_clients)(), await docket.add(use_services)()]
    await finish(docket)

    assert [await result_of(execution) for execution in executions] == [None, None]
    assert sorted(world.done, key=str) == [("clients", "secret", 30), (True, True)]
    assert world.closed == []


# Good: Automatic cleanup
async def get_database_with_cleanup():
    conn = await database.connect()
    try:
        yield conn
    finally:
        await conn.close()


# Risky: Manual cleanup required
async def get_database_no_cleanup():
    return await database.connect()  # Who closes this?


async def use_databases(
    cleaned=Depends(get_database_with_cleanup), risky=Depends(get_database_no_cleanup)
) -> None:
    await world.does("users", await cleaned.fetch_user(1), await risky.fetch_user(2))


async def test_a_generator_is_closed_after_the_task_and_a_returned_value_is_not(
    docket: Docket,
) -> None:
    await run(docket, await docket.add(use_databases)())

    assert (world.opened, world.closed) == (["db", "db"], ["db"])

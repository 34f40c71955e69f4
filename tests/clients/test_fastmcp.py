"""A FastMCP server with background tasks, on ours: called by its own client."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.metadata import version
from typing import Any

import pytest

fastmcp = pytest.importorskip("fastmcp", reason="`tox -e clients` installs it")
pytest.importorskip("fastmcp_tasks")

from fastmcp import Client, Context, FastMCP  # noqa: E402
from fastmcp.dependencies import CurrentContext, Depends, Progress  # noqa: E402
from fastmcp.exceptions import ToolError  # noqa: E402
from fastmcp_tasks import TasksExtension  # noqa: E402
from fastmcp_tasks.client import call_tool_task  # noqa: E402
from fastmcp_tasks.dependencies import CurrentDocket, CurrentWorker  # noqa: E402

import docket.supervision  # noqa: E402
from docket import Docket, Retry, Timeout, Worker  # noqa: E402

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(30)]


async def greeting() -> str:
    return "Hello"


def server(url: str, name: str, gate: asyncio.Event) -> FastMCP:
    """Tools that run as tasks; one of them waits for the gate."""
    mcp = FastMCP("clients")
    mcp.add_extension(TasksExtension(url=url, name=name))

    @mcp.tool(task=True)
    async def greet(
        name: str,
        ctx: Context,
        progress: Progress = Progress(),
        word: str = Depends(greeting),
        timeout: Timeout = Timeout(timedelta(seconds=30)),
    ) -> dict[str, Any]:
        await progress.set_total(3)
        await progress.increment()
        await ctx.report_progress(2, 3, "greeting")
        return {
            "text": f"{word}, {name}!",
            "in background": ctx.is_background_task,
            "remaining": timeout.remaining() > timedelta(seconds=20),
        }

    @mcp.tool(task=True)
    async def wait(progress: Progress = Progress()) -> str:
        await progress.set_message("waiting")
        await gate.wait()
        return "done"

    @mcp.tool(task=True)
    async def hang(timeout: Timeout = Timeout(timedelta(milliseconds=100))) -> None:
        await asyncio.Event().wait()

    @mcp.tool(task=True)
    async def fail(ctx: Context = CurrentContext()) -> None:
        raise ToolError("not today")

    @mcp.tool(task=True)
    async def inner(
        docket: Docket = CurrentDocket(), worker: Worker = CurrentWorker()
    ) -> list[str]:
        return [docket.name, type(worker).__module__]

    @mcp.tool(task=True)
    async def stubborn(retry: Retry = Retry(attempts=3)) -> int:
        return retry.attempts

    return mcp


@asynccontextmanager
async def client_of(
    url: str, name: str, gate: asyncio.Event | None = None
) -> AsyncGenerator[Client[Any]]:
    async with Client(server(url, name, gate or asyncio.Event())) as client:
        yield client


def test_the_packages_are_the_pinned_one_and_our_stand_in() -> None:
    assert version("fastmcp") == "4.1.4"
    assert version("pydocket").endswith("+docket.supervisor")
    assert docket.supervision


async def test_a_task_has_its_context_progress_and_timeout(url: str, docket_name: str) -> None:
    async with client_of(url, docket_name) as client:
        result = await client.call_tool("greet", {"name": "Ann"})
        assert result.data == {"text": "Hello, Ann!", "in background": True, "remaining": True}


async def test_a_task_is_watched_and_its_result_read_later(url: str, docket_name: str) -> None:
    gate = asyncio.Event()
    async with client_of(url, docket_name, gate) as client:
        task = await call_tool_task(client, "wait", {})
        while (status := await task.status()).status_message != "waiting":
            assert status.status == "working"
        gate.set()
        assert (await task.wait()).status == "completed"
        assert (await task.result()).data == "done"


async def test_a_task_is_cancelled(url: str, docket_name: str) -> None:
    async with client_of(url, docket_name) as client:
        task = await call_tool_task(client, "wait", {})
        while (await task.status()).status_message != "waiting":
            pass
        await task.cancel()
        assert (await task.wait()).status == "cancelled"


async def test_a_task_over_its_timeout_fails_and_so_does_one_that_raises(
    url: str, docket_name: str
) -> None:
    async with client_of(url, docket_name) as client:
        late = await call_tool_task(client, "hang", {})
        assert (await late.wait()).status == "failed"
        with pytest.raises(ToolError, match="not today"):
            await client.call_tool("fail", {})


async def test_a_task_reaches_docket_and_worker(url: str, docket_name: str) -> None:
    async with client_of(url, docket_name) as client:
        assert (await client.call_tool("inner", {})).data == [docket_name, "docket.worker"]
        assert (await client.call_tool("stubborn", {})).data == 3


async def test_many_tasks_at_once(url: str, docket_name: str) -> None:
    async with client_of(url, docket_name) as client:
        names = [f"n{number}" for number in range(20)]
        results = await asyncio.gather(
            *(client.call_tool("greet", {"name": name}) for name in names)
        )
        assert [each.data["text"] for each in results] == [f"Hello, {name}!" for name in names]

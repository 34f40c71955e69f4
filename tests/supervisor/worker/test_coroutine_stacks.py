"""Where coroutines stand."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Generator

import pytest

from docket.stacks import frames
from docket.supervision import RunningTask
from supervisor.worker import coroutine_stacks

pytestmark = pytest.mark.anyio


async def outer(release: asyncio.Event) -> None:
    await inner(release)


async def inner(release: asyncio.Event) -> None:
    await release.wait()


class Awaitable:
    def __await__(self) -> Generator[None, None, None]:
        yield from asyncio.sleep(0).__await__()
        yield from asyncio.Event().wait().__await__()


@pytest.fixture
async def waiting() -> AsyncIterator[asyncio.Task[None]]:
    release = asyncio.Event()
    task = asyncio.create_task(outer(release), name="the waiting one")
    await asyncio.sleep(0)
    yield task
    release.set()
    await task


async def test_all_frames_of_a_coroutine_that_waits_are_shown(waiting: asyncio.Task[None]) -> None:
    names = [frame.name for frame in frames(waiting.get_coro())]

    assert names[:2] == ["outer", "inner"]
    text = coroutine_stacks.text([RunningTask("k", "f", 1.0)], now=3.5)
    assert "  f k for 2.500s\n" in text
    assert "Coroutine the waiting one" in text
    assert "await release.wait()" in text


async def test_coroutines_of_running_tasks_come_first_and_by_function_and_key(
    waiting: asyncio.Task[None],
) -> None:
    other = asyncio.create_task(asyncio.sleep(60), name="A first name")
    ended = asyncio.create_task(asyncio.sleep(0))
    await ended

    running = [RunningTask("k", "f", 1.0, waiting), RunningTask("e", "f", 1.0, ended)]
    text = coroutine_stacks.text(running, now=3.5)

    other.cancel()
    headings = [line for line in text.splitlines() if line.startswith("Coroutine")]
    assert headings[:2] == [
        "Coroutine of f k, most recent call last:",
        "Coroutine A first name, most recent call last:",
    ]
    assert "the waiting one" not in text
    assert "of f e" not in text


async def test_a_key_cannot_forge_lines_of_a_dump(waiting: asyncio.Task[None]) -> None:
    text = coroutine_stacks.text([RunningTask("two\nlines\x1b[2J", "f", 1.0, waiting)], now=3.5)
    assert text.count(r"f two\nlines\x1b[2J") == 2
    assert "\x1b" not in text


async def test_a_generator_that_is_awaited_is_followed() -> None:
    async def wait() -> None:
        await Awaitable()

    task = asyncio.create_task(wait())
    for _ in range(3):
        await asyncio.sleep(0)

    names = [frame.name for frame in frames(task.get_coro())]

    task.cancel()
    assert names[:2] == ["wait", "__await__"]


async def test_a_pipe_that_is_full_or_closed_gets_what_fits() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    many = [RunningTask("k" * 1000, "f", 0.0)] * 100

    assert coroutine_stacks.write_to(write, [], 0.0)
    assert not coroutine_stacks.write_to(write, many, 0.0)
    os.close(read)
    assert not coroutine_stacks.write_to(write, [], 0.0)
    os.close(write)


async def test_the_generator_of_a_context_manager_that_is_left_is_followed() -> None:
    release = asyncio.Event()

    @contextlib.asynccontextmanager
    async def managed() -> AsyncIterator[None]:
        yield
        await inner(release)

    async def leave() -> None:
        async with managed():
            pass

    task = asyncio.create_task(leave())
    await asyncio.sleep(0)
    names = [frame.name for frame in frames(task.get_coro())]
    assert names[-3:] == ["managed", "inner", "wait"]
    release.set()
    await task

"""Tasks for a worker that a test started as a program: they say on stdout that they began."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from docket import Depends


async def greet(name: str) -> str:
    return f"Hello, {name}!"


async def hold_until_released(fifo: str) -> str:
    """Run until something is written to the named pipe."""
    print("started", flush=True)  # noqa: T201
    return await asyncio.to_thread(Path(fifo).read_text)


async def hold_for_ever() -> None:
    print("started", flush=True)  # noqa: T201
    await asyncio.Event().wait()


async def anything(*args: Any, **kwargs: Any) -> str:
    return f"fallback got {args} {kwargs}"


@asynccontextmanager
async def _announced() -> AsyncGenerator[None]:
    print("around", flush=True)  # noqa: T201
    yield


around = {"announced": Depends(_announced)}
tasks = [greet, hold_until_released, hold_for_ever]
not_a_function = "just a string"

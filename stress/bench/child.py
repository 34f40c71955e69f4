"""One measured part in a process of its own: `python -m stress.bench.child MODULE:NAME JSON`.

Each round has a fresh process, so that no round warms the caches of the next and the garbage of
the bench itself is not collected on a measured loop. The part is an async function; it gets the
JSON object as keyword arguments, runs on uvloop, and its result goes to stdout as JSON.
"""

import asyncio
import contextlib
import importlib
import json
import logging
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import uvloop

from stress.program import environment

Part = Callable[..., Coroutine[Any, Any, Any]]

#: A part that takes longer hangs: no bench has one of even a minute.
TIMEOUT_SECONDS = 120.0


class PartFailed(RuntimeError):
    """The process of a part ended with an error; the message has its stderr."""


async def measure(part: Part, **arguments: object) -> Any:
    """Run `part` in a process of its own, and return its result.

    Arguments:
        part: an async function at the top level of a module.
        arguments: its arguments; JSON.

    Raises:
        PartFailed: it failed, or did not end within TIMEOUT_SECONDS.
    """
    async with beside(part, **arguments) as result:
        return await result


@contextlib.asynccontextmanager
async def beside(part: Part, **arguments: object) -> AsyncGenerator[asyncio.Task[Any]]:
    """Run `part` in a process of its own during the block, which awaits its result by the task.

    The process is killed if it still runs when the block is left.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "stress.bench.child",
        f"{part.__module__}:{part.__qualname__}",
        json.dumps(arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    result = asyncio.create_task(_result_of(process, part.__qualname__))
    try:
        yield result
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.wait({result})


async def _result_of(process: asyncio.subprocess.Process, name: str) -> Any:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        raise PartFailed(f"{name} did not end within {TIMEOUT_SECONDS:g} s") from None
    if process.returncode != 0:
        raise PartFailed(f"{name} ended with {process.returncode}:\n{err.decode()}")
    return json.loads(out)


def main() -> None:
    """Run the part that the command line names."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    module, _, name = sys.argv[1].partition(":")
    part: Part = getattr(importlib.import_module(module), name)
    json.dump(uvloop.run(part(**json.loads(sys.argv[2]))), sys.stdout)


if __name__ == "__main__":
    main()

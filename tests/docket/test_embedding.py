"""The library inside somebody else's program: it takes nothing over and leaves nothing behind."""

import asyncio
import gc
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
import uvloop

from docket import Docket, Worker
from tests.support.dockets import PATIENCE, result_of, soon

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


async def double(n: int) -> int:
    return 2 * n


async def work(server: str, docket_name: str) -> int:
    async with Docket(docket_name, server) as docket, Worker(docket) as worker:
        running = asyncio.create_task(worker.run_forever())
        result = await result_of(await docket.add(double)(21))
        worker.drain()
        await soon(running)
        return result


def sockets() -> int:
    return len(psutil.Process().net_connections(kind="all"))


@pytest.mark.parametrize("new_loop", LOOPS)
def test_it_works_on_any_asyncio_loop_and_leaves_nothing_behind(
    server: str, docket_name: str, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def use() -> set[str]:
        before = asyncio.all_tasks()
        assert await work(server, docket_name) == 42
        left = {task.get_name() for task in asyncio.all_tasks() - before}
        return left | {t.name for t in threading.enumerate() if t not in threads}

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        threads, open_before = threading.enumerate(), sockets()
        with asyncio.Runner(loop_factory=new_loop) as runner:
            assert runner.run(use()) == set()
        gc.collect()
        assert sockets() == open_before


def test_no_signal_handlers_are_installed(server: str, docket_name: str) -> None:
    watched = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1]

    async def use() -> list[object]:
        async with Docket(docket_name, server) as docket, Worker(docket) as worker:
            running = asyncio.create_task(worker.run_forever())
            await result_of(await docket.add(double)(1))
            during = [signal.getsignal(number) for number in watched]
            worker.drain()
            await soon(running)
            return during

    async def look() -> list[object]:
        return [signal.getsignal(number) for number in watched]

    def kinds(handlers: list[object]) -> list[object]:
        # asyncio's own handler of SIGINT is made anew by each Runner.
        return [getattr(handler, "func", handler) for handler in handlers]

    without, during = asyncio.run(look()), asyncio.run(use())

    assert [str(kind)[:40] for kind in kinds(during)] == [str(kind)[:40] for kind in kinds(without)]


def test_the_number_of_connections_does_not_grow_with_the_concurrency(
    server: str, docket_name: str
) -> None:
    async def use() -> int:
        async with (
            Docket(docket_name, server) as docket,
            Worker(docket, concurrency=200) as worker,
        ):
            everyone = asyncio.Barrier(201)
            opened_before = sockets()

            async def meet() -> None:
                await everyone.wait()

            running = asyncio.create_task(worker.run_forever())
            executions = await asyncio.gather(*[docket.add(meet)() for _ in range(200)])
            waiting = [asyncio.create_task(result_of(execution)) for execution in executions]
            await soon(everyone.wait())
            grown = sockets() - opened_before
            await asyncio.gather(*waiting)
            worker.drain()
            await soon(running)
            return grown

    # The pipeline is open before; the wake-up connection, the subscriber and the keeper's come.
    assert asyncio.run(use()) <= 3


def test_a_program_that_ends_with_its_worker_running_ends_at_once_and_loses_nothing(
    server: str, docket_name: str
) -> None:
    entered: list[int] = []

    async def leave() -> None:
        started = asyncio.Event()

        async def never_ends() -> None:
            entered.append(1)
            started.set()
            await asyncio.sleep(3600)

        docket = await Docket(docket_name, server).__aenter__()
        running = asyncio.create_task(Worker(docket).run_forever())
        await docket.add(never_ends, key="key")()
        await soon(started.wait())
        assert not running.done()

    async def resume() -> object:
        async def never_ends() -> str:
            return "the second time"

        heartbeat = timedelta(milliseconds=50)
        async with Docket(docket_name, server, heartbeat_interval=heartbeat) as docket:
            docket.register(never_ends)
            async with Worker(docket) as worker:
                running = asyncio.create_task(worker.run_forever())
                execution = await docket.get_execution("key")
                assert execution is not None
                result = await result_of(execution)
                worker.drain()
                await soon(running)
                return result

    loop_time = asyncio.new_event_loop()
    try:
        before = loop_time.time()
        asyncio.run(leave())
        assert loop_time.time() - before < PATIENCE.total_seconds() / 5
    finally:
        loop_time.close()
    assert asyncio.run(resume()) == "the second time"
    assert entered == [1]


PROGRAM = """
    import asyncio, sys
    from docket import Docket, Worker

    async def double(n):
        return 2 * n

    async def main():
        async with Docket("program", sys.argv[1]) as docket, Worker(docket) as worker:
            execution = await docket.add(double)(21)
            await worker.run_until_finished()
            print(await execution.get_result())

    asyncio.run(main())
"""


@pytest.mark.parametrize("url", ["memory://", "memory://named"])
def test_a_whole_program_on_memory_prints_its_result_and_no_warning(
    tmp_path: Path, url: str
) -> None:
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(PROGRAM))

    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", str(script), url],
        capture_output=True,
        text=True,
        timeout=PATIENCE.total_seconds(),
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )

    # A busy machine makes any step of a loop slow; asyncio's debug mode says so.
    told = [line for line in ended.stderr.splitlines() if not re.match(r"Executing <.* took", line)]
    assert (ended.returncode, ended.stdout, told) == (0, "42\n", [])

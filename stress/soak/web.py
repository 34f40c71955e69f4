"""Web: the dashboard with a million tasks, and with a hundred viewers.

Each page is asked for over a socket, by a filter that matches nothing too: the time to the first
byte is what a reader waits for. Then the overview is followed by one viewer and by a hundred, and
the CPU of the server and of this process, which serves it, are compared.
"""

import asyncio
import logging
import statistics
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

from docket import Docket, Worker
from docket.web.server import Access, listening, server_of
from stress.report import Figure, Limit, Report
from stress.soak.cost import server_cpu
from stress.soak.environment import Environment
from stress.soak.scale import Scale
from stress.tasks import no_op

FULL = 1_000_000
#: Those of them that are ready; the others are scheduled.
READY_SHARE = 2
FAILED = 2_000
ROUNDS = 7
VIEWERS = 100
WATCHED_SECONDS = 20.0

MUST_FIRST_BYTE_MS = 200.0
#: Of a core of the server, that a hundred viewers may cost more than one.
MUST_SHARE = 0.01

PAGES = {
    "overview": "",
    "tasks": "tasks",
    "failed tasks": "tasks?state=failed",
    "scheduled tasks": "tasks?state=scheduled&since=24h",
    "no task matches": "tasks?key_prefix=nothing",
    "no error matches": "tasks?state=failed&error=nothing",
    "no worker matches": "tasks?worker=nothing",
    "every error matches": "tasks?state=failed&error=ValueError",
    "a task": "task?key=broken-7",
    "functions": "functions?over=24h",
    "workers": "workers",
    "schedules": "schedules",
    "limits": "limits",
    "pauses and strikes": "holds",
    "audit log": "audit",
    "a bulk to confirm": "act/retry?by=filter&state=failed",
    "a bulk by its error": "act/retry?by=filter&state=failed&error=ValueError",
    "a bulk by its function": "act/cancel?by=filter&function=no_op",
}


async def break_down() -> None:
    """Fail."""
    raise ValueError("as it should")


async def run(environment: Environment, scale: Scale) -> Report:
    """Fill a docket, ask for every page, and follow the overview."""
    full = scale.of(FULL, 2_000)
    ready = full // READY_SHARE
    async with Docket("soak", environment.url) as docket:
        docket.register(break_down)
        docket.register(no_op)
        failed = min(FAILED, full)
        await environment.add(
            docket, failed, lambda number: docket.call(break_down, key=f"broken-{number}")()
        )
        # Two thousand tracebacks are nothing to read.
        logging.getLogger("docket").setLevel(logging.CRITICAL)
        async with Worker(docket, concurrency=100) as worker:
            await worker.run_until_finished()
        later = datetime.now(UTC) + timedelta(days=1)
        await environment.add(docket, full - ready, lambda _: docket.call(no_op, when=later)())
        await environment.add(docket, ready, lambda _: docket.call(no_op)())
        async with _served(docket) as port:
            waits = {name: await _first_bytes(port, path) for name, path in PAGES.items()}
            one = await _watched(environment, port, 1)
            many = await _watched(environment, port, VIEWERS)
    limit = Limit("most", at_most=MUST_FIRST_BYTE_MS)
    figures = [
        Figure(f"first byte of {name}", [statistics.median(each)], "ms", limit)
        for name, each in waits.items()
    ]
    return Report("web", {"tasks": full, "failed": failed}, [*figures, *_compared(one, many)])


def _compared(one: tuple[float, float], many: tuple[float, float]) -> list[Figure]:
    more = Limit("most", at_most=MUST_SHARE)
    return [
        Figure("server, one viewer", [one[0]], "of a core"),
        Figure(f"server, {VIEWERS} viewers more", [many[0] - one[0]], "of a core", more),
        Figure("dashboard, one viewer", [one[1]], "of a core"),
        Figure(f"dashboard, {VIEWERS} viewers more", [many[1] - one[1]], "of a core"),
    ]


@asynccontextmanager
async def _served(docket: Docket) -> AsyncGenerator[int]:
    access = Access(port=0)
    with listening(access) as listener:
        server = server_of([docket], access)
        serving = asyncio.create_task(server.serve([listener]))
        yield listener.getsockname()[1]
        server.should_exit = True
        await serving


async def _first_bytes(port: int, path: str) -> list[float]:
    """Ask for a page again and again, with pauses in which what viewers share grows old; in ms."""
    waits: list[float] = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        reader, writer = await _asked(port, path, "text/html")
        status = await reader.readline()
        waits.append((time.perf_counter() - began) * 1000)
        if b" 200 " not in status:
            raise RuntimeError(f"{path}: {status!r}")
        await reader.read()
        writer.close()
        await asyncio.sleep(0.2)
    return waits


async def _watched(environment: Environment, port: int, viewers: int) -> tuple[float, float]:
    """Follow the overview; the parts of a core that the server and this process took for it."""
    following = [asyncio.create_task(_follow(port)) for _ in range(viewers)]
    await asyncio.sleep(4.0)
    began, ours = time.monotonic(), time.process_time()
    server = await server_cpu(environment.client)
    await asyncio.sleep(WATCHED_SECONDS)
    seconds = time.monotonic() - began
    used = (await server_cpu(environment.client) - server) / seconds
    shares = used, (time.process_time() - ours) / seconds
    for each in following:
        if each.done():
            each.result()  # raises what ended it
            raise RuntimeError("a viewer was not served to the end")
        each.cancel()
    await asyncio.gather(*following, return_exceptions=True)
    return shares


async def _follow(port: int) -> None:
    reader, writer = await _asked(port, "", "text/event-stream")
    try:
        status = await reader.readline()
        if b" 200 " not in status:
            raise RuntimeError(f"a viewer was refused: {status!r}")
        while await reader.read(1 << 16):
            pass
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def _asked(
    port: int, path: str, accept: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET /d/soak/{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: {accept}\r\n"
        "Connection: close\r\n\r\n".encode()
    )
    return reader, writer

"""A dashboard in a thread of its own, on a docket with a worker, for a browser to look at."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar
from uuid import uuid4

from docket import ConcurrencyLimit, Cron, Docket, Logged, Perpetual, Progress, Retry, Worker
from docket.clock import now
from docket.web.server import Access, DashboardServer, listening, server_of

T = TypeVar("T")

CHROMIUM = next(
    (
        str(path)
        for path in map(
            Path, ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
        )
        if path.exists()
    ),
    None,
)
#: Like a key that somebody puts into a docket to harm whoever looks.
HOSTILE = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>"


async def send_invoice(
    customer: Annotated[str, Logged()],
    retry: Retry = Retry(attempts=2, delay=timedelta(milliseconds=1)),
) -> None:
    if customer != "acme":
        raise ConnectionError(f"the mail server of {customer} <b>is</b> down")


async def resize_image(name: Annotated[str, Logged()], progress: Progress = Progress()) -> None:
    await progress.set_total(20)
    await progress.increment(7)
    await progress.set_message("tile 7")
    await asyncio.Event().wait()


async def sync_customer(
    customer: Annotated[str, Logged()],
    limit: ConcurrencyLimit = ConcurrencyLimit("customer", max_concurrent=1),
) -> None:
    await asyncio.Event().wait()


async def collect_usage(
    perpetual: Perpetual = Perpetual(every=timedelta(hours=1), automatic=True),
) -> None: ...


async def daily_report(cron: Cron = Cron("0 9 * * mon-fri")) -> None: ...


TASKS = (send_invoice, resize_image, sync_customer, collect_usage, daily_report)


class Site:
    """The dashboard, its docket and a worker, from `start` to `stop`.

    Attributes:
        address: of the dashboard's page of the docket.
    """

    def __init__(self, url: str, name: str | None = None) -> None:
        self.docket = Docket(name or f"test-{uuid4().hex}", url)
        self._access = Access(port=0)
        self._listener: socket.socket | None = None
        self._server: DashboardServer | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._running: list[Any] = []
        self.address = ""

    def start(self) -> None:
        self._thread.start()
        self.run(self._open())
        self.serve()

    def serve(self) -> None:
        """Serve it, on the port that it had before, if it had one."""
        self._listener = listening(self._access)
        port = self._listener.getsockname()[1]
        self._access = Access(port=port)
        self.address = f"http://127.0.0.1:{port}/d/{self.docket.name}/"
        server = self._server = server_of([self.docket], self._access)
        self._running.append(
            asyncio.run_coroutine_threadsafe(server.serve([self._listener]), self._loop)
        )

    def hang_up(self) -> None:
        """End the server of the dashboard; the docket and its worker go on."""
        assert self._server is not None
        self._server.should_exit = True
        self._running.pop().result(20)
        assert self._listener is not None
        self._listener.close()

    def stop(self) -> None:
        self.hang_up()
        self.run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run something on the loop of the docket."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _open(self) -> None:
        await self.docket.__aenter__()
        for task in TASKS:
            self.docket.register(task)
        self._worker = await Worker(self.docket, name="build-7#4711", concurrency=6).__aenter__()
        self._working = asyncio.create_task(self._worker.run_forever())

    async def _close(self) -> None:
        self._worker.drain(0)
        await asyncio.wait_for(self._working, 20)
        await self._worker.__aexit__(None, None, None)
        await self.docket.__aexit__(None, None, None)

    async def nobody_follows(self) -> None:
        """Wait until the dashboard has noticed that nobody follows a page."""
        assert self._server is not None
        application: Any = self._server.config.app
        feeds = application.app.state.site.feeds
        async with asyncio.timeout(20):
            while True:
                if not feeds.viewers:
                    return
                await asyncio.sleep(0.02)

    async def add(self, function: Callable[..., Any], key: str, *args: Any, **when: Any) -> None:
        await self.docket.add(function, key=key, **when)(*args)

    async def until(self, key: str, state: str) -> None:
        """Wait for a state of a key."""
        async with asyncio.timeout(20):
            while True:
                details = await self.docket.describe(key)
                if details is not None and details.summary.state.value == state:
                    return
                await asyncio.sleep(0.02)

    async def furnish(self) -> None:
        """Give every page something to show."""
        for number in range(12):
            await self.add(send_invoice, f"invoice-{number:03}", "acme")
        for name in ("initech", "hooli"):
            await self.add(send_invoice, f"invoice-{name}", name)
            await self.until(f"invoice-{name}", "failed")
        await self.add(send_invoice, HOSTILE, HOSTILE)
        await self.until(HOSTILE, "failed")
        await self.add(resize_image, "image-1", "photo-1.jpg")
        for key in ("sync-1", "sync-2", "sync-3"):
            await self.add(sync_customer, key, "acme")
        await self.until("sync-3", "waiting")
        for number in range(70):
            later = now() + timedelta(hours=number + 1)
            await self.add(send_invoice, f"later-{number:03}", "acme", when=later)
        await self.docket.pause("daily_report", reason="the database moves", by="ann")
        await self.docket.strike(
            "send_invoice", "customer", "==", "umbrella", reason="they left", by="bob"
        )
        await self.docket.record_act(
            "retry", "invoice-1", "Retried 1 of 1 task.", by="ann", origin="here"
        )

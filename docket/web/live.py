"""Live pages: server-sent events with the contents of a page, made once for all who look at it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from docket.errors import DocketError, RefusedCall

logger = logging.getLogger("docket.web")

#: Time between two looks, in seconds; after a slow one it is longer.
LOOK_SECONDS = 2.0
#: A look takes one part in so many of the time.
_SHARE = 10
#: A viewer hears something at least so often, so that proxies keep the connection.
_SILENCE_SECONDS = 15.0
#: Most pages that are followed at once, and viewers of all of them.
MOST_FEEDS, MOST_VIEWERS = 200, 1_000

Render = Callable[[], Awaitable[str]]


class Feed:
    """The contents of one page, made again and again while somebody looks.

    Args:
        render: makes them.
    """

    def __init__(self, render: Render) -> None:
        self._render = render
        self._changed = asyncio.Event()
        self.viewers = 0
        #: The newest event, as it is sent; empty until there is one.
        self.event = b""
        self._digest: str = ""

    async def run(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await self._look()
            await asyncio.sleep(max(LOOK_SECONDS, (loop.time() - began) * _SHARE))

    async def changed(self, seen: bytes) -> bytes:
        """Wait for an event other than the one that was seen last."""
        while self.event == seen:
            await self._changed.wait()
        return self.event

    async def _look(self) -> None:
        try:
            name, text = "page", await self._render()
        except (DocketError, RefusedCall) as error:
            name, text = "trouble", str(error)
        except Exception:
            logger.exception("A page of the dashboard cannot be made")
            name, text = "trouble", "The page cannot be made: see the log of the dashboard."
        digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]
        if digest != self._digest:
            self._digest = digest
            self.event = _event(name, digest, text)
            self._changed.set()
            self._changed = asyncio.Event()


class Feeds:
    """The feeds of a dashboard, by what they show and to whom."""

    def __init__(self) -> None:
        self._feeds: dict[Hashable, tuple[Feed, asyncio.Task[None]]] = {}
        #: Those who follow any of them.
        self.viewers = 0

    @property
    def is_full(self) -> bool:
        """Return whether there is no room for another viewer."""
        return len(self._feeds) >= MOST_FEEDS or self.viewers >= MOST_VIEWERS

    @asynccontextmanager
    async def viewing(self, key: Hashable, render: Render) -> AsyncGenerator[Feed]:
        """Look at the feed of a key; it starts with its first viewer, and ends with the last."""
        if key not in self._feeds:
            feed = Feed(render)
            self._feeds[key] = feed, asyncio.create_task(feed.run(), name="docket web feed")
        feed, looking = self._feeds[key]
        feed.viewers += 1
        self.viewers += 1
        try:
            yield feed
        finally:
            feed.viewers -= 1
            self.viewers -= 1
            if not feed.viewers:
                looking.cancel()
                self._feeds.pop(key, None)

    async def close(self) -> None:
        """End all feeds."""
        looking = [task for _, task in self._feeds.values()]
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)


class EventStream(Response):
    """The answer that follows a feed until its client leaves.

    Args:
        feeds: those of the dashboard.
        key: the feed.
        render: makes its page.
    """

    media_type = "text/event-stream"

    def __init__(self, feeds: Feeds, key: Hashable, render: Render) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._feeds = feeds
        self._key = key
        self._page = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await _send(send, b"retry: 3000\n\n")
        leaving = asyncio.ensure_future(_departure(receive))
        try:
            async with self._feeds.viewing(self._key, self._page) as feed:
                await _follow(feed, leaving, send)
        finally:
            leaving.cancel()


async def _follow(feed: Feed, leaving: asyncio.Future[None], send: Send) -> None:
    seen = b""
    while not leaving.done():
        change = asyncio.ensure_future(feed.changed(seen))
        try:
            await asyncio.wait(
                {leaving, change},
                timeout=_SILENCE_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if change.done():
                seen = change.result()
            if not leaving.done():
                await _send(send, seen if change.done() else b": still there\n\n")
        finally:
            change.cancel()


async def _send(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _event(name: str, identity: str, text: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in text.splitlines() or [""])
    return f"event: {name}\nid: {identity}\n{lines}\n".encode(errors="replace")

"""A client of an ASGI application on the loop of the test: no socket, no thread.

Requests look as those of a browser on this machine, unless a test says otherwise.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html import unescape
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

HOST = "127.0.0.1:8790"


@dataclass
class Answer:
    """The answer to a request."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def words(self) -> str:
        """What a reader sees, in one line."""
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", self.text)).split())

    def header(self, name: str) -> str:
        found = [value for key, value in self.headers if key == name.lower()]
        assert len(found) == 1, f"{name}: {found}"
        return found[0]

    def fields(self) -> list[tuple[str, str]]:
        """What the first form of the page would send that somebody confirms."""
        found: list[tuple[str, str]] = []
        for tag in re.findall(r"<input [^>]*>", self.text):
            name, value = _attribute(tag, "name"), _attribute(tag, "value")
            if name is not None and 'type="checkbox"' not in tag:
                found.append((name, value or ""))
        return found


def _attribute(tag: str, name: str) -> str | None:
    found = re.search(rf'\b{name}="([^"]*)"', tag)
    return None if found is None else unescape(found[1])


@dataclass
class Browser:
    """Asks an ASGI application.

    Arguments:
        app: the application.
        root: the path that it is mounted under by somebody else.
        client: the address of the client.
    """

    app: Any
    root: str = ""
    client: str = "127.0.0.1"
    host: str = HOST
    headers: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return await self.ask("GET", path, headers)

    async def post(
        self,
        path: str,
        form: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        own = {
            "content-type": "application/x-www-form-urlencoded",
            "origin": f"http://{self.host}",
            "sec-fetch-site": "same-origin",
        }
        return await self.ask("POST", path, {**own, **(headers or {})}, urlencode(form).encode())

    async def confirm(self, path: str, **filled: str) -> Answer:
        """Open the page that asks, fill it in, confirm, and return the page that follows."""
        asked = await self.get(path)
        assert asked.status == 200, asked.text
        fields = [pair for pair in asked.fields() if pair[0] not in filled]
        action = urlsplit(path).path
        done = await self.post(action, [*fields, *filled.items()])
        assert done.status == 303, done.text
        return await self.get(done.header("location"))

    async def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        received = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> dict[str, Any]:
            return next(received, {"type": "http.disconnect"})

        await self.app(self.scope(method, path, headers), receive, send)
        start = next(m for m in sent if m["type"] == "http.response.start")
        answered = b"".join(m.get("body", b"") for m in sent)
        decoded = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in start["headers"]]
        return Answer(start["status"], decoded, answered)

    @asynccontextmanager
    async def events(self, path: str) -> AsyncGenerator[asyncio.Queue[str]]:
        """Follow a page: the queue has what the server sends, as it comes."""
        queue: asyncio.Queue[str] = asyncio.Queue()
        gone = asyncio.Event()

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                queue.put_nowait(f"status {message['status']}")
            elif message.get("body"):
                queue.put_nowait(message["body"].decode())

        async def receive() -> dict[str, Any]:
            await gone.wait()
            return {"type": "http.disconnect"}

        scope = self.scope("GET", path, {"accept": "text/event-stream"})
        following = asyncio.ensure_future(self.app(scope, receive, send))
        try:
            yield queue
        finally:
            gone.set()
            await asyncio.wait_for(following, 10)

    async def close(self) -> None:
        """End the application, as a server does at its end."""
        messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

        async def receive() -> dict[str, Any]:
            return next(messages)

        async def send(message: dict[str, Any]) -> None:
            assert "failed" not in message["type"], message

        await self.app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)

    def scope(
        self, method: str, path: str, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        parts = urlsplit(path)
        given = {"host": self.host, **self.headers, **(headers or {})}
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(parts.path),
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "root_path": self.root,
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in given.items() if v],
            "client": (self.client, 50000),
            "server": ("127.0.0.1", 8790),
            "state": {},
        }

"""A proxy in front of a real server: cuts, half-opens, delays, and swallows chosen replies.

It reads whole commands and whole replies, so that a test can say "lose the reply to the next
exchange" and mean exactly that one. A connection that subscribes is passed through as bytes from
then on.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Self
from urllib.parse import unquote

from docket.store.scripts import Script
from tests.support.resp import end_of_value, words_of

Matches = Callable[[list[bytes]], bool]


class Do(Enum):
    """What happens to a command that was chosen."""

    LOSE_REPLY = auto()
    """It takes effect; the connection is cut before its reply."""
    LOSE_CALL = auto()
    """The connection is cut before it reaches the server."""
    ANSWER = auto()
    """It does not reach the server; the client gets an error of ours."""
    HOLD_CALL = auto()
    """It reaches the server once the test lets it; the client is cut at once, if asked."""
    HOLD_REPLY = auto()
    """It takes effect at once; its reply comes when the test lets it."""


@dataclass
class Interception:
    """One command to be waited for, and what is done to it then."""

    matches: Matches
    do: Do
    times: int = 1
    error: str = ""
    cut_client: bool = False
    happened: asyncio.Event = field(default_factory=asyncio.Event)
    retire: asyncio.Event = field(default_factory=asyncio.Event)
    #: For a call that was held: set once the server has answered it.
    served: asyncio.Event = field(default_factory=asyncio.Event)


def calls(script: Script, *, having: bytes | None = None) -> Matches:
    """Commands that run a script, and have `having` among their arguments."""
    digest = script.digest.encode()

    def matches(words: list[bytes]) -> bool:
        is_call = words[0] == b"EVALSHA" and words[1] == digest
        return is_call and (having is None or having in words)

    return matches


def word(name: bytes) -> Matches:
    """Commands of a name."""
    return lambda words: words[0].upper() == name


class Proxy:
    """Made by `proxy_to`.

    Attributes:
        url: where clients connect to.
        accepted: connections so far.
    """

    def __init__(self, server_url: str) -> None:
        self._socket_path = unquote(server_url.removeprefix("unix://"))
        self._links: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._interceptions: list[Interception] = []
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._port = 0
        self.accepted = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def intercept(
        self,
        matches: Matches,
        do: Do,
        *,
        times: int = 1,
        error: str = "",
        cut_client: bool = False,
    ) -> Interception:
        """Do something to the next `times` commands that match; -1: to all, until `relent`."""
        interception = Interception(matches, do, times, error, cut_client)
        self._interceptions.append(interception)
        return interception

    def relent(self, interception: Interception) -> None:
        """Let through again what an interception chose."""
        self._interceptions.remove(interception)

    def half_open(self) -> None:
        """Keep every connection, accept new ones, and let nothing through."""
        self._flowing.clear()

    def flow(self) -> None:
        """Let through again what was held up."""
        self._flowing.set()

    def cut(self) -> None:
        """Cut every connection; new ones are welcome."""
        for link in self._links:
            link.cancel()

    async def open(self) -> None:
        """Accept connections."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Cut every connection and accept no more until `open`."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        links = list(self._links)
        self.cut()
        await asyncio.gather(*links, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        link = asyncio.get_running_loop().create_task(self._link(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)
        # Not in the link itself: one that is cut before its first step never gets to a line of it.
        link.add_done_callback(lambda _: writer.transport.abort())

    async def _link(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_unix_connection(self._socket_path)
        try:
            await self._serve(client, to_client, server, to_server)
        except (OSError, asyncio.IncompleteReadError, EOFError):
            return
        finally:
            to_server.transport.abort()

    async def _serve(
        self,
        client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        from_server = _Values(server)
        async with _Commands(client) as commands:
            while True:
                command = await commands.next()
                await self._flowing.wait()
                words = words_of(command)
                if words[0] == b"SUBSCRIBE":
                    to_server.write(command + commands.rest())
                    await self._pass_through(client, to_client, server, to_server)
                    return
                chosen = self._chosen(words)
                if chosen is None:
                    to_server.write(command)
                    reply = await commands.unless_gone(from_server.next())
                    await self._flowing.wait()
                    to_client.write(reply)
                elif not await _apply(chosen, command, to_client, to_server, from_server):
                    return

    def _chosen(self, words: list[bytes]) -> Interception | None:
        for interception in self._interceptions:
            if interception.matches(words):
                interception.times -= 1
                if interception.times == 0:
                    self._interceptions.remove(interception)
                return interception
        return None

    async def _pass_through(
        self,
        client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        directions = (self._pump(client, to_server), self._pump(server, to_client))
        pumps = [asyncio.create_task(direction) for direction in directions]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            await self._flowing.wait()
            sink.write(data)


class _Values:
    """Whole values of a stream, one after the other."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._buffer = b""

    async def next(self) -> bytes:
        while (end := end_of_value(self._buffer)) is None:
            data = await self._reader.read(1 << 16)
            if not data:
                raise EOFError
            self._buffer += data
        value, self._buffer = self._buffer[:end], self._buffer[end:]
        return value

    def rest(self) -> bytes:
        rest, self._buffer = self._buffer, b""
        return rest


class _Commands:
    """The commands of a client, read ahead, so that its end is noticed while a reply is awaited.

    Reads no further than a SUBSCRIBE: what follows is passed through.
    """

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._values = _Values(reader)
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._ahead: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._ahead = asyncio.create_task(self._read_ahead())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._ahead is not None
        self._ahead.cancel()
        await asyncio.gather(self._ahead, return_exceptions=True)

    async def next(self) -> bytes:
        return await self.unless_gone(self._queue.get())

    def rest(self) -> bytes:
        return self._values.rest()

    async def unless_gone(self, awaited: Coroutine[None, None, bytes]) -> bytes:
        """What is awaited; EOFError if the client goes first, as one does that waits on a BLPOP."""
        assert self._ahead is not None
        task = asyncio.create_task(awaited)
        try:
            await asyncio.wait({task, self._ahead}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done() and self._ahead.exception() is None:
                await task  # The reading ahead stopped at a SUBSCRIBE: the client is still there.
            if not task.done():
                raise EOFError
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _read_ahead(self) -> None:
        while True:
            command = await self._values.next()
            self._queue.put_nowait(command)
            if words_of(command)[0] == b"SUBSCRIBE":
                return


async def _apply(
    chosen: Interception,
    command: bytes,
    to_client: asyncio.StreamWriter,
    to_server: asyncio.StreamWriter,
    from_server: _Values,
) -> bool:
    """Whether the connection goes on."""
    match chosen.do:
        case Do.LOSE_CALL:
            chosen.happened.set()
            return False
        case Do.ANSWER:
            chosen.happened.set()
            to_client.write(f"-{chosen.error}\r\n".encode())
            return True
        case Do.LOSE_REPLY:
            to_server.write(command)
            await from_server.next()
            chosen.happened.set()
            return False
        case Do.HOLD_CALL:
            chosen.happened.set()
            if chosen.cut_client:
                to_client.transport.abort()
            await chosen.retire.wait()
            to_server.write(command)
            reply = await from_server.next()
            chosen.served.set()
        case Do.HOLD_REPLY:
            to_server.write(command)
            reply = await from_server.next()
            chosen.happened.set()
            await chosen.retire.wait()
    if chosen.cut_client:
        return False
    to_client.write(reply)
    return True


@asynccontextmanager
async def proxy_to(server_url: str) -> AsyncGenerator[Proxy]:
    """A proxy on a port of its own in front of the server at a unix:// URL."""
    proxy = Proxy(server_url)
    await proxy.open()
    try:
        yield proxy
    finally:
        proxy.flow()
        with suppress(OSError):
            await proxy.refuse()

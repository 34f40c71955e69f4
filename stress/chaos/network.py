"""A network between a host and the server: it delays, cuts, refuses, or goes silent."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Direct:
    """A direct connection to the server, with no network of ours."""

    url: str


class Network:
    """A proxy that passes bytes both ways between its clients and the server.

    Arguments:
        server_port: on loopback.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._links: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._port = 0
        #: Seconds that everything takes longer, each way.
        self.delay_seconds = 0.0
        #: The time of each accepted connection, in monotonic seconds.
        self.accepted: list[float] = []

    @property
    def url(self) -> str:
        """The URL of the server, through this network."""
        return f"redis://127.0.0.1:{self._port}/0"

    async def open(self) -> None:
        """Accept connections, on the same port as before."""
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
            self._port = self._listener.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Cut every connection and accept none until `open`."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        await self.cut()

    async def cut(self) -> None:
        """Cut every connection; new ones are accepted."""
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    def hold(self) -> None:
        """Keep every connection, and let nothing through."""
        self._flowing.clear()

    def flow(self) -> None:
        """Let everything through again, first what was held."""
        self._flowing.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.append(time.monotonic())
        link = asyncio.get_running_loop().create_task(self._link(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)
        link.add_done_callback(lambda _: writer.transport.abort())

    async def _link(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            return
        pumps = [
            asyncio.create_task(self._pump(client, to_server)),
            asyncio.create_task(self._pump(server, to_client)),
        ]
        try:
            # The end of one direction ends the other.
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            to_server.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(CHUNK):
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            await self._flowing.wait()
            sink.write(data)
            await sink.drain()


@contextlib.asynccontextmanager
async def network(server_port: int) -> AsyncGenerator[Network]:
    """Open a network for the time of the block."""
    opened = Network(server_port)
    await opened.open()
    try:
        yield opened
    finally:
        opened.flow()
        await opened.refuse()

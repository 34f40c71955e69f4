"""A network in front of the server, one for each host: it delays, cuts, refuses, or goes silent."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Direct:
    """No network of ours: everyone finds the way by himself."""

    url: str


class Network:
    """Bytes both ways between whoever connects and the server's port.

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
        #: When each connection was accepted, in monotonic seconds.
        self.accepted: list[float] = []

    @property
    def url(self) -> str:
        """Where this host finds the server."""
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
        """Cut every connection; new ones are welcome."""
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    def hold(self) -> None:
        """Keep every connection, and let nothing through."""
        self._flowing.clear()

    def flow(self) -> None:
        """Let through again what was held up."""
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
            # One direction that ends takes the other along.
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
    """A network that is open for the time of the block."""
    opened = Network(server_port)
    await opened.open()
    try:
        yield opened
    finally:
        opened.flow()
        await opened.refuse()

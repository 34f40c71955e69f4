"""A TLS-terminating proxy in front of a server that was built without, with its own authority."""

import asyncio
import contextlib
import datetime
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import trustme

HOST = "localhost"
_DAY = datetime.timedelta(days=1)


class Authority:
    """Signs certificates into a folder, as files: what the options of a URL name.

    Attributes:
        file: its own certificate.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._ca = trustme.CA()
        self._folder = folder
        self._name = name
        self.file = folder / f"{name}-ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def certificate(self, host: str = HOST, *, is_expired: bool = False) -> tuple[Path, Path]:
        """Certificate and key for a host, in two files."""
        ends = datetime.datetime.now(datetime.UTC) + (-_DAY if is_expired else _DAY)
        leaf = self._ca.issue_cert(host, not_before=ends - 3 * _DAY, not_after=ends)
        base = self._folder / f"{self._name}-{host}-{'expired' if is_expired else 'valid'}"
        chain, key = base.with_suffix(".crt"), base.with_suffix(".key")
        chain.write_bytes(b"".join(each.bytes() for each in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(key))
        return chain, key


class Terminator:
    """Made by `terminating`: decrypts what comes, and passes it to a unix:// server.

    Attributes:
        port: on the loopback.
        accepted: connections so far, those whose handshake failed included.
    """

    def __init__(self, server_url: str, context: ssl.SSLContext) -> None:
        self._path = unquote(server_url.removeprefix("unix://"))
        self._context = context
        self.port = 0
        self.accepted = 0

    async def serve(self, started: threading.Event, end: asyncio.Event) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        async with server:
            await end.wait()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        with contextlib.suppress(OSError, asyncio.CancelledError):
            try:
                await writer.start_tls(self._context)
                server, to_server = await asyncio.open_unix_connection(self._path)
                await _both_ways(reader, writer, server, to_server)
            finally:
                writer.transport.abort()


async def _both_ways(
    client: asyncio.StreamReader,
    to_client: asyncio.StreamWriter,
    server: asyncio.StreamReader,
    to_server: asyncio.StreamWriter,
) -> None:
    pumps = [
        asyncio.create_task(_pump(client, to_server)),
        asyncio.create_task(_pump(server, to_client)),
    ]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        to_server.transport.abort()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)


@contextlib.contextmanager
def terminating(
    server_url: str, certificate: tuple[Path, Path], *, clients_of: Authority | None = None
) -> Iterator[Terminator]:
    """A proxy in a thread of its own, so that it serves other processes and blocked loops too.

    Arguments:
        certificate: of the proxy, and its key.
        clients_of: whose certificates clients have to show; None: they need none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if clients_of is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients_of.file)
    terminator = Terminator(server_url, context)
    loop, end, started = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    loop.set_exception_handler(lambda *_: None)  # handshakes that fail are what is tested

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(terminator.serve(started, end))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(20)
    try:
        yield terminator
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(20)

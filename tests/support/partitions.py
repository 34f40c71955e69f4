"""Ways to part a host from the server without ending anything, and to bring it back."""

import asyncio
import contextlib
import ipaddress
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.proxy import Proxy
from tests.support.servers import PATIENCE_SECONDS, Process, valkey


class StallingProxy:
    """The proxy of the other tests on a loop of its own, for tests that block theirs.

    Attributes:
        url: where clients connect to.
    """

    def __init__(self, server_url: str) -> None:
        self._proxy = Proxy(server_url)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._do(self._proxy.open())
        self.url = self._proxy.url

    def _do(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE_SECONDS)

    def stall(self) -> None:
        """Keep every connection and let nothing through."""
        self._loop.call_soon_threadsafe(self._proxy.half_open)

    def flow(self) -> None:
        """Let through what was held up."""
        self._loop.call_soon_threadsafe(self._proxy.flow)

    def close(self) -> None:
        self.flow()
        self._do(self._proxy.refuse())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_SECONDS)
        self._loop.close()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=PATIENCE_SECONDS)


@dataclass(frozen=True)
class Namespaces:
    """Two network namespaces with a wire between them, and a server in the second.

    server: listens on the wire, and on a Unix socket for who stands outside.
    """

    first: str
    second: str
    wire: str
    server: Process
    wire_url: str
    socket_url: str

    def inside(self, name: str) -> tuple[str, ...]:
        """What a command that is to run in one of them begins with."""
        return ("ip", "netns", "exec", name)

    def cut(self) -> None:
        """Take the first one's end of the wire down."""
        _ip("-n", self.first, "link", "set", self.wire, "down")

    def mend(self) -> None:
        _ip("-n", self.first, "link", "set", self.wire, "up")


def why_no_namespaces() -> str | None:
    """Why there can be none here; None if there can."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "network namespaces take root and the program ip"
    name = f"t{os.urandom(4).hex()}"
    try:
        _ip("netns", "add", name)
        with contextlib.ExitStack() as stack:
            stack.callback(_ip, "netns", "del", name)
            _ip("-n", name, "link", "add", "w0", "type", "veth", "peer", "name", "w1")
    except subprocess.CalledProcessError as error:
        return f"no network namespace with a wire may be made here: {error.stderr.decode()}"
    return None


@contextlib.contextmanager
def namespaces(folder: Path) -> Iterator[Namespaces]:
    """Both namespaces, the wire and the server; removed with the context.

    Args:
        folder: for the server's files.
    """
    tag = os.urandom(3).hex()
    first, second, wire = f"a{tag}", f"b{tag}", f"w{tag}"
    here, there = ipaddress.ip_address("10.213.7.1"), ipaddress.ip_address("10.213.7.2")
    with contextlib.ExitStack() as stack:
        for name in (first, second):
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", first, "link", "add", wire, "type", "veth", "peer", "name", wire, "netns", second)
        for name, address in ((first, here), (second, there)):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", wire)
            _ip("-n", name, "link", "set", wire, "up")
        path = folder / "valkey.sock"
        words = [
            *("netns", "exec", second, str(valkey())),
            *("--port", "6379", "--bind", str(there), "--protected-mode", "no", "--save", ""),
            *("--unixsocket", str(path), "--dir", str(folder)),
        ]
        program = shutil.which("ip")
        assert program is not None
        server = Process(Path(program), 6379, folder, words)
        stack.callback(server.close)
        server.start()
        yield Namespaces(first, second, wire, server, f"redis://{there}:6379/0", f"unix://{path}")


@dataclass(frozen=True)
class Parting:
    """One way: what parts the host, and what brings it back."""

    part: Callable[[], object]
    rejoin: Callable[[], object]

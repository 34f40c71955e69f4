"""Carries faults out: signals to processes, orders to pools, commands to server and network."""

import asyncio
import signal
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager

from stress.chaos.failing_over import failing_over
from stress.chaos.fleet import Fleet
from stress.chaos.hosts import Host, release
from stress.chaos.plan import EXCLUSIVE, Fault, Kind
from stress.chaos.processes import send
from stress.chaos.record import Breaks, Broken
from stress.chaos.sentinels import Sentinels

#: Added to everything that a network delays.
DELAY_SECONDS = 0.25
#: What a command takes in the server's file, about.
COMMAND_BYTES = 150
#: What the shortest sleep takes.
SHORTEST_PAUSE_MICROSECONDS = 70
#: Workers of a pool are scaled between one and this.
MOST_WORKERS = 5


class Breaker:
    """Breaks what a plan says, and notes what it did.

    Arguments:
        fleet: whom it is done to.
        tell: called with each fault when it begins, or is skipped.
    """

    def __init__(self, fleet: Fleet, tell: Callable[[Broken], None]) -> None:
        self._fleet, self._tell = fleet, tell
        server = fleet.server
        #: One fault of the server at a time: what is taken back belongs to one.
        self._server_is_free = asyncio.Lock()
        self.broken: list[Broken] = []
        self._ways: dict[Kind, Breaks] = {
            Kind.KILL_WORKER: self._kill_worker,
            Kind.KILL_WORKERS: self._kill_workers,
            Kind.KILL_NURSERY: self._kill_nursery,
            Kind.KILL_SUPERVISOR: self._kill_supervisor,
            Kind.KILL_HOST: self._kill_host,
            Kind.KILL_PRODUCER: self._kill_producer,
            Kind.STOP_WORKER: self._stop_worker,
            Kind.STOP_HOST: self._stop_host,
            Kind.RELOAD: self._reload,
            Kind.NEXT_VERSION: self._next_version,
            Kind.SCALE: self._scale,
            Kind.DRAIN: self._drain,
        }
        if isinstance(server, Sentinels):
            self._ways |= failing_over(server)
            return
        self._server = server
        self._ways |= {
            Kind.SERVER_RESTART: self._restart_server,
            Kind.SERVER_KILL: self._kill_server,
            Kind.SERVER_LOADING: self._load_slowly,
            Kind.SERVER_STOP: self._stop_server,
            Kind.SERVER_PAUSE: self._pause_server,
            Kind.SERVER_MISCONF: self._misconfigure,
            Kind.SERVER_READONLY: self._make_replica,
            Kind.SERVER_OOM: self._starve,
            Kind.CLIENT_KILL: self._kill_clients,
            Kind.NET_DELAY: self._delay,
            Kind.NET_CUT: self._cut,
            Kind.NET_REFUSE: self._refuse,
            Kind.NET_HALF_OPEN: self._hold,
        }

    async def break_one(self, fault: Fault) -> None:
        """Carry it out, and return when it was taken back."""
        broken = Broken(fault, time.monotonic())
        self.broken.append(broken)
        host = self._fleet.hosts[fault.host]
        if fault.kind in EXCLUSIVE and host.busy_with is not None:
            broken.skipped = f"the host has another one: {host.busy_with}"
        self._tell(broken)
        try:
            if broken.skipped is None:
                with _taken(host, fault.kind):
                    await self._ways[fault.kind](broken, host)
        finally:
            broken.ended = time.monotonic()

    # Processes.

    async def _kill_worker(self, broken: Broken, host: Host) -> None:
        workers = await host.workers()
        if workers:
            chosen = workers[int(broken.fault.draw * len(workers))]
            broken.strike([chosen], signal.SIGKILL)

    async def _kill_workers(self, broken: Broken, host: Host) -> None:
        broken.strike(await host.workers(), signal.SIGKILL)

    async def _kill_nursery(self, broken: Broken, host: Host) -> None:
        workers = set(await host.workers())
        others = [pid for pid in host.family() if pid != host.pid and pid not in workers]
        broken.strike(others[:1], signal.SIGKILL)

    async def _kill_supervisor(self, broken: Broken, host: Host) -> None:
        host.family()
        broken.strike([host.pid], signal.SIGKILL)
        await host.ended()
        host.start()
        await self._fleet.ready(host)

    async def _kill_host(self, broken: Broken, host: Host) -> None:
        # Twice: what was forked between the look and the kill is seen by the second look.
        broken.strike(host.family(), signal.SIGKILL)
        broken.strike(host.leftovers(), signal.SIGKILL)
        await host.ended()
        host.start()
        await self._fleet.ready(host)

    async def _kill_producer(self, broken: Broken, host: Host) -> None:
        broken.pids = await self._fleet.replace_producer(host.number)

    async def _stop_worker(self, broken: Broken, host: Host) -> None:
        workers = await host.workers()
        if workers:
            chosen = workers[int(broken.fault.draw * len(workers))]
            broken.strike([chosen], signal.SIGSTOP)
            await asyncio.sleep(broken.fault.lasts)
            send(broken.pids, signal.SIGCONT)

    async def _stop_host(self, broken: Broken, host: Host) -> None:
        broken.strike(host.family(), signal.SIGSTOP)
        await asyncio.sleep(broken.fault.lasts)
        send(broken.pids, signal.SIGCONT)

    # Orders.

    async def _reload(self, _broken: Broken, host: Host) -> None:
        await host.ctl("reload")

    async def _next_version(self, _broken: Broken, host: Host) -> None:
        host.version += 1
        release(host.release, host.version)
        await host.ctl("reload")

    async def _scale(self, broken: Broken, host: Host) -> None:
        await host.ctl("scale", str(1 + int(broken.fault.draw * MOST_WORKERS)))

    async def _drain(self, _broken: Broken, host: Host) -> None:
        host.family()
        self._fleet.ended_with(host, await host.drain())
        host.start()
        await self._fleet.ready(host)

    # The server.

    @asynccontextmanager
    async def _server_for(self, broken: Broken) -> AsyncGenerator[None]:
        """Wait for one's turn: only then the fault begins."""
        async with self._server_is_free:
            broken.began = time.monotonic()
            yield

    async def _restart_server(self, broken: Broken, _host: Host) -> None:
        async with self._server_for(broken):
            await self._server.end(signal.SIGTERM)
            await self._server.start()

    async def _kill_server(self, broken: Broken, _host: Host) -> None:
        async with self._server_for(broken):
            await self._server.end(signal.SIGKILL)
            await self._server.start()

    async def _load_slowly(self, broken: Broken, _host: Host) -> None:
        async with self._server_for(broken):
            bytes_ = await self._server.written_bytes()
            await self._server.end(signal.SIGKILL)
            delay = load_delay(broken.fault.lasts, bytes_)
            await self._server.start(
                *("--key-load-delay", str(delay), "--loading-process-events-interval-bytes", "1024")
            )

    async def _stop_server(self, broken: Broken, _host: Host) -> None:
        async with self._server_for(broken):
            self._server.send(signal.SIGSTOP)
            await asyncio.sleep(broken.fault.lasts)
            self._server.send(signal.SIGCONT)

    async def _pause_server(self, broken: Broken, _host: Host) -> None:
        async with self._server_for(broken):
            which = "ALL" if broken.fault.draw < 0.5 else "WRITE"
            await self._server.command("CLIENT", "PAUSE", int(broken.fault.lasts * 1000), which)
            await asyncio.sleep(broken.fault.lasts)

    async def _misconfigure(self, broken: Broken, _host: Host) -> None:
        async with self._server_for(broken):
            await self._server.fail_snapshot()
            await asyncio.sleep(broken.fault.lasts)
            await self._server.mend_snapshot()

    async def _make_replica(self, broken: Broken, _host: Host) -> None:
        async with self._server_for(broken):
            # Of a primary that nobody can reach: it keeps its data and takes no writes.
            await self._server.command("REPLICAOF", "127.0.0.1", 1)
            await asyncio.sleep(broken.fault.lasts)
            await self._server.command("REPLICAOF", "NO", "ONE")

    async def _starve(self, broken: Broken, _host: Host) -> None:
        async with self._server_for(broken):
            await self._server.configure(maxmemory="1mb", maxmemory_policy="noeviction")
            await asyncio.sleep(broken.fault.lasts)
            await self._server.configure(maxmemory="0")

    async def _kill_clients(self, broken: Broken, _host: Host) -> None:
        async with self._server_for(broken):
            for kind in ("normal", "pubsub"):
                await self._server.command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

    # The network.

    async def _delay(self, broken: Broken, host: Host) -> None:
        host.network.delay_seconds = DELAY_SECONDS
        await asyncio.sleep(broken.fault.lasts)
        host.network.delay_seconds = 0.0

    async def _cut(self, _broken: Broken, host: Host) -> None:
        await host.network.cut()

    async def _refuse(self, broken: Broken, host: Host) -> None:
        await host.network.refuse()
        await asyncio.sleep(broken.fault.lasts)
        await host.network.open()

    async def _hold(self, broken: Broken, host: Host) -> None:
        host.network.hold()
        await asyncio.sleep(broken.fault.lasts)
        host.network.flow()


def load_delay(seconds: float, bytes_: int) -> int:
    """The server's key-load-delay with which it takes about so long to load so many bytes.

    Microseconds before each command; if negative, a pause before one of so many commands.
    """
    commands = max(1, bytes_ // COMMAND_BYTES)
    each = seconds * 1e6 / commands
    return (
        int(each)
        if each > SHORTEST_PAUSE_MICROSECONDS
        else -max(1, int(SHORTEST_PAUSE_MICROSECONDS / each))
    )


@contextmanager
def _taken(host: Host, kind: Kind) -> Generator[None]:
    if kind not in EXCLUSIVE:
        yield
        return
    host.busy_with = kind
    try:
        yield
    finally:
        host.busy_with = None

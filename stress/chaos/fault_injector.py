"""Faults carried out: signals to processes, orders to pools, commands to server and network."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial

from stress.chaos.fleet import Fleet
from stress.chaos.hosts import Host, release
from stress.chaos.operators import Operators
from stress.chaos.plan import ACTS, ON_SERVERS, TRAITS, Fault, Kind
from stress.chaos.record import InjectedFault
from stress.chaos.sentinels import Sentinels
from stress.processes import send

#: Added to everything that a network delays.
DELAY_SECONDS = 0.25
#: The size of a command in the server's file, about.
COMMAND_BYTES = 150
#: The duration of the shortest sleep.
SHORTEST_PAUSE_MICROSECONDS = 70
#: Workers of a pool are scaled between one and this.
MOST_WORKERS = 5

#: Carries a fault out at a host, and returns when it was taken back.
Inject = Callable[[InjectedFault, Host], Awaitable[None]]


class FaultInjector:
    """The faults of a plan, carried out and recorded.

    Arguments:
        fleet: the hosts and servers that are hit.
        announce: called with each fault when it begins, or is skipped.
        operators: carry out what is no fault.
    """

    def __init__(
        self,
        fleet: Fleet,
        announce: Callable[[InjectedFault], None],
        operators: Operators | None = None,
    ) -> None:
        self._fleet, self._announce = fleet, announce
        self._acts = {} if operators is None else operators.acts
        self.injected: list[InjectedFault] = []
        self._injections: dict[Kind, Inject] = {
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
        if isinstance(fleet.server, Sentinels):
            self._injections |= failovers(fleet.server)
            return
        self._server = fleet.server
        self._injections |= {
            Kind.SERVER_RESTART: partial(self._restart_server, signal.SIGTERM),
            Kind.SERVER_KILL: partial(self._restart_server, signal.SIGKILL),
            Kind.SERVER_LOADING: self._load_slowly,
            Kind.SERVER_STOP: self._stop_server,
            Kind.SERVER_PAUSE: self._pause_server,
            Kind.SERVER_MISCONF: self._misconfigure,
            Kind.SERVER_READONLY: self._make_replica,
            Kind.SERVER_OOM: self._exhaust_memory,
            Kind.CLIENT_KILL: self._kill_clients,
            Kind.NET_DELAY: self._delay,
            Kind.NET_CUT: self._cut,
            Kind.NET_REFUSE: self._refuse,
            Kind.NET_HALF_OPEN: self._hold,
        }

    async def inject(self, fault: Fault) -> InjectedFault:
        """Carry a fault out, and return when it was taken back."""
        injected = InjectedFault(fault, time.monotonic())
        self.injected.append(injected)
        host = self._fleet.hosts[fault.host]
        if TRAITS[fault.kind].is_exclusive and host.busy_with is not None:
            injected.skipped = f"the host has another one: {host.busy_with}"
        self._announce(injected)
        try:
            if injected.skipped is None:
                with _exclusive(host, fault.kind):
                    await self._inject(injected, host)
        finally:
            injected.ended = time.monotonic()
        return injected

    async def _inject(self, injected: InjectedFault, host: Host) -> None:
        if injected.kind in ACTS:
            await self._acts[injected.kind](injected)
            return
        inject = self._injections[injected.kind]
        if injected.kind not in ON_SERVERS:
            await inject(injected, host)
            return
        # One fault of the servers at a time, which begins when the one before it was taken back.
        async with self._fleet.server.busy:
            injected.began = time.monotonic()
            await inject(injected, host)

    # Processes.

    async def _kill_worker(self, injected: InjectedFault, host: Host) -> None:
        injected.signal(await _drawn_worker(injected, host), signal.SIGKILL)

    async def _kill_workers(self, injected: InjectedFault, host: Host) -> None:
        injected.signal(await host.workers(), signal.SIGKILL)

    async def _kill_nursery(self, injected: InjectedFault, host: Host) -> None:
        workers = set(await host.workers())
        others = [pid for pid in host.family() if pid != host.pid and pid not in workers]
        injected.signal(others[:1], signal.SIGKILL)

    async def _kill_supervisor(self, injected: InjectedFault, host: Host) -> None:
        host.family()
        injected.signal([host.pid], signal.SIGKILL)
        await self._start_again(host)

    async def _kill_host(self, injected: InjectedFault, host: Host) -> None:
        # Twice: a process forked between the look and the kill is found by the second look.
        injected.signal(host.family(), signal.SIGKILL)
        injected.signal(host.leftovers(), signal.SIGKILL)
        await self._start_again(host)

    async def _start_again(self, host: Host) -> None:
        await host.ended()
        host.start()
        await self._fleet.ready(host)

    async def _kill_producer(self, injected: InjectedFault, host: Host) -> None:
        injected.pids = await self._fleet.replace_producer(host.number)

    async def _stop_worker(self, injected: InjectedFault, host: Host) -> None:
        await _stop(injected, await _drawn_worker(injected, host))

    async def _stop_host(self, injected: InjectedFault, host: Host) -> None:
        await _stop(injected, host.family())

    # Orders.

    async def _reload(self, _injected: InjectedFault, host: Host) -> None:
        await host.ctl("reload")

    async def _next_version(self, _injected: InjectedFault, host: Host) -> None:
        host.version += 1
        release(host.release, host.version)
        await host.ctl("reload")

    async def _scale(self, injected: InjectedFault, host: Host) -> None:
        await host.ctl("scale", str(1 + int(injected.fault.draw * MOST_WORKERS)))

    async def _drain(self, _injected: InjectedFault, host: Host) -> None:
        host.family()
        self._fleet.ended_with(host, await host.drain())
        await self._start_again(host)

    # The server.

    async def _restart_server(self, number: int, injected: InjectedFault, _host: Host) -> None:
        await self._server.end(number)
        await asyncio.sleep(injected.fault.lasts)
        await self._server.start()

    async def _load_slowly(self, injected: InjectedFault, _host: Host) -> None:
        bytes_ = await self._server.written_bytes()
        await self._server.end(signal.SIGKILL)
        delay = load_delay(injected.fault.lasts, bytes_)
        await self._server.start(
            *("--key-load-delay", str(delay), "--loading-process-events-interval-bytes", "1024")
        )

    async def _stop_server(self, injected: InjectedFault, _host: Host) -> None:
        self._server.send(signal.SIGSTOP)
        await asyncio.sleep(injected.fault.lasts)
        self._server.send(signal.SIGCONT)
        await self._server.answers()

    async def _pause_server(self, injected: InjectedFault, _host: Host) -> None:
        which = "ALL" if injected.fault.draw < 0.5 else "WRITE"
        await self._server.command("CLIENT", "PAUSE", int(injected.fault.lasts * 1000), which)
        await asyncio.sleep(injected.fault.lasts)

    async def _misconfigure(self, injected: InjectedFault, _host: Host) -> None:
        await self._server.fail_snapshot()
        await asyncio.sleep(injected.fault.lasts)
        await self._server.mend_snapshot()

    async def _make_replica(self, injected: InjectedFault, _host: Host) -> None:
        # Of a primary that nobody can reach: it keeps its data and takes no writes.
        await self._server.command("REPLICAOF", "127.0.0.1", 1)
        await asyncio.sleep(injected.fault.lasts)
        await self._server.command("REPLICAOF", "NO", "ONE")

    async def _exhaust_memory(self, injected: InjectedFault, _host: Host) -> None:
        await self._server.configure(maxmemory="1mb", maxmemory_policy="noeviction")
        await asyncio.sleep(injected.fault.lasts)
        await self._server.configure(maxmemory="0")

    async def _kill_clients(self, _injected: InjectedFault, _host: Host) -> None:
        for kind in ("normal", "pubsub"):
            await self._server.command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

    # The network.

    async def _delay(self, injected: InjectedFault, host: Host) -> None:
        host.network.delay_seconds = DELAY_SECONDS
        await asyncio.sleep(injected.fault.lasts)
        host.network.delay_seconds = 0.0

    async def _cut(self, _injected: InjectedFault, host: Host) -> None:
        await host.network.cut()

    async def _refuse(self, injected: InjectedFault, host: Host) -> None:
        await host.network.refuse()
        await asyncio.sleep(injected.fault.lasts)
        await host.network.open()

    async def _hold(self, injected: InjectedFault, host: Host) -> None:
        host.network.hold()
        await asyncio.sleep(injected.fault.lasts)
        host.network.flow()


def failovers(servers: Sentinels) -> dict[Kind, Inject]:
    """The faults of servers under sentinels."""
    return {
        Kind.FAILOVER: lambda _injected, _host: servers.fail_over(),
        Kind.PRIMARY_KILL: lambda injected, _host: servers.kill_primary(injected.fault.lasts),
        Kind.PRIMARY_STOP: lambda injected, _host: servers.stop_primary(injected.fault.lasts),
        Kind.REPLICA_KILL: lambda injected, _host: servers.kill_replica(
            injected.fault.lasts, injected.fault.draw
        ),
    }


def load_delay(seconds: float, bytes_: int) -> int:
    """Compute the key-load-delay with which the server loads for about so long.

    Microseconds before each command; if negative, a pause before one of so many commands.
    """
    commands = max(1, bytes_ // COMMAND_BYTES)
    each = seconds * 1e6 / commands
    return (
        int(each)
        if each > SHORTEST_PAUSE_MICROSECONDS
        else -max(1, int(SHORTEST_PAUSE_MICROSECONDS / each))
    )


async def _drawn_worker(injected: InjectedFault, host: Host) -> list[int]:
    workers = await host.workers()
    return [workers[int(injected.fault.draw * len(workers))]] if workers else []


async def _stop(injected: InjectedFault, pids: list[int]) -> None:
    injected.signal(pids, signal.SIGSTOP)
    if injected.pids:
        await asyncio.sleep(injected.fault.lasts)
        send(injected.pids, signal.SIGCONT)


@contextmanager
def _exclusive(host: Host, kind: Kind) -> Generator[None]:
    if not TRAITS[kind].is_exclusive:
        yield
        return
    host.busy_with = kind
    try:
        yield
    finally:
        host.busy_with = None

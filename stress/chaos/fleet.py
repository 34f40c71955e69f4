"""The fleet under test: the server, the hosts with their pools, the producers."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

from stress.chaos.hosts import Host, can_fake_clocks
from stress.chaos.network import Direct, network
from stress.chaos.plan import Topology
from stress.chaos.record import Rollback
from stress.chaos.sentinels import Sentinels
from stress.chaos.server import Server
from stress.pool import PoolFailed
from stress.processes import Census
from stress.program import start

DOCKET = "chaos"
#: The errors of the hosts' clocks, in turn.
CLOCKS_OFF_SECONDS = (0, 7, -5, 3)


def describe_clocks(clocks: tuple[int, ...] | None) -> str:
    """Say by how much the clocks of the hosts are off."""
    if clocks is None:
        return (
            "clocks of the hosts: equal, because libfaketime is not installed or has no library "
            "for this machine (python -m pip install libfaketime)"
        )
    return "clocks of the hosts: " + ", ".join(f"{off:+d} s" if off else "0" for off in clocks)


class Fleet:
    """The hosts, the server and the producers, over all of their processes.

    Arguments:
        rate: adds in a second, of all producers.
        seed: of the producers.
    """

    def __init__(self, folder: Path, server: Server | Sentinels, rate: float, seed: int) -> None:
        self.folder, self.server = folder, server
        self.census = Census()
        self.hosts: list[Host] = []
        self._can_fake_clocks = can_fake_clocks()
        #: Failures of the programs themselves; a sentence each.
        self.violations: list[str] = []
        self._rate, self._seed = rate, seed
        self._producers: dict[int, subprocess.Popen[bytes]] = {}
        self._producer_count = 0
        self._replacing = asyncio.Lock()

    @property
    def clocks(self) -> tuple[int, ...] | None:
        """The error of each host's clock in seconds; None if clocks cannot be set."""
        return tuple(host.clock_off for host in self.hosts) if self._can_fake_clocks else None

    @property
    def rollbacks(self) -> list[Rollback]:
        """The spans whose writes may be lost: one server loses none."""
        return self.server.rollbacks if isinstance(self.server, Sentinels) else []

    async def start(self) -> None:
        """Start every host, and a producer for each when all are ready."""
        for host in self.hosts:
            host.start()
        for host in self.hosts:
            await host.ready()
        for host in self.hosts:
            self._start_producer(host)

    async def ready(self, host: Host) -> None:
        """Wait until a host is ready, however long the server is away."""
        while True:
            with contextlib.suppress(PoolFailed):
                await host.ready()
                return
            code = host.exit_code()
            if code is not None:
                self.ended_with(host, code)
                host.start()

    def ended_with(self, host: Host, code: int) -> None:
        """Note the end of a supervisor that nobody killed."""
        if code != 0:
            self.violations.append(f"the supervisor of host {host.number} ended with {code}")

    # Producers.

    def _start_producer(self, host: Host) -> None:
        self._producer_count += 1
        name = f"p{self._producer_count}"
        words = (
            *(host.url, name, str(self.folder), DOCKET),
            *(f"{self._rate / len(self.hosts):.3f}", str(self._seed + self._producer_count)),
        )
        with (self.folder / "producers.log").open("ab") as log:
            self._producers[host.number] = start(
                [sys.executable, "-m", "stress.chaos.producer", *words], log
            )
        self.census.add([self._producers[host.number].pid])

    async def replace_producer(self, host: int) -> list[int]:
        """Kill the producer of a host, start another one, and return the pid of the dead."""
        # Two at once would both start one, and one of these would never be stopped.
        async with self._replacing:
            producer = self._producers[host]
            producer.kill()
            await asyncio.to_thread(producer.wait)
            self._start_producer(self.hosts[host])
            return [producer.pid]

    async def stop_producers(self) -> None:
        """Stop the producers once they have finished what they have begun."""
        for producer in self._producers.values():
            producer.send_signal(signal.SIGTERM)
        for host, producer in self._producers.items():
            code = await asyncio.to_thread(producer.wait)
            # One that has just been started may have no handler yet.
            if code not in (0, -signal.SIGTERM):
                self.violations.append(f"the producer of host {host} ended with {code}")

    async def drain(self) -> None:
        """Stop every supervisor as a service manager does."""
        for host in self.hosts:
            host.leftovers()
        for code, host in zip(
            await asyncio.gather(*(host.drain() for host in self.hosts)), self.hosts, strict=True
        ):
            self.ended_with(host, code)


def _server(folder: Path, topology: Topology) -> Server | Sentinels:
    if topology is Topology.ONE:
        return Server(folder)
    return Sentinels(folder, is_guarded=topology is Topology.SENTINEL)


@contextlib.asynccontextmanager
async def fleet(
    folder: Path,
    topology: Topology,
    *,
    hosts: int,
    processes: int,
    rate: float = 0.0,
    seed: int = 0,
    variables: Mapping[str, str] | None = None,
) -> AsyncGenerator[Fleet]:
    """Prepare a fleet that is not started yet; nothing of it is left after the block.

    Arguments:
        variables: of the supervisors' environment, besides ours.
    """
    server = _server(folder / "data", topology)
    assembled = Fleet(folder, server, rate, seed)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(server.end, signal.SIGKILL)
        await server.start()
        for number in range(hosts):
            between = (
                await stack.enter_async_context(network(server.port))
                if isinstance(server, Server)
                else Direct(server.url)
            )
            assembled.hosts.append(
                Host(
                    number,
                    folder,
                    between,
                    assembled.census,
                    docket=DOCKET,
                    processes=processes,
                    clock_off_seconds=CLOCKS_OFF_SECONDS[number % len(CLOCKS_OFF_SECONDS)],
                    variables=variables,
                )
            )
        stack.callback(assembled.census.end_all)
        yield assembled

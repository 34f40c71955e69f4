"""Servers under sentinels: a primary and two replicas, with three sentinels that fail over.

Replication is asynchronous, so what was written shortly before the primary is lost is lost with
it; and a primary that comes back from a stop takes writes, until the sentinels have demoted it,
that are lost as well. The spans in which that was so are noted here, for the checker.
"""

import asyncio
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from docket.store.embedded.home import server_binary
from stress.chaos.record import Rollback
from stress.chaos.server import STARTED_SECONDS, Server
from stress.ports import free_port
from stress.program import start
from stress.waiting import UNANSWERED, eventually, repeat

NAME = "main"
#: With two, a primary still has one while the other is down.
REPLICAS = 2
SENTINELS = 3
QUORUM = 2
#: A primary that does not answer for so long is replaced.
DOWN_AFTER_SECONDS = 2.0
#: A failover that takes longer is tried again.
FAILOVER_SECONDS = 3.0
#: A replica has received everything older than this, unless its machine stands still.
LAG_SECONDS = 1.0
#: An unasked failover was begun so long before it was seen, at most.
UNASKED_SECONDS = 10.0
_LOOK_SECONDS = 0.05

#: A node keeps nothing over its restart: it copies everything from the primary of then.
_NODE = {
    "appendonly": "no",
    "save": "",
    "repl-diskless-sync": "yes",
    "repl-diskless-sync-delay": "0",
    # Otherwise sentinels guess another address of the machine.
    "replica-announce-ip": "127.0.0.1",
}


class Sentinels:
    """The nodes and their sentinels. One fault at a time: `busy` is held meanwhile.

    Arguments:
        folder: for the files of all of them.
        is_guarded: a primary without a replica refuses writes.
    """

    def __init__(self, folder: Path, *, is_guarded: bool) -> None:
        self._folder, self._is_guarded = folder, is_guarded
        settings = {**_NODE, "min-replicas-to-write": str(int(is_guarded))}
        self._nodes = [Server(folder / name, settings) for name in "abc"[: 1 + REPLICAS]]
        self.primary = self._nodes[0]
        self._ports = [free_port() for _ in range(SENTINELS)]
        self._sentinels: list[subprocess.Popen[bytes]] = []
        #: Spans whose writes may be lost.
        self.rollbacks: list[Rollback] = []
        self.busy = asyncio.Lock()

    @property
    def url(self) -> str:
        """The URL of the sentinels."""
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self._ports)}/{NAME}/0"

    @property
    def replicas(self) -> list[Server]:
        """The nodes that are not the primary at the moment."""
        return [node for node in self._nodes if node is not self.primary]

    def client(self) -> Redis:
        """Make a client of the primary at the moment, which the caller closes."""
        return self.primary.client()

    async def start(self) -> None:
        """Start all, and wait until each knows the others."""
        await self.primary.start()
        for replica in self.replicas:
            await self._start_replica(replica)
        for port in self._ports:
            folder = self._folder / f"sentinel-{port}"
            folder.mkdir(parents=True)
            file = folder / "sentinel.conf"
            file.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {folder}\nlogfile {folder}/log\n"
                f"sentinel monitor {NAME} 127.0.0.1 {self.primary.port} {QUORUM}\n"
                f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_SECONDS * 1000:.0f}\n"
                f"sentinel failover-timeout {NAME} {FAILOVER_SECONDS * 1000:.0f}\n"
            )
            words = [str(server_binary("memory://")), str(file), "--sentinel"]
            self._sentinels.append(start(words))
        await self.settled()

    async def end(self, number: int = signal.SIGTERM) -> None:
        """End all of them. Twice is fine."""
        sentinels, self._sentinels = self._sentinels, []
        for each in sentinels:
            each.send_signal(number)
            await asyncio.to_thread(each.wait)
        for node in self._nodes:
            await node.end(number)

    async def settled(self) -> None:
        """Wait until primary and replicas are in their roles, and all sentinels know it."""
        await _until(self._is_settled)

    async def _is_settled(self) -> bool:
        if not self._sentinels:
            return False
        told = await asyncio.gather(*(self._ask(port, "MASTER") for port in self._ports))
        knows_all = all(
            _pairs(each)["num-other-sentinels"] == str(SENTINELS - 1)
            and _pairs(each)["flags"] == "master"
            and _pairs(each)["port"] == str(self.primary.port)
            for each in told
        )
        if not knows_all:
            return False
        rows = await asyncio.gather(*(self._ask(port, "REPLICAS") for port in self._ports))
        knows_replicas = all(
            [_pairs(row)["flags"] for row in replicas] == ["slave"] * REPLICAS for replicas in rows
        )
        return knows_replicas and all(
            await asyncio.gather(*(self._is_replicating(each) for each in self.replicas))
        )

    async def _start_replica(self, node: Server) -> None:
        await node.start("--replicaof", "127.0.0.1", str(self.primary.port))

    async def _is_replicating(self, node: Server) -> bool:
        async with node.client() as client:
            told = await client.info("replication")
        return (
            told["role"] == "slave"
            and told["master_port"] == self.primary.port
            and told["master_link_status"] == "up"
        )

    # Faults. Each returns when all nodes are in service again, under any primary.

    async def fail_over(self) -> None:
        """Make a replica the primary while all are alive, as an operator does."""
        began = time.monotonic()
        await _until(lambda: self._ask(self._ports[0], "FAILOVER"))
        await self._failed_over(began)

    async def kill_primary(self, seconds: float) -> None:
        """Kill the primary; it comes back so long after the failover, as a replica."""
        began = time.monotonic()
        killed = self.primary
        await killed.end(signal.SIGKILL)
        await self._promoted()
        self._note(began, time.monotonic())
        await asyncio.sleep(seconds)
        await self._start_replica(killed)
        await self.settled()

    async def stop_primary(self, seconds: float) -> None:
        """Stop the primary until after the failover; it comes back as a second primary."""
        began = time.monotonic()
        stopped = self.primary
        stopped.send(signal.SIGSTOP)
        await self._promoted()
        promoted = time.monotonic()
        await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))
        resumed = time.monotonic()
        stopped.send(signal.SIGCONT)
        await self.settled()
        if self._is_guarded:
            self._note(began, promoted)
            # It reads what waits in its sockets before it sees that its replicas have left.
            self._note(resumed, resumed + LAG_SECONDS)
        else:
            self._note(began, time.monotonic())

    async def kill_replica(self, seconds: float, draw: float) -> None:
        """Kill a replica, and start it again so long after that."""
        replica = self.replicas[int(draw * REPLICAS)]
        await replica.end(signal.SIGKILL)
        await asyncio.sleep(seconds)
        await self._start_replica(replica)
        await self.settled()

    async def monitor(self) -> None:
        """Note unasked failovers: to sentinels a machine that stood still looks dead."""
        await repeat(self._look, _LOOK_SECONDS, (*UNANSWERED, KeyError))

    async def _look(self) -> None:
        async with self.busy:
            if await self._named() != self.primary.port:
                await self._failed_over(time.monotonic() - UNASKED_SECONDS)

    async def _failed_over(self, began: float) -> None:
        await self._promoted()
        promoted = time.monotonic()
        await self.settled()
        self._note(began, promoted + LAG_SECONDS if self._is_guarded else time.monotonic())

    async def _promoted(self) -> None:
        """Wait until the sentinels name another node."""
        before = self.primary.port

        async def is_another() -> bool:
            return await self._named() != before

        await _until(is_another)
        named = await self._named()
        (self.primary,) = (node for node in self._nodes if node.port == named)

    def _note(self, began: float, ended: float) -> None:
        self.rollbacks.append(Rollback(began - LAG_SECONDS, ended))

    async def _named(self) -> int:
        """Ask the sentinels for the port of the primary; the majority counts."""
        told = await asyncio.gather(
            *(self._ask(port, "GET-MASTER-ADDR-BY-NAME") for port in self._ports)
        )
        ports = [int(each[1]) for each in told]
        return max(ports, key=ports.count)

    async def _ask(self, port: int, what: str) -> Any:
        async with Redis(port=port, decode_responses=True, socket_timeout=2, protocol=2) as client:
            client.response_callbacks.clear()
            return await client.execute_command("SENTINEL", what, NAME)


def _pairs(flat: Any) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


async def _until(condition: Callable[[], Awaitable[object]]) -> None:
    # The server that is asked may be down itself, or not know yet.
    despite = (*UNANSWERED, KeyError)
    await eventually(condition, STARTED_SECONDS, every=_LOOK_SECONDS, despite=despite)

"""Servers under sentinels: a primary, two replicas, and three that watch them and exchange them.

Replication is asynchronous, so whatever was written shortly before the primary is lost is lost
with it; and a primary that comes back from a stop takes writes, until the sentinels have demoted
it, that nobody will see again. In which spans that was so is noted here, for the judge.
"""

import asyncio
import contextlib
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from docket.store.embedded.home import server_binary
from stress.chaos.record import Rollback
from stress.chaos.server import STARTED_SECONDS, Server, execute
from stress.ports import free_port

NAME = "main"
#: With two, a primary still has one while the third is away.
REPLICAS = 2
SENTINELS = 3
QUORUM = 2
#: A primary that does not answer for so long is given up.
DOWN_AFTER_SECONDS = 2.0
#: What a failover may take until it is tried again.
FAILOVER_SECONDS = 3.0
#: A replica has got everything that is older than this, unless its machine stands still.
LAG_SECONDS = 1.0
#: A failover that nobody asked for was decided upon so long before it was seen, at most.
UNASKED_SECONDS = 10.0
_LOOK_SECONDS = 0.05

#: A node keeps nothing over its restart: it takes everything from the primary of then.
_NODE = {
    "appendonly": "no",
    "save": "",
    "repl-diskless-sync": "yes",
    "repl-diskless-sync-delay": "0",
    # Its own sentinel address would be guessed from the machine's others.
    "replica-announce-ip": "127.0.0.1",
}


class Sentinels:
    """The nodes and who watches them. One fault at a time: `busy` is held meanwhile.

    Arguments:
        folder: for the files of all of them.
        is_guarded: whether a primary without a replica refuses writes.
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
        """Where everybody asks."""
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self._ports)}/{NAME}/0"

    @property
    def replicas(self) -> list[Server]:
        """Those that are not the primary of the moment."""
        return [node for node in self._nodes if node is not self.primary]

    def client(self) -> Redis:
        """A connection to the primary of the moment; closed by the caller."""
        return self.primary.client()

    async def start(self) -> None:
        """Start all, and return when each knows of the others."""
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
            self._sentinels.append(execute(words))
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
        """Return once primary and replicas are what they should be, and all sentinels know it."""
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

    # What can be done to them; each returns when all is as it was, the primary another or not.

    async def fail_over(self) -> None:
        """Make a replica the primary, all alive, as an operator does."""
        began = time.monotonic()
        while True:
            with contextlib.suppress(RedisError):
                await self._ask(self._ports[0], "FAILOVER")
                break
            await asyncio.sleep(_LOOK_SECONDS)
        await self._exchanged(began)

    async def kill_primary(self, seconds: float) -> None:
        """kill -9; it comes back so long after the failover, as a replica."""
        began = time.monotonic()
        killed = self.primary
        await killed.end(signal.SIGKILL)
        await self._promoted()
        self._note(began, time.monotonic())
        await asyncio.sleep(seconds)
        await self._start_replica(killed)
        await self.settled()

    async def stop_primary(self, seconds: float) -> None:
        """SIGSTOP for longer than it is waited for; it comes back believing to be the primary."""
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
            # What was waiting for it is read before it sees that its replica is gone.
            self._note(resumed, resumed + LAG_SECONDS)
        else:
            self._note(began, time.monotonic())

    async def kill_replica(self, seconds: float, draw: float) -> None:
        """kill -9 of one of them, and started again so long after that."""
        replica = self.replicas[int(draw * REPLICAS)]
        await replica.end(signal.SIGKILL)
        await asyncio.sleep(seconds)
        await self._start_replica(replica)
        await self.settled()

    async def watch(self) -> None:
        """Note failovers that nobody asked for: a machine that stood still looks like a death."""
        while True:
            async with self.busy:
                with contextlib.suppress(RedisError, OSError, KeyError):
                    if await self._named() != self.primary.port:
                        await self._exchanged(time.monotonic() - UNASKED_SECONDS)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _exchanged(self, began: float) -> None:
        await self._promoted()
        promoted = time.monotonic()
        await self.settled()
        self._note(began, promoted + LAG_SECONDS if self._is_guarded else time.monotonic())

    async def _promoted(self) -> None:
        """Return once the sentinels name another node."""
        before = self.primary.port

        async def is_another() -> bool:
            return await self._named() != before

        await _until(is_another)
        named = await self._named()
        (self.primary,) = (node for node in self._nodes if node.port == named)

    def _note(self, began: float, ended: float) -> None:
        self.rollbacks.append(Rollback(began - LAG_SECONDS, ended))

    async def _named(self) -> int:
        """The port of the primary, as most sentinels say."""
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


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(STARTED_SECONDS):
        while True:
            # Who is asked may be away itself, or not yet know.
            with contextlib.suppress(RedisError, OSError, KeyError):
                if await condition():
                    return
            await asyncio.sleep(_LOOK_SECONDS)

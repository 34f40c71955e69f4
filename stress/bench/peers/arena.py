"""The server that all contestants share: an embedded one of this comparison, emptied in between."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from uuid import uuid4

from redis.asyncio import Redis

from docket.store.embedded import embedded_server
from stress.ports import free_port


@dataclass(frozen=True)
class Arena:
    """The server, and what can be asked of it.

    Arguments:
        url: of its TCP port on the loopback: not every peer speaks to a Unix socket.
        client: on its Unix socket.
    """

    url: str
    client: Redis

    async def clear(self) -> None:
        """Remove everything: measurements share nothing."""
        await self.client.flushall()
        await self.client.script_flush()

    async def cpu_seconds(self) -> float:
        """CPU seconds that the server has used so far."""
        told = await self.client.info("cpu")
        return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])

    async def calls(self, seconds: float) -> int:
        """Count the commands that clients send in that time; those inside of scripts are not."""
        count = 0
        async with self.client.monitor() as monitor:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    async for command in monitor.listen():
                        count += command["client_type"] != "lua"
        return count

    async def version(self) -> str:
        """The name and version of the server."""
        told = await self.client.info("server")
        number = told.get("valkey_version") or told["redis_version"]
        return f"{told.get('server_name', 'redis')} {number}"


@contextlib.asynccontextmanager
async def arena() -> AsyncGenerator[Arena]:
    """Run the server during the block."""
    running = embedded_server.start(f"memory://stress-{uuid4().hex}")
    try:
        port = free_port()
        # No time limit: an idle worker may send nothing for longer than redis-py would wait.
        async with Redis.from_url(running.url, socket_timeout=None) as client:
            await client.config_set("bind", "127.0.0.1")
            await client.config_set("port", port)
            yield Arena(f"redis://127.0.0.1:{port}/0", client)
    finally:
        running.stop()
